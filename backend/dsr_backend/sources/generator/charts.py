"""Charts: numbers by which a state differs from another, and the state that they lead to.

Both have six numbers for a residue. In the rigid chart, each residue moves by itself: right for folded proteins, whose
residues keep their places. In the internal chart, bonds turn: right for flexible chains, where a step turns dihedrals
far, and bond lengths and angles stay what they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from .frames import ROTATION_LENGTH, Frames, increments, moved, superposed
from .internal import chained, differences, dihedral_rows, link_coordinates
from .residues import Residues

HARMONICS = (1.0, 2.0)
"""Multiples of a dihedral whose cosine and sine are features."""


class Chart(Protocol):
    """Increments f[B,R,6] between states of one protein, frames [B,R] in any pose."""

    name: ClassVar[str]
    turns: ClassVar[bool]
    """Whether increments have directions, in the frames of their residues."""
    features_each: ClassVar[int]
    """Features of a residue."""
    history_noise: ClassVar[float]
    """Å. Noise on the known states of a training, so that the net bears its own errors."""

    def increments(self, first: Frames, second: Frames) -> Tensor:
        """Return the increments from frames to others."""
        ...

    def moved(self, frames: Frames, by: Tensor) -> Frames:
        """Return the frames after increments, with the pose of those before."""
        ...

    def features(self, frames: Frames, mean: Frames) -> Tensor:
        """Return features f[B,F] of frames that tell where they will go; mean: those of the mean structure [R]."""
        ...

    def to(self, device: torch.device) -> Chart:
        """Return the chart on a device."""
        ...


@dataclass(frozen=True, eq=False)
class RigidChart:
    """Shifts and turns of each residue in its own frame, once both states are superposed."""

    residues: Residues
    name: ClassVar[str] = "rigid"
    turns: ClassVar[bool] = True
    features_each: ClassVar[int] = 6
    history_noise: ClassVar[float] = 0.05

    def increments(self, first: Frames, second: Frames) -> Tensor:
        """Return the increments f[B,R,6] from frames to others."""
        return increments(first, superposed(second, first))

    def moved(self, frames: Frames, by: Tensor) -> Frames:
        """Return the frames after increments f[B,R,6]."""
        return moved(frames, by)

    def features(self, frames: Frames, mean: Frames) -> Tensor:
        """Return the way f[B,6 R] to the mean structure."""
        return self.increments(frames, mean.expand(len(frames.origins))).flatten(1)

    def to(self, device: torch.device) -> RigidChart:
        """Return the chart on a device."""
        return RigidChart(self.residues.to(device))


@dataclass(frozen=True, eq=False)
class InternalChart:
    """Changes of the dihedrals, angles and lengths from residue to residue."""

    residues: Residues
    name: ClassVar[str] = "internal"
    turns: ClassVar[bool] = False
    features_each: ClassVar[int] = 18
    history_noise: ClassVar[float] = 0.0

    def increments(self, first: Frames, second: Frames) -> Tensor:
        """Return the increments f[B,R,6] from frames to others."""
        start, end = (link_coordinates(frames, self.residues) for frames in (first, second))
        return differences(end, start, self.residues)

    def moved(self, frames: Frames, by: Tensor) -> Frames:
        """Return the frames after increments f[B,R,6], superposed on those before."""
        return superposed(chained(link_coordinates(frames, self.residues) + by, self.residues), frames)

    def features(self, frames: Frames, mean: Frames) -> Tensor:
        """Return cosines and sines of dihedrals, and the other numbers f[B,18 R] less those of the mean structure."""
        coordinates = link_coordinates(frames, self.residues)
        rows = dihedral_rows(self.residues)
        others = differences(coordinates, link_coordinates(mean, self.residues), self.residues) * ~rows
        turns = coordinates[..., :3] / ROTATION_LENGTH
        waves = [wave(factor * turns) * rows[:, :3] for factor in HARMONICS for wave in (torch.cos, torch.sin)]
        return torch.cat([*waves, others], -1).flatten(1)

    def to(self, device: torch.device) -> InternalChart:
        """Return the chart on a device."""
        return InternalChart(self.residues.to(device))


CHARTS: dict[str, type[RigidChart] | type[InternalChart]] = {"rigid": RigidChart, "internal": InternalChart}
