"""Surfaces for the tests of the numerics: balls, whose answers are known, and a peptide from real PyMOL."""

import functools
from typing import Any
from unittest import mock

import numpy as np
import pytest
from dsr_backend.fitting import run
from dsr_backend.fitting.config import PRESETS, Preset
from dsr_backend.surfaces.surface import Surface
from scipy.spatial import ConvexHull

from pymol_dsr.shared.options import FitOptions
from support.scene import coordinates, put

IDENTITY = np.eye(3)
# As `fast`, on a coarser lattice, which takes less time.
QUICK = Preset(spacing=1.0)


def fit(surfaces, progress=lambda *_: None, cancelled=lambda: False, preset=QUICK, **config):
    with mock.patch.dict(PRESETS, {"fast": preset}):
        return run.fit_trajectory(surfaces, FitOptions(**config), progress, cancelled)


def sphere(radius=1.0, centre=(0.0, 0.0, 0.0), subdivisions=5) -> tuple[Any, Any, Any]:
    """Icosphere: points, normals, faces; every vertex on the sphere."""
    golden = (1 + 5**0.5) / 2
    points = np.array([p for a in (-1, 1) for b in (-golden, golden) for p in ((0, a, b), (a, b, 0), (b, 0, a))])
    faces = ConvexHull(points).simplices
    inward = np.linalg.det(points[faces]) < 0
    faces[inward] = faces[inward, ::-1]
    for _ in range(subdivisions):
        edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        edges, edge_index = np.unique(edges, axis=0, return_inverse=True)
        middle = edge_index.reshape(-1, 3) + len(points)
        points = np.concatenate([points, points[edges].mean(axis=1)])
        (a, b, c), (ab, bc, ca) = faces.T, middle.T
        faces = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))])
    normals = points / np.linalg.norm(points, axis=1, keepdims=True)
    return normals * radius + centre, normals, faces.astype(np.int32)


def ball(state, radius=6.0, centre=(0.0, 0.0, 0.0), atoms=None, subdivisions=4):
    """Icosphere as a surface; centre and radius in Å."""
    points, normals, faces = sphere(radius, np.asarray(centre, float), subdivisions)
    return Surface(state, points, normals, faces, atoms)


def cloud(count=60, radius=4.5, seed=0):
    """Atoms f8[count,3] within `radius` Å of the origin."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * radius * rng.random((count, 1)) ** (1 / 3)


def turn(degrees, axis=(1.0, 2.0, 3.0)):
    """Rotation f8[3,3] about an axis."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def moved(surface, rotation=IDENTITY, translation=(0.0, 0.0, 0.0), state=None):
    """The surface and its atoms as a rigid body: x → rotation x + translation."""
    atoms = None if surface.atoms is None else surface.atoms @ rotation.T + translation
    return Surface(
        surface.state if state is None else state,
        surface.points @ rotation.T + translation,
        surface.normals @ rotation.T,
        surface.faces,
        atoms,
    )


@functools.cache
def peptide(count=6):
    """PyMOL's surfaces of a helix of nine residues that bends over `count` states, with its atoms."""
    pymol2 = pytest.importorskip("pymol2")
    surfaces = []
    with pymol2.PyMOL() as session:
        cmd = session.cmd
        cmd.fab("ACDEFGHIK", "pep", ss=1)
        cmd.set("cache_mode", 2)
        cmd.flag("exfoliate", "pep", "clear")
        cmd.show_as("surface", "pep")
        start = coordinates(cmd, "pep", 1)
        for state in range(1, count + 1):
            atoms = start.copy()
            atoms[:, 0] += 0.008 * (state - 1) * (start[:, 2] - start[:, 2].mean()) ** 2
            put(cmd, "pep", 1, atoms)
            session._cache, session._cache_memory = [], 0
            cmd.get_vrml(1)
            point_count, points, normals, face_count, faces = session._cache[-1][3][:5]
            surfaces.append(
                Surface(
                    state,
                    np.array(points[: 3 * point_count]).reshape(-1, 3),
                    np.array(normals[: 3 * point_count]).reshape(-1, 3),
                    np.array(faces[: 3 * face_count]).reshape(-1, 3),
                    atoms,
                )
            )
    return surfaces
