"""Files, progress and errors of the command line."""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymol_dsr.shared import atomic_write
from pymol_dsr.shared.messages import FitStatus
from pymol_dsr.shared.options import FieldOptions
from pymol_dsr.shared.paths import file_to_write
from pymol_dsr.shared.tables import csv_bytes
from pymol_dsr.shared.text import counted
from pymol_dsr.shared.values import JsonObject

from ..fields.select import provenance_of, select_field
from .options import parse_options

if TYPE_CHECKING:
    from ..fields.base import Family, Field
    from ..surfaces.surface import Surface

PLAIN_SECONDS, LIVE_SECONDS = 2.0, 0.2


PLOTS = ("png", "pdf", "svg")


class CommandError(Exception):
    """The work failed, and not for what the user wrote; one line."""


class Progress:
    """Reports progress on stderr: one line that is rewritten on a terminal, else a line at most every 2 s.

    `heading` is printed before the first of them.
    """

    def __init__(self, heading: str = "") -> None:
        self._heading = heading
        self._live = sys.stderr.isatty()
        self._shown_at = -math.inf
        self._width = 0

    def step(self, text: str) -> None:
        """Show the latest step in place of the one before, in a file every PLAIN_SECONDS."""
        moment = time.monotonic()
        if moment - self._shown_at < (LIVE_SECONDS if self._live else PLAIN_SECONDS):
            return
        self._shown_at = moment
        if self._heading:
            self.line(self._heading)
            self._heading = ""
        if not self._live:
            print(text, file=sys.stderr, flush=True)
            return
        text = text[: shutil.get_terminal_size().columns - 1]
        print(f"\r{text:<{self._width}}", end="", file=sys.stderr, flush=True)
        self._width = len(text)

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self.end()
        print(text, file=sys.stderr, flush=True)

    def say(self, text: str, stays: bool) -> None:
        """Print a line that stays, or rewrite the line of progress."""
        (self.line if stays else self.step)(text)

    def end(self) -> None:
        """Clear the rewriting line."""
        if self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=sys.stderr, flush=True)
            self._width = 0

    def fit(self, status: FitStatus) -> None:
        """Report a fit's phase, its fraction done, and its step, loss and seconds left where they are known."""
        phrases = [f"{status.phase} {100.0 * status.fraction:.0f} %"]
        if status.steps:
            phrases.append(f"step {status.step or 0} of {status.steps}")
        if status.loss is not None:
            phrases.append(f"loss {status.loss:.4f} Å")
        if status.seconds_left is not None:
            phrases.append(f"{status.seconds_left:.0f} s left")
        self.step(", ".join(phrases))


class Silence(Progress):
    """No-op progress reporter for ranks other than 0."""

    def step(self, text: str) -> None:
        """Show nothing."""

    def line(self, text: str) -> None:
        """Print nothing."""


@contextmanager
def live_progress(heading: str = "") -> Iterator[Progress]:
    """Show the progress of what is done inside the block; the first of several processes shows it for all."""
    # As in runtime.distributed, which loads torch.
    first = os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"
    progress = Progress(heading) if first else Silence()
    try:
        yield progress
    finally:
        progress.end()


def device_text(device: str) -> str:
    """Describe the device. Raises ValueError where it does not exist."""
    from ..runtime.device import describe

    description = describe(device)
    return (
        f"device {description.device}: {description.name}, {description.memory_gb} GB, "
        f"{counted(description.threads, 'thread')}, torch {description.torch}"
    )


def input_path(text: str) -> Path:
    """Return the path of an input file. Raises ValueError where there is none."""
    path = Path(text).expanduser()
    if not path.is_file():
        raise ValueError(f"{text}: there is no such file")
    return path


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Make errors of reading a file inside the block errors of input."""
    from ..surfaces.surface import SurfacesError

    try:
        yield
    except SurfacesError as error:
        raise ValueError(str(error)) from error
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error


def load_field(options: argparse.Namespace, progress: Progress) -> Field:
    """Read the fit that the options name, or a field of the family."""
    field = parse_options(FieldOptions, options)
    return _selected(read_fit(options.fit, options.device, progress), field, options.fit)


def load_field_and_provenance(options: argparse.Namespace, progress: Progress) -> tuple[Field, JsonObject | None]:
    """Read such a field, and the origin of its states where some were generated."""
    field = parse_options(FieldOptions, options)
    fitted = read_fit(options.fit, options.device, progress)
    return _selected(fitted, field, options.fit), provenance_of(fitted, field.trajectory)


def _selected(fitted: Field | Family, field: FieldOptions, path: str) -> Field:
    try:
        return select_field(fitted, field)
    except ValueError as error:
        raise ValueError(f"{path}: {error} (--trajectory, --towards, --share)") from error


def read_fit(text: str, device: str, progress: Progress) -> Field | Family:
    """Read a `.dsr` file, with a line where the file before it took its place."""
    path = input_path(text)
    from ..results import dsr_file

    with reading(text):
        fitted = dsr_file.load(path, device)
    if "loaded_from" in fitted.report:
        progress.line(f"dsr-backend: warning: read from {fitted.report['loaded_from']}")
    return fitted


def surfaces_from(path: str, states_text: str) -> tuple[Sequence[Surface], dict[str, Any]]:
    """Return the wanted states of a surfaces file, and the `source` with which PyMOL finds the atoms again.

    The surfaces are read as they are used.
    """
    from ..surfaces.surfaces_file import SurfaceFile, chosen_states

    with reading(path):
        surfaces = SurfaceFile(Path(path).expanduser())
        source = surfaces.meta.get("source")
        if states_text.strip().lower() != "all":
            surfaces = SurfaceFile(Path(path).expanduser(), chosen_states(surfaces.states, states_text, path))
    return surfaces, source if isinstance(source, dict) else {}


def outside_text(fitted: Field) -> str:
    """Say that a time is extrapolated, and from which states."""
    first, last = fitted.time_range
    return f"extrapolated (fitted: {first:g} to {last:g})"


def angstrom_text(error: float) -> str:
    """Say an expected error in Å, or that it is not known."""
    # A fit without atoms or with too few states has nothing to test its forecast on.
    return f"{error:.2f} Å" if error > 0.0 else "not known"


def table_path(options: argparse.Namespace) -> Path | None:
    """Return the table to write, if any; ValueError where it cannot be."""
    return Path(file_to_write(options.csv, [".csv"])) if options.csv else None


def plot_path(options: argparse.Namespace) -> Path | None:
    """Return the picture to write, if any; ValueError where it cannot be."""
    path = Path(file_to_write(options.plot, [f".{kind}" for kind in PLOTS])) if options.plot else None
    if path and importlib.util.find_spec("matplotlib") is None:
        raise ValueError(f"--plot needs matplotlib: {sys.executable} -m pip install matplotlib, or leave --plot out")
    return path


def write_table(path: Path, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a .csv table. Raises WriteError."""
    atomic_write.replace(path, csv_bytes(names, rows))
