"""States at uneven times: the clock itself, and fits that go by it."""

from typing import Any

import numpy as np
import pytest
from dsr_backend.motion.time_axis import TimeAxis
from dsr_backend.results import dsr_file
from dsr_backend.results.mesh import extract_mesh
from dsr_backend.results.vertex_motion import normal_velocity

from pymol_dsr.shared.options import FitOptions
from support.shapes import ball, cloud, fit

# A ball that slides by 1 Å a nanosecond, saved ever more rarely.
NANOSECONDS = (0.0, 1.0, 2.0, 4.0, 8.0)


def sliding():
    atoms = cloud()
    at = [np.array([time, 0.0, 0.0]) for time in NANOSECONDS]
    return [ball(state, 6.0, centre, atoms + centre) for state, centre in enumerate(at, 1)]


@pytest.fixture(scope="module")
def timed():
    return fit(sliding(), align=False, times=NANOSECONDS)


def test_the_unit_is_the_median_gap_and_the_ends_go_on():
    clock = TimeAxis([10.0, 12.0, 14.0, 20.0])
    np.testing.assert_allclose(clock([1, 2, 3, 4]), [1.0, 2.0, 3.0, 6.0])
    np.testing.assert_allclose(clock([0.0, 1.5, 3.5, 5.0]), [0.0, 1.5, 4.5, 9.0])
    np.testing.assert_allclose(TimeAxis([0.0, 1.0, 4.0, 10.0])([-2.0, 6.0]), [0.0, 1.0 + 22 / 3], atol=1e-12)
    states = np.linspace(-3.0, 9.0, 50)
    np.testing.assert_allclose(clock.state(clock(states)), states)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([1.0], "times must be of two states at least, got 1"),
        ([1.0, 3.0, 3.0], "state 2 is at 3 and state 3 at 3"),
        ([1.0, float("nan"), 3.0], "the time of state 2 is not finite"),
    ],
)
def test_times_that_tell_no_order_are_refused(times, message):
    with pytest.raises(ValueError, match=message):
        TimeAxis(times)


def test_config_takes_times_over_the_wire_and_refuses_others():
    config = FitOptions.from_json({"times": [0, 1, 4]})
    assert config.times == (0.0, 1.0, 4.0) and FitOptions.from_json(config.to_json()) == config
    faults: list[Any] = ["0 1 2", [0, "1"], [0, True], 5]
    for wrong in faults:
        with pytest.raises(ValueError, match=r"times .*: it is neither"):
            FitOptions(times=wrong)
    with pytest.raises(ValueError, match="there are 3 times, one for each state, and none for state 4"):
        fit([ball(1), ball(4)], times=(0.0, 1.0, 4.0))


@pytest.mark.system
def test_motion_is_even_in_time_and_states_keep_their_numbers(timed):
    assert timed.states == timed.report["states"] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert timed.time_range == (1.0, 5.0)
    for state, time in ((2.0, 1.0), (3.5, 3.0), (4.25, 5.0), (5.0, 8.0)):
        mesh = extract_mesh(timed, state)
        assert mesh.time == state and not mesh.extrapolated
        assert mesh.points.mean(0)[0] == pytest.approx(time, abs=0.05)


def test_beyond_the_last_state_time_goes_on_as_between_the_last_two(timed):
    snapshot = timed.at(5.5)
    assert snapshot.time == 5.5 and snapshot.extrapolated
    # Half a state there is two nanoseconds; half of the gaps are shorter than 1.5.
    assert timed.motion.kernel.lead(float(timed.time_axis(5.5))) == pytest.approx(2.0 / 1.5)


def test_velocities_are_per_state(timed):
    points = np.array([[3.0 + 6.0, 0.0, 0.0]], np.float32)
    # Two nanoseconds a state there.
    assert normal_velocity(timed, 3.5, points)[0] == pytest.approx(2.0, abs=0.15)


def test_a_file_keeps_the_times(timed, tmp_path):
    dsr_file.save(timed, tmp_path / "timed.dsr")
    reloaded: Any = dsr_file.load(tmp_path / "timed.dsr")
    assert reloaded.time_axis.times == NANOSECONDS and reloaded.states == timed.states
    np.testing.assert_array_equal(extract_mesh(reloaded, 3.5).points, extract_mesh(timed, 3.5).points)
    even: Any = dsr_file.from_bytes(dsr_file.to_bytes(fit([ball(1)])))
    assert even.time_axis is None


def test_the_paper_goes_by_its_clock_too():
    from dsr_backend.fitting.config import PaperPreset
    from dsr_backend.fitting.paper import run

    tiny = PaperPreset(width=32, layers=4, latent=4, states=2, cpu_points=32, steps=3)
    config = FitOptions(preset="paper", times=NANOSECONDS)
    field = run.fit_trajectory(sliding(), config, preset=tiny)
    assert field.states == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert field.normalised_time(float(field.time_axis(3.5))) == pytest.approx(2 * 3 / 8 - 1)
    np.testing.assert_allclose(field.at(3.5).atoms.mean(0)[0], sliding()[0].atoms.mean(0)[0] + 3.0, atol=0.01)
