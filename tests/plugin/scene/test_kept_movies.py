"""Meshes that are kept of a movie: small, and the same surface."""

from __future__ import annotations

import numpy as np

from pymol_dsr.scene.kept_movies import KeptMesh
from pymol_dsr.scene.timeline import MovieState
from pymol_dsr.shared.mesh import Mesh
from support.meshes import mesh_result

STATE = MovieState(1.0, 1, "out", False)


def kept_mesh(count, faces, neighbors, weights):
    """Keep a reply with `count` random points."""
    points = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    normals = points / np.linalg.norm(points, axis=1, keepdims=True)
    mesh = Mesh(points, normals, faces)
    return KeptMesh.from_reply(STATE, mesh_result(mesh, neighbor_indices=neighbors, weights=weights)), mesh


def test_the_nearest_atom_comes_first():
    neighbors = np.repeat([[7, 70_000, 9]], 6, 0).astype(np.int32)
    weights = np.repeat([[0.2, 0.3, 0.5]], 6, 0).astype(np.float32)
    compact, _ = kept_mesh(6, np.zeros((4, 3), np.int32), neighbors, weights)
    assert compact.neighbor_indices is not None and compact.weights is not None
    assert compact.neighbor_indices[5].tolist() == [9, 70_000, 7] and compact.weights[5].tolist() == [128, 76, 51]
    colors = np.random.default_rng(1).uniform(size=(70_001, 3)).astype(np.float32)
    assert np.array_equal(compact.nearest_colors(colors), np.repeat(colors[[9]], 6, 0))


def test_a_kept_state_is_small_and_the_same_surface():
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 25_000, (50_000, 3)).astype(np.int32)
    neighbors = rng.integers(0, 3341, (25_000, 4)).astype(np.int32)
    compact, mesh = kept_mesh(25_000, faces, neighbors, np.full((25_000, 4), 0.25, np.float32))
    arrays = (compact.points, compact.normals, compact.faces, compact.neighbor_indices, compact.weights)
    assert sum(array.nbytes for array in arrays if array is not None) <= 1.06e6
    assert np.array_equal(compact.mesh().points, mesh.points) and np.array_equal(compact.mesh().faces, faces)
    assert abs(compact.mesh().normals - mesh.normals).max() < 2e-5


def test_indices_past_two_bytes_are_kept_whole():
    for last in (65_535, 65_536, 70_000):
        faces = np.array([[0, 1, last]], np.int32)
        compact, _ = kept_mesh(last + 1, faces, None, None)
        assert np.array_equal(compact.faces, faces) and not compact.has_atoms
