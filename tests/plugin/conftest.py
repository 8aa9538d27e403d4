"""Fixtures of all tests of the plugin."""

from support.session import backend, crew, plugin

__all__ = ["backend", "crew", "plugin"]
