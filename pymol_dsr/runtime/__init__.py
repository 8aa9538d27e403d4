"""Settings, folders and the check of an installation."""
