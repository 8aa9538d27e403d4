"""The fields f(x, t)."""
