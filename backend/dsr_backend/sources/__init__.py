"""Trajectory sources: they continue, fill in and sample the states of a molecule."""
