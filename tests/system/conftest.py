"""Fixtures of the tests of the whole."""

from support.session import backend, plugin

__all__ = ["backend", "plugin"]
