"""Widths: chosen by what predicts held-out states, for shape, paths, ends and space each on its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from dsr_backend.fields import fast
from dsr_backend.fitting.fast import widths
from dsr_backend.fitting.fast.widths import ValidationPoints
from dsr_backend.results.mesh import extract_mesh

from support.shapes import ball, cloud, fit, turn

COUNT = 13


def breathing(radii):
    """Balls of these radii (Å) at states 1, 2, …, without atoms: shape is all that changes."""
    return [ball(k + 1.0, radius, subdivisions=3) for k, radius in enumerate(radii)]


def probes_around(radius):
    """Points within 1 Å of a ball's surface about the origin, and their distances."""
    rng = np.random.default_rng(3)
    direction = rng.normal(size=(2000, 3))
    distance = rng.uniform(-1.0, 1.0, 2000)
    points = direction / np.linalg.norm(direction, axis=1, keepdims=True) * (radius + distance)[:, None]
    return ValidationPoints(torch.as_tensor(points, dtype=torch.float32), torch.as_tensor(distance).float())


@pytest.mark.system
def test_a_noisy_shape_is_smoothed_and_a_growing_one_held_at_its_end():
    noise = np.random.default_rng(1).normal(size=COUNT)
    noisy = fit(breathing(7.0 + 0.3 * noise))
    assert noisy.smooth_beyond == noisy.smooth >= 1.0
    assert "holding out 9 of 13" in noisy.report["smooth_chosen_by"]
    # However wide the shape were smoothed between the states, the end of steady growth is not set back.
    radii = np.linspace(6.0, 9.0, COUNT)
    growing = fit(breathing(radii))
    # An even motion is predicted, noise is not, and the report says so.
    assert growing.report["held_out_iou"] > 0.95 > 0.92 > noisy.report["held_out_iou"]
    growing.smooth = 2.0
    assert not widths.smoothing_predicts_ends(growing, [probes_around(radius) for radius in radii])


def wrinkled(wrinkles, change=True):
    """Balls with wrinkles in their surface, other ones in each state: random plane waves of this height in Å.

    change: whether the wrinkles differ; else all states have the first ones.
    """
    surfaces = []
    for k in range(COUNT):
        rng = np.random.default_rng(2 + change * k)
        surface = ball(k + 1.0, 7.0, subdivisions=4)
        waves = rng.normal(size=(12, 3))
        waves *= 2.5 / np.linalg.norm(waves, axis=1, keepdims=True)
        height = np.cos(surface.points @ waves.T + rng.uniform(0.0, 2.0 * np.pi, 12)).sum(1) / np.sqrt(6.0)
        points = surface.points * (1.0 + wrinkles * height / 7.0)[:, None]
        surfaces.append(replace(surface, points=points.astype(np.float32)))
    return surfaces


@pytest.mark.system
def test_wrinkles_of_single_states_are_smoothed_in_space_and_keep_their_volume(monkeypatch):
    rough = fit(wrinkled(0.4))
    # The prediction with its width is nearer than without one.
    monkeypatch.setattr(widths, "SPATIAL_CHOICES", (0.0,))
    assert fit(wrinkled(0.4)).held_out_iou < rough.held_out_iou
    assert rough.spatial_width > 0.0 and rough.report["spatial_width"] == rough.spatial_width
    smoothed = extract_mesh(rough, 6.5)
    assert smoothed.volume == pytest.approx(np.mean([extract_mesh(rough, k).volume for k in (4.0, 6.0, 8.0)]), rel=0.03)
    rough.spatial_width = 0.0
    assert smoothed.area < extract_mesh(rough, 6.5).area


@pytest.mark.system
def test_detail_that_stays_is_not_smoothed_nor_what_is_too_large(monkeypatch):
    assert fit(wrinkled(0.4, change=False)).spatial_width == 0.0
    monkeypatch.setattr(fast, "MAX_WHOLE_NODES", 0)
    banded = fit(wrinkled(0.4))
    assert banded.spatial_width == 0.0 < banded.held_out_iou < 1.0


@pytest.mark.system
def test_the_report_tells_the_width_past_the_ends_from_that_between_the_states(monkeypatch):
    monkeypatch.setattr(widths, "smoothing_predicts_ends", lambda *_: False)
    noisy = fit(breathing(7.0 + 0.3 * np.random.default_rng(1).normal(size=COUNT)))
    assert noisy.report["smooth"] == noisy.smooth >= 1.0
    assert noisy.report["smooth_beyond"] == noisy.smooth_beyond == 0.0


@pytest.mark.system
def test_a_held_out_state_lies_in_the_middle_of_a_gap():
    """The states next to it, the third ones, … are known: of two shapes in turn, these are all the other one."""
    alternating = fit(breathing([6.0 + k % 2 for k in range(COUNT)]))
    # Each width predicts the other radius, 1 Å off; the mean of all other states would be half an Å off.
    assert alternating.report["held_out_iou"] < 0.62


@pytest.mark.system
def test_few_states_for_the_widths_of_atoms_leave_the_estimate_to_all(monkeypatch):
    """Without atoms, their widths change nothing: two states tried on them give what all states give."""
    noisy = breathing(7.0 + 0.3 * np.random.default_rng(4).normal(size=COUNT))
    by_all = fit(noisy)
    monkeypatch.setattr(widths, "MAX_COMPARED", 2)
    by_two = fit(noisy)
    assert by_two.report["held_out_iou"] == by_all.report["held_out_iou"] < 1.0
    assert (by_two.smooth, by_two.level_offset) == (by_all.smooth, by_all.level_offset)


@pytest.mark.system
def test_atoms_that_move_on_are_not_held_back():
    atoms = cloud(80, 5.0)
    turning = []
    for k in range(COUNT):
        # The far half turns about the near one, so that no rigid motion takes it out.
        bent = atoms.copy()
        bent[atoms[:, 0] > 0] = bent[atoms[:, 0] > 0] @ turn(6.0 * k, axis=(0, 1, 0)).T
        turning.append(ball(k + 1.0, 6.5, atoms=bent.astype("f4")))
    assert fit(turning).motion.smooth < 1.0


def test_too_few_states_are_joined_by_straight_lines():
    short = fit(breathing([6.0, 6.5, 7.0, 7.5]))
    assert short.smooth == short.smooth_beyond == short.motion.smooth == 0.0
    assert "too few" in short.report["smooth_chosen_by"] and short.report["held_out_iou"] is None


def test_amid_two_states_their_volume_is_kept():
    """A ball that moves without atoms to tell: the mean of the two distances is an ellipsoid of less volume."""
    there_and_here = fit([ball(1.0, 6.0, (-1.2, 0.0, 0.0)), ball(2.0, 6.0, (1.2, 0.0, 0.0))])
    at_state, amid = (extract_mesh(there_and_here, time).volume for time in (1.0, 1.5))
    assert abs(amid / at_state - 1.0) < 5e-3
    there_and_here.level_offset = 0.0
    assert extract_mesh(there_and_here, 1.5).volume / at_state < 0.97
    # Past the ends a single state is held as it is.
    there_and_here.level_offset = 0.2
    assert abs(extract_mesh(there_and_here, 2.5).volume / at_state - 1.0) < 5e-3


def test_no_volume_is_kept_across_a_cut():
    """The nearer state is held there as it is, so the other gaps alone say the offset."""
    there_and_here = [ball(1.0, 6.0, (-1.2, 0.0, 0.0)), ball(2.0, 6.0, (1.2, 0.0, 0.0))]
    next_run = ball(3.0, 6.0, (1.2, 0.0, 0.0))
    offset = fit(there_and_here).level_offset
    assert fit([*there_and_here, next_run], breaks=(2,)).level_offset == pytest.approx(offset, rel=0.02)
    assert fit([*there_and_here, next_run]).level_offset < 0.6 * offset


@pytest.mark.system
def test_the_volume_is_looked_at_when_the_states_were():
    """Halfway between two states the ball is the same whenever they were."""
    surfaces = [ball(state, 6.0, (x, 0.0, 0.0)) for state, x in ((1.0, -1.2), (2.0, 1.2), (3.0, -1.2))]
    assert fit(surfaces, times=(0.0, 1.0, 10.0)).level_offset == fit(surfaces).level_offset > 0.05


@pytest.mark.system
def test_a_steady_field_knows_no_states():
    """Detail of single states comes and goes with them, or is averaged away at all times."""
    radii = 7.0 + 0.3 * np.random.default_rng(1).normal(size=COUNT)
    noisy = fit(breathing(radii))
    steady = noisy.with_uniform_smoothing()
    at_states = range(3, COUNT - 1)

    def size(field, time):
        return (extract_mesh(field, time, resolution=1.0).volume * 0.75 / np.pi) ** (1.0 / 3.0)

    def bend(field, time):
        return abs(size(field, time - 0.5) - 2.0 * size(field, time) + size(field, time + 0.5))

    assert max(abs(size(noisy, float(k)) - radii[k - 1]) for k in at_states) < 0.05
    assert np.mean([bend(steady, k) for k in at_states]) < 0.3 * np.mean([bend(noisy, k) for k in at_states])
    assert abs(np.mean([size(steady, float(k)) for k in at_states]) - np.mean(radii)) < 0.1
    # Amid two states nothing changes, and the field itself stays what it was.
    assert size(steady, 5.5) == size(noisy, 5.5) and not noisy.motion.kernel.uniform


def test_a_field_of_straight_lines_can_be_steady_too():
    short = fit(breathing([6.0, 7.0, 6.0]))
    assert short.smooth == 0.0
    assert extract_mesh(short, 2.0).volume > 1.1 * extract_mesh(short.with_uniform_smoothing(), 2.0).volume
