"""The numbers behind each preset, and the time axis of a fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.options import FitOptions

from ..motion.stretches import find_jumps, given_breaks
from ..motion.time_axis import TimeAxis


@dataclass(frozen=True)
class Preset:
    """Numbers of the field `fast`. Lengths in Å.

    `spacing` is the distance between nodes of the fine lattice, which has `margin` nodes beyond the cells that a
    surface cuts; a state gives distances to `own_margin` nodes beyond its own cells. The coarse lattice is
    `coarse_factor` times wider and fills the box, `clearance` around all surfaces. The distances at the nodes are
    corrected by `density` points per Å² of surface, in `iterations` of conjugate gradients, with the weight `ridge` for
    a node to stay as it is. `max_values` limits the modes of each lattice.
    """

    spacing: float
    margin: int = 2
    own_margin: int = 1
    coarse_factor: int = 4
    clearance: float = 8.0
    density: float = 12.0
    ridge: float = 0.03
    iterations: int = 6
    max_values: int = 24_000_000


@dataclass(frozen=True)
class PaperPreset:
    """Numbers of the field `paper`, as the DSR paper prints them where it does (section 3.2).

    Printed: `layers` hidden layers of `width` units and `latent` numbers z; the loss's `eikonal` λ, `normals` τ (0
    fits points alone) and `code` α; `neighbours`, k of the distribution D. `uniform` points of D per local one are
    IGR's, whose distribution it is, and so are the `radius` of the first sphere and the halving of the rates.

    Ours: a step takes `points` points of each of `states` states, `cpu_points` on a CPU, where more and smaller steps
    get farther in a given time; `rate` and `latent_rate` are Adam's for θ and z at the start, halved `halvings` times,
    evenly over the `steps` or over the budget; a new trajectory of a known family has the share `search` of them for z
    alone.
    """

    width: int = 512
    layers: int = 8
    latent: int = 192
    radius: float = 1.0
    eikonal: float = 0.1
    normals: float = 1.0
    code: float = 1e-3
    neighbours: int = 50
    uniform: float = 0.125
    states: int = 4
    points: int = 2048
    cpu_points: int = 64
    steps: int = 40_000
    rate: float = 1e-3
    latent_rate: float = 1e-2
    halvings: int = 4
    search: float = 0.25


# `paper` is a PaperPreset, the others are presets of the field fast.
PRESETS: dict[str, Any] = {
    "fast": Preset(spacing=0.7),
    "fine": Preset(spacing=0.5, margin=3, own_margin=2, density=20.0),
    "preview": Preset(spacing=1.0, density=6.0),
    "paper": PaperPreset(),
}


def time_axis(options: FitOptions, states: Iterable[float]) -> TimeAxis | None:
    """Return the times of the states to fit; None where they are even. Raises ValueError for a state without a time."""
    if options.times is None:
        return None
    without = [state for state in states if not 1.0 <= state <= len(options.times)]
    if without:
        raise ValueError(f"there are {len(options.times)} times, one for each state, and none for state {without[0]:g}")
    return TimeAxis(options.times)


def stretch_breaks(
    options: FitOptions,
    states: NDArray[np.float64],
    times: NDArray[np.float64],
    atoms: NDArray[np.float32] | None,
) -> list[int]:
    """Return the indices of the states after a cut: those that the options name, or those after a jump.

    states, times: numbers f8[S] of the states, rising, and their times f8[S] in the motion; atoms: f4[S,A,3] Å, or
    None, without which no jump is seen. A loop is not searched: it says that its states follow one another. Raises
    ValueError for a cut outside of the states.
    """
    if options.breaks is not None:
        return given_breaks(options.breaks, states)
    return [] if atoms is None or options.loop else find_jumps(atoms, times)
