"""Weights of the training states, number by number."""

import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from dsr_backend.motion.kernels import TemporalKernel
from scipy.optimize import brentq

EVEN = TemporalKernel(np.arange(1.0, 9.0))
UNEVEN = TemporalKernel(np.array([1.0, 2.0, 4.0, 7.0, 15.0]))
LOOP = TemporalKernel(np.array([2.0, 3.0, 5.0, 6.0]), period=7.0)
ONE = TemporalKernel(np.array([4.0]))


def gauss(offsets, width):
    """A Gaussian over offsets, sum 1."""
    kernel = np.exp(-(np.asarray(offsets) ** 2) / (2 * width**2))
    return kernel / kernel.sum()


def unbiased(states, time, width):
    """A Gaussian over the states, tilted until its mean is `time`."""
    offsets = states - time

    def tilted(slope):
        exponent = slope * offsets - offsets**2 / (2 * width**2)
        kernel = np.exp(exponent - exponent.max())
        return kernel / kernel.sum()

    return tilted(brentq(lambda slope: tilted(slope) @ offsets, -1000, 1000, xtol=1e-12))


# Where a time is


@pytest.mark.parametrize(
    "kernel, time, left, right, fraction, gap, nearest",
    [
        (UNEVEN, 1.0, 0, 1, 0.0, 1.0, 0),
        (UNEVEN, 2.0, 0, 1, 1.0, 1.0, 1),
        (UNEVEN, 2.5, 1, 2, 0.25, 2.0, 1),
        # In the middle the later state is as near, and is taken.
        (UNEVEN, 3.0, 1, 2, 0.5, 2.0, 2),
        (UNEVEN, 13.0, 3, 4, 0.75, 8.0, 4),
        # Outside, the ends of the first and the last gap.
        (UNEVEN, -3.0, 0, 1, 0.0, 1.0, 0),
        (UNEVEN, 99.0, 3, 4, 1.0, 8.0, 4),
        # The loop's last gap leads from 6 to 9, which is 2 again.
        (LOOP, 6.0, 2, 3, 1.0, 1.0, 3),
        (LOOP, 6.75, 3, 0, 0.25, 3.0, 3),
        (LOOP, 8.25, 3, 0, 0.75, 3.0, 0),
        (LOOP, 4.0 + 14.0, 1, 2, 0.5, 2.0, 2),
        (LOOP, 4.0 - 7.0, 1, 2, 0.5, 2.0, 2),
    ],
)
def test_the_states_around_a_time(kernel, time, left, right, fraction, gap, nearest):
    bracket = kernel.bracket(time)
    assert (bracket.left, bracket.right, bracket.gap) == (left, right, gap)
    assert bracket.fraction == pytest.approx(fraction)
    assert bracket.nearest == nearest


def test_the_gap_is_the_median_and_one_for_a_single_state():
    assert [kernel.gap for kernel in (EVEN, UNEVEN, LOOP, ONE)] == [1.0, 2.5, 1.0, 1.0]


@pytest.mark.parametrize("time, lead", [(-1.0, -2.0), (1.0, 0.0), (3.0, 0.0), (15.0, 0.0), (17.5, 2.5)])
def test_the_lead_is_zero_inside(time, lead):
    assert UNEVEN.lead(time) == lead
    assert LOOP.lead(time) == 0.0


# Smoothing


@pytest.mark.parametrize(
    "time, blend",
    [
        (1.0, 0.0),
        # sin²(π/4) at a quarter of a gap, sin²(π/6) at a sixth.
        (2.5, 0.5),
        (3.5, 0.5),
        (4.5, 0.25),
        (6.5, 0.25),
        (3.0, 1.0),
        (11.0, 1.0),
        # Outside, by the median gap of 2.5.
        (15.0 + 0.625, 0.5),
        (1.0 - 0.625, 0.5),
        (1.0 - 2.5 / 6, 0.25),
        (15.0 + 1.25, 1.0),
        (40.0, 1.0),
    ],
)
def test_smoothing_fades_in_from_a_state_to_the_middle_of_its_gap(time, blend):
    assert UNEVEN.smoothing_blend(time) == pytest.approx(blend, abs=1e-12)
    uniform = TemporalKernel(UNEVEN.states, uniform=True)
    assert uniform.smoothing_blend(time) == 1.0


def test_a_single_state_is_not_smoothed():
    assert ONE.smoothing_blend(4.0) == TemporalKernel(ONE.states, uniform=True).smoothing_blend(9.0) == 0.0
    assert ONE.weights(9.0, 2.0).tolist() == [1.0]


@pytest.mark.parametrize(
    "kernel, time, width, local",
    [
        # No narrower than a quarter of the wider gap at the state: 0.25, 0.5, 0.75, 2 and 2 here.
        (UNEVEN, 1.0, 0.1, 0.25),
        (UNEVEN, 2.0, 0.1, 0.5),
        (UNEVEN, 1.5, 0.1, 0.375),
        (UNEVEN, 6.25, 0.1, 0.25 * 0.75 + 0.75 * 2.0),
        (UNEVEN, 15.0, 0.1, 2.0),
        (UNEVEN, 2.0, 0.6, 0.6),
        (UNEVEN, 3.0, 0.6, 0.5 * (0.6 + 0.75)),
        (UNEVEN, 9.0, 5.0, 5.0),
        # The loop's last gap of 3 states is at its first and its last state.
        (LOOP, 2.0, 0.1, 0.75),
        (LOOP, 3.0, 0.1, 0.5),
        (LOOP, 6.0, 0.1, 0.75),
        (LOOP, 7.5, 0.1, 0.75),
    ],
)
def test_no_gaussian_is_narrower_than_a_quarter_of_the_gaps_at_its_state(kernel, time, width, local):
    assert kernel.local_width(kernel.bracket(time), width) == pytest.approx(local)


# Gaussians


@pytest.mark.parametrize("time", [1.2, 3.0, 9.5, 14.0])
@pytest.mark.parametrize("width", [0.8, 2.0, 6.0])
def test_a_gaussian_with_or_without_its_bias(time, width):
    states = UNEVEN.states
    np.testing.assert_allclose(UNEVEN.gaussian(time, width, unbiased=False), gauss(states - time, width), atol=1e-12)
    np.testing.assert_allclose(UNEVEN.gaussian(time, width, unbiased=True), unbiased(states, time, width), atol=1e-7)


@pytest.mark.parametrize("time", [2.0, 4.4, 6.0, 8.9])
def test_a_gaussian_of_a_loop_goes_by_the_shorter_way_round(time):
    turns = np.array([-14.0, -7.0, 0.0, 7.0, 14.0])
    offsets = LOOP.states - time
    shortest = [min(offset + turns, key=abs) for offset in offsets]
    for chosen in (True, False):
        np.testing.assert_allclose(LOOP.gaussian(time, 1.3, unbiased=chosen), gauss(shortest, 1.3), atol=1e-12)


@pytest.mark.parametrize("time, end", [(1.0, 0), (15.0, 4)])
def test_at_the_ends_an_unbiased_gaussian_is_the_last_state_alone(time, end):
    np.testing.assert_allclose(UNEVEN.gaussian(time, 1.0, unbiased=True), np.eye(5)[end], atol=1e-6)


def test_a_kernel_is_not_changed_and_compared_as_one_object():
    with pytest.raises(FrozenInstanceError):
        EVEN.period = 2.0  # type: ignore[misc]
    assert replace(EVEN) != EVEN


def test_a_gaussian_far_from_all_states_is_at_the_nearest():
    np.testing.assert_array_equal(EVEN.gaussian(900.0, 1.0, unbiased=False), np.eye(8)[-1])


# Weights


def expected(kernel, time, width):
    """The weights by the rule: the average, and what the nearest state lacks of itself, which fades."""
    states = kernel.states
    k = int(np.searchsorted(states, time, side="right")) - 1
    left, right = states[k], states[k + 1]
    fraction = (time - left) / (right - left)
    nearest = k if fraction < 0.5 else k + 1
    gaps = np.diff(states)
    wide = [max(width, 0.25 * max(gaps[max(i - 1, 0)], gaps[min(i, len(gaps) - 1)])) for i in (k, k + 1)]
    local = (1 - fraction) * wide[0] + fraction * wide[1]
    own_weight = math.cos(math.pi * min(fraction, 1 - fraction)) ** 2
    return (
        unbiased(states, time, local)
        + own_weight * np.eye(len(states))[nearest]
        - own_weight * unbiased(states, min(max(states[nearest], states[0] + 1e-9), states[-1] - 1e-9), local)
    )


@pytest.mark.parametrize("width", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("time", [2.2, 2.9, 3.0, 3.3, 4.7, 6.1])
def test_weights_are_the_average_and_what_the_nearest_state_lacks(time, width):
    np.testing.assert_allclose(UNEVEN.weights(time, width), expected(UNEVEN, time, width), atol=1e-6)


def test_beyond_the_range_the_gaussian_stays_at_the_end_and_the_state_s_own_part_fades():
    average = gauss(UNEVEN.states - 15.0, 3.0)
    for lead, own_weight in ((0.0, 1.0), (0.625, 0.5), (1.25, 0.0), (8.0, 0.0)):
        blended = own_weight * np.eye(5)[-1] + (1 - own_weight) * average
        np.testing.assert_allclose(UNEVEN.weights(15.0 + lead, 3.0), blended, atol=1e-12)


def test_uniform_smoothing_averages_at_the_states_too():
    uniform = TemporalKernel(EVEN.states, uniform=True)
    np.testing.assert_allclose(uniform.weights(4.0, 1.0), unbiased(EVEN.states, 4.0, 1.0), atol=1e-7)


def test_without_a_width_two_neighbours_have_the_weights():
    np.testing.assert_allclose(UNEVEN.weights(6.25, 0.0), [0, 0, 0.25, 0.75, 0])
    np.testing.assert_allclose(UNEVEN.weights(6.25, -1.0), [0, 0, 0.25, 0.75, 0])
    np.testing.assert_allclose(LOOP.weights(6.75, 0.0), [0.25, 0, 0, 0.75])
