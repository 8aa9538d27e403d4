"""One fit and its trajectories, as the plugin knows them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..backend import reply_checks
from ..shared import states

Say = Callable[[str], None]
Arrays = dict  # name -> array


MOST_LOSSES = 2_000


class JobError(ValueError):
    """A fit that does not exist, is busy or can't be used: one line for the user."""


class Cancelled(Exception):
    """The user stopped the job."""


@dataclass
class Trajectory:
    """A molecule whose states were fitted.

    name: what the backend calls it, empty where it was fitted alone. atoms: i4[A], indices from 0 in `object` of the
    atoms sent, or None where the fit says nothing of them. states: the fitted state numbers, rising.
    """

    name: str
    object: str
    selection: str
    atoms: np.ndarray | None
    states: list[float]

    @classmethod
    def of(cls, name: str, report: dict[str, Any], source: dict[str, Any]) -> Trajectory:
        """From a backend's report of a fit and from what `Source.to_json` gave it."""
        atoms = None
        if source.get("atoms"):
            atoms = reply_checks.atom_indices(source["atoms"]) - 1
        fitted = [float(s) for s in report["states"]]
        return cls(name, str(source.get("object") or ""), str(source.get("selection") or ""), atoms, fitted)


@dataclass
class Fit:
    """A fit: where it came from, how far it is, what came of it.

    trajectories: one, or those of a family in their order. phase: queued, surfaces, sampling, fit, saving, ready,
    failed, cancelled. step, checkpoint: of the training, and the last one that was kept. losses: fraction and
    loss (Å) of each progress. doing: what its activity is at, with `fraction`.
    preview: what `open` is told of one, with arrays; shown: called with each of its events in the reading thread.
    detached: the process of its own that fits it or has fitted it, in words; `look` says how far that is.
    file: its .dsr where the user has named one. digest, fetch: of a fit that a session names, of phase stored: the
    SHA-256 of that file, and what reads it (its path and content) when the fit is used.
    """

    name: str
    trajectories: list[Trajectory] = field(default_factory=list)
    phase: str = "queued"
    fraction: float = 0.0
    loss: float | None = None
    step: float | None = None
    checkpoint: float | None = None
    seconds_left: float | None = None
    device: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    activity: str = ""
    doing: str = ""
    losses: list[tuple[float, float]] = field(default_factory=list)
    preview: tuple[dict[str, Any], Arrays] | None = None
    shown: Callable[[dict[str, Any], Arrays], None] | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    last_said: float = 0.0
    detached: str = ""
    file: str = ""
    digest: str = ""
    fetch: Callable[[], tuple[str, bytes]] | None = None

    @property
    def family(self) -> bool:
        """Whether it holds several trajectories, so that one of them has to be named."""
        return any(t.name for t in self.trajectories)

    @property
    def count(self) -> int:
        """States in all."""
        return sum(len(t.states) for t in self.trajectories)

    def trajectory(self, name: str = "", argument: str = "trajectory") -> Trajectory:
        """The trajectory of that name, the only one if none is named. Raises JobError, naming those there are."""
        if not self.family:
            if name:
                raise JobError(f"{self.name} is a fit of one trajectory: leave {argument}={name} out")
            return self.trajectories[0]
        there = ", ".join(t.name for t in self.trajectories)
        if not name:
            raise JobError(f"{self.name} holds several trajectories: choose one with {argument}= ({there})")
        for trajectory in self.trajectories:
            if trajectory.name == name:
                return trajectory
        raise JobError(f"{argument} {name}: {self.name} does not hold it; choose one of {there}")

    def lost(self) -> str:
        """How far it was when its backend ended, what there is of it, and what to do."""
        at = f"at step {self.step:.0f}" if self.step is not None else f"at {100 * self.fraction:.0f} % of its surfaces"
        if self.checkpoint is not None:
            return f"lost {at}; checkpoint at step {self.checkpoint:.0f}; dsr_resume {self.name} goes on"
        return f"lost {at}; dsr_resume {self.name} goes on from the surfaces it had"

    def line(self) -> str:
        """Name and progress in one line."""
        if self.phase == "ready":
            if self.family:
                text = f"ready, trajectories {', '.join(t.name for t in self.trajectories)}"
            else:
                only = self.trajectory()
                text = f"ready, states {states.format(only.states)} of {only.object}"
            if self.activity:
                text += f", busy with {self.activity}"
        elif self.phase == "stored" and self.detached:
            text = "fitted, loaded when used"
        elif self.phase == "stored":
            text = f"from {self.file}, loaded when used"
        elif self.phase in ("failed", "cancelled", "queued"):
            text = f"{self.phase}{': ' if self.error else ''}{self.error}"
        else:
            text = f"{self.phase} {100 * self.fraction:.0f} %"
            if self.loss is not None:
                text += f", loss {self.loss:.4g}"
            if self.seconds_left is not None:
                text += f", {self.seconds_left:.0f} s left"
            if self.detached:
                text += f", detached ({self.detached})"
            if self.checkpoint is not None:
                text += f", checkpoint at step {self.checkpoint:.0f}"
        return f"{self.name}: {text}" + (f", on {self.device}" if self.device else "")
