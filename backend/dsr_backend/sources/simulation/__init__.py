"""Molecular dynamics with OpenMM, an optional package: what it can simulate, and how it runs."""
