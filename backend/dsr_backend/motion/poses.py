"""The rigid motion of the whole molecule: a pose for each training state, and poses between them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pymol_dsr.shared.superpose import superpose

from .kernels import TemporalKernel

# Temporal widths of the rigid motion to choose from, in gaps between training states.
POSE_CHOICES = (0.5, 0.75, 1.0, 1.5, 2.5)
# Fewer states are joined directly, without smoothing.
MIN_STATES = 5
# States that are held out to choose a width.
MAX_HELD_OUT = 16


class Pose(NamedTuple):
    """The map from the scene to the reference's frame, x @ rotation.T + translation.

    rotation: f8[3,3]; translation: f8[3] Å.
    """

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]

    def to_scene(self, aligned: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        """Return atoms f4[A,3] (Å) in the scene's coordinates, from atoms in the reference's frame; None for None."""
        if aligned is None:
            return None
        scene: NDArray[np.float32] = ((aligned.astype(np.float64) - self.translation) @ self.rotation).astype(
            np.float32
        )
        return scene


@dataclass(frozen=True, eq=False)
class Poses:
    """The poses of all training states.

    rotations f8[S,3,3] and translations f8[S,3] (Å) as in `Pose`; width: temporal width in states of the smoothing
    between the states, 0 for a direct way from pose to pose.
    """

    rotations: NDArray[np.float64]
    translations: NDArray[np.float64]
    width: float = 0.0

    @classmethod
    def identity(cls, count: int) -> Poses:
        """Return `count` poses that move nothing."""
        return cls(np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3)))

    @classmethod
    def superposed(cls, positions: NDArray[np.float64], align: bool) -> Poses:
        """Return the poses that superpose positions f8[S,A,3] (Å) on the centred middle state.

        Without `align`, and for fewer than three atoms, they only move the middle state's centre to the origin.
        """
        poses = cls.identity(len(positions))
        middle = positions[len(positions) // 2]
        centre = middle.mean(0)
        for k, state in enumerate(positions):
            if align and positions.shape[1] >= 3:
                poses.rotations[k], poses.translations[k] = superpose(state, middle - centre)
            else:
                poses.translations[k] = -centre
        return poses

    def apply(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return scene positions f8[S,A,3] (Å) of all states in the reference's frame."""
        moved: NDArray[np.float64] = np.einsum("sai,sji->saj", positions, self.rotations) + self.translations[:, None]
        return moved

    def origin(self, k: int) -> NDArray[np.float64]:
        """Return the position f8[3] (Å) of the reference's origin in the scene at state k."""
        return np.asarray(-self.rotations[k].T @ self.translations[k])

    def at(self, time: float, kernel: TemporalKernel) -> Pose:
        """Return the pose at `time`; outside the training range the pose of the nearest end.

        As with `TemporalKernel.weights`, a pose is an average over the states plus the amount that the nearest state
        lacks of itself, which fades: for the rotations, and for the scene positions of the reference's origin. With
        width 0 the rotation is about one axis at constant speed, and the origin moves in a straight line.
        """
        if kernel.breaks:
            stretch = kernel.stretch(time)
            of_stretch = replace(
                self, rotations=self.rotations[stretch.states], translations=self.translations[stretch.states]
            )
            return of_stretch.at(stretch.time, stretch.kernel)
        states = kernel.states
        if len(states) == 1:
            return Pose(self.rotations[0], self.translations[0])
        if kernel.period is None:
            time = float(np.clip(time, states[0], states[-1]))
        bracket = kernel.bracket(time)
        if self.width <= 0.0:
            return self._direct(bracket.left, bracket.right, bracket.fraction)
        local = kernel.local_width(bracket, self.width)
        moment = states[bracket.left] + bracket.fraction * bracket.gap
        rotation, origin = self._mean(kernel.gaussian(moment, local, unbiased=True))
        unsmoothed = 1.0 - kernel.smoothing_blend(time)
        if unsmoothed > 0.0:
            nearest = bracket.nearest
            mean_rotation, mean_origin = self._mean(kernel.gaussian(states[nearest], local, unbiased=True))
            lacking = Rotation.from_matrix(self.rotations[nearest] @ mean_rotation.T).as_rotvec()
            rotation = Rotation.from_rotvec(unsmoothed * lacking).as_matrix() @ rotation
            origin = origin + unsmoothed * (self.origin(nearest) - mean_origin)
        return Pose(rotation, -rotation @ origin)

    def _direct(self, left: int, right: int, fraction: float) -> Pose:
        """Return the pose at a fraction of the direct way between two states."""
        first, second = self.rotations[left], self.rotations[right]
        turn = Rotation.from_matrix(second @ first.T).as_rotvec()
        rotation = Rotation.from_rotvec(fraction * turn).as_matrix() @ first
        return Pose(rotation, -rotation @ ((1.0 - fraction) * self.origin(left) + fraction * self.origin(right)))

    def _mean(self, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean rotation f8[3,3] and the mean origin f8[3] (Å) in the scene, for weights f8[S]."""
        used = np.nonzero(weights > 1e-6)[0]
        normalised = weights[used] / weights[used].sum()
        origins = -np.einsum("sji,sj->si", self.rotations[used], self.translations[used])
        return Rotation.from_matrix(self.rotations[used]).mean(normalised).as_matrix(), normalised @ origins


def choose_pose_width(poses: Poses, kernel: TemporalKernel, atoms: NDArray[np.float32]) -> float:
    """Return the temporal width (states) of the rigid motion that predicts held-out poses best.

    Poses that are noise about a mean want a wide average, a tumbling molecule wants a narrow one. 0 for fewer than 5
    states, or where stretches are too short to hold 3 states out. atoms: f4[S,A,3] Å.
    """
    states = kernel.states
    held_out = kernel.inner_states(1, MAX_HELD_OUT)
    if len(held_out) < MIN_STATES - 2:
        return 0.0
    # The corners of a box as large as the molecule turn rotations and translations into distances in Å.
    size = atoms[len(states) // 2].std(0)
    corners = size * np.array(list(itertools.product((-1.0, 1.0), repeat=3)))

    def error(width: float) -> float:
        total = 0.0
        for k in held_out:
            remaining = np.delete(np.arange(len(states)), k)
            known = Poses(poses.rotations[remaining], poses.translations[remaining], width * kernel.gap)
            predicted = known.at(float(states[k]), replace(kernel.subset(remaining), period=None))
            truth = Pose(poses.rotations[k], poses.translations[k])
            positions = [(corners - pose.translation) @ pose.rotation for pose in (predicted, truth)]
            total += float(np.sqrt(((positions[0] - positions[1]) ** 2).sum(1).mean()))
        return total

    return min(POSE_CHOICES, key=error) * kernel.gap
