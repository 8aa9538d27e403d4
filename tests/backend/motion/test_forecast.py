"""Forecasts against closed forms, and back-tests against a plain search of every one."""

import math

import numpy as np
import pytest
from dsr_backend.motion import forecast
from dsr_backend.motion.forecast import Forecast, extrapolate_atoms, fit_forecast, principal_velocity
from scipy.integrate import quad

from support.shapes import cloud

AHEAD = Forecast(rank=1, window=4, damping=2.0, leads=(1.0, 2.0, 4.0), errors=(0.5, 1.0, 3.0))


def modes_of(atoms):
    """Principal motions f8[S,3A] and coefficients f8[S,S], by the singular values of the atoms themselves."""
    flat = atoms.reshape(len(atoms), -1).astype(float)
    coefficients, sizes, motions = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    return sizes[:, None] * motions, coefficients


def slope(times, values):
    """The slope of the straight line of least squares."""
    t = times - times.mean()
    return (t[:, None] * (values - values.mean(0))).sum(0) / (t**2).sum()


def velocity_of(atoms, times, rank, window):
    motions, coefficients = modes_of(atoms)
    return (slope(times[-window:], coefficients[-window:, :rank]) @ motions[:rank]).reshape(atoms[-1].shape)


def searched(atoms, times):
    """The rule of `fit_forecast`, written out: rank, damping and errors."""
    count = len(atoms)
    steps = min(10, count // 3)
    first, last = max(6, count // 2), count - 1 - steps
    origins = sorted({int(first + (last - first) * k / 5) for k in range(6)})
    gap = np.median(np.diff(times))
    table = {}
    for rank, damping in ((0, 0.0), (1, gap), (1, 2 * gap), (2, gap), (2, 2 * gap)):
        errors = np.zeros(steps)
        for origin in origins:
            velocity = velocity_of(atoms[: origin + 1], times[: origin + 1], rank, 6) if rank else 0.0
            for step in range(1, steps + 1):
                lead = times[origin + step] - times[origin]
                ahead = damping * (1 - math.exp(-lead / damping)) if rank else 0.0
                error = atoms[origin].astype(float) + ahead * velocity - atoms[origin + step]
                errors[step - 1] += math.sqrt((error**2).sum(1).mean()) / len(origins)
        table[rank, damping] = errors
    held = table.pop((0, 0.0))
    best = min(table, key=lambda key: table[key].mean())
    if table[best].mean() < 0.99 * held.mean():
        return *best, table[best]
    return 0, 0.0, held


# Forecasts


@pytest.mark.parametrize("lead", [0.0, 0.5, 2.0, 30.0])
def test_damped_motion_has_gone_as_far_as_the_integral_of_its_speed(lead):
    integral = quad(lambda step: math.exp(-step / 2.0), 0.0, lead)[0]
    assert AHEAD.damped_lead(lead) == pytest.approx(integral)
    assert Forecast(damping=2.0).damped_lead(lead) == 0.0


@pytest.mark.parametrize(
    "lead, error",
    [
        (-1.0, 0.0),
        (0.0, 0.0),
        (0.5, 0.25),
        (1.0, 0.5),
        (1.5, 0.75),
        (3.0, 2.0),
        (4.0, 3.0),
        # Beyond the back-test, as the square root of the lead.
        (16.0, 6.0),
        (9.0, 4.5),
    ],
)
def test_the_expected_error_between_and_beyond_the_leads(lead, error):
    assert AHEAD.error(lead) == pytest.approx(error)


def test_without_a_back_test_only_the_range_itself_has_an_error():
    assert [Forecast().error(lead) for lead in (-1.0, 0.0)] == [0.0, 0.0]
    assert math.isnan(Forecast().error(1e-9))


# Velocity


def moving(count, speed, times=None, bend=0.0):
    """Atoms that go along x by `speed` Å a state, and along y by `bend` Å a squared state."""
    times = np.arange(1.0, count + 1) if times is None else times
    base = cloud(30).astype(np.float32)
    return np.array([base + np.array([speed * t, bend * t * t, 0], np.float32) for t in times], np.float32), times


@pytest.mark.parametrize("times", [np.arange(1.0, 9.0), np.array([1.0, 2.0, 4.0, 7.0, 7.5, 9.0, 12.0])])
@pytest.mark.parametrize("rank", [1, 2])
def test_even_motion_has_its_own_velocity(times, rank):
    atoms, _ = moving(len(times), 0.5, times)
    velocity = principal_velocity(atoms, times, rank, 5)
    np.testing.assert_allclose(velocity, np.tile([0.5, 0, 0], (30, 1)), atol=1e-4)


@pytest.mark.parametrize("rank, window", [(1, 3), (1, 6), (2, 6), (3, 4)])
def test_velocity_is_that_of_the_largest_motions_over_the_last_states(rank, window):
    rng = np.random.default_rng(0)
    atoms, times = moving(12, 0.3, bend=0.05)
    atoms = (atoms + 0.2 * rng.normal(size=atoms.shape)).astype(np.float32)
    times = times**1.1
    np.testing.assert_allclose(
        principal_velocity(atoms, times, rank, window), velocity_of(atoms, times, rank, window), atol=1e-5
    )


def test_atoms_ahead_are_the_last_ones_and_the_damped_velocity():
    atoms, times = moving(8, 0.5)
    predicted = extrapolate_atoms(atoms, times, AHEAD, 3.0)
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted - atoms[-1], np.tile([0.5 * AHEAD.damped_lead(3.0), 0, 0], (30, 1)), atol=1e-4)
    np.testing.assert_array_equal(extrapolate_atoms(atoms, times, Forecast(), 3.0), atoms[-1])


# Back-tests


@pytest.mark.parametrize(
    "count, speed, bend, noise, rank",
    [
        (30, 0.5, 0.0, 0.02, 1),
        (40, 0.1, 0.02, 0.05, 2),
        (30, 0.0, 0.0, 0.3, 0),
        (17, 0.3, 0.01, 0.1, None),
        (12, 0.3, 0.01, 0.1, None),
        (61, 0.2, 0.0, 0.1, None),
    ],
)
@pytest.mark.parametrize("power", [1.0, 1.15])
def test_the_forecast_is_that_of_a_plain_search(count, speed, bend, noise, rank, power):
    rng = np.random.default_rng(1)
    atoms, times = moving(count, speed, bend=bend)
    atoms = (atoms + noise * rng.normal(size=atoms.shape)).astype(np.float32)
    times = times**power
    chosen = fit_forecast(atoms, times)
    wanted_rank, wanted_damping, errors = searched(atoms, times)
    assert (chosen.rank, chosen.damping) == (wanted_rank, pytest.approx(wanted_damping))
    assert chosen.window == (6 if wanted_rank else 0)
    np.testing.assert_allclose(chosen.errors, errors, rtol=1e-5)
    gap = np.median(np.diff(times))
    np.testing.assert_allclose(chosen.leads, gap * np.arange(1, min(10, count // 3) + 1))
    if rank is not None and power == 1.0:
        assert chosen.rank == rank


@pytest.mark.parametrize("count, tested", [(8, False), (9, False), (10, True), (11, True)])
def test_states_that_are_too_few_for_a_back_test(count, tested):
    """The first origin has six states before it, and the longest lead ends at the last state."""
    atoms, times = moving(count, 0.5)
    assert (fit_forecast(atoms, times) != Forecast()) is tested


def test_of_many_atoms_some_are_compared(monkeypatch):
    atoms, times = moving(20, 0.5)
    atoms = (atoms + 0.3 * np.random.default_rng(2).normal(size=atoms.shape)).astype(np.float32)
    of_some_atoms = fit_forecast(atoms[:, ::3], times)
    assert of_some_atoms != fit_forecast(atoms, times)
    monkeypatch.setattr(forecast, "BACKTEST_ATOMS", 10)
    assert fit_forecast(atoms, times) == of_some_atoms


def test_a_motion_is_taken_where_it_gains_as_much_as_is_required(monkeypatch):
    rng = np.random.default_rng(3)
    atoms, times = moving(30, 0.2)
    atoms = (atoms + 0.3 * rng.normal(size=atoms.shape)).astype(np.float32)
    best = fit_forecast(atoms, times)
    monkeypatch.setattr(forecast, "REQUIRED_GAIN", 0.0)
    held = fit_forecast(atoms, times)
    gain = float(np.mean(best.errors) / np.mean(held.errors))
    assert held.rank == 0 and best.rank > 0 and gain < 0.99
    for required, rank in ((gain * 0.999, 0), (gain * 1.001, best.rank)):
        monkeypatch.setattr(forecast, "REQUIRED_GAIN", required)
        assert fit_forecast(atoms, times).rank == rank
