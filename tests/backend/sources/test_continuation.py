"""Closed forms that continue a trajectory, against motions whose continuation is known."""

import numpy as np
import pytest
from dsr_backend.motion.forecast import extrapolate_atoms, fit_forecast
from dsr_backend.motion.statistics import PrincipalPlane, autocorrelation, rmsd_to
from dsr_backend.sources import continuation, drift
from dsr_backend.sources.continuation import METHODS, History
from dsr_backend.sources.drift import LEAST_STATES, expected_drift, reliable_fraction, soft_motions
from dsr_backend.sources.modes import Modes

from support.molecules import helix

BODY = helix(8)
TRACE = np.arange(len(BODY))
# A stretch that neither turns nor shifts the body.
STRETCH = 0.01 * (BODY - BODY.mean(0))


def steady(count):
    return BODY + np.arange(count)[:, None, None] * STRETCH


def fluctuating(count):
    """Two independent motions with a memory, and faint noise of all atoms."""
    rng, memory, size = np.random.default_rng(5), 0.8, 0.3
    axes = np.linalg.qr(rng.normal(size=(BODY.size, 2)))[0].T
    c = np.zeros((count, 2))
    for k in range(1, count):
        c[k] = memory * c[k - 1] + np.sqrt(1 - memory**2) * rng.normal(size=2) * size * np.sqrt(BODY.size)
    return BODY + (c @ axes).reshape(count, *BODY.shape) + 0.01 * rng.normal(size=(count, *BODY.shape))


def test_modes_give_the_states_again_and_are_those_of_the_singular_values():
    states = fluctuating(12)
    modes = Modes.of(states)
    assert modes.states(modes.coefficients) == pytest.approx(states)
    assert modes.axes @ modes.axes.T == pytest.approx(np.eye(11), abs=1e-9)
    assert modes.project(states) == pytest.approx(modes.coefficients)
    sizes = np.linalg.svd((states - states.mean(0)).reshape(12, -1), compute_uv=False)
    assert np.linalg.norm(modes.coefficients, axis=0) == pytest.approx(sizes[:11])
    assert Modes.of(states, 3).coefficients.shape == (12, 3)


@pytest.mark.parametrize("method", ["straight", "dmd", "ar"])
def test_steady_motion_goes_on(method):
    history = History.of(steady(30), TRACE)
    ahead = METHODS[method](history, 5, None)
    assert rmsd_to(ahead, steady(35)[30:]) == pytest.approx(0.0, abs=0.03)


def test_a_trend_covers_the_damped_part_of_a_steady_motion():
    ahead = continuation.trend(History.of(steady(30), TRACE), 5, 1, 10.0)
    progress = 10.0 * (1.0 - np.exp(-np.arange(1, 6) / 10.0))
    assert ahead == pytest.approx(steady(30)[-1] + progress[:, None, None] * STRETCH, abs=1e-6)


def test_damped_is_the_rule_of_the_fields():
    states = History.of(fluctuating(40), TRACE).states
    forecast = fit_forecast(states.astype(np.float32), np.arange(40.0))
    expected = extrapolate_atoms(states.astype(np.float32), np.arange(40.0), forecast, 3.0)
    assert METHODS["damped"](History.of(states, TRACE), 3, None)[-1] == pytest.approx(expected, abs=1e-4)


def test_an_oscillation_is_continued_by_linear_models():
    phase = np.arange(80) * 2 * np.pi / 16
    wave = 0.3 * np.cos(phase)[:, None, None] * STRETCH * 100 + 0.3 * np.sin(phase)[:, None, None] * STRETCH[::-1] * 100
    states = BODY + 0.02 * wave
    for method in ("dmd", "ar"):
        ahead = METHODS[method](History.of(states[:60], TRACE), 8, None)
        held = rmsd_to(states[60:68], states[59])
        assert (rmsd_to(ahead, states[60:68])[2:] < 0.5 * held[2:]).all(), method


def test_ou_keeps_memory_and_spread_and_relaxes_to_the_mean():
    history = History.of(fluctuating(700), TRACE)
    drawn = METHODS["ou"](history, 700, np.random.default_rng(2))
    plane = PrincipalPlane.of(history.states)
    known, new = plane.project(history.states), plane.project(drawn)
    assert new.std(0) == pytest.approx(known.std(0), rel=0.25)
    assert autocorrelation([drawn], [1])[0] == pytest.approx(autocorrelation([history.states], [1])[0], abs=0.05)
    relaxed = METHODS["ou"](history, 200, None)
    assert rmsd_to(relaxed[-1:], history.states.mean(0))[0] < 0.05


def test_coefficients_of_white_noise_have_no_memory():
    known = np.random.default_rng(5).normal(size=(4000, 1))
    drawn = continuation.ou_coefficients(known, np.array([9.0]), 1, None)
    assert abs(drawn[0, 0]) < 0.5


def test_analogs_follow_another_trajectory_from_the_nearest_state():
    bent = BODY + np.sin(np.arange(60) / 20)[:, None, None] * 60 * STRETCH
    offset = np.zeros_like(BODY)
    offset[3] = [0.0, 0.0, 1.0]
    history = History.of(bent[:30] + offset, TRACE, [bent])
    ahead = METHODS["analog"](history, 20, None)
    # Its own drift does not know of the turn that the other one takes, and counts less and less.
    drift_errors = rmsd_to(METHODS["drift"](history, 20, None), bent[30:50])
    assert (
        rmsd_to(ahead, bent[30:50]) < 0.25 + np.exp(-np.arange(1, 21) / continuation.ANALOG_OWN) * drift_errors
    ).all()
    assert rmsd_to(ahead, bent[30:50])[-1] < 0.25 * drift_errors[-1]
    # The last state's own difference fades.
    assert np.linalg.norm(ahead[0, 3] - bent[30, 3]) == pytest.approx(np.exp(-1 / 20), abs=0.1)
    assert np.linalg.norm(ahead[-1, 3] - bent[49, 3]) < 0.5
    assert rmsd_to(ahead[-1:], bent[29])[0] > 0.7 * rmsd_to(bent[49:50], bent[29])[0]


def test_the_last_state_is_kept_to_the_last_bit():
    states = fluctuating(10)
    history = History.of(states, TRACE)
    assert (METHODS["hold"](history, 2, None) == states[-1]).all()
    assert (history.until(4).states[-1] == history.states[3]).all()


def bending(count, drift, size, seed=1):
    """Steps of size `size` Å in all directions, and a drift along the softest motion of the body."""
    rng = np.random.default_rng(seed)
    axis = soft_motions(BODY)[0].reshape(BODY.shape)
    steps = drift * axis * np.sqrt(len(BODY)) + size * rng.normal(size=(count, *BODY.shape))
    return BODY + np.cumsum(steps, 0), axis


def test_drift_goes_on_with_a_soft_motion_and_not_with_the_rest():
    states, axis = bending(60, 0.05, 0.02)
    history = History.of(states[:40], TRACE)
    moved = METHODS["drift"](history, 10, None)[-1] - history.states[-1]
    along = float((moved * axis).sum()) / np.sqrt(len(BODY))
    assert 0.5 * 0.5 < along < 1.2 * 0.5
    across = moved - along * np.sqrt(len(BODY)) * axis
    assert np.sqrt((across**2).sum(1).mean()) < 0.3 * along


def test_drift_holds_a_random_walk():
    states, _ = bending(60, 0.0, 0.05)
    history = History.of(states, TRACE)
    held = rmsd_to(METHODS["drift"](history, 20, None)[-1:], states[-1])[0]
    assert held < 0.1
    assert METHODS["drift"](History.of(states[:5], TRACE), 3, None) == pytest.approx(
        METHODS["hold"](History.of(states[:5], TRACE), 3, None)
    )


def along_one(drift, size, seed=1):
    """Steps of ten motions, each of `size` at random, the first with a drift f[T] per step."""
    steps = size * np.random.default_rng(seed).normal(size=(len(drift), 10))
    return steps + np.outer(drift, np.eye(10)[0])


def test_steps_that_keep_their_drift_bear_it_out():
    assert reliable_fraction(along_one(np.full(50, 0.5), 1e-3)) > 0.99
    assert 0.3 < reliable_fraction(along_one(np.full(50, 0.5), 0.2)) < 1.0
    assert reliable_fraction(along_one(np.zeros(50), 0.2)) < 0.1


def test_a_drift_that_has_ended_goes_no_farther():
    ended = along_one(np.repeat([0.5, 0.0], [44, 6]), 0.3)
    assert np.linalg.norm(expected_drift(ended, 10)[-1]) > 0.3, "likelihood over all steps does not notice"
    assert reliable_fraction(ended) < 0.1
    states = np.concatenate([bending(44, 0.05, 0.005)[0], np.repeat(bending(44, 0.05, 0.005)[0][-1:], 6, 0)])
    states[44:] += np.cumsum(0.005 * np.random.default_rng(5).normal(size=(6, *BODY.shape)), 0)
    held = rmsd_to(METHODS["drift"](History.of(states, TRACE), 10, None)[-1:], states[-1])[0]
    assert held < 0.02 < rmsd_to(METHODS["drift"](History.of(states[:44], TRACE), 10, None)[-1:], states[43])[0]


def test_few_steps_bear_out_nothing():
    steps = along_one(np.full(50, 0.5), 1e-3)
    enough = LEAST_STATES - 1 + drift.TEST_LEAD + drift.LEAST_ORIGINS - 1
    assert reliable_fraction(steps[: enough - 1]) == 0.0 < reliable_fraction(steps[:enough])


def test_drift_of_few_nodes_carries_all_atoms(monkeypatch):
    states, _ = bending(50, 0.05, 0.01)
    history = History.of(states, TRACE)
    predicted = METHODS["drift"](history, 10, None)[-1]
    monkeypatch.setattr(drift, "MOST_NODES", 20)
    thinned = METHODS["drift"](history, 10, None)[-1]
    assert rmsd_to(thinned[None], predicted)[0] < 0.5 * rmsd_to(states[-1][None], predicted)[0]


def test_soft_motions_are_orthonormal_and_leave_out_rigid_ones():
    axes = soft_motions(BODY)
    assert axes @ axes.T == pytest.approx(np.eye(len(axes)), abs=1e-8)
    assert np.abs(axes.reshape(len(axes), -1, 3).sum(1)).max() < 1e-6
    turning = np.cross([0.0, 0.0, 1.0], BODY - BODY.mean(0)).ravel()
    assert np.abs(axes @ turning).max() < 1e-4
