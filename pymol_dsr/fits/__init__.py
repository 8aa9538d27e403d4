"""Fits by name: running, finished, interrupted and detached ones."""
