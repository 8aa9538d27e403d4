"""Energies and forces of a learned potential by automatic differentiation, against which closed forms are held."""

from __future__ import annotations

import torch
from dsr_backend.sources.potential.beads import Protein
from dsr_backend.sources.potential.potential import Potential, features


def energies(
    potential: Potential, x: torch.Tensor, protein: Protein, offsets: torch.Tensor | None = None
) -> torch.Tensor:
    """Energies [R] in kcal/mol of beads [R,N,3]. offsets: [K] of the calibration."""
    total = potential.priors.energy(x, protein) + potential.network_energy(x, protein)
    return total if offsets is None else total + features(x, protein) @ offsets.to(x)


def forces(
    potential: Potential, x: torch.Tensor, protein: Protein, offsets: torch.Tensor | None = None
) -> torch.Tensor:
    """Forces [R,N,3] in kcal/mol/Å."""
    x = x.detach().requires_grad_(True)
    return -torch.autograd.grad(energies(potential, x, protein, offsets).sum(), x)[0]
