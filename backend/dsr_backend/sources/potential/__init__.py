"""Coarse-grained potentials that are learned: one bead for each Cα, priors, a graph network, and a calibration."""
