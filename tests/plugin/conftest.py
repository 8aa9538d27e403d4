"""Fixtures of all tests of the plugin."""

from support.session import backend, crew, plugin
from support.small_disk import on_small_disk

__all__ = ["backend", "crew", "on_small_disk", "plugin"]
