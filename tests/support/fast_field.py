"""Fields of preset `fast` put together by hand, with random values."""

from typing import Any

import numpy as np
import torch
from dsr_backend.fields.fast import TABLE_COLUMNS, BasisBuilder, Correction, Decoder, FastField, NarrowBand
from dsr_backend.geometry.lattice import Lattice
from dsr_backend.geometry.unit_cube import UnitCube
from dsr_backend.motion.motion import Motion

FACTOR = 4
LATTICE = Lattice.around([-9.0] * 3, [9.0] * 3, 1.0, multiple=FACTOR)


def basis_of(values, max_modes):
    """The basis of the states' values [S,nodes]."""
    builder = BasisBuilder(max_modes)
    for value in values:
        builder.add(value)
    return builder.basis()


def ball_band(radius=6.0, width=2.0):
    nodes = LATTICE.nodes(torch.arange(LATTICE.size))
    return NarrowBand(LATTICE, (nodes.norm(dim=1) - radius).abs() < width)


def field(states=2, seed=0, trained=True, atoms=None, smooth_fine=False):
    """A field with random values: coarse ±5 Å, fine ±1 Å (or 0); trained: with a correction, as older files have."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return 2.0 * torch.rand(*shape, generator=generator) - 1.0

    band = ball_band()
    times = np.arange(1.0, states + 1)
    motion = Motion.from_states(times, None if atoms is None else np.asarray(atoms, np.float32))
    coarse = basis_of(5.0 * random(states, LATTICE.coarser(FACTOR).size), 32)
    fine = basis_of(random(states, band.count) * (0.0 if smooth_fine else 1.0), 32)
    static = random(band.count, 2)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        decoder: Any = Decoder(TABLE_COLUMNS - 1 + 2, 8)
        torch.nn.init.normal_(decoder.layers[-1].weight)
        torch.nn.init.zeros_(decoder.layers[-1].bias)
    return FastField(
        motion,
        band,
        FACTOR,
        coarse,
        fine,
        UnitCube(np.zeros(3), 0.1),
        np.array([[-7.0] * 3, [7.0] * 3], np.float32),
        3.0,
        {},
        Correction(decoder.requires_grad_(False), static, torch.zeros(0)) if trained else None,
    )
