"""Poses of the whole molecule: the direct way, the smoothed one, and the choice of its width."""

import itertools
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from dsr_backend.motion.kernels import TemporalKernel
from dsr_backend.motion.poses import Pose, Poses, choose_pose_width
from scipy.spatial.transform import Rotation

from support.shapes import cloud, turn

# In gaps between states.
CHOICES = (0.5, 0.75, 1.0, 1.5, 2.5)
STATES = np.array([1.0, 2.0, 4.0, 5.0, 6.0, 9.0])


def rotation_by(angle, axis=(0, 0, 1)):
    return Rotation.from_rotvec(np.radians(angle) * np.asarray(axis, float)).as_matrix()


def wandering(angles=(0, 10, 25, 30, 50, 80), axis=(0, 0, 1)):
    """Poses of a molecule that turns about one axis, and whose centre goes along x and y in the scene."""
    rotations = np.array([rotation_by(angle, axis) for angle in angles])
    places = np.array([[2.0 * k, 0.5 * k * k, -1.0] for k in range(len(angles))])
    return Poses(rotations, -np.einsum("sij,sj->si", rotations, places)), np.asarray(angles, float), places


def angle_of(rotation):
    """Degrees about z of a rotation about z."""
    np.testing.assert_allclose(rotation[2], [0, 0, 1], atol=1e-12)
    return np.degrees(np.arctan2(rotation[1, 0], rotation[0, 0]))


# One pose


def test_a_pose_maps_the_scene_to_the_reference_and_its_inverse_the_atoms_back():
    pose = Pose(turn(70.0), np.array([5.0, -2.0, 1.0]))
    scene = cloud(20)
    restored = pose.to_scene((scene @ pose.rotation.T + pose.translation).astype(np.float32))
    assert restored is not None and restored.dtype == np.float32
    np.testing.assert_allclose(restored, scene, atol=1e-5)
    assert pose.to_scene(None) is None


def test_poses_that_move_nothing():
    identity = Poses.identity(3)
    assert identity.rotations.shape == (3, 3, 3) and identity.width == 0.0
    positions = np.random.default_rng(0).normal(size=(3, 5, 3))
    np.testing.assert_array_equal(identity.apply(positions), positions)


def test_all_states_are_superposed_on_the_centred_middle_one():
    base = cloud(20) + 7.0
    positions = np.array([base @ turn(20.0 * k).T + 3.0 * k for k in range(4)])
    placed = Poses.superposed(positions, True).apply(positions)
    for state in placed:
        np.testing.assert_allclose(state, positions[2] - positions[2].mean(0), atol=1e-9)
    np.testing.assert_allclose(placed.mean(1), 0.0, atol=1e-9)


@pytest.mark.parametrize("atoms, turned", [(2, False), (3, True)])
def test_three_atoms_at_least_are_turned(atoms, turned):
    base = cloud(atoms)
    positions = np.array([base, base @ turn(50.0).T])
    assert (np.abs(Poses.superposed(positions, True).rotations - np.eye(3)).max() > 0.1) == turned
    np.testing.assert_array_equal(Poses.superposed(positions, False).rotations, [np.eye(3)] * 2)


def test_the_origin_is_where_the_reference_has_zero():
    poses, _, places = wandering()
    for k, position in enumerate(places):
        np.testing.assert_allclose(poses.origin(k), position, atol=1e-12)
        np.testing.assert_allclose(poses.rotations[k] @ position + poses.translations[k], 0.0, atol=1e-12)


# The way between states


@pytest.mark.parametrize(
    "time, angle, origin",
    [
        (1.0, 0.0, (0, 0, -1)),
        (1.25, 2.5, (0.5, 0.125, -1)),
        (3.0, 17.5, (3, 1.25, -1)),
        (8.25, 72.5, (9.5, 11.375, -1)),
        # Held at the ends.
        (0.0, 0.0, (0, 0, -1)),
        (12.0, 80.0, (10, 12.5, -1)),
    ],
)
def test_without_a_width_the_way_is_direct(time, angle, origin):
    rotation, translation = wandering()[0].at(time, TemporalKernel(STATES))
    assert angle_of(rotation) == pytest.approx(angle)
    np.testing.assert_allclose(-rotation.T @ translation, origin, atol=1e-9)


def test_a_loop_is_closed_directly():
    poses, _, _ = wandering((0, 10, 25, 30, 50, 40))
    rotation, _ = poses.at(10.0, TemporalKernel(STATES, period=10.0))
    assert angle_of(rotation) == pytest.approx(20.0)


@pytest.mark.parametrize("time", [1.0, 1.3, 2.0, 2.75, 3.0, 4.4, 5.5, 6.5, 9.0, 11.0])
@pytest.mark.parametrize("width", [0.4, 1.5])
def test_with_a_width_angles_and_places_are_averages_that_meet_the_states(time, width):
    poses, angles, places = wandering()
    kernel = TemporalKernel(STATES)
    smoothed = Poses(poses.rotations, poses.translations, width)
    rotation, translation = smoothed.at(time, kernel)
    inside = min(max(time, 1.0), 9.0)
    # Turns about one axis: their mean is, within a hundredth of a degree or so, that of their angles.
    weights = kernel.weights(inside, width)
    assert angle_of(rotation) == pytest.approx(weights @ angles, abs=0.5)
    np.testing.assert_allclose(-rotation.T @ translation, weights @ places, atol=1e-3)


def test_with_uniform_smoothing_the_states_are_averages_too():
    poses, angles, places = wandering()
    uniform = TemporalKernel(STATES, uniform=True)
    rotation, translation = Poses(poses.rotations, poses.translations, 1.5).at(5.0, uniform)
    weights = uniform.weights(5.0, 1.5)
    assert abs(weights @ angles - 30.0) > 1.0
    assert angle_of(rotation) == pytest.approx(weights @ angles, abs=0.3)
    np.testing.assert_allclose(-rotation.T @ translation, weights @ places, atol=1e-3)


def test_a_single_state_has_its_own_pose():
    poses, _, _ = wandering((40,))
    rotation, translation = poses.at(77.0, TemporalKernel(np.array([3.0])))
    np.testing.assert_array_equal(rotation, poses.rotations[0])
    np.testing.assert_array_equal(translation, poses.translations[0])


# The choice of a width


def left_out(poses, kernel, atoms):
    """Errors of all choices, by leaving out one inner state after another."""
    states, count = kernel.states, len(kernel.states)
    box = np.array(list(itertools.product((-1, 1), repeat=3))) * atoms[count // 2].std(0)
    inner = list(range(1, count - 1))
    if len(inner) > 16:
        inner = sorted({int(1 + (count - 3) * k / 15) for k in range(16)})
    errors = []
    for choice in CHOICES:
        total = 0.0
        for k in inner:
            other_states = [i for i in range(count) if i != k]
            known = Poses(poses.rotations[other_states], poses.translations[other_states], choice * kernel.gap)
            rotation, translation = known.at(states[k], TemporalKernel(states[other_states]))
            displacement = (box - translation) @ rotation - (box - poses.translations[k]) @ poses.rotations[k]
            total += np.sqrt((displacement**2).sum(1).mean())
        errors.append(total)
    return errors


@pytest.mark.parametrize(
    "count, speed, noise, expected",
    [
        (5, 8.0, 1.0, 0.5),
        (18, 8.0, 0.5, 1.0),
        (9, 8.0, 0.5, 1.5),
        (19, 8.0, 0.5, 1.5),
        (40, 8.0, 0.5, 1.5),
        (40, 4.0, 1.0, 2.5),
        (40, 16.0, 0.5, None),
        (40, 16.0, 0.2, None),
    ],
)
def test_the_width_is_that_of_the_least_error_at_states_left_out(count, speed, noise, expected):
    """A molecule turns by `speed` degrees a state, and jitters: the steadier it turns, the narrower the average."""
    rng = np.random.default_rng(count)
    kernel = TemporalKernel(np.cumsum(rng.uniform(0.9, 1.1, count)))
    angles = speed * np.arange(count) + noise * rng.normal(size=count)
    poses = Poses(np.array([rotation_by(angle) for angle in angles]), np.zeros((count, 3)))
    atoms = np.repeat(cloud(30)[None] * [1, 2, 3], count, axis=0).astype(np.float32)
    chosen = choose_pose_width(poses, kernel, atoms) / kernel.gap
    assert chosen == pytest.approx(CHOICES[int(np.argmin(left_out(poses, kernel, atoms)))])
    assert expected is None or chosen == pytest.approx(expected)


def test_few_states_are_joined_directly():
    poses, _, _ = wandering((0, 30, 10, 40))
    atoms = np.repeat(cloud(30)[None], 5, axis=0).astype(np.float32)
    assert choose_pose_width(poses, TemporalKernel(STATES[:4]), atoms[:4]) == 0.0
    poses, _, _ = wandering((0, 30, 10, 40, 20))
    assert choose_pose_width(poses, TemporalKernel(STATES[:5]), atoms) > 0.0


def test_poses_are_not_changed_and_compared_as_one_object():
    identity = Poses.identity(2)
    with pytest.raises(FrozenInstanceError):
        identity.width = 2.0  # type: ignore[misc]
    assert replace(identity) != identity
