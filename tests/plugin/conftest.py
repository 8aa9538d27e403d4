"""Fixtures of all tests of the plugin."""

from support.session import backend, plugin

__all__ = ["backend", "plugin"]
