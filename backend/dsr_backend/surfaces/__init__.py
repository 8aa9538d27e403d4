"""Surfaces of states: checked, in files, staged for a fit, made by PyMOL."""
