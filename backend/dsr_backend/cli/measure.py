"""The verb `measure` of dsr-backend."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared import atomic_write, plots, states
from pymol_dsr.shared.options import MeasureOptions
from pymol_dsr.shared.state_times import FEWEST_COUNTED, counted_states, inner_states
from pymol_dsr.shared.states import StatesError

from .evaluate import mean
from .io import (
    angstrom_text,
    device_text,
    live_progress,
    load_field,
    outside_text,
    plot_path,
    table_path,
    write_table,
)
from .options import parse_options

if TYPE_CHECKING:
    from ..fields.base import Field
    from ..results.measure import Measures

Mask: TypeAlias = NDArray[np.bool_]

MEASURED = {
    "area": ("area", "Å²", 0),
    "volume": ("volume", "Å³", 0),
    "speed": ("mean speed", "Å per state", 4),
    "selection_area": ("area of the selection", "Å²", 0),
    "selection_volume": ("volume of the selection", "Å³", 0),
    "pocket_volume": ("volume of the pocket", "Å³", 0),
}
"""Measures of one time: title, unit and digits."""


def run_measure(options: argparse.Namespace) -> int:
    """Run `dsr-backend measure` and return the exit code."""
    table = table_path(options)
    plot = plot_path(options)
    settings = parse_options(MeasureOptions, options)
    if options.states:
        states.parse(options.states, fractional=True)

    with live_progress() as progress:
        fitted = load_field(options, progress)
        times = states.parse(options.states, fractional=True) if options.states else _default_times(fitted)
        masks = {name: atom_mask(fitted, name, getattr(settings, name)) for name in ("selection", "pocket")}
        absent = tuple(name for name, mask in masks.items() if mask is None)
        keys = [key for key in MEASURED if not key.startswith(absent)]
        progress.line(device_text(options.device))
        if masks["selection"] is not None:
            progress.line(
                "dsr-backend: the selection has what is nearest to its atoms' centres, as the fit has no radii; "
                "PyMOL measures by the nearest sphere"
            )
        measures = _print_measures(fitted, times, keys, masks, settings.resolution)
    _print_means(fitted, measures, keys)
    if errors := [measure.expected_error for measure in measures if measure.extrapolated]:
        progress.line(
            f"dsr-backend: {len(errors)} times are {outside_text(fitted)}, "
            f"expected error up to {angstrom_text(max(errors))}"
        )
    if table:
        names = [*keys, "extrapolated", "expected_error"]
        rows = [(f"{measure.time:.17g}", *(getattr(measure, key) for key in names)) for measure in measures]
        write_table(table, ["state", *names], rows)
    if plot:
        columns = {key: [getattr(measure, key) for measure in measures] for key in keys}
        panels = plots.measure_panels([measure.time for measure in measures], columns, fitted.states)
        atomic_write.replace(plot, plots.render(panels, fitted_range=fitted.time_range, format=plot.suffix[1:].lower()))
    return 0


def _default_times(fitted: Field) -> Sequence[float]:
    """List the fitted states; where these are few, every state of their range."""
    if len(fitted.states) >= FEWEST_COUNTED:
        return fitted.states
    first, last = fitted.time_range
    return states.parse(f"{int(first)}-{int(last)}")


def _print_measures(
    fitted: Field, times: Sequence[float], keys: Sequence[str], masks: dict[str, Mask | None], resolution: float
) -> list[Measures]:
    """Measure the surface at all times, and print each as a line of a table."""
    # It loads torch.
    from ..results.measure import measure_surface

    print("  ".join([f"{'state':>8}", *map(column_heading, keys)]), flush=True)
    measures = []
    for at in times:
        measure = measure_surface(
            fitted, at, selection=masks["selection"], pocket=masks["pocket"], resolution=resolution
        )
        measures.append(measure)
        cells = [f"{getattr(measure, key):>{len(column_heading(key))}.{MEASURED[key][2]}f}" for key in keys]
        print("  ".join([f"{at:>8g}", *cells]), flush=True)
    return measures


def _print_means(fitted: Field, measures: Sequence[Measures], keys: Sequence[str]) -> None:
    """Print the mean of each column, over the states that count."""
    counted = [measures[index] for index in counted_states([measure.time for measure in measures], fitted.states)]
    print()
    if len(counted) < len(measures):
        print(f"means of the {len(counted)} fitted states; the surfaces of others are averages with less detail")
    for key in keys:
        values = [getattr(measure, key) for measure in counted]
        if key == "speed":
            inner = inner_states([measure.time for measure in counted], fitted.time_range)
            values = [values[index] for index in inner]
        print(f"{column_heading(key)}: {mean(values, MEASURED[key][2])}")


def column_heading(key: str) -> str:
    """Return the title and unit of a column of measures."""
    title, unit, _ = MEASURED[key]
    return f"{title} ({unit})"


def atom_mask(fitted: Field, key: str, text: str) -> Mask | None:
    """Atoms bool[A] by their numbers from 1; ValueError where the fit has not so many."""
    if not text:
        return None
    if fitted.motion.atoms is None:
        raise ValueError(f"--{key} {text}: this fit has no atoms")
    mask = np.zeros(fitted.motion.atoms.shape[1], bool)
    try:
        numbers = np.array(states.parse(text, most=len(mask)), int)
    except StatesError as error:
        raise ValueError(f"--{key}: atoms are written like states ({error})") from error
    if numbers.max() > len(mask):
        raise ValueError(f"--{key} {text}: the fit has {len(mask)} atoms, and {numbers.max()} is past the end")
    mask[numbers - 1] = True
    return mask
