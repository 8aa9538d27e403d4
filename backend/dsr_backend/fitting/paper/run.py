"""Fits of preset paper: one trajectory, a family, a new member."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch

from pymol_dsr.shared.options import FitOptions

from ...fields.base import Family
from ...fields.paper import PaperField
from ...surfaces.surface import Surface, check_series
from ..config import PaperPreset
from ..job import Progress
from .checkpoint import Training
from .train import PaperRun, numbers


def fit_trajectory(
    surfaces: Sequence[Surface],
    config: FitOptions | None = None,
    progress: Progress = lambda phase, fraction, extra: None,
    cancelled: Callable[[], bool] = lambda: False,
    preset: PaperPreset | None = None,
    training: Training | None = None,
) -> PaperField:
    """As `trainer.fit`. preset: the numbers to use; those of config.preset where None.

    On the CPU and without a budget, the same surfaces, seed and number of threads give the same field.
    """
    run = PaperRun(config, preset, progress, cancelled, training)
    return run.fit([_checked(surfaces)], run.network())[0]


def fit_family(
    trajectories: Mapping[str, Sequence[Surface]],
    config: FitOptions | None = None,
    progress: Progress = lambda phase, fraction, extra: None,
    cancelled: Callable[[], bool] = lambda: False,
    preset: PaperPreset | None = None,
    training: Training | None = None,
) -> Family:
    """As `trainer.fit_family`: one θ for all, one z for each. Raises ValueError where there are no trajectories."""
    if not trajectories:
        raise ValueError("there are no trajectories")
    run = PaperRun(config, preset, progress, cancelled, training)
    series = [_checked(surfaces, f"trajectory {name}: ") for name, surfaces in trajectories.items()]
    members = dict(zip(trajectories, run.fit(series, run.network()), strict=True))
    reports = {name: field.report for name, field in members.items()}
    first = next(iter(members.values()))
    shared = {key: first.report[key] for key in ("preset", "device", "threads", "seconds", "steps", "loss", "seed")}
    parameters = numbers(first.network) + sum(field.z.numel() for field in members.values())
    return Family(dict(members), {**shared, "parameters": parameters, "trajectories": reports})


def fit_member(
    family: Family,
    surfaces: Sequence[Surface],
    config: FitOptions | None = None,
    progress: Progress = lambda phase, fraction, extra: None,
    cancelled: Callable[[], bool] = lambda: False,
    frozen: bool = False,
    preset: PaperPreset | None = None,
    training: Training | None = None,
) -> PaperField:
    """As `trainer.fit_member`. The sizes of the network and its unit of length are the family's, whatever the preset.

    Raises ValueError for a family of another kind of field.
    """
    known = [field for field in family.members.values() if isinstance(field, PaperField)]
    if not known or len(known) < len(family.members):
        kinds = ", ".join(sorted({field.kind for field in family.members.values()})) or "none"
        raise ValueError(f"the family's fields are of kind {kinds}, not all paper; give the preset it was fitted with")
    run = PaperRun(config, preset, progress, cancelled, training)
    network = copy.deepcopy(known[0].network).to(run.device)
    # Amid the known codes the network knows its way; a fresh draw is far from all of them.
    z = torch.stack([field.z.to(run.device) for field in known]).mean(0)
    return run.fit([_checked(surfaces)], network, z, known[0].scale, 1.0 if frozen else run.preset.search)[0]


def _checked(surfaces: Sequence[Surface], where: str = "") -> list[Surface]:
    """The surfaces in the order of their states; a ValueError says `where`."""
    ordered = sorted(surfaces, key=lambda surface: surface.state)
    try:
        check_series(ordered)
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error
    return ordered
