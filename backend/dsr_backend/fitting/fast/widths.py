"""Choice of the temporal widths, the spatial width and the level offset, by the prediction of held-out training states.

A held-out state is predicted from every second state, so that it lies in the middle of a gap, as times between the
states do at most. Widths are counted in gaps.

The error is 1 − IoU, of the points near a held-out surface that it and the prediction enclose. Mean distances would
choose too blurred surfaces where the motion is large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pymol_dsr.shared.spacing import evenly_spaced

from ...fields.fast import FastField
from ...geometry.lattice import Lattice, smooth_nodes
from ...motion.forecast import Forecast
from ...motion.motion import Motion
from ...motion.poses import Poses
from ...runtime.parallel import ordered_parallel_map

# Temporal widths to choose from, in gaps between training states.
SHAPE_CHOICES = (0.0, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
ATOM_CHOICES = (0.0, 0.75, 1.0, 1.5)
# Level offsets in Å to choose from: an average of shapes lacks a part of each shape's outermost parts.
OFFSET_CHOICES = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1)
# Spatial widths in Å to choose from: what is left of the states' noise in an average differs from place to place.
SPATIAL_CHOICES = (0.0, 0.25, 0.35, 0.5, 0.7)
# Level offsets in Å between which one that preserves the volume is interpolated, and the lattice for the volumes.
VOLUME_OFFSETS = tuple(np.linspace(0.0, 0.2, 11).tolist())
VOLUME_SPACING = 1.2
# Nodes evaluated between two checks for cancellation.
CHUNK = 2**20
# States of its stretch on either side of one that is held out, most states that are held out, and most of these that
# all widths of the atoms' paths and in space are tried on: chance decides between widths that few states compare.
HELD_OUT_MARGIN, MAX_HELD_OUT, MAX_COMPARED = 2, 64, 16
# Origins and leads (states) of the back-tests of smoothing past the ends.
END_ORIGINS, END_LEADS = 5, (1, 3, 5)


@dataclass(frozen=True, eq=False)
class ValidationPoints:
    """Points near one state's surface, equally dense, f4[N,3] Å in the reference's frame; their distances f4[N] Å."""

    points: torch.Tensor
    distance: torch.Tensor


# Reports that a fraction (0 to 1) of the stage is done.
Report = Callable[[float], None]


def choose_widths(
    field: FastField, validation: Sequence[ValidationPoints], report: Report, parallel_states: int = 1
) -> str:
    """Set the field's widths, level offset and held-out IoU; return a sentence on the method.

    validation: points of every training state; report: gets the fraction that is done; parallel_states: number of
    states held out at once. Where no stretch has 5 states the widths stay 0 and the level offset preserves the volume.
    """
    motion = field.motion
    gap, count = motion.kernel.gap, len(motion.states)
    held_out = motion.kernel.inner_states(HELD_OUT_MARGIN, MAX_HELD_OUT)
    if not held_out:
        field.level_offset = _volume_preserving_offset(field, report) if count > 1 else 0.0
        runs = f" in {len(motion.kernel.breaks) + 1} runs" if motion.kernel.breaks else ""
        return f"{count} states{runs} are too few to hold any out"
    report(0.0)
    # Without atoms, all widths of their paths give the same prediction.
    atom_widths = ATOM_CHOICES if motion.atoms is not None else ATOM_CHOICES[:1]
    chosen = evenly_spaced(range(len(held_out)), MAX_COMPARED)

    def errors_of(index: int) -> NDArray[np.float64]:
        widths = atom_widths if index in chosen else atom_widths[:1]
        return _errors(field, validation[held_out[index]], held_out[index], widths)

    total = len(held_out) + field.is_whole * len(chosen) + 1
    errors = _of_all(errors_of, len(held_out), parallel_states, lambda completed: report(completed / total))
    of_chosen = np.stack([errors[index] for index in chosen])
    # The other states tell what the mean of these few misses.
    unsmoothed = np.stack([of_state[:1] for of_state in errors])
    mean = of_chosen.mean(0) + unsmoothed.mean(0) - of_chosen[:, :1].mean(0)
    row, column = _narrowest_good(of_chosen[..., 0], mean[..., 0])
    motion.smooth = ATOM_CHOICES[row] * gap
    field.smooth = SHAPE_CHOICES[column] * gap
    field.level_offset = OFFSET_CHOICES[int(mean[row, column].argmin())]
    field.held_out_iou = 1.0 - float(mean[row, column].min())
    if field.is_whole:
        compared = [held_out[index] for index in chosen]
        spatial_errors = _of_all(
            lambda index: _spatial_errors(field, validation[compared[index]], compared[index]),
            len(compared),
            parallel_states,
            lambda completed: report((len(held_out) + completed) / total),
        )
        _choose_spatial_width(field, np.stack(spatial_errors))
    field.smooth_beyond = field.smooth if smoothing_predicts_ends(field, validation, parallel_states) else 0.0
    return f"holding out {len(held_out)} of {count} states"


def _of_all(
    errors_of: Callable[[int], NDArray[np.float64]], count: int, parallel_states: int, report: Callable[[int], None]
) -> list[NDArray[np.float64]]:
    """Return the errors of `count` held-out states, some computed at once. report: gets the number that are."""
    errors: list[NDArray[np.float64]] = []
    with closing(ordered_parallel_map(errors_of, count, parallel_states)) as computed:
        for of_state in computed:
            errors.append(of_state)
            report(len(errors))
    return errors


def _narrowest_good(errors: NDArray[np.float64], mean: NDArray[np.float64]) -> tuple[int, int]:
    """Return the width to take and the other number that is best with it, as indices.

    errors: f8[states, widths, others]; mean: f8[widths, others], the best estimate of their mean. Nothing is smoothed
    more than the held-out states prove: the narrowest width is taken whose error is within one standard error of the
    best (Breiman et al. 1984), with the best of the others for it.
    """
    rows, best = np.arange(len(mean)), mean.argmin(1)
    excess = errors[:, rows, best]
    excess = excess - excess[:, [mean[rows, best].argmin()]]
    standard_error = excess.std(0, ddof=1) / np.sqrt(len(errors)) if len(errors) > 1 else np.zeros(len(rows))
    row = int(np.argmax(mean[rows, best] - mean[rows, best].min() <= standard_error))
    return row, int(best[row])


def _known_motion(motion: Motion, states: NDArray[np.intp]) -> Motion:
    """Return the motion known from some training states alone, in the reference's frame."""
    atoms = None if motion.atoms is None else motion.atoms[states]
    references = None
    if motion.references is not None:
        references = motion.references[np.unique(motion.kernel.numbers(states))]
    return Motion(motion.kernel.subset(states), Poses.identity(len(states)), atoms, references, motion.sigma)


def _every_second(motion: Motion, k: int) -> tuple[NDArray[np.intp], Motion, float]:
    """Return the indices of the states k ± 1, k ± 3, …, the motion that is known from them, and the time of state k."""
    remaining = np.arange((k + 1) % 2, len(motion.states), 2)
    return remaining, _known_motion(motion, remaining), float(motion.states[k])


def _errors(
    field: FastField, validation: ValidationPoints, k: int, atom_widths: Sequence[float]
) -> NDArray[np.float64]:
    """Return the error f8[atom widths,shape widths,level offsets] of the prediction of state k.

    Every second state predicts it, k ± 1, k ± 3, …, with each width and offset of the choices. atom_widths: in gaps.
    """
    gap = 2.0 * field.motion.kernel.gap
    remaining, known, time = _every_second(field.motion, k)
    mixtures = _mixtures(field, remaining, [known.kernel.weights(time, width * gap) for width in SHAPE_CHOICES])
    errors = []
    for width in atom_widths:
        distances = field.mixed_distances(*mixtures, known.warp(time, field.device, width * gap)(validation.points))
        wrong = [_overlap_error(distances - offset, validation) for offset in OFFSET_CHOICES]
        errors.append(torch.stack(wrong, -1).tolist())
    return np.array(errors)


def _choose_spatial_width(field: FastField, errors: NDArray[np.float64]) -> None:
    """Set the field's spatial width, and raise the level offset by what the width takes from the volume.

    errors: f8[states,spatial widths,2] of `_spatial_errors`.
    """
    wrong, offsets = errors[..., 0], errors[..., 1]
    row, _ = _narrowest_good(wrong[..., None], wrong.mean(0)[:, None])
    field.spatial_width = SPATIAL_CHOICES[row]
    field.level_offset = round(float(offsets[:, row].mean()), 3)
    assert field.held_out_iou is not None, "the temporal widths are chosen before"
    field.held_out_iou += float((wrong[:, 0] - wrong[:, row]).mean())


def _spatial_errors(field: FastField, validation: ValidationPoints, k: int) -> NDArray[np.float64]:
    """Return f8[spatial widths,2]: the errors of the prediction of state k, and level offsets (Å) that keep its volume.

    Every second state predicts it, with the field's temporal widths. With its offset, each width has as many of the
    points inside as no width has with the field's offset.
    """
    motion, lattice = field.motion, field.band.lattice
    remaining, known, time = _every_second(motion, k)
    weights = known.kernel.weights(time, 2.0 * field.smooth)
    values = field.whole_values(_weights_of_all(field, remaining, weights))
    xi = known.warp(time, field.device, 2.0 * motion.smooth)(validation.points)
    distances, width = [], 0.0
    for choice in SPATIAL_CHOICES:
        # Variances of smoothing in turn add up.
        smooth_nodes(values, math.sqrt(choice**2 - width**2) / lattice.spacing)
        distances.append(lattice.extrapolate_columns(values.view(-1), xi))
        width = choice
    stacked = torch.stack(distances, -1)
    inside = min(int((distances[0] < field.level_offset).sum()), len(stacked) - 1)
    offsets = stacked.sort(0).values[inside]
    offsets[0] = field.level_offset
    wrong = _overlap_error(stacked - offsets, validation)
    return np.array(torch.stack([wrong, offsets], -1).tolist())


def _volume_preserving_offset(field: FastField, report: Report) -> float:
    """Return the level offset (Å), a mean over the gaps, that keeps the volume halfway between two states.

    0 where all gaps are cut.
    """
    states = field.motion.states
    # Volumes are averaged by their cube roots: a shape that grows evenly does so in its lengths.
    sizes = [_enclosed_volumes(field, float(state), (0.0,), report)[0] ** (1.0 / 3.0) for state in states]
    offsets = []
    for k in range(len(states) - 1):
        if k + 1 in field.motion.kernel.breaks:
            continue
        halfway = _enclosed_volumes(field, 0.5 * float(states[k] + states[k + 1]), VOLUME_OFFSETS, report)
        offsets.append(np.interp((0.5 * (sizes[k] + sizes[k + 1])) ** 3, halfway, VOLUME_OFFSETS))
    return round(float(np.mean(offsets)), 3) if offsets else 0.0


def _enclosed_volumes(field: FastField, time: float, offsets: Sequence[float], report: Report) -> list[float]:
    """Return the volumes (Å³) inside the surface at a time of the motion, moved outwards by each offset (Å)."""
    snapshot = field.at_motion_time(time, None)
    lattice = Lattice.around(snapshot.box[0], snapshot.box[1], VOLUME_SPACING)
    cells = torch.zeros(len(offsets), dtype=torch.float64, device=field.device)
    for start in range(0, lattice.size, CHUNK):
        report(0.0)
        numbers = torch.arange(start, min(start + CHUNK, lattice.size), device=field.device)
        distance = snapshot.distance(lattice.nodes(numbers))
        # A cell that the surface cuts counts partly, by the distance of its middle.
        fractions = ((0.5 - (distance - offset) / VOLUME_SPACING).clamp(0.0, 1.0) for offset in offsets)
        cells += torch.stack([fraction.sum(dtype=torch.float64) for fraction in fractions])
    return [float(volume) for volume in (cells * VOLUME_SPACING**3).tolist()]


def smoothing_predicts_ends(field: FastField, validation: Sequence[ValidationPoints], parallel_states: int = 1) -> bool:
    """Return whether a shape smoothed over the last known states predicts later states better than the last state.

    False where the last stretch is too short to tell. parallel_states: number of predictions at once.
    """
    motion = field.motion
    last = motion.kernel.stretch(float(motion.states[-1])).states
    first, count = last.start, last.stop - last.start
    if field.smooth <= 0.0 or count <= 2 * HELD_OUT_MARGIN:
        return False
    origins = sorted({int(k) for k in np.linspace(count // 2, count - 2, END_ORIGINS)})
    pairs = [(origin, lead) for origin in origins for lead in END_LEADS if origin + lead < count]

    def errors_of(index: int) -> list[float]:
        """Return the errors of the last state and of the smoothed shape."""
        origin, lead = pairs[index]
        before = np.arange(first, first + origin + 1)
        known = _known_motion(motion, before)
        known.forecasts = (Forecast(), Forecast())
        time = float(motion.states[first + origin + lead])
        target = validation[first + origin + lead]
        xi = known.warp(time, field.device)(target.points)
        mixtures = _mixtures(field, before, [known.kernel.weights(time, width) for width in (0.0, field.smooth)])
        wrong: list[float] = _overlap_error(field.mixed_distances(*mixtures, xi), target).tolist()
        return wrong

    with closing(ordered_parallel_map(errors_of, len(pairs), parallel_states)) as computed:
        held, smoothed = np.sum(list(computed), 0)
    return bool(smoothed < held)


def _mixtures(
    field: FastField, states: NDArray[np.intp], weights: Sequence[NDArray[np.float64]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the field's mixtures of some training states, for W weights f8 of these states."""
    return field.mixtures(_weights_of_all(field, states, np.stack(weights)))


def _weights_of_all(field: FastField, states: NDArray[np.intp], weights: NDArray[np.float64]) -> torch.Tensor:
    """Return weights f4[…,S] of all training states, for weights f8[…,K] of K of them; 0 for the others."""
    of_all = np.zeros((*weights.shape[:-1], len(field.motion.states)))
    of_all[..., states] = weights
    return torch.as_tensor(of_all, dtype=torch.float32, device=field.device)


def _overlap_error(distances: torch.Tensor, validation: ValidationPoints) -> torch.Tensor:
    """Return 1 − IoU f4[…,W] of the points inside the surface and those with predicted distances f4[…,N,W] (Å) < 0."""
    predicted, enclosed = distances < 0.0, (validation.distance < 0.0)[:, None]
    return 1.0 - (predicted & enclosed).sum(-2) / (predicted | enclosed).sum(-2).clamp_min(1)
