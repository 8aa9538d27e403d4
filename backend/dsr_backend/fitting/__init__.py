"""From surfaces to a field."""
