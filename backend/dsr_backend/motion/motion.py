"""Where the molecule is at any time: rigid part, material coordinates, weights in time, forecast.

Between the training states everything is mixed from them: a time t becomes one weight per state,
`Motion.weights(t)`, for the atoms, the rigid motion and the field's modes alike (`turning.py` adds what straight lines
lack where parts turn far). At a training
state the weights pick that state; away from it they go over, smoothly, to a Gaussian average, since the
thermal noise of a single state cannot be predicted from its neighbours.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

from .forecast import Forecast, continue_motion, fit_forecast
from .rigid_parts import RigidPartInterpolation
from .superpose import superpose
from .warp import CPU, WARP_SIGMAS, Warp, least_folding, splat

# Temporal widths of the rigid motion to choose from, in gaps between training states.
POSE_CHOICES = (0.5, 0.75, 1.0, 1.5, 2.5)


# Steps to the Å of the atoms' places.
ATOM_STEPS = 1024


# No Gaussian in time is narrower than this share of the gap it bridges: it would jump from one state to the next.
NARROWEST = 0.25


@dataclass
class Motion:
    """The molecule in time.

    states: f8[S] increasing; atoms: f4[S,A,3] Å superposed on the reference, or None; rotations f8[S,3,3] and
    translations f8[S,3] Å carry the scene's coordinates onto the reference's: x @ R.T + t; reference: f4[A,3]
    Å, the state that material coordinates are places in, or None; smooth and smooth_pose: temporal widths in states
    of the atoms' paths and of the rigid motion; forecasts: before the first state and after the last; period: states
    after which a loop begins again, or None where it is none; steady: the states themselves are no exception to the
    smoothing.
    """

    states: NDArray[np.float64]
    atoms: NDArray[np.float32] | None
    rotations: NDArray[np.float64]
    translations: NDArray[np.float64]
    reference: NDArray[np.float32] | None
    sigma: float = WARP_SIGMAS[0]
    smooth: float = 0.0
    forecasts: tuple[Forecast, Forecast] = field(default_factory=lambda: (Forecast(), Forecast()))
    smooth_pose: float = 0.0
    period: float | None = None
    steady: bool = False
    _turnings: dict[int, tuple[RigidPartInterpolation, NDArray[np.intp]] | None] = field(
        default_factory=dict, repr=False
    )

    @classmethod
    def of(
        cls,
        states: NDArray[np.float64],
        atoms: NDArray[np.float32] | None,
        align: bool = True,
        loop: bool = False,
        device: torch.device = CPU,
    ) -> Motion:
        """Superpose every state on the middle one. states f8[S] increasing, atoms f4[S,A,3] Å or None.

        loop: the first state follows the last one, a gap later; device: the one to look for a reference on.
        """
        count = len(states)
        period = float(states[-1] - states[0] + np.median(np.diff(states))) if loop and count > 1 else None
        rotations = np.tile(np.eye(3), (count, 1, 1))
        translations = np.zeros((count, 3))
        if atoms is None:
            return cls(states, None, rotations, translations, None, period=period)
        # In float64 and about the middle state's centre, so that molecules far from the origin lose no
        # digits.
        positions = atoms.astype(np.float64)
        middle = positions[count // 2]
        centre = middle.mean(0)
        for k in range(count):
            if align and atoms.shape[1] >= 3:
                rotations[k], translations[k] = superpose(positions[k], middle - centre)
            else:
                translations[k] = -centre
        moved = np.einsum("sai,sji->saj", positions, rotations) + translations[:, None]
        # In steps that a file keeps small and exact.
        aligned = ((moved * ATOM_STEPS).round() / ATOM_STEPS).astype(np.float32)
        reference, sigma = least_folding(aligned, device)
        motion = cls(states, aligned, rotations, translations, aligned[reference], sigma, period=period)
        motion.smooth_pose = _pose_width(motion)
        return motion

    # Time -----------------------------------------------------------------------------------------------

    @property
    def gap(self) -> float:
        """Median distance in states between neighbouring training states (1 for a single one)."""
        return float(np.median(np.diff(self.states))) if len(self.states) > 1 else 1.0

    def lead(self, time: float) -> float:
        """States beyond the training range: 0 inside, positive after the last, negative before the first.

        A loop has nothing beyond it.
        """
        if self.period is not None:
            return 0.0
        return float(max(0.0, time - self.states[-1]) + min(0.0, time - self.states[0]))

    def _around(self, time: float) -> tuple[int, int, float, float]:
        """The training states before and after `time`, by number, the share (0 to 1) of the way between them that is
        done, and how far apart they are in states.
        """
        states = self.states
        if self.period is not None:
            time = float(states[0] + (time - states[0]) % self.period)
            if time > states[-1]:
                gap = float(states[0] + self.period - states[-1])
                return len(states) - 1, 0, float((time - states[-1]) / gap), gap
        right = int(np.clip(np.searchsorted(states, time), 1, len(states) - 1))
        gap = float(states[right] - states[right - 1])
        return right - 1, right, float(np.clip((time - states[right - 1]) / gap, 0.0, 1.0)), gap

    def away(self, time: float) -> float:
        """0 at a training state, 1 half a gap from the nearest one and farther, by sin² of the way; 1 where steady."""
        if len(self.states) == 1:
            return 0.0
        if self.steady:
            return 1.0
        _, _, share, _ = self._around(time)
        lead = abs(self.lead(time))
        way = 2.0 * (min(share, 1.0 - share) if lead == 0.0 else lead / self.gap)
        return float(np.sin(0.5 * np.pi * min(1.0, way)) ** 2)

    def weights(self, time: float, width: float) -> NDArray[np.float64]:
        """Weight of each training state at `time`, f8[S], sum 1.

        A Gaussian of `width` states (0: the straight line between the two neighbours), and what the nearest state
        lacks of it, which fades as `away` says: so states are met exactly, and passed at the speed of the average.
        Outside the training range the Gaussian stays at the last state and is an average that trails behind.
        """
        states = self.states
        if len(states) == 1:
            return np.ones(1)
        left, right, share, gap = self._around(time)
        if width <= 0.0:
            weights = np.zeros(len(states))
            weights[left], weights[right] = 1.0 - share, share
            return weights
        own = 1.0 - self.away(time)
        nearest = left if share < 0.5 else right
        widths = self._widths(width)
        here = (1.0 - share) * widths[left] + share * widths[right]
        even = self.lead(time) == 0.0
        weights = self._kernel(states[left] + share * gap, here, even=even)
        weights -= own * self._kernel(states[nearest], here, even=even)
        weights[nearest] += own
        return weights

    def _widths(self, width: float) -> NDArray[np.float64]:
        """The Gaussian's width in states at each training state, f8[S]: `width`, but wide enough for the gaps there."""
        gaps = np.diff(self.states)
        after = self.period - (self.states[-1] - self.states[0]) if self.period is not None else gaps[-1]
        before = after if self.period is not None else gaps[0]
        return np.maximum(width, NARROWEST * np.maximum(np.r_[before, gaps], np.r_[gaps, after]))

    def _kernel(self, time: float, width: float, *, even: bool) -> NDArray[np.float64]:
        """Gaussian of `width` states over the training states f8[S], sum 1.

        It is centred at `time`, or, if `even`, where its mean is `time`: so what moves evenly is met exactly, also near
        the ends and between uneven states. A loop has no ends.
        """
        ahead = self.states - time
        if self.period is not None:
            ahead = (ahead + 0.5 * self.period) % self.period - 0.5 * self.period

        def gaussian(centre: float) -> NDArray[np.float64]:
            exponent = -0.5 * ((ahead - centre) / width) ** 2
            kernel = np.exp(exponent - exponent.max())
            return np.asarray(kernel / kernel.sum())

        if not even or self.period is not None:
            return gaussian(0.0)
        # Beyond this all but the last state weigh nothing.
        reach = 40.0 * width**2 / float(np.diff(self.states).min()) + float(np.ptp(self.states))

        def off(centre: float) -> float:
            return float(gaussian(centre) @ ahead)

        if off(-reach) >= 0.0:
            return gaussian(-reach)
        if off(reach) <= 0.0:
            return gaussian(reach)
        return gaussian(brentq(off, -reach, reach, xtol=1e-9))

    @property
    def origin(self) -> NDArray[np.float64]:
        """Where the reference's origin lies in the scene at the middle state, f8[3] Å."""
        middle = len(self.states) // 2
        return np.asarray(-self.rotations[middle].T @ self.translations[middle])

    def pose(self, time: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rotation f8[3,3] and translation f8[3] Å from the scene to the reference at `time`; held outside.

        As with `weights`, it is a mean over the states and what the nearest one lacks of it, fading: of rotations, and
        of the places in the scene of the reference's origin. Where `smooth_pose` is 0 the turn is about one axis at
        constant speed, while that place goes straight.
        """
        states = self.states
        if len(states) == 1:
            return self.rotations[0], self.translations[0]
        if self.period is None:
            time = float(np.clip(time, states[0], states[-1]))
        left, right, share, gap = self._around(time)
        first, second = self.rotations[left], self.rotations[right]
        origins = [-self.rotations[k].T @ self.translations[k] for k in (left, right)]
        if self.smooth_pose <= 0.0:
            turn = Rotation.from_matrix(second @ first.T).as_rotvec()
            rotation = Rotation.from_rotvec(share * turn).as_matrix() @ first
            return rotation, -rotation @ ((1.0 - share) * origins[0] + share * origins[1])
        widths = self._widths(self.smooth_pose)
        here = (1.0 - share) * widths[left] + share * widths[right]
        rotation, origin = self._mean_pose(self._kernel(states[left] + share * gap, here, even=True))
        own = 1.0 - self.away(time)
        if own > 0.0:
            nearest = left if share < 0.5 else right
            mean_rotation, mean_origin = self._mean_pose(self._kernel(states[nearest], here, even=True))
            lacking = Rotation.from_matrix(self.rotations[nearest] @ mean_rotation.T).as_rotvec()
            rotation = Rotation.from_rotvec(own * lacking).as_matrix() @ rotation
            origin = origin + own * (origins[nearest == right] - mean_origin)
        return rotation, -rotation @ origin

    def _mean_pose(self, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean rotation f8[3,3], and mean place f8[3] (Å) in the scene of the reference's origin, by weights f8[S]."""
        used = np.nonzero(weights > 1e-6)[0]
        share = weights[used] / weights[used].sum()
        origins = -np.einsum("sji,sj->si", self.rotations[used], self.translations[used])
        return Rotation.from_matrix(self.rotations[used]).mean(share).as_matrix(), share @ origins

    # Atoms ----------------------------------------------------------------------------------------------

    def aligned_atoms(self, time: float, smooth: float | None = None) -> NDArray[np.float32] | None:
        """Atoms f4[A,3] in Å at `time`, superposed on the reference; None where no atoms were given."""
        if self.atoms is None:
            return None
        lead = self.lead(time)
        if lead == 0.0:
            weights = self.weights(time, self.smooth if smooth is None else smooth)
            used = np.nonzero(np.abs(weights) > 1e-6)[0]
            mixed = np.einsum("s,sai->ai", weights[used], self.atoms[used])
            return (mixed + self._beside(time)).astype(np.float32)
        forward = lead > 0.0
        ordered = self.atoms if forward else self.atoms[::-1]
        times = self.states if forward else -self.states[::-1]
        return continue_motion(ordered, times, self.forecasts[forward], abs(lead))

    def _beside(self, time: float) -> NDArray[np.float64] | float:
        """How far the atoms f8[A,3] (Å) are beside the straight lines because parts turn; 0 where none does."""
        assert self.atoms is not None
        if len(self.states) == 1:
            return 0.0
        left, right, share, _ = self._around(time)
        if not 0.0 < share < 1.0:
            return 0.0
        if left not in self._turnings:
            self._turnings[left] = RigidPartInterpolation.of(self.atoms[left], self.atoms[right])
        turning = self._turnings[left]
        return 0.0 if turning is None else turning[0].beside(share)[turning[1]]

    def scene_atoms(self, time: float, smooth: float | None = None) -> NDArray[np.float32] | None:
        """Atoms f4[A,3] in Å at `time` in the scene's own coordinates."""
        return self.placed(self.aligned_atoms(time, smooth), *self.pose(time))

    @staticmethod
    def placed(
        aligned: NDArray[np.float32] | None, rotation: NDArray[np.float64], translation: NDArray[np.float64]
    ) -> NDArray[np.float32] | None:
        """Atoms f4[A,3] in the scene's own coordinates, from superposed ones and a pose; None for none."""
        if aligned is None:
            return None
        return ((aligned.astype(np.float64) - translation) @ rotation).astype(np.float32)

    def expected_error(self, time: float) -> float:
        """Expected error in Å of the atoms at `time`: 0 inside the training range, back-tested outside.

        NaN outside where there are no atoms or too few states for a back-test.
        """
        lead = self.lead(time)
        return self.forecasts[lead > 0.0].error(abs(lead))

    def backtest(self) -> None:
        """Choose the forecasts: damped motion where it beats holding inside the training states."""
        if self.atoms is None:
            return
        self.forecasts = (
            fit_forecast(self.atoms[::-1], -self.states[::-1]),
            fit_forecast(self.atoms, self.states),
        )

    def warp(self, time: float, device: torch.device, smooth: float | None = None) -> Warp:
        """The map from the scene at `time` to material coordinates."""
        return self.warp_of(self.aligned_atoms(time, smooth), *self.pose(time), device)

    def warp_of(
        self,
        atoms: NDArray[np.float32] | None,
        rotation: NDArray[np.float64],
        translation: NDArray[np.float64],
        device: torch.device,
    ) -> Warp:
        """The map to material coordinates of atoms f4[A,3] Å in the reference's frame, with that pose in the scene."""
        displacement = None
        if atoms is not None and self.reference is not None and not np.array_equal(atoms, self.reference):
            displacement = splat(atoms, self.reference, self.sigma, device)
        return Warp(rotation, translation, displacement, device)


def _pose_width(motion: Motion) -> float:
    """The temporal width (states) of the rigid motion that predicts held-out poses best.

    Poses that are noise about a mean want wide ones, a molecule that tumbles narrow ones. Fewer than 5 states are
    joined directly.
    """
    states, atoms = motion.states, motion.atoms
    if len(states) < 5 or atoms is None:
        return 0.0
    # Corners of a box as large as the molecule show turns and shifts in Å.
    reach = atoms[len(states) // 2].std(0)
    corners = reach * np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
    some = sorted({int(k) for k in np.linspace(1, len(states) - 2, min(16, len(states) - 2))})

    def missed(width: float) -> float:
        total = 0.0
        for k in some:
            others = np.delete(np.arange(len(states)), k)
            rest = Motion(states[others], None, motion.rotations[others], motion.translations[others], None)
            rest.smooth_pose = width * motion.gap
            found, truth = rest.pose(float(states[k])), (motion.rotations[k], motion.translations[k])
            there = [(corners - translation) @ rotation for rotation, translation in (found, truth)]
            total += float(np.sqrt(((there[0] - there[1]) ** 2).sum(1).mean()))
        return total

    return min(POSE_CHOICES, key=missed) * motion.gap
