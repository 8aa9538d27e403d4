"""Meshes as PyMOL's numbers: fans that hold the same triangles."""

from __future__ import annotations

import numpy as np
import pymol2
import pytest

from pymol_dsr.scene import cgo
from pymol_dsr.scene.fans import fans_of
from pymol_dsr.shared.mesh import Mesh
from support.meshes import sphere, triangles_of


def rotations(faces):
    """Triangles as a sorted list, each from the corner that makes it first; its sense of rotation stays."""
    return sorted(min((a, b, c), (b, c, a), (c, a, b)) for a, b, c in np.asarray(faces).tolist())


def triangles(fans):
    """The triangles of fans, one after another."""
    rows = np.split(fans.corners, np.cumsum(fans.sizes)[:-1])
    return [(row[0], *row[k : k + 2]) for row in rows for k in range(1, len(row) - 1)]


@pytest.mark.parametrize(
    "faces",
    [
        [[0, 1, 2]],
        [[0, 1, 2], [0, 1, 2], [2, 1, 0]],
        [[0, 0, 1], [1, 1, 1]],
        [[0, 1, 2], [0, 2, 3], [0, 3, 1], [0, 4, 5], [0, 5, 6], [0, 6, 4]],
        np.random.default_rng(0).integers(0, 6, (40, 3)),
        np.random.default_rng(1).integers(0, 300, (2000, 3)),
        sphere(3.0).faces,
    ],
    ids=["one", "the same twice", "without area", "two closed around one point", "crossing", "many", "sphere"],
)
def test_fans_hold_all_triangles_once_and_keep_their_sense_of_rotation(faces):
    faces = np.array(faces, np.int32)
    fans = fans_of(faces)
    assert rotations(triangles(fans)) == rotations(faces)
    assert fans.sizes.min() >= 3


def test_the_corner_with_the_most_faces_is_the_hub():
    around = np.arange(1, 21)
    star = np.stack([np.zeros(20, int), around, np.roll(around, -1)], 1)
    [size] = fans_of(star).sizes.tolist()
    assert size == 22


def test_a_closed_surface_needs_half_as_many_numbers_as_single_triangles():
    mesh = sphere(10.0, count=60)
    floats = cgo.cgo_floats(mesh, np.zeros_like(mesh.points))
    assert len(floats) <= 0.58 * 36 * len(mesh.faces)
    assert all(type(number) is float for number in floats[:20])


def test_a_mesh_without_triangles_is_empty():
    points = np.zeros((0, 3), np.float32)
    assert cgo.cgo_floats(Mesh(points, points, np.zeros((0, 3), np.int32)), None) == []


@pytest.mark.parametrize("colored", ["each its own", "one of two", ""])
def test_each_corner_has_the_place_the_normal_and_the_colour_of_its_vertex(colored):
    rng, mesh = np.random.default_rng(0), sphere(5.0)
    # The sphere has many vertices at its poles, which only these normals tell apart.
    mesh = Mesh(mesh.points, rng.normal(size=mesh.points.shape).astype(np.float32), mesh.faces)
    palette = rng.uniform(size=mesh.points.shape).astype(np.float32)
    colors = {"": None, "each its own": palette, "one of two": palette[rng.integers(2, size=len(palette))]}[colored]
    floats = cgo.cgo_floats(mesh, colors)
    rows = triangles_of(floats, 3 if colored else 2).reshape(len(mesh.faces), 3, -1, 4)
    codes = [6.0, 5.0, 4.0] if colored else [5.0, 4.0]
    assert (rows[..., 0] == codes).all()
    number = {tuple(row): k for k, row in enumerate(np.hstack([mesh.points, mesh.normals]).tolist())}
    places, normals = rows[..., -1, 1:], rows[..., -2, 1:]
    vertices = [number[tuple(row)] for row in np.concatenate([places, normals], -1).reshape(-1, 6).tolist()]
    assert rotations(np.reshape(vertices, (-1, 3))) == rotations(mesh.faces)
    chosen = np.array([7, 3, 100])
    read = cgo.colors_of_vertices(floats, mesh.faces, chosen)
    if colors is None:
        assert read is None
    else:
        assert np.array_equal(rows[..., 0, 1:].reshape(-1, 3), colors[vertices])
        assert read is not None and np.array_equal(read, colors[chosen])


def test_a_colour_is_written_once_for_the_corners_of_a_fan_that_share_it():
    mesh = sphere(5.0, count=12)
    fans = fans_of(mesh.faces)
    plain, white = (cgo.cgo_floats(mesh, colors) for colors in (None, np.ones_like(mesh.points)))
    assert len(white) - len(plain) == 4 * len(fans.sizes)


def test_pymol_draws_the_mesh_that_single_triangles_draw():
    mesh = sphere(5.0, count=12)
    corners = mesh.faces.ravel()
    one_by_one = [cgo.BEGIN, 4.0]
    for normal, point in zip(mesh.normals[corners].tolist(), mesh.points[corners].tolist(), strict=True):
        one_by_one += [cgo.NORMAL, *normal, cgo.VERTEX, *point]
    drawn = {}
    with pymol2.PyMOL() as session:
        for name, floats in {"fans": cgo.cgo_floats(mesh, None), "single": [*one_by_one, cgo.END]}.items():
            session.cmd.load_cgo(floats, name, 1)
            drawn[name] = session.cmd.get_vrml()
            session.cmd.delete(name)
    assert sorted(drawn["fans"].split()) == sorted(drawn["single"].split())


def test_a_vertex_without_a_triangle_has_the_colour_of_another():
    points = np.zeros((5, 3), np.float32)
    mesh = Mesh(points, points, np.array([[1, 2, 3]], np.int32))
    colors = np.linspace(0, 1, 15, dtype=np.float32).reshape(5, 3)
    read = cgo.colors_of_vertices(cgo.cgo_floats(mesh, colors), mesh.faces, np.array([0, 2, 4]))
    assert read is not None and np.array_equal(read[1], colors[2])
    assert any(np.array_equal(read[0], color) for color in colors[1:4]) and np.array_equal(read[0], read[2])
