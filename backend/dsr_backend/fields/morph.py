"""The field between two trajectories of preset `fast` that were fitted together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pymol_dsr.shared.superpose import superpose

from ..motion.poses import Pose
from .base import Field, FieldAtTime, scene_box
from .fast import FastField, FastFieldAtTime


class Morph(Field):
    """The field at a fraction (0 to 1) of the way from one trajectory of a family to another.

    Both fields are evaluated in the material coordinates of atoms mixed between the two, and their distances are mixed.
    Trajectories with different numbers of atoms are different molecules, whose atoms do not correspond. Their distances
    are mixed in place, with the centres of both on one another and the orientations of the scene.
    """

    kind = "morph"

    def __init__(self, first: FastField, second: FastField, fraction: float) -> None:
        self.first, self.second, self.fraction = first, second, fraction
        self.motion, self.time_axis, self.smooth = first.motion, first.time_axis, first.smooth
        self.device, self.frame, self.clearance = first.device, first.frame, max(first.clearance, second.clearance)
        self.report = first.report
        shift = second.motion.origin - first.motion.origin
        self.extent = np.stack(
            [
                np.minimum(first.extent[0], second.extent[0] - shift),
                np.maximum(first.extent[1], second.extent[1] - shift),
            ]
        ).astype(np.float32)

    def with_uniform_smoothing(self) -> Morph:
        """Return the morph between both fields with uniform smoothing."""
        return Morph(self.first.with_uniform_smoothing(), self.second.with_uniform_smoothing(), self.fraction)

    def at_motion_time(self, time: float, smooth: float | None) -> MorphAtTime:
        """Return the morph at one time of the first trajectory's motion."""
        first, second = self.first.motion, self.second.motion
        (low, high), (second_low, second_high) = first.states[[0, -1]], second.states[[0, -1]]
        slope = (second_high - second_low) / (high - low) if high > low else 0.0
        second_time = second_low + (time - low) * slope
        start = self.first.at_motion_time(time, smooth)
        end = self.second.at_motion_time(second_time, smooth)
        pose = first.pose(time)
        start_atoms, end_atoms = first.aligned_atoms(time, smooth), second.aligned_atoms(second_time, smooth)
        rotation, translation = np.eye(3), np.zeros(3)
        atoms: NDArray[np.float32] | None = None
        if start_atoms is not None and end_atoms is not None and start_atoms.shape == end_atoms.shape:
            if len(start_atoms) >= 3:
                rotation, translation = superpose(end_atoms.astype(np.float64), start_atoms.astype(np.float64))
            moved = end_atoms @ rotation.T + translation
            mixed = ((1.0 - self.fraction) * start_atoms + self.fraction * moved).astype(np.float32)
            start_atoms, end_atoms = mixed, ((mixed - translation) @ rotation).astype(np.float32)
            atoms = pose.to_scene(mixed)
        end_pose = Pose(rotation.T @ pose.rotation, (pose.translation - translation) @ rotation)
        return MorphAtTime(
            time=time,
            extrapolated=start.extrapolated,
            expected_error=start.expected_error,
            atoms=atoms,
            box=scene_box(atoms, self.clearance, self.extent),
            device=self.device,
            start=replace(start, warp=first.warp_from(start_atoms, pose, time, self.device)),
            end=replace(end, warp=second.warp_from(end_atoms, end_pose, second_time, self.device)),
            fraction=self.fraction,
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """Raise TypeError: only whole families are saved."""
        raise TypeError("the way between two trajectories is not saved: save their family")


@dataclass(eq=False)
class MorphAtTime(FieldAtTime):
    """One time of a Morph. start, end: both trajectories' fields; fraction: 0 for the start alone, 1 for the end."""

    start: FastFieldAtTime
    end: FastFieldAtTime
    fraction: float

    def evaluate(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean f4[N] (Å) of both fields at x f4[N,3] (Å)."""
        distance = torch.zeros(len(x), device=x.device)
        for weight, field in ((1.0 - self.fraction, self.start), (self.fraction, self.end)):
            if weight > 0.0:
                distance += weight * field.evaluate(x)
        return distance
