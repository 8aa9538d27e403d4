"""Superposition of atoms."""

import numpy as np
import pytest

from pymol_dsr.shared.superpose import raw_rmsd, rmsd, superpose, turn_angle
from support.shapes import cloud, turn


def test_superposition_recovers_a_rigid_motion():
    fixed = cloud()
    rotation, translation = turn(140.0), np.array([3.0, -20.0, 7.5])
    # fixed = rotation · moving + translation, solved for moving.
    turned, shift = superpose((fixed - translation) @ rotation, fixed)
    np.testing.assert_allclose(turned, rotation, atol=1e-12)
    np.testing.assert_allclose(shift, translation, atol=1e-10)


def test_superposition_never_mirrors():
    fixed = cloud()
    rotation, _ = superpose(fixed * [1, 1, -1], fixed)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


@pytest.mark.parametrize("shape", ["flat", "line", "point"])
def test_superposition_of_degenerate_atoms_is_a_rotation_that_fits(shape):
    fixed = cloud(20) * {"flat": [1, 1, 0], "line": [1, 0, 0], "point": [0, 0, 0]}[shape]
    moving = fixed @ turn(50.0).T + 4.0
    rotation, translation = superpose(moving, fixed)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    np.testing.assert_allclose(moving @ rotation.T + translation, fixed, atol=1e-9)


def test_no_other_rotation_brings_the_atoms_nearer():
    rng = np.random.default_rng(0)
    moving, fixed = cloud(20), cloud(20) @ turn(60.0).T + rng.normal(size=(20, 3)) + 9.0

    def missed(rotation):
        centred = moving - moving.mean(0)
        return (((centred @ rotation.T) - (fixed - fixed.mean(0))) ** 2).sum()

    rotation, translation = superpose(moving, fixed)
    np.testing.assert_allclose((moving @ rotation.T + translation).mean(0), fixed.mean(0), atol=1e-12)
    for axis in np.eye(3):
        for degrees in (-1.0, 1.0):
            assert missed(rotation) < missed(turn(degrees, axis) @ rotation)


def test_atoms_that_were_moved_together_differ_as_they_lie_only():
    fixed = cloud().astype(np.float32)
    moved = fixed + np.array([3.0, 4.0, 0.0], np.float32)
    assert raw_rmsd(moved, fixed) == pytest.approx(5.0, abs=1e-6) and rmsd(moved, fixed) < 1e-5


def test_the_angle_of_a_turn_is_that_of_the_molecule_and_not_of_its_parts():
    atoms = 10.0 * cloud()
    assert turn_angle(atoms, atoms @ turn(170.0).T + 5.0) == pytest.approx(170.0)
    assert turn_angle(atoms, atoms + 5.0) == 0.0
    # Atoms that go their own ways are brought nearer by no turn.
    assert turn_angle(atoms, np.random.default_rng(0).permutation(atoms)) == 0.0


@pytest.mark.parametrize("count", [2, 3, 9])
@pytest.mark.parametrize("degrees", [20.0, 70.0, 160.0])
def test_the_angle_of_atoms_on_a_line_is_that_of_the_line(count, degrees):
    """A turn about the line itself, which leaves them where they are, is not counted."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        line = turn(rng.uniform(0, 180), rng.normal(size=3)) @ [1.0, 0.0, 0.0]
        atoms = np.linspace(-20.0, 20.0, count)[:, None] * line
        turned = atoms @ turn(degrees, np.cross(line, rng.normal(size=3))).T
        atoms, turned = (xyz + rng.normal(scale=0.05, size=xyz.shape) for xyz in (atoms, turned))
        assert turn_angle(atoms, turned) == pytest.approx(degrees, abs=1.0)
