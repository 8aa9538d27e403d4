"""Meshes that are cut open along a plane."""

from __future__ import annotations

import numpy as np
import pytest

from pymol_dsr.scene import mesh_cut
from support.meshes import sphere


def test_a_cut_leaves_what_lies_behind_with_a_clean_edge():
    centre, direction = np.array([3.0, -2.0, 7.0]), np.array([0.48, 0.6, 0.64])
    cut = mesh_cut.cut_open(sphere(10.0), centre, direction)
    outside, inside = np.split(np.linalg.norm(cut.points, axis=1), 2)
    assert (inside < outside).all() and (outside - inside).max() < 1.01 * mesh_cut.THICKNESS
    used = cut.points[cut.faces]
    height = (used - centre) @ direction
    assert height.max() < 1e-3 + mesh_cut.THICKNESS
    assert np.abs(np.linalg.norm(cut.normals[cut.faces], axis=-1) - 1).max() < 1e-5
    # Two sides of half a sphere, each facing its own way.
    area = 0.5 * np.linalg.norm(np.cross(used[:, 1] - used[:, 0], used[:, 2] - used[:, 0]), axis=1)
    assert area.sum() == pytest.approx(2 * 2 * np.pi * 10**2, rel=0.02)
    flat = np.cross(used[:, 1] - used[:, 0], used[:, 2] - used[:, 0])
    agree = np.einsum("ij,ij->i", flat, cut.normals[cut.faces].sum(axis=1))
    assert (agree[area > 1e-6] > 0).all()
    outward = np.einsum("ij,ij->i", flat, used.mean(axis=1) - centre)
    assert np.isclose((outward > 0).sum(), (outward < 0).sum(), rtol=0.01)
    # The edges of one triangle only, once points of one place are one, are the rim, and that lies in the plane.
    half = cut.faces[: len(cut.faces) // 2]
    places, number = np.unique(cut.points.round(3), axis=0, return_inverse=True)
    edges = np.sort(number.reshape(-1)[half][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    lines, count = np.unique(edges[edges[:, 0] < edges[:, 1]], axis=0, return_counts=True)
    assert (count == 1).sum() > 40
    assert np.abs((places[lines[count == 1]] - centre) @ direction).max() < 2e-3


def test_a_plane_beside_the_mesh_cuts_nothing_or_everything():
    mesh = sphere(5.0)
    up = np.array([0.0, 0.0, 1.0])
    assert len(mesh_cut.cut_open(mesh, np.array([0, 0, 100.0]), up).faces) == 2 * len(mesh.faces)
    assert len(mesh_cut.cut_open(mesh, np.array([0, 0, -100.0]), up).faces) == 0
