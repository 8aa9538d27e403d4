"""The volume of a union of spheres, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from pymol_dsr.surfaces.sphere_volume import MANY_ATOMS, sphere_volume

BALL = 4.0 / 3.0 * np.pi


def test_spheres_apart_add_up():
    centers = np.array([[0, 0, 0], [30.0, 1.3, 0.7], [1e5, 0, 0]], np.float32)
    radii = np.array([2.0, 1.5, 1.0], np.float32)
    assert sphere_volume(centers, radii) == pytest.approx(BALL * (radii**3).sum(), rel=0.05)


@pytest.mark.parametrize("distance", [0.0, 0.5, 1.5, 3.0])
def test_where_spheres_overlap_the_volume_counts_once(distance):
    radius = 2.0
    cap = np.pi * (radius - distance / 2) ** 2 * (2 * radius + distance / 2) / 3
    centers = np.array([[1.1, 0.3, 0], [1.1, 0.3, distance]], np.float32)
    union = 2 * BALL * radius**3 - 2 * cap
    assert sphere_volume(centers, np.full(2, radius, np.float32)) == pytest.approx(union, rel=0.05)


def test_many_atoms_fill_as_much_of_a_box_as_chance_lets_them():
    count, edge, radius = 4 * MANY_ATOMS, 60.0, 1.7
    centers = np.random.default_rng(0).uniform(0, edge, (count, 3)).astype(np.float32)
    free = np.exp(-count * BALL * radius**3 / edge**3)
    volume = sphere_volume(centers, np.full(count, radius, np.float32))
    # Spheres that stick out of the box add to it.
    assert edge**3 * (1 - free) < volume < (edge + 2 * radius) ** 3 * (1 - free)


def test_atoms_without_a_radius_have_no_volume():
    assert sphere_volume(np.zeros((3, 3), np.float32), np.zeros(3, np.float32)) == 0.0
