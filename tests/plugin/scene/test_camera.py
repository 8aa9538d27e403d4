"""The camera: where it stands in the frame of an object."""

from __future__ import annotations

import numpy as np
import pytest

from pymol_dsr.scene import placement
from pymol_dsr.scene.camera import (
    FAR,
    distant_view,
    followed_views,
    intro_views,
    moved_view,
    toward_camera,
    turned_view,
)
from pymol_dsr.scene.timeline import MovieState
from support.shapes import turn


def test_toward_the_camera_points_come_nearer(peptide):
    peptide.turn("x", 33)
    peptide.turn("y", -71)
    peptide.rotate("z", 40, object="pep", camera=0)
    peptide.rotate("x", 15, object="pep", camera=0)
    view, matrix = peptide.get_view(), placement.object_matrix("pep", peptide)
    toward = toward_camera(view, matrix)
    assert np.linalg.norm(toward) == pytest.approx(1.0)
    # Where PyMOL's camera is in the scene: at the end of its own z axis from the origin of rotation.
    turn = np.array(view[:9]).reshape(3, 3)
    camera = np.array(view[12:15]) - turn @ np.array(view[9:12])
    assert turn @ np.array(view[9:12]) == pytest.approx(-(camera - np.array(view[12:15])))
    scene_direction = matrix[:3, :3] @ toward
    assert scene_direction @ (camera - np.array(view[12:15])) == pytest.approx(
        np.linalg.norm(camera - np.array(view[12:15])), rel=1e-4
    )


def test_a_turned_view_is_that_of_turn(peptide):
    peptide.turn("x", 33)
    view = peptide.get_view()
    peptide.turn("y", 50)
    np.testing.assert_allclose(turned_view(view, np.radians(50)), peptide.get_view(), atol=1e-4)


def test_a_distant_view_is_that_of_move(peptide):
    view = peptide.get_view()
    peptide.move("z", view[11])
    np.testing.assert_allclose(distant_view(view, 2.0), peptide.get_view(), atol=1e-3)


@pytest.mark.parametrize("intro", ["turn", "approach"])
def test_an_intro_begins_and_ends_slowly_and_ends_before_the_view(peptide, intro):
    view = list(peptide.get_view())
    views = np.array([*intro_views(view, intro, 20), view])
    steps = np.abs(np.diff(views, axis=0)).max(axis=1)
    assert len(views) == 21 and steps[0] < 0.3 * steps.max() and steps[-1] < 0.3 * steps.max()
    np.testing.assert_allclose(views[0], view if intro == "turn" else distant_view(view, FAR), atol=1e-6)


def in_camera(view, points):
    """Where PyMOL's camera sees points [N,3]: its view holds a rotation by columns, the camera and the origin."""
    turn = np.reshape(view[:9], (3, 3)).T
    return (points - np.array(view[12:15])) @ turn.T + np.array(view[9:12])


def test_a_moved_view_shows_a_molecule_where_the_view_shows_it_moved(peptide):
    peptide.turn("x", 33)
    peptide.turn("y", -71)
    view, points = peptide.get_view(), np.random.default_rng(0).normal(0, 9, (20, 3))
    rotation, shift = turn(70.0), np.array([3.0, -20.0, 7.5])
    in_view = in_camera(moved_view(view, rotation, shift), points)
    np.testing.assert_allclose(in_view, in_camera(view, points @ rotation.T + shift), atol=1e-3)


def test_a_followed_movie_begins_with_the_view_whatever_time_it_begins_at(peptide):
    view, shape = list(peptide.get_view()), np.random.default_rng(0).normal(0, 9, (20, 3)).astype(np.float32)
    atoms = {time: (shape @ turn(20.0 * time).T + 5.0 * time).astype(np.float32) for time in (1.0, 2.0, 3.0)}
    order = [MovieState(time, int(time), "movie", False) for time in (3.0, 2.0, 1.0)]
    views = followed_views(view, order, atoms, np.eye(4, dtype=np.float32))
    np.testing.assert_allclose(views[0], view, atol=1e-3)
    in_view = [in_camera(view, atoms[state.time]) for view, state in zip(views, order, strict=True)]
    np.testing.assert_allclose(in_view, np.repeat(in_view[:1], 3, 0), atol=1e-2)
