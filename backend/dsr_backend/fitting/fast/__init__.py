"""The fit of preset fast, part by part."""
