"""Surfaces of states: checked values, files, staging for a fit, extraction by PyMOL."""
