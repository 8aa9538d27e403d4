"""Evaluation against PyMOL's surfaces, measures over time, their plots."""
