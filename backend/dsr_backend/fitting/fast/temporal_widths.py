"""How wide to smooth in time, and how far the average then shrinks: by predicting training states that are held out.

What counts is the share of probes near a held-out surface that the prediction puts on the wrong side, which is what
IoU counts. Distances themselves would favour blurred surfaces where the motion is large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ...fields.fast import FastField
from ...geometry.lattice import Lattice
from ...motion.forecast import Forecast
from ...motion.kernels import TemporalKernel
from ...motion.motion import Motion
from ...motion.poses import Poses
from ...runtime.parallel import ordered_parallel_map

# Temporal widths to choose from, in gaps between training states.
SHAPE_CHOICES = (0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
ATOM_CHOICES = (0.0, 0.5, 1.0, 1.5)
# Å by which the averaged surface is moved outwards: an average of shapes lacks some of what sticks out of each.
LIFT_CHOICES = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1)
# Where no state can be held out, the volume tells; Å.
WIDE_LIFTS = tuple(np.linspace(0.0, 0.2, 11).tolist())
VOLUME_SPACING = 1.2
# Cells whose share is looked up between two looks at whether to stop.
CHUNK = 2**20
# A held-out state has its nearest neighbours a whole gap away, a time amid the states half a gap: there, this
# share of the width averages over as many states.
HELD_OUT_SHARE = 5.0 / 6.0
FEWEST = 5


@dataclass(frozen=True)
class Probes:
    """Points near one state's surface, f4[N,3] Å in the reference's frame, and their distances f4[N] Å."""

    points: torch.Tensor
    distance: torch.Tensor


def choose_widths(field: FastField, probes: Sequence[Probes], tell: Callable[[float], None], at_once: int = 1) -> str:
    """Set the field's three widths (shape between states, atoms' paths, shape past the ends) and its lift; say how.

    And set what share of the probes is missed. probes: of every training state. tell: told the share of the work that
    is done; at_once: states held out at a time. Fewer than 5 states are joined by straight lines, with a lift that
    keeps the volume, and the ends are held.
    """
    motion = field.motion
    count = len(motion.states)
    if count < FEWEST:
        field.level_offset = _kept_volume(field, tell) if count > 1 else 0.0
        return f"{count} states are too few to hold any out"
    some = sorted({int(k) for k in np.linspace(2, count - 3, min(8, count - 4))})
    wrong = np.zeros((len(ATOM_CHOICES), len(SHAPE_CHOICES)))
    tell(0.0)
    with closing(
        ordered_parallel_map(lambda n: _held_out(field, probes[some[n]], some[n]), len(some), at_once)
    ) as each:
        for done, found in enumerate(each, 1):
            wrong += found
            tell(done / (len(some) + 1))
    atoms, shape = np.unravel_index(wrong.argmin(), wrong.shape)
    motion.smooth = HELD_OUT_SHARE * ATOM_CHOICES[atoms] * motion.kernel.gap
    field.smooth = HELD_OUT_SHARE * SHAPE_CHOICES[shape] * motion.kernel.gap
    lifted = sum(_lifted(field, probes[k], k, ATOM_CHOICES[atoms], SHAPE_CHOICES[shape]) for k in some)
    field.level_offset = LIFT_CHOICES[int(np.argmin(lifted))]
    tell(len(some) / (len(some) + 1))
    field.smooth_beyond = field.smooth if _smoothed_end_wins(field, probes) else 0.0
    field.held_out_error = float(wrong.min()) / len(some)
    return f"holding out {len(some)} of {count} states"


def _known(motion: Motion, states: NDArray[np.intp]) -> Motion:
    """What is known of the motion from some of the training states, in the reference's frame."""
    atoms = None if motion.atoms is None else motion.atoms[states]
    kernel = TemporalKernel(motion.states[states], motion.kernel.period)
    return Motion(kernel, Poses.identity(len(states)), atoms, motion.reference, motion.sigma)


def _held_out(field: FastField, probes: Probes, k: int) -> NDArray[np.float64]:
    """Share of the probes of state k on the wrong side when the other states predict it, by atoms' and shape's
    width."""
    motion = field.motion
    others = np.delete(np.arange(len(motion.states)), k)
    known = _known(motion, others)
    time = float(motion.states[k])
    tables = [_table(field, others, known.kernel.weights(time, width * motion.kernel.gap)) for width in SHAPE_CHOICES]
    wrong = np.zeros((len(ATOM_CHOICES), len(SHAPE_CHOICES)))
    for row, width in enumerate(ATOM_CHOICES if motion.atoms is not None else (0.0,)):
        xi = known.warp(time, field.device, width * motion.kernel.gap)(probes.points)
        wrong[row] = torch.stack([_wrong_side(field, table, xi, probes) for table in tables]).tolist()
    # Without atoms there is one path only.
    return wrong if motion.atoms is not None else np.tile(wrong[:1], (len(ATOM_CHOICES), 1))


def _lifted(field: FastField, probes: Probes, k: int, atoms: float, shape: float) -> NDArray[np.float64]:
    """Share of the probes of state k on the wrong side when the other states predict it, by lift; widths in gaps."""
    motion = field.motion
    others = np.delete(np.arange(len(motion.states)), k)
    known = _known(motion, others)
    time = float(motion.states[k])
    xi = known.warp(time, field.device, atoms * motion.kernel.gap)(probes.points)
    found = field.material_distance(*_table(field, others, known.kernel.weights(time, shape * motion.kernel.gap)), xi)
    inside = probes.distance < 0.0
    return np.array(torch.stack([((found < lift) != inside).float().mean() for lift in LIFT_CHOICES]).tolist())


def _kept_volume(field: FastField, tell: Callable[[float], None]) -> float:
    """The lift in Å, a mean over the gaps, with which what lies amid two states is as large as they are."""
    states = field.motion.states
    # What grows evenly does so in its lengths.
    sizes = [_volume(field, float(state), (0.0,), tell)[0] ** (1.0 / 3.0) for state in states]
    lifts = []
    for k in range(len(states) - 1):
        between = _volume(field, 0.5 * float(states[k] + states[k + 1]), WIDE_LIFTS, tell)
        lifts.append(np.interp((0.5 * (sizes[k] + sizes[k + 1])) ** 3, between, WIDE_LIFTS))
    return round(float(np.mean(lifts)), 3)


def _volume(field: FastField, time: float, lifts: Sequence[float], tell: Callable[[float], None]) -> list[float]:
    """Å³ inside the surface at `time`, one of the motion's, moved outwards by each of some lifts (Å)."""
    part = field.at_motion_time(time, None)
    lattice = Lattice.around(part.box[0], part.box[1], VOLUME_SPACING)
    cells = torch.zeros(len(lifts), dtype=torch.float64, device=field.device)
    for start in range(0, lattice.size, CHUNK):
        tell(0.0)
        numbers = torch.arange(start, min(start + CHUNK, lattice.size), device=field.device)
        found = part.distance(lattice.nodes(numbers))
        # A cell that the surface cuts counts by how far its middle is from it.
        shares = [(0.5 - (found - lift) / VOLUME_SPACING).clamp(0.0, 1.0).sum(dtype=torch.float64) for lift in lifts]
        cells += torch.stack(shares)
    return (cells * VOLUME_SPACING**3).tolist()


def _smoothed_end_wins(field: FastField, probes: Sequence[Probes]) -> bool:
    """Whether the shape smoothed over the last known states predicts later ones better than the last one held."""
    motion = field.motion
    count = len(motion.states)
    if field.smooth <= 0.0:
        return False
    wrong = np.zeros(2)
    for origin in sorted({int(k) for k in np.linspace(count // 2, count - 2, 5)}):
        before = np.arange(origin + 1)
        known = _known(motion, before)
        known.forecasts = (Forecast(), Forecast())
        for ahead in (1, 3, 5):
            if origin + ahead >= count:
                break
            time = float(motion.states[origin + ahead])
            target = probes[origin + ahead]
            xi = known.warp(time, field.device)(target.points)
            for choice, width in enumerate((0.0, field.smooth)):
                wrong[choice] += float(
                    _wrong_side(field, _table(field, before, known.kernel.weights(time, width)), xi, target)
                )
    return bool(wrong[1] < wrong[0])


def _table(
    field: FastField, states: NDArray[np.intp], weights: NDArray[np.float64]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The field's coarse values and features for weights of some of the training states."""
    full = np.zeros(len(field.motion.states))
    full[states] = weights
    return field.table(torch.as_tensor(full, dtype=torch.float32, device=field.device))


def _wrong_side(
    field: FastField, table: tuple[torch.Tensor, torch.Tensor], xi: torch.Tensor, probes: Probes
) -> torch.Tensor:
    """Share f4[] of the probes that are found on the wrong side."""
    found = field.material_distance(*table, xi)
    return ((found < 0.0) != (probes.distance < 0.0)).float().mean()
