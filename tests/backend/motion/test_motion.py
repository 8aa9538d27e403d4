"""The motion as a whole: poses, weights in time, material coordinates and forecasts of the atoms."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from dsr_backend.motion.forecast import Forecast
from dsr_backend.motion.motion import Motion
from dsr_backend.motion.warp import WARP_SIGMAS
from scipy.spatial.transform import Rotation

from pymol_dsr.shared.superpose import superpose
from support.shapes import cloud, turn

CPU = torch.device("cpu")
UNEVEN = np.array([1.0, 2.0, 3.0, 4.5, 12.0, 13.0, 20.0])


def by(x, y, z):
    return np.array([x, y, z], float)


def of(states, atoms=None, align=True):
    atoms = None if atoms is None else np.asarray(atoms, np.float32)
    return Motion.from_states(np.asarray(states, float), atoms, align)


# Where atoms are compared, 2e-3 Å leaves room for the steps of 1/1024 Å that their places go in.


def rmsd(a, b):
    return float(np.sqrt(((a - b) ** 2).sum(-1).mean()))


def warped(motion, time, x, **options):
    return motion.warp(time, CPU, **options)(torch.tensor(np.asarray(x), dtype=torch.float32)).numpy()


# Poses of the states


def test_states_of_a_rigid_body_become_one():
    base = cloud()
    atoms = [base @ turn(40.0 * k).T + by(10.0 * k, 0, 0) for k in range(5)]
    motion = of(range(1, 6), atoms)
    assert np.abs(motion.atoms - motion.atoms[2]).max() < 1e-4
    for k, state in enumerate(atoms):
        np.testing.assert_allclose(motion.scene_atoms(k + 1.0), state, atol=2e-3)


def test_far_from_the_origin_atoms_keep_their_digits():
    base = cloud()
    places = [base @ turn(20.0 * k).T + by(1e5, -1e5, 1e5 + k) for k in range(3)]
    motion = of([1, 2, 3], places)
    # float32 holds 10⁵ Å to 0.008 Å: no more than that is lost.
    assert np.abs(motion.aligned_atoms(1.0) - motion.aligned_atoms(2.0)).max() < 0.02
    np.testing.assert_allclose(motion.scene_atoms(1.0), places[0], atol=0.02)
    x = np.asarray(places[0], np.float32)
    warped_back = warped(motion, 1.0, x)
    assert np.abs(warped_back - warped(motion, 2.0, np.asarray(places[1], np.float32))).max() < 0.02


def test_without_align_only_a_translation_is_taken_out():
    base = cloud()
    motion = of([1, 2], [base + 50.0, base @ turn(30.0).T + 50.0], align=False)
    assert np.array_equal(motion.poses.rotations, np.tile(np.eye(3), (2, 1, 1)))
    assert np.array_equal(motion.poses.translations[0], motion.poses.translations[1])
    np.testing.assert_allclose(motion.scene_atoms(2.0), base @ turn(30.0).T + 50.0, atol=2e-3)


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_atoms_are_not_turned(count):
    motion = of([1, 2], [cloud(count), cloud(count) + 3.0])
    assert np.array_equal(motion.poses.rotations, np.tile(np.eye(3), (2, 1, 1)))
    np.testing.assert_allclose(motion.scene_atoms(2.0), cloud(count) + 3.0, atol=2e-3)


# Weights


@pytest.mark.parametrize("width", [0.0, 0.01, 0.4, 1.0, 2.5, 100.0])
@pytest.mark.parametrize("states", [np.arange(1.0, 9.0), UNEVEN, np.array([1.0, 50.0]), np.array([4.0])])
def test_weights_sum_to_one_and_pick_training_states(states, width):
    motion = of(states)
    for time in np.linspace(states[0] - 3, states[-1] + 3, 301):
        weights = motion.kernel.weights(time, width)
        assert weights.sum() == pytest.approx(1.0) and weights.min() > -0.3
    for k, state in enumerate(states):
        np.testing.assert_allclose(motion.kernel.weights(state, width), np.eye(len(states))[k], atol=1e-12)


@pytest.mark.system
@pytest.mark.parametrize("width", [0.6, 1.0, 2.5])
@pytest.mark.parametrize("states", [np.arange(1.0, 9.0), UNEVEN[:5]])
def test_weights_and_their_slopes_are_continuous(states, width):
    motion = of(states)
    step = 1e-3
    times = np.arange(states[0], states[-1], step)
    table = np.array([motion.kernel.weights(time, width) for time in times])
    slopes = np.diff(table, axis=0) / step
    # Slopes change by at most step × curvature; a kink would change them by a tenth or more at once.
    assert np.abs(np.diff(slopes, axis=0)).max() < 0.05
    assert np.abs(np.diff(table, axis=0)).max() < 0.01


@pytest.mark.parametrize("width", [0.3, 1.5, 4.0])
@pytest.mark.parametrize("states", [np.arange(1.0, 21.0), UNEVEN])
def test_what_moves_evenly_is_met_at_any_time(states, width):
    """At the states, which are passed without stopping, between uneven ones and near the ends."""
    motion = of(states)
    for time in np.linspace(states[0], states[-1], 100):
        assert motion.kernel.weights(time, width) @ states == pytest.approx(time, abs=1e-6)


def test_a_loop_goes_on_with_its_first_state():
    states = np.arange(1.0, 9.0)
    motion = Motion.from_states(states, None, loop=True)
    assert motion.kernel.period == 8.0 and motion.kernel.lead(100.0) == 0.0
    np.testing.assert_allclose(motion.kernel.weights(9.0, 1.0), np.eye(8)[0], atol=1e-12)
    np.testing.assert_allclose(motion.kernel.weights(8.5, 0.0), [0.5, 0, 0, 0, 0, 0, 0, 0.5])
    for time in (1.3, 4.0, 8.7):
        np.testing.assert_allclose(motion.kernel.weights(time + 16.0, 1.0), motion.kernel.weights(time, 1.0), atol=1e-9)
    # No state is nearer to the seam than another: the weights about it are those amid the states, shifted.
    np.testing.assert_allclose(motion.kernel.weights(8.5, 1.0), np.roll(motion.kernel.weights(4.5, 1.0), 4), atol=1e-12)
    slopes = np.diff([motion.kernel.weights(time, 1.0) for time in np.arange(7.0, 11.0, 1e-3)], axis=0) / 1e-3
    assert np.abs(np.diff(slopes, axis=0)).max() < 0.05


def test_parts_that_turn_far_turn_as_bodies():
    """A hinge that opens by 120°: on straight lines its arm would shrink to half its length amid the way."""
    rng = np.random.default_rng(0)
    body, arm = rng.uniform(-8, 8, (300, 3)), rng.uniform((8, -3, -3), (28, 3, 3), (300, 3))
    hinge = np.array([8.0, 0.0, 0.0])

    def opened(angle):
        return np.concatenate([body, (arm - hinge) @ turn(angle).T + hinge])

    motion = of([1, 9], [opened(0.0), opened(120.0)], align=False)
    far = slice(450, 600)
    for fraction in (0.25, 0.5, 0.8):
        interpolated = motion.scene_atoms(1 + 8 * fraction)
        lines = (1 - fraction) * opened(0.0) + fraction * opened(120.0)
        truth = opened(120.0 * fraction)
        # The centre goes straight, so the whole is compared superposed.
        missed = [rmsd(at @ r.T + t, truth) for at in (interpolated, lines) for r, t in [superpose(at, truth)]]
        assert missed[0] < 0.3 * missed[1]
        length = np.linalg.norm(interpolated[far].max(0) - interpolated[far].min(0)) / np.linalg.norm(
            np.ptp(arm[150:], axis=0)
        )
        assert length > 0.85
    np.testing.assert_allclose(motion.scene_atoms(1.0), opened(0.0), atol=2e-3)
    np.testing.assert_allclose(motion.scene_atoms(9.0), opened(120.0), atol=2e-3)


def test_parts_that_turn_little_go_straight():
    atoms = [cloud(), cloud() @ turn(30.0).T]
    motion = of([1, 2], atoms, align=False)
    np.testing.assert_allclose(motion.scene_atoms(1.5), 0.5 * (atoms[0] + atoms[1]), atol=2e-3)


def test_a_molecule_that_only_jitters_is_posed_on_average():
    rng = np.random.default_rng(0)
    jitter = [cloud() @ turn(5.0 * rng.normal()).T + 0.5 * rng.normal(size=3) for _ in range(30)]
    tumbling = [cloud() @ turn(40.0 * k).T for k in range(30)]
    steady, fast = of(np.arange(1.0, 31.0), jitter), of(np.arange(1.0, 31.0), tumbling)
    assert steady.poses.width > 1.5 and fast.poses.width <= 0.75
    turns = [fast.pose(time)[0] for time in np.arange(5.0, 25.0, 0.25)]
    angles = [np.degrees(Rotation.from_matrix(b @ a.T).magnitude()) for a, b in itertools.pairwise(turns)]
    np.testing.assert_allclose(angles, 10.0, rtol=0.15)


def test_without_width_weights_are_the_straight_line():
    motion = of(UNEVEN)
    np.testing.assert_allclose(motion.kernel.weights(6.375, 0.0), [0, 0, 0, 0.75, 0.25, 0, 0])
    for time in np.linspace(1, 20, 77):
        assert motion.kernel.weights(time, 0.0) @ UNEVEN == pytest.approx(time)


def test_amid_a_gap_weights_are_the_gaussian():
    states = np.arange(1.0, 12.0)
    kernel = np.exp(-0.5 * ((states - 6.5) / 1.5) ** 2)
    np.testing.assert_allclose(of(states).kernel.weights(6.5, 1.5), kernel / kernel.sum(), atol=2e-3)


def test_a_wide_gap_is_crossed_gradually():
    """A Gaussian much narrower than a gap would stand still in it, and jump in the middle."""
    weights = np.array([of(UNEVEN).kernel.weights(time, 0.4) for time in np.linspace(4.5, 12.0, 76)])
    assert np.abs(np.diff(weights, axis=0)).max() < 0.12


def test_outside_the_range_weights_stay_at_the_end():
    motion = of(np.arange(1.0, 6.0))
    np.testing.assert_allclose(motion.kernel.weights(9.0, 0.0), [0, 0, 0, 0, 1])
    np.testing.assert_allclose(motion.kernel.weights(9.0, 1.0), motion.kernel.weights(90.0, 1.0))
    assert motion.kernel.weights(9.0, 1.0).argmax() == 4 and motion.kernel.weights(-9.0, 1.0).argmax() == 0


def test_noise_is_averaged_and_motion_kept():
    rng = np.random.default_rng(0)
    states = np.arange(1.0, 31.0)
    path = np.array([cloud() + by(0.1 * t, 0, 0) for t in states])
    noisy = path + 0.5 * rng.normal(size=path.shape)
    motion = of(states, noisy, align=False)
    motion.smooth = 2.0
    truth = cloud() + by(1.55, 0, 0)
    assert rmsd(motion.scene_atoms(15.5), truth) < 0.7 * rmsd(motion.scene_atoms(15.5, smooth=0.0), truth)


# Pose


def test_the_pose_at_states_is_the_superposition():
    atoms = [cloud() @ turn(30.0 * k).T + by(5.0 * k, 0, 0) for k in range(4)]
    motion = of([1, 2, 5, 6], atoms)
    for k, state in enumerate(motion.states):
        rotation, translation = motion.pose(state)
        np.testing.assert_allclose(rotation, motion.poses.rotations[k], atol=1e-12)
        np.testing.assert_allclose(translation, motion.poses.translations[k], atol=1e-9)


def test_between_states_the_pose_is_rigid_at_constant_speed():
    base = cloud()
    motion = of([1, 5], [base + by(0, 0, 10), base @ turn(80.0).T + by(8, 0, 10)])
    for fraction in (0.25, 0.5, 0.9):
        rotation, translation = motion.pose(1 + 4 * fraction)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1.0)
        placed = (motion.references[0].astype(float) - translation) @ rotation
        truth = (base - base.mean(0)) @ turn(80.0 * fraction).T
        np.testing.assert_allclose(placed - placed.mean(0), truth, atol=2e-3)
        # The centre goes straight.
        start, end = motion.scene_atoms(1.0).mean(0), motion.scene_atoms(5.0).mean(0)
        np.testing.assert_allclose(placed.mean(0), (1 - fraction) * start + fraction * end, atol=2e-3)


def test_a_rigid_body_keeps_its_shape_between_states():
    base = cloud()
    motion = of([1, 2], [base, base @ turn(120.0).T])
    middle = motion.scene_atoms(1.5)
    lengths = np.linalg.norm(middle[:, None] - middle, axis=2)
    np.testing.assert_allclose(lengths, np.linalg.norm(base[:, None] - base, axis=2), atol=2e-3)


def test_outside_the_range_the_pose_is_held():
    motion = of([1, 2], [cloud(), cloud() @ turn(40.0).T + 3.0])
    for outside, end in ((-5.0, 1.0), (9.0, 2.0)):
        for value, truth in zip(motion.pose(outside), motion.pose(end), strict=True):
            np.testing.assert_array_equal(value, truth)


# Material coordinates


def test_without_atoms_material_coordinates_are_the_scene_s():
    x = np.random.default_rng(0).uniform(-20, 20, (100, 3)).astype(np.float32)
    for states in ([3.0], [1.0, 2.0]):
        assert np.array_equal(warped(of(states), 1.5, x), x)


def test_rigid_motion_is_undone_exactly():
    base = cloud(200)
    rotation, shift = turn(75.0), np.array([30.0, -4.0, 11.0])
    motion = of([1, 2], [base, base @ rotation.T + shift])
    x = np.random.default_rng(1).uniform(-12, 12, (500, 3))
    np.testing.assert_allclose(warped(motion, 2.0, x @ rotation.T + shift), warped(motion, 1.0, x), atol=2e-5)


def test_atoms_and_what_is_near_them_go_where_they_are_in_the_reference():
    """Two blobs drift apart: each is carried back whole, with what surrounds it."""
    left, right = cloud(150) - by(8, 0, 0), cloud(150, seed=1) + by(8, 0, 0)
    states = [np.concatenate([left - by(k, 0, 0), right + by(k, 0, 0)]) for k in range(3)]
    motion = of([1, 2, 3], states, align=False)
    for k in range(3):
        for blob, sign in ((left, -1), (right, 1)):
            offset = np.random.default_rng(k).uniform(-2, 2, blob.shape)
            home = motion.references[0, :150] if sign < 0 else motion.references[0, 150:]
            displaced = warped(motion, k + 1.0, blob + by(sign * k, 0, 0) + offset)
            # σ = 2 Å: an atom of the other blob weighs next to nothing.
            np.testing.assert_allclose(displaced, home + offset, atol=0.1)


def test_far_from_all_atoms_material_coordinates_follow_the_nearest_part():
    base = cloud()
    motion = of([1, 2], [base, base + by(4, 0, 0)], align=False)
    x = np.array([[25.0, 3, 0], [0, -30, 0], [200, 200, 200]])
    np.testing.assert_allclose(warped(motion, 2.0, x + by(4, 0, 0)), warped(motion, 1.0, x), atol=1e-3)


def test_the_reference_s_own_state_is_not_warped():
    motion = of([1, 2, 3], [cloud() * s for s in (1.0, 1.1, 1.2)])
    reference_states = [k for k in range(3) if np.array_equal(motion.atoms[k], motion.references[0])]
    assert len(reference_states) == 1 and motion.warp(reference_states[0] + 1.0, CPU).displacement is None


def two_blobs(gap):
    """Two balls of atoms whose surfaces are `gap` Å apart."""
    return np.concatenate([cloud(150) - by(4.5 + gap / 2, 0, 0), cloud(150, seed=1) + by(4.5 + gap / 2, 0, 0)])


@pytest.mark.parametrize("gaps", [[0, 1, 2, 4, 8], [8, 4, 2, 1, 0], [0, 2, 8, 2, 0]])
def test_the_reference_is_the_state_with_the_gap_open(gaps):
    motion = of(range(1, 6), [two_blobs(gap) for gap in gaps])
    assert np.array_equal(motion.references[0], motion.atoms[int(np.argmax(gaps))])


def test_where_all_references_fold_the_gaussian_is_wider():
    """Atoms that pass through each other: only what follows the whole leaves space in order."""
    base = cloud(150)
    motion = of([1, 2], [base, base[::-1] * [-1, 1, 1]], align=False)
    assert motion.sigma > WARP_SIGMAS[0]
    assert of([1, 2], [base, 1.2 * base]).sigma == WARP_SIGMAS[0]


def test_among_equals_the_middle_state_is_the_reference():
    motion = of(range(1, 8), [cloud() @ turn(30.0 * k).T for k in range(7)])
    assert np.array_equal(motion.references[0], motion.atoms[3])


# Forecast


def path(count, speed, stop=None, noise=0.02):
    """States of a hinge that bends by `speed` Å per state until `stop`: f4[count,A,3]."""
    rng = np.random.default_rng(0)
    base = cloud(100)
    steps = np.minimum(np.arange(count), count if stop is None else stop)
    bend = np.abs(base[:, :1]) * np.array([0, 1.0, 0]) / 3
    return np.array([base + speed * w * bend + noise * rng.normal(size=base.shape) for w in steps])


def forecast(count, speed, stop=None, noise=0.02):
    motion = of(range(1, count + 1), path(count, speed, stop, noise), align=False)
    motion.choose_forecasts()
    return motion


def test_motion_that_has_stopped_is_held():
    motion = forecast(30, 0.5, stop=14)
    assert motion.forecasts[1].rank == 0
    np.testing.assert_array_equal(motion.aligned_atoms(35.0), motion.atoms[-1])


def test_noise_without_motion_is_held():
    motion = forecast(30, 0.0, noise=0.3)
    assert [f.rank for f in motion.forecasts] == [0, 0]


def test_steady_motion_goes_on_damped():
    motion = forecast(30, 0.5)
    ahead = motion.forecasts[1]
    assert ahead.rank >= 1 and ahead.damping > 0
    truth = path(34, 0.5)[33]
    held = rmsd(motion.scene_atoms(30.0), truth)
    assert rmsd(motion.scene_atoms(34.0), truth) < 0.8 * held
    # Damped: never further than `damping` states of motion, however far ahead.
    farthest = rmsd(motion.aligned_atoms(1000.0), motion.atoms[-1])
    assert farthest == pytest.approx(ahead.damping * rmsd(path(2, 0.5, noise=0)[1], path(1, 0.5, noise=0)[0]), rel=0.1)


def test_before_the_first_state_motion_goes_on_backwards():
    motion = forecast(30, 0.5)
    assert motion.forecasts[0].rank >= 1
    truth = path(1, 0.5)[0] - 2 * (path(2, 0.5, noise=0)[1] - path(1, 0.5, noise=0)[0])
    assert rmsd(motion.scene_atoms(-1.0), truth) < 0.8 * rmsd(motion.scene_atoms(1.0), truth)


def test_the_forecast_before_the_first_state_is_that_of_the_motion_run_backwards():
    states = np.arange(1.0, 32.0) ** 1.1
    forth = of(states, path(31, 0.5), align=False)
    backward = of(-states[::-1], path(31, 0.5)[::-1], align=False)
    forth.choose_forecasts()
    backward.choose_forecasts()
    assert forth.forecasts == backward.forecasts[::-1] and forth.forecasts[0].rank >= 1
    for lead in (0.25, 0.9, 1.0, 1.5, 7.0):
        before = states[0] - lead
        np.testing.assert_array_equal(forth.aligned_atoms(before), backward.aligned_atoms(-before))
        assert forth.expected_error(before) == backward.expected_error(-before) > 0.0


def test_the_expected_error_is_that_of_the_forecast_on_its_side():
    motion = of([1, 2, 3], [cloud()] * 3)
    motion.forecasts = (Forecast(leads=(1.0,), errors=(2.0,)), Forecast(leads=(1.0,), errors=(5.0,)))
    assert [motion.expected_error(time) for time in (0.0, 1.0, 3.0, 4.0)] == [2.0, 0.0, 0.0, 5.0]


def test_a_motion_is_straight_and_held_until_more_is_known():
    motion = of([1, 2, 3], [cloud()] * 3)
    assert (motion.smooth, motion.forecasts) == (0.0, (Forecast(), Forecast()))
    assert Motion(motion.kernel, motion.poses).sigma == WARP_SIGMAS[0]
    assert replace(motion) != motion, "a motion is compared as one object"


def test_the_forecast_begins_at_the_last_state():
    motion = forecast(30, 0.5)
    assert rmsd(motion.scene_atoms(30.0 + 1e-6), motion.scene_atoms(30.0)) < 1e-4


def test_expected_error_is_zero_inside_and_rises_outside():
    motion = forecast(30, 0.5)
    assert [motion.expected_error(t) for t in (1.0, 15.5, 30.0)] == [0.0, 0.0, 0.0]
    errors = [motion.expected_error(t) for t in (30.5, 31, 33, 38, 45, 90)]
    assert errors == sorted(errors) and errors[0] > 0.0
    before = [motion.expected_error(t) for t in (0.5, 0, -5, -50)]
    assert before == sorted(before) and before[0] > 0.0


def test_expected_error_is_what_the_back_test_found():
    """Truth beyond the end is missed by about as much as the states inside were."""
    motion = forecast(30, 0.5)
    for lead in (1, 3, 6):
        missed = rmsd(motion.scene_atoms(30.0 + lead), path(30 + lead, 0.5)[-1])
        assert motion.expected_error(30.0 + lead) == pytest.approx(missed, rel=0.3)


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_too_few_states_are_held_and_their_error_is_not_known(count):
    motion = forecast(count, 0.5)
    assert motion.forecasts == (Forecast(), Forecast())
    assert motion.expected_error(1.0) == 0.0
    assert np.isnan(motion.expected_error(count + 1.0))


def test_without_atoms_the_error_outside_is_not_known():
    motion = of(np.arange(1.0, 31.0))
    motion.choose_forecasts()
    assert motion.expected_error(30.0) == 0.0 and np.isnan(motion.expected_error(31.0))
    assert motion.scene_atoms(31.0) is None


def test_lead_is_signed_and_zero_inside():
    motion = of(UNEVEN)
    assert [motion.kernel.lead(t) for t in (-1.0, 1.0, 7.0, 20.0, 22.5)] == [-2.0, 0.0, 0.0, 0.0, 2.5]
