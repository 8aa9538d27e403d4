"""The fit of preset paper, part by part."""
