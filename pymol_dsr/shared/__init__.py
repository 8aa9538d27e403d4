"""Modules that the plugin and the backend both import: standard library and numpy only."""
