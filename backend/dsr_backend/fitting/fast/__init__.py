"""The fit of preset fast, in the order of its stages: draw, samples, lattices, temporal widths, decoder, report."""
