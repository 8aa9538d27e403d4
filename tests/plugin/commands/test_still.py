"""The time of a still that names none: that of the state in view, as the movie counts it."""

from __future__ import annotations

import pytest

from pymol_dsr.commands.still import time_in_view
from pymol_dsr.fits.fit import Fit, Trajectory
from pymol_dsr.scene.cgo import NOTHING
from pymol_dsr.scene.kept_movies import KeptMesh, KeptMovie
from pymol_dsr.scene.timeline import plan
from pymol_dsr.session import session_of
from pymol_dsr.shared.options import FieldOptions
from support.meshes import mesh_result, sphere


@pytest.mark.parametrize(("times", "state", "time"), [((1.0, 1.5, 2.0, 2.5), 4, 2.5), ((1, 2, 3, 4), 3, 3.0)])
def test_the_time_in_view_is_that_of_the_movie_that_is_switched_on(plugin, times, state, time):
    movies, trajectory = session_of(plugin).movies, Trajectory("", "pep", "pep", None, [1.0, 4.0])
    movie = KeptMovie("a", Fit("a", [trajectory]), trajectory, FieldOptions())
    for movie_state in plan(trajectory, times, "a"):
        plugin.load_cgo(NOTHING, "a", movie_state.state)
        movie.meshes.append(KeptMesh.from_reply(movie_state, mesh_result(sphere(1.0, count=4))))
    movies.keep(movie, plugin)
    plugin.frame(state)
    assert time_in_view(movies, movie.fit, plugin) == time
    assert time_in_view(movies, Fit("b"), plugin) == state
    plugin.disable("a")
    assert time_in_view(movies, movie.fit, plugin) == state
