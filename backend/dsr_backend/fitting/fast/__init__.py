"""The fits of presets fast, fine and preview, in the order of their stages: band, shapes, temporal widths, report."""
