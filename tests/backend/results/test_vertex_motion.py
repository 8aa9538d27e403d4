"""Motion of the surface: velocities of balls that are known, excursions of atoms, shares of colours."""

import numpy as np
import pytest
from dsr_backend.results.mesh import extract_mesh
from dsr_backend.results.vertex_motion import atom_weights, normal_velocity, rmsf

from support.shapes import ball, cloud, fit


@pytest.fixture(scope="module")
def sliding():
    """A ball with atoms that slides by 0.6 Å a state along x, fitted where it is, not superposed."""
    atoms = cloud()
    states = range(1, 6)
    centres = [(0.6 * (k - 1), 0.0, 0.0) for k in states]
    return fit([ball(k, 6.0, at, atoms + at) for k, at in zip(states, centres, strict=True)], align=False)


@pytest.mark.system
@pytest.mark.parametrize("time", [1.0, 2.5, 3.0, 5.0])
def test_a_sliding_ball_moves_by_the_cosine_of_its_normals(sliding, time):
    mesh = extract_mesh(sliding, time)
    velocity = normal_velocity(sliding, time, mesh.points)
    error = np.abs(velocity - 0.6 * mesh.normals[:, 0])
    assert error.mean() < 0.02 and error.max() < 0.15


def test_rigid_motion_taken_out_of_the_fit_is_part_of_the_velocity():
    atoms = cloud()
    field = fit([ball(k, 6.0, (0.6 * k, 0, 0), atoms + np.array([0.6 * k, 0, 0])) for k in (1, 2, 3)], align=True)
    mesh = extract_mesh(field, 2.0)
    np.testing.assert_allclose(normal_velocity(field, 2.0, mesh.points), 0.6 * mesh.normals[:, 0], atol=0.08)
    assert rmsf(field).max() < 0.01


def test_a_growing_ball_moves_outwards():
    field = fit([ball(k, 5.0 + 0.5 * k) for k in (1, 3, 5)])
    mesh = extract_mesh(field, 3.0)
    assert normal_velocity(field, 3.0, mesh.points).mean() == pytest.approx(0.5, abs=0.05)


def test_a_surface_that_is_held_between_two_runs_does_not_move():
    """In the middle, the last state of one run gives way to the first of the next: a jump, and no motion."""
    radii = {1: 5.0, 2: 6.0, 3: 5.0, 4: 6.0}
    growing_twice = fit([ball(k, radius, subdivisions=3) for k, radius in radii.items()], breaks=(2,))
    points = extract_mesh(growing_twice, 2.5, resolution=1.0).points
    assert len(points) and not normal_velocity(growing_twice, 2.5, points).any()
    assert normal_velocity(growing_twice, 2.0, points).mean() == pytest.approx(1.0, abs=0.1)


def test_one_state_and_an_empty_mesh_do_not_move():
    resting = fit([ball(1, atoms=cloud())])
    points = np.array([[6.0, 0.0, 0.0]], np.float32)
    assert normal_velocity(resting, 1.0, points).tolist() == [0.0]
    assert normal_velocity(resting, 1.0, points[:0]).shape == (0,)
    assert (rmsf(resting) == 0.0).all()


def test_excursions_are_root_mean_square_distances_from_the_mean_place(sliding):
    # Places −1.2, −0.6, 0, 0.6, 1.2 Å from the middle.
    expected = 0.6 * np.sqrt((4 + 1 + 0 + 1 + 4) / 5)
    np.testing.assert_allclose(rmsf(sliding), expected, atol=2e-3)


def test_a_field_without_atoms_has_no_excursions():
    assert rmsf(fit([ball(1), ball(2)])) is None


def test_colours_are_blended_from_the_nearest_spheres():
    atoms = np.array([[0, 0, 0], [3, 0, 0], [20, 0, 0]], np.float32)
    points = np.array([[0, 0, 2], [1.5, 0, 2], [20, 0, 2]], np.float32)
    near, weights = atom_weights(points, atoms, None)
    by_atom = np.zeros((3, 3))
    np.put_along_axis(by_atom, near.astype(int), weights, 1)
    np.testing.assert_allclose(by_atom.sum(1), 1.0, atol=1e-6)
    assert by_atom[0, 0] > 0.8 and by_atom[2, 2] == pytest.approx(1.0)
    assert by_atom[1, 0] == pytest.approx(by_atom[1, 1]) == pytest.approx(0.5, abs=1e-3)
    # The nearest sphere is not always that of the nearest atom.
    near, weights = atom_weights(
        points[:1] + np.array([1.4, 0, 0], np.float32), atoms, np.array([1.0, 2.0, 1.0], np.float32)
    )
    assert near[0][weights[0].argmax()] == 1
    with pytest.raises(ValueError, match=r"radii have shape \[2\], the fit has 3 atoms"):
        atom_weights(points, atoms, np.ones(2, np.float32))
    assert atom_weights(points[:0], atoms, None)[0].shape == (0, 3)
