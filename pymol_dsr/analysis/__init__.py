"""Evaluation against PyMOL's surfaces, measures over time, landscapes of ensembles, their plots."""
