"""Times of movies: how many, which state each becomes, in which order they play."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pymol_dsr.fits.fit import Trajectory
from pymol_dsr.scene import timeline
from pymol_dsr.scene.time_label import label_text
from pymol_dsr.scene.timeline import MovieState


def test_fractional_states_go_on_in_the_future():
    trajectory = Trajectory("", "pep", "pep", None, [1.0, 6.0])
    states = timeline.plan(trajectory, [5.5, 6, 6.5, 7], "out")
    assert [(state.state, state.object) for state in states] == [
        (1, "out"),
        (2, "out"),
        (3, "out_future"),
        (4, "out_future"),
    ]


@pytest.mark.parametrize(("count", "names"), [(200, ["out"]), (201, ["out_01", "out_02"])])
def test_a_long_movie_goes_into_numbered_objects(count, names):
    trajectory = Trajectory("", "pep", "pep", None, [1.0, 500.0])
    states = timeline.plan(trajectory, range(1, count + 1), "out")
    assert list(dict.fromkeys(state.object for state in states)) == names
    assert [state.object for state in states].count(names[0]) == 200


def test_a_loop_has_no_future():
    trajectory = Trajectory("", "pep", "pep", None, [1.0, 6.0])
    states = timeline.plan(trajectory, [5.5, 6, 6.5], "out", loop=True)
    assert [(state.object, state.future) for state in states] == [("out", False)] * 3


def test_movies_have_as_many_triangles_as_load_fluently():
    assert timeline.fluent_triangles(5) == timeline.fluent_triangles(17) == 50_000
    assert 15_000 < timeline.fluent_triangles(79) < 17_000
    assert timeline.fluent_triangles(1000) == timeline.most_triangles(1000) == 10_000
    assert timeline.most_triangles(79) == 50_000


def test_runs_of_states_are_short_in_mset():
    states = [MovieState(number, number, "m", False) for number in (1, 2, 3, 5, 9, 10, 9, 8)]
    assert timeline.mset_text(states) == "1 -3 5 9 -10 9 8"


@pytest.mark.parametrize(("play", "meshes"), [("once", 150), ("loop", 150), ("", 150), ("bounce", 76)])
def test_seconds_give_that_many_frames_evenly_from_end_to_end(play, meshes):
    times = timeline.movie_times(1, 79, 6.0, 25.0, play)
    assert len(times) == meshes and (times[0], times[-1]) == (1, 79)
    steps = np.diff(times)
    assert steps.max() - steps.min() < 0.02
    states = [MovieState(time, number, "m", False) for number, time in enumerate(times, 1)]
    assert len(timeline.play_order(states, play)) == 150


def test_no_time_is_past_the_last_one():
    for count in (7, 13, 89, 599):
        assert max(timeline.movie_times(1, 79, count / 30, 30.0, "once")) == 79


def test_back_and_forth_shows_no_state_twice_running():
    states = [MovieState(number, number, "m", False) for number in (1, 2, 3, 4)]
    assert [state.state for state in timeline.play_order(states, "bounce")] == [1, 2, 3, 4, 3, 2]
    looped = timeline.play_order(states, "bounce") * 2
    assert all(before is not after for before, after in itertools.pairwise(looped))
    assert timeline.play_order(states[:2], "bounce") == states[:2]


def test_labels_name_the_expected_error_of_what_is_extrapolated():
    inside, past = MovieState(12.25, 1, "m", False), MovieState(85, 2, "m_future", True)
    assert label_text(inside, None) == "state 12.25"
    assert label_text(inside, None, "generated: fill by hold") == "state 12.25 · generated: fill by hold"
    assert label_text(past, 1.43) == "state 85 · expected error 1.4 Å"
    assert label_text(past, None) == "state 85 · extrapolated"
