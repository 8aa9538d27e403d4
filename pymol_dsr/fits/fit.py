"""One fit and its trajectories, as the plugin knows them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..backend.client import Backend
from ..shared import messages, states, text
from ..surfaces.source import Surface
from .timing import FitTiming

Say = Callable[[str], None]
Arrays = dict[str, NDArray[Any]]

MOST_LOSSES = 2_000


class JobError(ValueError):
    """A fit that does not exist, is busy or can't be used: one line for the user."""


class Cancelled(Exception):
    """The user stopped the job."""


class Phase(Enum):
    """Phase of a fit. The values are the words of the backend and of messages.

    STARTING: a detached fit whose process is not up yet. SAMPLING: of preset paper, before its training, and of the
    surfaces of an ensemble. STORED: a finished fit that is loaded when it is used.
    """

    QUEUED = "queued"
    STARTING = "starting"
    SURFACES = "surfaces"
    SAMPLING = "sampling"
    FIT = "fit"
    SAVING = "saving"
    READY = "ready"
    STORED = "stored"
    FAILED = "failed"
    CANCELLED = "cancelled"

    def __str__(self) -> str:
        return self.value


ENDED = frozenset({Phase.FAILED, Phase.CANCELLED})
RUNNING = frozenset({Phase.SURFACES, Phase.SAMPLING, Phase.FIT, Phase.SAVING})


class Activity(Enum):
    """The job that a fit is busy with. The values are how messages name it."""

    FIT = "its fit"
    MOVIE = "a movie"
    COLORS = "its colours"
    LEVELS = "level sets"
    MEASUREMENT = "its measures"
    EVALUATION = "an evaluation"
    OCCUPANCY = "its occupancy"
    LANDSCAPE = "its landscape"
    SURFACES = "a surfaces file"
    EXPORT = "an export"
    SAVING = "saving"

    def __str__(self) -> str:
        return self.value


class Task(Protocol):
    """Work in the backend that has a name and can be stopped: a fit, or a trajectory source."""

    name: str
    stop: threading.Event


@dataclass
class Trajectory:
    """A molecule whose states were fitted.

    name: the backend's name of it, empty where it was fitted alone. object: the present name of the molecule. atoms:
    i4[A], indices from 0 in `object` of the fitted atoms, or None where the fit does not know them. states: the fitted
    state numbers, rising. unwrap: whether molecules that the periodic box cuts were made whole. many_times: the states
    text with very many times that the user was last asked about. origin: the name of the molecule when it was fitted.
    identity: how its atoms are known again, as their indices change with the molecule; None in older files.
    """

    name: str
    object: str
    selection: str
    atoms: NDArray[np.int32] | None
    states: list[float]
    unwrap: bool = False
    many_times: str = ""
    origin: str = ""
    identity: messages.AtomIdentity | None = None

    def __post_init__(self) -> None:
        self.origin = self.origin or self.object

    @classmethod
    def of(cls, name: str, report: messages.TrajectoryReport, source: messages.MoleculeSource) -> Trajectory:
        """Return a trajectory from a backend's report of a fit. Raises ValueFault for atoms that can't be read."""
        indices = source.atom_indices()
        atoms = None if indices is None else indices - 1
        states = list(report.states)
        return cls(
            name,
            source.object or "",
            source.selection or "",
            atoms,
            states,
            bool(source.unwrap),
            identity=source.identity,
        )


def unlike_line(first: Trajectory, second: Trajectory) -> str:
    """Say what lies between two trajectories whose atoms do not correspond; empty where they do or are not known."""
    if first.atoms is None or second.atoms is None:
        return ""
    count, other_count = len(first.atoms), len(second.atoms)
    if count != other_count:
        return (
            f"{first.name} and {second.name} have {count} and {other_count} atoms, which do not correspond: their "
            "distances are mixed where they lie, centre on centre, and no atoms move"
        )
    if first.identity and second.identity and first.identity.elements != second.identity.elements:
        return (
            f"the {count} atoms of {first.name} and {second.name} are not of the same elements in the same order, yet "
            "each moves to the one in its place: the surface between them is of no molecule"
        )
    return ""


class FitPreview(Protocol):
    """Shows a fit while it goes on.

    options: the preview that `open` asks for. radii: f4[A] in Å, of the atoms of the first trajectory, where they are
    known.
    """

    options: messages.PreviewOptions
    radii: NDArray[np.float32] | None

    def show_surface(self, surface: Surface) -> None:
        """Take each surface of the first trajectory, before it is sent."""

    def show_preview(self, preview: messages.Preview) -> None:
        """Take each event `preview`, in the reading thread."""


@dataclass(eq=False)
class Fit:
    """A fit: its trajectories, its progress and its result. Another one of the same contents is another fit.

    trajectories: one, or those of a family in their order. report: of the finished fit. preview: shows it while it goes
    on; None where nobody watches. warnings: for the user, in their order.

    Progress. stage: the step of its activity in a word, for messages; `fraction` counts it. since: when its activity
    began, by time.monotonic. step, checkpoint: of the training, and the last one that was saved. losses: fraction and
    loss (Å) of each progress. timing: of a fit that this session runs or has run. stop: set to end its activity.

    The places that hold it. holder: the backend that has it in memory. in_folder: whether the backend has it in its
    folder of fits, too. file: its .dsr where the user has named one. digest, fetch: of a fit that came from a .dsr
    here, its SHA-256, and the function that reads it again (its path and content). detached: the process of its own
    that fits it or has fitted it, in words.

    The fit before it. replaces: the finished or detached fit of its name, which is kept until this one is ready. note:
    how the last fit ended that was to replace this one.
    """

    name: str
    trajectories: list[Trajectory] = field(default_factory=list)
    report: messages.FitReport = field(default_factory=messages.FitReport)
    preview: FitPreview | None = None
    warnings: list[str] = field(default_factory=list)

    phase: Phase = Phase.QUEUED
    activity: Activity | None = None
    stage: str = ""
    fraction: float = 0.0
    since: float = 0.0
    device: str = ""
    error: str = ""
    loss: float | None = None
    losses: list[tuple[float, float]] = field(default_factory=list)
    step: int | None = None
    checkpoint: int | None = None
    seconds_left: float | None = None
    timing: FitTiming | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    holder: Backend | None = None
    in_folder: bool = False
    file: str = ""
    digest: str = ""
    fetch: Callable[[], tuple[str, bytes]] | None = None
    detached: str = ""

    replaces: Fit | None = None
    note: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether it can be used, at once or after it is loaded."""
        return self.phase in (Phase.READY, Phase.STORED)

    @property
    def family(self) -> bool:
        """Whether it holds several trajectories, so that one of them has to be named."""
        return any(trajectory.name for trajectory in self.trajectories)

    @property
    def count(self) -> int:
        """Number of states of all trajectories."""
        return sum(len(trajectory.states) for trajectory in self.trajectories)

    def trajectory(self, name: str = "", argument: str = "trajectory") -> Trajectory:
        """Return the trajectory of that name, or the only one if none is named. Raises JobError."""
        if not self.family:
            if name:
                raise JobError(f"{self.name} is a fit of one trajectory: leave {argument}={name} out")
            return self.trajectories[0]
        names = ", ".join(trajectory.name for trajectory in self.trajectories)
        if not name:
            raise JobError(f"{self.name} holds several trajectories: choose one with {argument}= ({names})")
        for trajectory in self.trajectories:
            if trajectory.name == name:
                return trajectory
        raise JobError(f"{argument} {name}: {self.name} does not hold it; choose one of {names}")

    def trajectory_report(self, trajectory: Trajectory) -> messages.TrajectoryReport | None:
        """Return the backend's report of one trajectory; None where there is none yet."""
        return self.report.members().get(trajectory.name) if self.report.whole else None

    def is_loop(self, trajectory: Trajectory) -> bool:
        """Whether the first state of one trajectory follows its last one again, so that no time is past them."""
        report = self.trajectory_report(trajectory)
        return report is not None and bool(report.loop)

    def warn(self, line: str, owner: str = "") -> None:
        """Print a warning, and keep it for the window. owner: the trajectory that it is of, empty for the fit."""
        self.warnings.append(f"{owner}: {line}" if owner else line)
        print(f" {owner or self.name}: warning: {line}")

    def add_loss(self, fraction: float, loss: float) -> None:
        """Enter a loss (Å); where three lie within 1/MOST_LOSSES of the fit, the middle one is dropped."""
        if len(self.losses) > 1 and fraction - self.losses[-2][0] < 1.0 / MOST_LOSSES:
            self.losses.pop()
        self.losses.append((fraction, loss))

    def lost(self) -> str:
        """Return the message when its backend has ended: how far it was, and how it goes on."""
        stage = "surfaces" if self.phase in (Phase.QUEUED, Phase.SURFACES) else "fit"
        at = f"at step {self.step:.0f}" if self.step is not None else f"at {100 * self.fraction:.0f} % of its {stage}"
        if self.checkpoint is not None:
            return f"lost {at}; checkpoint at step {self.checkpoint:.0f}; dsr_resume {self.name} goes on"
        return f"lost {at}; dsr_resume {self.name} goes on from the surfaces it had"

    def line(self) -> str:
        """Name and progress in one line."""
        line = f"{self.name}: {self._progress()}" + (f", on {self.device}" if self.device else "")
        return text.one_line(line + (f"; {self.note}" if self.note else ""))

    def _progress(self) -> str:
        if self.phase is Phase.READY:
            if self.family:
                text = f"ready, trajectories {', '.join(trajectory.name for trajectory in self.trajectories)}"
            else:
                trajectory = self.trajectory()
                text = f"ready, states {states.format(trajectory.states)} of {trajectory.object}"
            return text + (f", busy with {self.activity}" if self.activity else "")
        if self.phase is Phase.STORED:
            origin = "fitted" if self.detached or self.in_folder else f"from {self.file}"
            return f"{origin}, loaded when used"
        if self.phase in ENDED or self.phase is Phase.QUEUED:
            return f"{self.phase}{': ' if self.error else ''}{self.error}"
        text = f"{self.phase} {100 * self.fraction:.0f} %"
        if self.loss is not None:
            text += f", loss {self.loss:.4g}"
        if self.seconds_left is not None:
            text += f", {self.seconds_left:.0f} s left"
        if self.detached:
            text += f", detached ({self.detached})"
        if self.checkpoint is not None:
            text += f", checkpoint at step {self.checkpoint:.0f}"
        return text
