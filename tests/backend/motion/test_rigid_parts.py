"""Parts that turn as bodies: who counts as one, and where they are on the way."""

import numpy as np
import pytest
from dsr_backend.motion import rigid_parts
from dsr_backend.motion.rigid_parts import RigidPartInterpolation
from scipy.spatial.transform import Rotation

from support.shapes import cloud, turn


def body(count=120, radius=12.0):
    return cloud(count, radius).astype(np.float32)


def turned(atoms, degrees, shift=(0.0, 0.0, 0.0)):
    return (atoms @ turn(degrees).T + np.asarray(shift)).astype(np.float32)


@pytest.mark.parametrize("degrees", [70.0, 120.0, 170.0])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_a_body_that_turns_keeps_its_shape_about_its_centre(degrees, fraction):
    first = body()
    shift = np.array([6.0, 0.0, -2.0])
    second = turned(first, degrees, shift)
    rigid = RigidPartInterpolation.between(first, second)
    assert rigid is not None
    centred = first - first.mean(0)
    interpolated = (1 - fraction) * first + fraction * second + rigid.offset(fraction)
    # The centre goes straight, and all turns by the fraction of the angle about it.
    centre = (1 - fraction) * first.mean(0) + fraction * second.mean(0)
    np.testing.assert_allclose(interpolated, centre + centred @ turn(fraction * degrees).T, atol=1e-3)


@pytest.mark.parametrize("degrees, counts", [(55.0, False), (59.0, False), (61.0, True), (90.0, True)])
def test_a_part_must_turn_by_sixty_degrees(degrees, counts):
    first = body()
    assert (RigidPartInterpolation.between(first, turned(first, degrees)) is not None) is counts


@pytest.mark.parametrize("radius, counts", [(1.9, False), (2.1, True)])
def test_atoms_must_have_moved_by_two_angstrom(radius, counts):
    """Half a turn about z moves atoms at a distance r from the axis by 2 r."""
    angles = np.linspace(0, 2 * np.pi, 50, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles), np.linspace(-3, 3, 50)], 1)
    first = (ring * [radius / 2, radius / 2, 1]).astype(np.float32)
    second = (first * np.array([-1, -1, 1])).astype(np.float32)
    rmsd = np.sqrt(((second - first) ** 2).sum(1).mean())
    assert rmsd == pytest.approx(radius, rel=1e-3)
    assert (RigidPartInterpolation.between(first, second) is not None) is counts


@pytest.mark.parametrize("count, counts", [(3, False), (4, True)])
def test_three_atoms_are_no_body(count, counts):
    first = body(count)
    assert (RigidPartInterpolation.between(first, turned(first, 150.0)) is not None) is counts


@pytest.mark.parametrize("far_count, counts", [(4, False), (8, True)])
def test_one_atom_in_twenty_must_turn(far_count, counts, monkeypatch):
    """A far group of `few` of 120 atoms turns; the neighbourhoods are as small as the group."""
    monkeypatch.setattr(rigid_parts, "BODY_ATOMS", 4)
    monkeypatch.setattr(rigid_parts, "MIN_RMSD", 0.1)
    first = body(120 - far_count)
    group = cloud(far_count, 3.0, seed=1) + np.array([60.0, 0, 0])
    centre = group.mean(0)
    ends = [
        np.concatenate([first, coordinates]).astype(np.float32)
        for coordinates in (group, (group - centre) @ turn(150.0).T + centre)
    ]
    assert (RigidPartInterpolation.between(*ends) is not None) is counts


def test_of_many_atoms_every_so_many_th_is_a_node_and_the_others_go_with_the_nearest(monkeypatch):
    first = body(100)
    second = turned(first, 100.0)
    monkeypatch.setattr(rigid_parts, "MAX_NODES", 40)
    rigid = RigidPartInterpolation.between(first, second)
    assert rigid is not None
    np.testing.assert_array_equal(rigid.first, first[::3].astype(np.float64))
    nearest = np.linalg.norm(first[:, None] - first[None, ::3], axis=2).argmin(1)
    np.testing.assert_array_equal(rigid.node_of_atom, nearest)
    offset = rigid.offset(0.5)
    np.testing.assert_array_equal(offset, offset[::3][nearest])


def test_the_equation_is_that_of_the_neighbours_graph():
    """Solved with dense matrices: neighbours both ways, their mean turned differences, and a weak anchor."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 40, 3)) * 8
    rotations = rng.normal(size=(40, 3))
    rigid = RigidPartInterpolation(first, second, rotations, np.arange(40))
    order = np.linalg.norm(first[:, None] - first[None], axis=2).argsort(1)[:, 1:17]
    linked = np.zeros((40, 40), bool)
    np.put_along_axis(linked, order, True, axis=1)
    linked |= linked.T
    for fraction in (0.2, 0.7):
        forth = Rotation.from_rotvec(fraction * rotations).as_matrix()
        inverse = Rotation.from_rotvec(-(1 - fraction) * rotations).as_matrix()
        straight = (1 - fraction) * first + fraction * second
        right = 1e-6 * straight
        for i, j in zip(*np.nonzero(linked), strict=True):
            right[i] += (1 - fraction) * 0.5 * (forth[i] + forth[j]) @ (first[i] - first[j])
            right[i] += fraction * 0.5 * (inverse[i] + inverse[j]) @ (second[i] - second[j])
        matrix = np.diag(linked.sum(1) + 1e-6) - linked
        np.testing.assert_allclose(rigid.offset(fraction), np.linalg.solve(matrix, right) - straight, atol=1e-6)


def test_atoms_without_links_to_the_rest_stay_in_place():
    """Two bodies far apart: each turns about its own centre, which goes straight."""
    body_atoms, separation = body(60).astype(float), np.array([500.0, 0.0, 0.0])
    first = np.concatenate([body_atoms, body_atoms + separation])
    second = np.concatenate([body_atoms @ turn(90.0).T, body_atoms @ turn(90.0).T + separation + [0.0, 0.0, 9.0]])
    axis = np.array([1.0, 2.0, 3.0]) / 14**0.5
    rigid = RigidPartInterpolation(first, second, np.tile(axis * np.pi / 2, (120, 1)), np.arange(120))
    middle = 0.5 * (first + second) + rigid.offset(0.5)
    for atoms, end in ((slice(0, 60), 0.0), (slice(60, 120), [500.0, 0.0, 4.5])):
        centre = body_atoms.mean(0) + 0.5 * (body_atoms.mean(0) @ turn(90.0).T - body_atoms.mean(0)) + end
        np.testing.assert_allclose(middle[atoms], centre + (body_atoms - body_atoms.mean(0)) @ turn(45.0).T, atol=1e-3)
