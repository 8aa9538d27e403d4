"""The motion of a molecule: its atoms, its pose and its material coordinates at any time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from .forecast import Forecast, extrapolate_atoms, fit_forecast
from .kernels import TemporalKernel
from .poses import Pose, Poses, choose_pose_width
from .rigid_parts import RigidPartInterpolation
from .warp import CPU, WARP_SIGMAS, Warp, least_folding, splat

# Atom positions are multiples of 1/ATOM_STEPS Å: small in a file, and the same in the file as in memory.
ATOM_STEPS = 1024


@dataclass(eq=False)
class Motion:
    """A molecule in time.

    kernel: weights of the training states; poses: map the scene to the reference's frame; atoms: f4[S,A,3] Å in that
    frame, or None; references: f4[R,A,3] Å, for each stretch the state that defines its material coordinates, or None;
    sigma: width of the warp's Gaussians in Å; smooth: temporal width of the atoms' paths in states; forecasts: before
    the first state and after the last one.
    """

    kernel: TemporalKernel
    poses: Poses
    atoms: NDArray[np.float32] | None = None
    references: NDArray[np.float32] | None = None
    sigma: float = WARP_SIGMAS[0]
    smooth: float = 0.0
    forecasts: tuple[Forecast, Forecast] = field(default_factory=lambda: (Forecast(), Forecast()))
    _rigid_parts: dict[int, RigidPartInterpolation | None] = field(default_factory=dict, repr=False)

    @classmethod
    def from_states(
        cls,
        states: NDArray[np.float64],
        atoms: NDArray[np.float32] | None,
        align: bool = True,
        loop: bool = False,
        device: torch.device = CPU,
        breaks: Sequence[int] = (),
        cancelled: Callable[[], bool] = lambda: False,
        threads: int = 1,
    ) -> Motion:
        """Superpose all states on the middle one and choose a reference for each stretch.

        states: f8[S] increasing; atoms: f4[S,A,3] Å in the scene, or None; align: take the rigid motion out; loop: the
        first state follows the last one, a gap later; device and threads: where, and at how many pairs of states at
        once, the search for the reference runs; breaks: indices of the states that begin another stretch, none in a
        loop. Raises ValueError and MemoryError for atoms that take too large a box, and Cancelled once `cancelled()` is
        true.
        """
        count = len(states)
        period = float(states[-1] - states[0] + np.median(np.diff(states))) if loop and count > 1 else None
        kernel = TemporalKernel(states, period, breaks=tuple(breaks))
        if atoms is None:
            return cls(kernel, Poses.identity(count))
        # In float64, so that molecules far from the origin lose no digits.
        positions = atoms.astype(np.float64)
        poses = Poses.superposed(positions, align)
        aligned = ((poses.apply(positions) * ATOM_STEPS).round() / ATOM_STEPS).astype(np.float32)
        # A stretch is folded least onto a state of its own.
        chosen = [
            (first, *least_folding(aligned[first:end], device, cancelled, threads))
            for first, end in itertools.pairwise(kernel.bounds)
        ]
        references = np.stack([aligned[first + index] for first, index, _ in chosen])
        poses = replace(poses, width=choose_pose_width(poses, kernel, aligned))
        return cls(kernel, poses, aligned, references, max(sigma for _, _, sigma in chosen))

    @property
    def states(self) -> NDArray[np.float64]:
        """The times f8[S] of the training states."""
        return self.kernel.states

    @property
    def origin(self) -> NDArray[np.float64]:
        """The position f8[3] (Å) of the reference's origin in the scene at the middle state."""
        return self.poses.origin(len(self.states) // 2)

    def pose(self, time: float) -> Pose:
        """Return the map from the scene to the reference's frame at `time`; see `Poses.at`."""
        return self.poses.at(time, self.kernel)

    def aligned_atoms(self, time: float, smooth: float | None = None) -> NDArray[np.float32] | None:
        """Return atoms f4[A,3] (Å) at `time` in the reference's frame; None without atoms.

        smooth: temporal width in states that replaces the motion's own.
        """
        if self.atoms is None:
            return None
        lead = self.kernel.lead(time)
        if lead == 0.0:
            weights = self.kernel.weights(time, self.smooth if smooth is None else smooth)
            used = np.nonzero(np.abs(weights) > 1e-6)[0]
            mixed = np.einsum("s,sai->ai", weights[used], self.atoms[used])
            atoms: NDArray[np.float32] = (mixed + self._rigid_part_offset(time)).astype(np.float32)
            return atoms
        forward = lead > 0.0
        end = self.kernel.stretch(time).states
        ordered = self.atoms[end] if forward else self.atoms[end][::-1]
        times = self.states[end] if forward else -self.states[end][::-1]
        return extrapolate_atoms(ordered, times, self.forecasts[forward], abs(lead))

    def _rigid_part_offset(self, time: float) -> NDArray[np.float64] | float:
        """Return the offset f8[A,3] (Å) from the straight lines where parts turn far; 0 where none does."""
        assert self.atoms is not None
        _, first, kernel, time = self.kernel.stretch(time)
        if len(kernel.states) == 1:
            return 0.0
        bracket = kernel.bracket(time)
        if not 0.0 < bracket.fraction < 1.0:
            return 0.0
        left, right = first + bracket.left, first + bracket.right
        if left not in self._rigid_parts:
            self._rigid_parts[left] = RigidPartInterpolation.between(self.atoms[left], self.atoms[right])
        interpolation = self._rigid_parts[left]
        return 0.0 if interpolation is None else interpolation.offset(bracket.fraction)

    def scene_atoms(self, time: float, smooth: float | None = None) -> NDArray[np.float32] | None:
        """Return atoms f4[A,3] (Å) at `time` in the scene's coordinates; None without atoms."""
        return self.pose(time).to_scene(self.aligned_atoms(time, smooth))

    def expected_error(self, time: float) -> float:
        """Return the expected error (Å) of the atoms at `time`: 0 inside the training range, back-tested outside.

        NaN outside without atoms, or with too few states for a back-test.
        """
        lead = self.kernel.lead(time)
        return self.forecasts[lead > 0.0].error(abs(lead))

    def choose_forecasts(self) -> None:
        """Choose both forecasts by back-tests inside the first and the last stretch; without atoms they stay."""
        if self.atoms is None:
            return
        first, last = (self.kernel.stretch(float(self.states[k])).states for k in (0, -1))
        self.forecasts = (
            fit_forecast(self.atoms[first][::-1], -self.states[first][::-1]),
            fit_forecast(self.atoms[last], self.states[last]),
        )

    def warp(self, time: float, device: torch.device, smooth: float | None = None) -> Warp:
        """Return the map from the scene at `time` to material coordinates."""
        return self.warp_from(self.aligned_atoms(time, smooth), self.pose(time), time, device)

    def warp_from(self, atoms: NDArray[np.float32] | None, pose: Pose, time: float, device: torch.device) -> Warp:
        """Return the map to material coordinates of aligned atoms f4[A,3] (Å) at `time`, with a pose."""
        displacement = None
        if atoms is not None and self.references is not None:
            reference = self.references[self.kernel.stretch(time).number]
            if not np.array_equal(atoms, reference):
                displacement = splat(atoms, reference, self.sigma, device)
        return Warp(pose, displacement, device)
