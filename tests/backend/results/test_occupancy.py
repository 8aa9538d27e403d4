"""The occupancy of ensembles whose answer is known: balls as fields and as triangles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dsr_backend.results.occupancy import field_shapes, iso_value, occupancy, surface_shapes
from dsr_backend.runtime.errors import Cancelled

from pymol_dsr.shared.ensemble_options import OccupancyOptions
from pymol_dsr.shared.values import ValueFault
from support.formula_field import balls
from support.shapes import ball, cloud, moved, turn

RADIUS, SHIFT = 6.0, 3.0
BALL = 4 / 3 * math.pi * RADIUS**3
# Two equal balls whose centres are SHIFT apart.
LENS = math.pi * (4 * RADIUS + SHIFT) * (2 * RADIUS - SHIFT) ** 2 / 12
CENTRES = ((0.0, 0.0, 0.0), (SHIFT, 0.0, 0.0))


def two_fields():
    return [shape for centre in CENTRES for shape in field_shapes(balls((centre, RADIUS)), [1.0])]


def two_surfaces():
    return surface_shapes([ball(1 + k, RADIUS, centre) for k, centre in enumerate(CENTRES)])


@pytest.mark.parametrize("shapes", [two_fields, two_surfaces])
def test_two_balls_fill_their_union_and_their_lens(shapes):
    result = occupancy(shapes(), OccupancyOptions(levels=(10, 50, 51, 90), resolution=0.25))
    union = 2 * BALL - LENS
    assert result.states == 2 and result.volume == pytest.approx(BALL, rel=3e-3)
    # One of two states is 50 %.
    assert [surface.volume for surface in result.surfaces] == pytest.approx([union, union, LENS, LENS], rel=6e-3)
    for surface, side in zip(result.surfaces, (np.min, np.min, np.max, np.max), strict=True):
        distances = [np.linalg.norm(surface.points - centre, axis=1) - RADIUS for centre in CENTRES]
        # The lattice rounds the rim where both balls meet.
        rim = np.abs(distances[0] - distances[1]) < 0.3
        assert np.abs(side(distances, axis=0)[~rim]).max() < 0.03
        outward = surface.points - np.where(distances[0] < distances[1], 0.0, 1.0)[:, None] * [SHIFT, 0.0, 0.0]
        if side is np.min:
            cosines = (surface.normals * outward / np.linalg.norm(outward, axis=1)[:, None]).sum(1)
            assert cosines[np.abs(distances[0] - distances[1]) > 1.0].min() > 0.99


@pytest.mark.parametrize("shapes", [two_fields, two_surfaces])
def test_every_level_of_states_that_are_alike_is_their_surface(shapes):
    alike = [shapes()[0]] * 5
    result = occupancy(alike, OccupancyOptions(levels=(10, 50, 90, 100), resolution=0.8))
    assert [surface.volume for surface in result.surfaces] == pytest.approx([BALL] * 4, rel=6e-3)
    for surface in result.surfaces:
        assert np.abs(np.linalg.norm(surface.points, axis=1) - RADIUS).max() < 0.08


def test_levels_of_states_that_differ_by_less_than_a_spacing_are_apart():
    shift = 0.3
    pair = [shape for x in (0.0, shift) for shape in field_shapes(balls(((x, 0.0, 0.0), RADIUS)), [1.0])]
    lens = math.pi * (4 * RADIUS + shift) * (2 * RADIUS - shift) ** 2 / 12
    result = occupancy(pair, OccupancyOptions(levels=(50, 51), resolution=0.8))
    assert [surface.volume for surface in result.surfaces] == pytest.approx([2 * BALL - lens, lens], rel=0.01)


@pytest.mark.parametrize("shapes", [two_fields, two_surfaces])
def test_the_spread_is_the_deviation_of_the_distances_at_the_surface_of_half(shapes):
    [middle] = occupancy(shapes(), OccupancyOptions(levels=(50,), resolution=0.5)).surfaces
    first, second = (np.linalg.norm(middle.points - centre, axis=1) for centre in CENTRES)
    assert middle.spread == pytest.approx(np.abs(first - second) / 2, abs=0.02)
    assert middle.spread.max() == pytest.approx(SHIFT / 2, abs=0.02) and middle.spread.min() < 0.1


def test_fields_and_triangles_give_the_same_lattice():
    options = OccupancyOptions(levels=(50,), resolution=0.8)
    field, surface = occupancy(two_fields(), options), occupancy(two_surfaces(), options)
    first = np.round((surface.origin - field.origin) / 0.8).astype(int)
    inner = tuple(slice(max(0, -k), None) for k in first)
    outer = tuple(slice(max(0, k), None) for k in first)
    a, b = field.values[outer], surface.values[inner]
    size = tuple(slice(0, min(n, m)) for n, m in zip(a.shape, b.shape, strict=True))
    assert np.abs(a[size] - b[size]).max() < 0.02
    # Each node counts by clip(1/2 − f/h, 0, 1).
    nodes = np.stack(
        np.meshgrid(*(field.origin[k] + 0.8 * np.arange(field.values.shape[k]) for k in range(3)), indexing="ij"), -1
    )
    exact = [np.clip(0.5 - (np.linalg.norm(nodes - centre, axis=-1) - RADIUS) / 0.8, 0, 1) for centre in CENTRES]
    assert np.abs(field.values - np.mean(exact, 0)).max() < 1e-5


@pytest.mark.parametrize("subdivisions, resolution", [(1, 0.3), (2, 0.3), (2, 1.5)])
def test_large_triangles_on_a_fine_lattice_leave_no_hole(subdivisions, resolution):
    rough = ball(1, RADIUS, subdivisions=subdivisions)
    [surface] = occupancy(surface_shapes([rough]), OccupancyOptions(levels=(50,), resolution=resolution)).surfaces
    a, b, c = (rough.points[rough.faces[:, k]].astype(float) for k in range(3))
    assert surface.volume == pytest.approx(np.einsum("ij,ij->", a, np.cross(b, c)) / 6, rel=0.02)


def test_weights_choose_between_the_states():
    options = OccupancyOptions(levels=(50, 90), resolution=0.5)
    heavy = occupancy(two_fields(), options, weights=[3.0, 1.0])
    # Three quarters of the weight fill the first ball, as much as 50 % of it asks for.
    assert heavy.surfaces[0].points[:, 0].max() < RADIUS + SHIFT - 1
    # The heavier ball has enough of the weight for 50 %, and in the second case for 90 %.
    for weights in ([0.6, 0.4], [0.9, 0.1]):
        middle = occupancy(two_fields(), options, weights=weights).surfaces[0]
        assert middle.volume == pytest.approx(BALL, rel=6e-3)
    common = occupancy(two_fields(), OccupancyOptions(levels=(90, 100), resolution=0.5), weights=[0.9, 0.1])
    lens = math.pi * (4 * RADIUS + SHIFT) * (2 * RADIUS - SHIFT) ** 2 / 12
    assert [surface.volume for surface in common.surfaces] == pytest.approx([BALL, lens], rel=6e-3)
    weighted = occupancy(two_fields(), options, weights=[1.0, 0.0])
    assert [surface.volume for surface in weighted.surfaces] == pytest.approx([BALL, BALL], rel=6e-3)
    assert weighted.surfaces[0].spread.max() == 0.0


@pytest.mark.parametrize(
    "weights, message",
    [([1.0], "weights: 1 are given for 2 states"), ([-1.0, 2.0], "0 or more"), ([0.0, 0.0], "not all 0")],
)
def test_weights_that_do_not_fit(weights, message):
    with pytest.raises(ValueError, match=message):
        occupancy(two_fields(), OccupancyOptions(), weights=weights)


def test_the_boundary_of_a_percentage_is_the_surface_of_one_state():
    two, three, four, hundred = (np.full(count, 1.0 / count) for count in (2, 3, 4, 100))
    assert iso_value(50, two) == 0.25 and iso_value(51, two) == 0.75 and iso_value(10, two) == 0.25
    assert iso_value(50, hundred) == pytest.approx(0.495) and iso_value(100, four) == pytest.approx(0.875)
    # 0.01 · 7 · 100 is a little above 7 in floats, and is no eighth state.
    assert iso_value(7, hundred) == pytest.approx(0.065)
    assert iso_value(100, three) == pytest.approx(2.5 / 3) and iso_value(33.3333, three) == pytest.approx(0.5 / 3)


@pytest.mark.parametrize(
    "weights, level, below, reaching",
    [
        ([0.6, 0.4], 50, 0.4, 0.6),
        ([0.6, 0.4], 60, 0.4, 0.6),
        ([0.6, 0.4], 61, 0.6, 1.0),
        ([0.95, 0.05], 95, 0.05, 0.95),
        ([0.95, 0.05], 100, 0.95, 1.0),
        ([0.5, 0.3, 0.2], 50, 0.3, 0.5),
    ],
)
def test_the_boundary_with_unequal_weights_lies_between_two_of_their_sums(weights, level, below, reaching):
    assert iso_value(level, np.array(weights)) == pytest.approx((below + reaching) / 2, abs=1e-4)


def test_many_light_states_count_beside_a_heavy_one():
    weights = np.r_[0.5, np.full(2000, 0.5 / 2000)]
    for level in (60, 75, 90):
        assert iso_value(level, weights) == pytest.approx(0.01 * level, abs=1e-3)


def test_states_that_only_tumble_are_told_from_states_that_change():
    atoms = cloud(40, 4.0)
    first = ball(1, RADIUS, atoms=atoms)
    tumbled = moved(first, turn(70), (4.0, 0.0, 0.0), state=2)
    result = occupancy(surface_shapes([first, tumbled]), OccupancyOptions(resolution=1.0))
    assert result.rmsd == pytest.approx(np.sqrt(((tumbled.atoms - atoms) ** 2).sum(1).mean()) / 2, rel=1e-3)
    assert result.rmsd_superposed == pytest.approx(0.0, abs=1e-3)
    assert occupancy(two_fields(), OccupancyOptions()).rmsd is None


def test_states_without_a_common_place_are_refused():
    disjoint = surface_shapes([ball(k, 3.0, (20.0 * k, 0.0, 0.0), subdivisions=3) for k in (1, 2, 3)])
    with pytest.raises(ValueError, match="no place is filled in half of the 3 states"):
        occupancy(disjoint, OccupancyOptions())
    with pytest.raises(ValueError, match="one state at least"):
        occupancy([], OccupancyOptions())


def test_the_number_of_threads_changes_nothing():
    shapes = surface_shapes([ball(k, 5.0 + 0.3 * k, (0.4 * k, 0.0, 0.0), subdivisions=3) for k in range(1, 6)])
    serial, parallel = (occupancy(shapes, OccupancyOptions(), threads=threads) for threads in (1, 4))
    assert np.array_equal(serial.values, parallel.values)
    assert all(np.array_equal(a.points, b.points) for a, b in zip(serial.surfaces, parallel.surfaces, strict=True))


def test_it_stops_when_it_is_cancelled_and_says_how_far_it_is():
    reported: list[float] = []
    with pytest.raises(Cancelled):
        occupancy(two_fields(), OccupancyOptions(), progress=reported.append, cancelled=lambda: len(reported) > 0)
    assert len(reported) == 1
    occupancy(two_fields(), OccupancyOptions(), progress=reported.append)
    assert reported[-1] == 1.0 and reported[1:] == sorted(reported[1:])


@pytest.mark.parametrize(
    "levels, message",
    [("0 50", "above 0"), ("101", "at most 100"), ("50 50", "50 is given twice"), ("half", "it is not a number")],
)
def test_refused_levels(levels, message):
    with pytest.raises(ValueFault, match=message):
        OccupancyOptions.parse(levels=levels)
    assert OccupancyOptions.parse(levels="90 10").levels == (10.0, 90.0)
