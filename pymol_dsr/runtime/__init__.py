"""Settings, folders, the installation of a backend and its check."""
