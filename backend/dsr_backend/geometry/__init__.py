"""Lattices, nearest points, signed distances, marching cubes and metrics."""
