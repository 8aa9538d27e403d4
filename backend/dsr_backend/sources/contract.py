"""The contract between the server and trajectory sources: states in, reports meanwhile, states out.

A source is a function such as `generate.generate`. To add one: a request that extends `messages.SourceRequest`, the
function in this package, and one line in `server/methods/sources.py`, where `run_source` passes events on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.messages import BackTestRow
from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.source_options import GenerateOptions
from pymol_dsr.shared.values import JsonObject

from .topology import Topology

MOST_TITLES = 5000
"""Titles that a source gives; with more states the answer would outgrow its frame, and titles are numbers."""

Check = Callable[[], None]
"""Function to call often, a few times a second: raises Cancelled once the user has cancelled the source."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """States of a molecule: coordinates f4[S,A,3] (Å), and times f8[S], rising, in ps or as state numbers."""

    coordinates: NDArray[np.float32]
    times: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, eq=False)
class Generated:
    """Generated states.

    coordinates: f4[F,A,3] (Å) in the frame of the first trajectory. times: f8[F]; replicas follow each other, each with
    its own times. table: the back-test. notes: lines for the user. titles: one per state, empty for titles made of the
    method. model: more of the provenance, as temperature or training data.
    """

    coordinates: NDArray[np.float32]
    times: NDArray[np.float64]
    method: str
    table: tuple[BackTestRow, ...] = ()
    notes: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    model: JsonObject | None = None


class Report(Protocol):
    """Reports of a source on its progress. The server sends as much of it as the user can read."""

    def __call__(self, fraction: float, phase: str, text: str = "", seconds_left: float | None = None) -> None:
        """Report that `fraction` (0 to 1) is done. phase: a word or two; text: its figures."""

    def frames(self, coordinates: NDArray[np.float32]) -> None:
        """Show states f4[F,A,3] (Å) of the result as they are made, in its order; each only once."""


@dataclass(frozen=True, eq=False)
class GenerationTask:
    """One run of `generate.generate`.

    trajectories: of the molecule; the first one is continued, filled in or sampled, and the others are known beside it.
    """

    molecule: Molecule
    topology: Topology
    trajectories: Sequence[Trajectory]
    options: GenerateOptions
    report: Report
    check: Check

    @property
    def first_trajectory(self) -> Trajectory:
        """The trajectory that is continued, filled in or sampled."""
        return self.trajectories[0]


class TrainingReport(Report, Protocol):
    """Reports of a training on its progress."""

    def errors(self, training: float, held_out: float, baseline: float | None = None) -> None:
        """Set the errors on the data and on held-out states, which go with the next report.

        baseline: that of what the training starts from, on the held-out states.
        """

    def gap(self, deviations: float) -> None:
        """Set the gap of a calibration in deviations of the data, which goes with the next report."""
