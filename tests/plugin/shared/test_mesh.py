"""A triangle mesh and its edges."""

from __future__ import annotations

import numpy as np
import pytest

from pymol_dsr.shared.mesh import Mesh
from support.meshes import sphere

# A closed tetrahedron.
FACES = [[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]


def mesh_of(faces):
    """Build a mesh of faces; where its points lie does not matter."""
    points = np.zeros((6, 3), np.float32)
    return Mesh(points, points, np.array(faces, np.int32))


@pytest.mark.parametrize(
    ("faces", "fraction"),
    [
        (FACES, 0.0),
        (FACES[:3], 3 / 6),
        (FACES[:1], 1.0),
        # Turned over, a face still shares its edges with others.
        ([FACES[0][::-1], *FACES[1:]], 0.0),
        ([*FACES, *FACES], 0.0),
        # Every second face of an octahedron: two at each point, and none beside another.
        ([[0, 1, 2], [0, 3, 4], [1, 3, 5], [2, 4, 5]], 1.0),
    ],
    ids=["closed", "a face is missing", "one face", "a face is turned", "twice", "at points alone"],
)
def test_open_edges_are_those_of_one_face_alone(faces, fraction):
    assert mesh_of(faces).open_edges() == pytest.approx(fraction)


def test_a_missing_face_of_many_is_seen():
    mesh = sphere(5.0)
    # Its poles are many points in one place, each with faces that are open there.
    ends = mesh.open_edges()
    assert 0.0 < ends < 0.05
    rows = [row for row in range(len(mesh.faces)) if row != 500]
    assert Mesh(mesh.points, mesh.normals, mesh.faces[rows]).open_edges() > ends
