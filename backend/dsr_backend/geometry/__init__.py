"""Lattices, nearest points, signed distances, marching cubes, metrics and graphs of bonds."""
