"""Trajectory sources in the scene: atoms of a selection out, generated states in as an object of their own."""
