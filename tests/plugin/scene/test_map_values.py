"""Values of map objects at points of the scene."""

from __future__ import annotations

import numpy as np
import pytest

from pymol_dsr.scene.map_values import read_map
from pymol_dsr.scene.objects import SceneError
from support.maps import linear, put_map


def only_grid(cmd, name):
    """Read a map of one state: its grid, and the scale of a ramp."""
    (grid,), scale = read_map(name, cmd)
    assert grid is not None
    return grid, scale


def test_maps_are_sampled_where_they_lie(cmd):
    put_map(cmd, "m")
    grid, scale = only_grid(cmd, "m")
    assert scale is None
    points = np.random.default_rng(0).uniform((-3, -4, -5), (4.5, 5, 6.25), (500, 3)).astype(np.float32)
    np.testing.assert_allclose(grid.sample(points), linear(*points.T), atol=2e-4)
    assert np.isnan(grid.sample(np.array([[-3.1, 0, 0], [0, 5.1, 0], [0, 0, 7]], np.float32))).all()
    np.testing.assert_allclose(grid.sample(np.array([[4.5, 5, 6.25]], np.float32)), linear(4.5, 5, 6.25), atol=1e-4)
    # Moved in the scene, its values move along.
    cmd.set_object_ttt("m", [0.0, -1.0, 0, 2.0, 1.0, 0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0])
    moved, _ = only_grid(cmd, "m")
    moved_points = points @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]).T + (2, 0, 0)
    np.testing.assert_allclose(moved.sample(moved_points), linear(*points.T), atol=3e-4)


def test_gaussian_maps_have_a_grid_of_another_kind(cmd):
    cmd.pseudoatom("one", pos=(1, 2, 3), b=20, elem="C")
    cmd.map_new("g", "gaussian", 0.5, "one", 4)
    with pytest.raises(SceneError, match="map g: it is empty"):
        read_map("g", cmd)
    cmd.alter("one", "q = 1")
    cmd.map_new("g", "gaussian", 0.5, "one", 4)
    grid, _ = only_grid(cmd, "g")
    inside, near, far = grid.sample(np.array([(1, 2, 3), (2, 2, 3), (4, 2, 3)], np.float32))
    assert inside > near > far
    beside = grid.sample(np.array([(2, 2, 3), (0, 2, 3), (1, 3, 3), (1, 2, 2)], np.float32))
    np.testing.assert_allclose(beside, near, rtol=0.02)


def test_a_ramp_brings_its_map_and_its_colours(cmd):
    put_map(cmd, "m")
    cmd.ramp_new("r", "m", [-2, 0, 5], ["blue", "white", "red"])
    grid, scale = only_grid(cmd, "r")
    assert grid.values.shape == (11, 13, 16) and scale is not None
    np.testing.assert_allclose(scale.levels, [-2, 0, 5])
    np.testing.assert_allclose(scale.colors, [(0, 0, 1), (1, 1, 1), (1, 0, 0)])
    cmd.ramp_new("r", "m", [-2, 0, 5], "rainbow")
    with pytest.raises(SceneError, match="map r: the ramp is not one of a map with colours of its own"):
        read_map("r", cmd)
    with pytest.raises(SceneError, match="map nope: there is no such object; 'load"):
        read_map("nope", cmd)
