"""Weights of the training states at any time.

One time becomes one weight per training state. The atoms, the rigid motion and the field's modes are all mixed by such
weights. At a training state the weights select that state. Away from it they change smoothly to a Gaussian average,
because the thermal noise of a single state cannot be predicted from its neighbours.

States that jump are cut into stretches. Nothing is mixed across a cut: between two stretches the nearer state is held.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

# Least width of a Gaussian as a fraction of the gap that it bridges: a narrower one would jump from state to state.
MIN_WIDTH = 0.25
# States by which the mean of an unbiased Gaussian may miss its time.
TOLERANCE = 1e-9


class Bracket(NamedTuple):
    """The training states around a time.

    left, right: indices of the states before and after; fraction: 0 at the left state, 1 at the right one; gap: states
    between the two.
    """

    left: int
    right: int
    fraction: float
    gap: float

    @property
    def nearest(self) -> int:
        """The index of the nearest of the two states."""
        return self.left if self.fraction < 0.5 else self.right


class Stretch(NamedTuple):
    """The training states between two cuts, at one time.

    number: of the stretch, from 0; first: index of the first of its states; kernel: of these states alone; time: the
    time that was asked for, or that of the state that is held between two stretches.
    """

    number: int
    first: int
    kernel: TemporalKernel
    time: float

    @property
    def states(self) -> slice:
        """The stretch's part of all training states."""
        return slice(self.first, self.first + len(self.kernel.states))


@dataclass(frozen=True, eq=False)
class TemporalKernel:
    """Gaussian kernels over the training states.

    states: f8[S], increasing; period: number of states after which a loop repeats, None without a loop; uniform: smooth
    at the states as between them; breaks: indices of the states that begin another stretch, increasing, none in a loop.
    `bracket`, `local_width` and `gaussian` are those of a single stretch.
    """

    states: NDArray[np.float64]
    period: float | None = None
    uniform: bool = False
    breaks: tuple[int, ...] = ()

    @property
    def gap(self) -> float:
        """The median distance in states between neighbouring training states of a stretch, 1 where there are none."""
        gaps = np.delete(np.diff(self.states), [first - 1 for first in self.breaks])
        return float(np.median(gaps)) if len(gaps) else 1.0

    def stretch(self, time: float) -> Stretch:
        """Return the stretch that a time belongs to: its own, or that of the nearer, else earlier state."""
        if not self.breaks:
            return Stretch(0, 0, self, time)
        bounds = self.bounds
        number = int(np.searchsorted(self.states[list(self.breaks)], time, "right"))
        if number < len(self.breaks):
            last, following = self.states[bounds[number + 1] - 1], self.states[bounds[number + 1]]
            if time - last > following - time:
                number, time = number + 1, float(following)
            else:
                time = float(min(time, last))
        first, end = bounds[number], bounds[number + 1]
        return Stretch(number, first, TemporalKernel(self.states[first:end], uniform=self.uniform), time)

    @property
    def bounds(self) -> tuple[int, ...]:
        """The index of the first state of each stretch, and the number of all states."""
        return 0, *self.breaks, len(self.states)

    def numbers(self, indices: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the number of the stretch, from 0, of each of some training states."""
        numbers: NDArray[np.intp] = np.searchsorted(self.breaks, indices, "right")
        return numbers

    def subset(self, indices: NDArray[np.intp]) -> TemporalKernel:
        """Return the kernel of some of the training states, cut at the same places."""
        stretches = self.numbers(indices)
        breaks = tuple(int(k) + 1 for k in np.flatnonzero(np.diff(stretches)))
        return replace(self, states=self.states[indices], breaks=breaks)

    def inner_states(self, margin: int, limit: int) -> list[int]:
        """Return the indices of at most `limit` states, evenly chosen, with `margin` others of their stretch around."""
        inner = [k for first, end in itertools.pairwise(self.bounds) for k in range(first + margin, end - margin)]
        if not inner:
            return []
        offset = inner[0]
        places = np.linspace(offset, offset + len(inner) - 1, min(limit, len(inner)))
        return sorted({inner[int(position) - offset] for position in places})

    def lead(self, time: float) -> float:
        """Return the states beyond the training range: positive after the last state, negative before the first.

        It is 0 inside the range, and always 0 in a loop.
        """
        if self.period is not None:
            return 0.0
        return float(max(0.0, time - self.states[-1]) + min(0.0, time - self.states[0]))

    def bracket(self, time: float) -> Bracket:
        """Return the training states around `time`; times outside the range belong to the first or last gap."""
        states = self.states
        if self.period is not None:
            time = float(states[0] + (time - states[0]) % self.period)
            if time > states[-1]:
                gap = float(states[0] + self.period - states[-1])
                return Bracket(len(states) - 1, 0, float((time - states[-1]) / gap), gap)
        right = int(np.clip(np.searchsorted(states, time), 1, len(states) - 1))
        gap = float(states[right] - states[right - 1])
        return Bracket(right - 1, right, float(np.clip((time - states[right - 1]) / gap, 0.0, 1.0)), gap)

    def smoothing_blend(self, time: float) -> float:
        """Return 0 at a training state and 1 at half a gap or more from all states, by sin² between the two.

        Always 1 with uniform smoothing, and 0 with a single state.
        """
        if self.breaks:
            stretch = self.stretch(time)
            return stretch.kernel.smoothing_blend(stretch.time)
        if len(self.states) == 1:
            return 0.0
        if self.uniform:
            return 1.0
        fraction = self.bracket(time).fraction
        lead = abs(self.lead(time))
        half_gaps = 2.0 * (min(fraction, 1.0 - fraction) if lead == 0.0 else lead / self.gap)
        return float(np.sin(0.5 * np.pi * min(1.0, half_gaps)) ** 2)

    def weights(self, time: float, width: float) -> NDArray[np.float64]:
        """Return the weight of each training state at `time`: f8[S], sum 1.

        The weights are a Gaussian of `width` states plus the amount that the nearest state lacks of itself, which fades
        by `smoothing_blend`. So each state is met exactly, and passed at the speed of the average. Width 0 interpolates
        linearly between the two neighbours. Outside the training range the Gaussian stays at the last state.
        """
        states = self.states
        if self.breaks:
            stretch = self.stretch(time)
            all_weights = np.zeros(len(states))
            all_weights[stretch.states] = stretch.kernel.weights(stretch.time, width)
            return all_weights
        if len(states) == 1:
            return np.ones(1)
        bracket = self.bracket(time)
        if width <= 0.0:
            weights = np.zeros(len(states))
            weights[bracket.left], weights[bracket.right] = 1.0 - bracket.fraction, bracket.fraction
            return weights
        unsmoothed = 1.0 - self.smoothing_blend(time)
        local = self.local_width(bracket, width)
        unbiased = self.lead(time) == 0.0
        weights = self.gaussian(states[bracket.left] + bracket.fraction * bracket.gap, local, unbiased=unbiased)
        weights -= unsmoothed * self.gaussian(states[bracket.nearest], local, unbiased=unbiased)
        weights[bracket.nearest] += unsmoothed
        return weights

    def local_width(self, bracket: Bracket, width: float) -> float:
        """Return the Gaussian's width in states inside a bracket: `width`, but wide enough for the gaps there."""
        gaps = np.diff(self.states)
        after = self.period - (self.states[-1] - self.states[0]) if self.period is not None else gaps[-1]
        before = after if self.period is not None else gaps[0]
        widths = np.maximum(width, MIN_WIDTH * np.maximum(np.r_[before, gaps], np.r_[gaps, after]))  # [S]
        return float((1.0 - bracket.fraction) * widths[bracket.left] + bracket.fraction * widths[bracket.right])

    def gaussian(self, time: float, width: float, *, unbiased: bool) -> NDArray[np.float64]:
        """Return a Gaussian of `width` states over the training states: f8[S], sum 1.

        It is centred at `time`. If `unbiased`, it is centred where its mean is `time`: constant motion is then met
        exactly, also near the ends and between uneven states. A loop has no ends and needs no such shift.
        """
        offset = self.states - time
        if self.period is not None:
            offset = (offset + 0.5 * self.period) % self.period - 0.5 * self.period

        def centred(centre: float) -> NDArray[np.float64]:
            exponent = -0.5 * ((offset - centre) / width) ** 2
            kernel = np.exp(exponent - exponent.max())
            return np.asarray(kernel / kernel.sum())

        if not unbiased or self.period is not None:
            return centred(0.0)
        # Beyond this shift, all states but the last weigh nothing.
        limit = 40.0 * width**2 / float(np.diff(self.states).min()) + float(np.ptp(self.states))

        def bias(centre: float) -> float:
            return float(centred(centre) @ offset)

        # In the middle of states on either side, no shift is needed.
        if abs(bias(0.0)) < TOLERANCE:
            return centred(0.0)
        if bias(-limit) >= 0.0:
            return centred(-limit)
        if bias(limit) <= 0.0:
            return centred(limit)
        return centred(brentq(bias, -limit, limit, xtol=TOLERANCE))
