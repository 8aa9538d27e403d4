"""Metrics against closed forms, against libigl and brute force, and on what is not a mesh."""

from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from dsr_backend.geometry.metrics import (
    NOTHING_PREDICTED,
    GroundTruth,
    build_tree,
    chamfer,
    iou,
    normal_consistency,
    occupancy,
    sample,
)
from dsr_backend.geometry.unit_cube import UnitCube
from scipy.spatial import ConvexHull, Delaunay

from support.shapes import sphere

UNIT = UnitCube(np.zeros(3), 1.0)


def box(low, high) -> tuple[Any, Any]:
    """Twelve triangles of an axis-aligned box."""
    points = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
    return points, ConvexHull(points).simplices.astype(np.int32)


@pytest.fixture(scope="module")
def peptide():
    """PyMOL's own surface of a small peptide: points, normals (Å), faces."""
    pymol2 = pytest.importorskip("pymol2")
    with pymol2.PyMOL() as session:
        cmd = session.cmd
        cmd.fab("ACDEFGHIKLMNPQRS", "pep", ss=1)
        cmd.set("cache_mode", 2)
        cmd.flag("exfoliate", "pep", "clear")
        cmd.show_as("surface", "pep")
        session._cache = []
        cmd.get_vrml(1)
        count, points, normals, face_count, faces = session._cache[-1][3][:5]
    points = np.array(points[: 3 * count], np.float32).reshape(-1, 3)
    normals = np.array(normals[: 3 * count], np.float32).reshape(-1, 3)
    faces = np.array(faces[: 3 * face_count], np.int32).reshape(-1, 3)
    assert len(faces) > 3000
    return points, normals, faces


# Frame


def test_frame_puts_the_longest_extent_and_a_tenth_into_the_unit_cube():
    frame = UnitCube.of([[[10, 0, 0], [20, 1, 1]], [[30, 5, -5]]])
    np.testing.assert_allclose(frame.centre, [20, 2.5, -2])
    assert frame.scale == pytest.approx(2 / (1.1 * 20))
    np.testing.assert_allclose(frame.to_unit([[30, 2.5, -2]]), [[1 / 1.1, 0, 0]])


def test_a_frame_far_from_the_origin_still_puts_its_points_into_the_unit_cube():
    points = 1e6 + np.random.default_rng(0).random((100, 3)) * 50
    frame = UnitCube.of([points])
    assert np.abs(frame.to_unit(points)).max() <= 1 / 1.1 + 1e-9


def test_a_frame_keeps_numbers_of_its_own():
    centre = np.array([1.0, 2.0, 3.0])
    scale: Any = np.float32(0.5)
    frame = UnitCube(centre, scale)
    centre[:] = 0.0
    assert frame.centre.tolist() == [1.0, 2.0, 3.0] and type(frame.scale) is float
    with pytest.raises(FrozenInstanceError):
        frame.scale = 2.0  # type: ignore[misc]
    assert replace(frame) != frame


@pytest.mark.parametrize("centre", [(0.0, 0.0), (0.0, 0.0, np.nan), ((0.0, 0.0, 0.0),)])
def test_a_centre_is_three_finite_numbers(centre):
    with pytest.raises(ValueError, match="frame centre must be 3 finite numbers, got"):
        UnitCube(np.array(centre), 1.0)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_is_a_positive_number(scale):
    with pytest.raises(ValueError, match=f"frame scale must be a positive number, got {scale}"):
        UnitCube(np.zeros(3), scale)


def test_a_mesh_that_is_not_there_scores_as_badly_as_can_be():
    assert (NOTHING_PREDICTED.iou, NOTHING_PREDICTED.nc) == (0.0, 0.0)
    assert NOTHING_PREDICTED.chamfer_l1 == NOTHING_PREDICTED.chamfer_sq == np.inf
    with pytest.raises(FrozenInstanceError):
        NOTHING_PREDICTED.iou = 1.0  # type: ignore[misc]
    assert normal_consistency(np.zeros((1, 3)), np.ones((1, 3)), np.zeros((0, 3)), np.zeros((0, 3))) == 0.0


@pytest.mark.parametrize(
    "surfaces, message",
    [
        ([], "got none"),
        ([np.empty((0, 3))], "got none"),
        ([np.ones((5, 3))], r"points that differ, got only \[1.0, 1.0, 1.0\]"),
        ([np.zeros((5, 2))], r"shape \[N, 3\], got \[5, 2\]"),
        ([[[0, 0, 0], [0, np.nan, 0]]], "row 1 is not"),
    ],
)
def test_frame_refuses(surfaces, message):
    with pytest.raises(ValueError, match=message):
        UnitCube.of(surfaces)


# Occupancy and IoU


def test_volume_of_a_sphere():
    points, _, faces = sphere(0.8)
    # One node stands for one cell of (2/127)³; the polyhedron is 0.1 % smaller than the ball.
    volume = occupancy(points, faces).sum() * (2 / 127) ** 3
    assert volume == pytest.approx(4 / 3 * np.pi * 0.8**3, rel=2e-3)


def test_occupancy_is_indexed_x_y_z():
    inside = occupancy(*box((0.5, -0.1, -0.9), (0.7, 0.1, 0.3)), n=41)
    x, y, z = (np.linspace(-1, 1, 41)[i] for i in np.nonzero(inside))
    assert (x.min(), y.min(), z.min()) == pytest.approx((0.5, -0.1, -0.9))
    # Half-open: the nodes on the far faces belong to the neighbour.
    assert (x.max(), y.max(), z.max()) == pytest.approx((0.65, 0.05, 0.25))


@pytest.mark.parametrize("small, large", [(0.6, 0.8), (0.75, 0.9)])
def test_iou_of_concentric_spheres(small, large):
    a, b = (occupancy(p, f) for p, _, f in (sphere(small), sphere(large)))
    assert iou(a, b) == pytest.approx((small / large) ** 3, abs=2e-3)


@pytest.mark.parametrize("offset", [0.1, 0.35, 0.8])
def test_iou_of_offset_spheres(offset):
    radius = 0.5
    a, b = (occupancy(p, f) for p, _, f in (sphere(radius, (0, y, 0)) for y in (-offset / 2, offset / 2)))
    lens = np.pi * (2 * radius - offset) ** 2 * (offset**2 + 4 * offset * radius) / (12 * offset)
    union = 2 * 4 / 3 * np.pi * radius**3 - lens
    assert iou(a, b) == pytest.approx(lens / union, abs=3e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_boxes_that_share_a_face_through_grid_nodes_share_no_node(axis):
    # 17 nodes are 1/8 apart: every corner and edge below lies exactly on rays.
    cut = np.array([0.5, 0.5, 0.5])
    cut[axis] = 0.125
    inner_corner = np.array([-0.5, -0.5, -0.5])
    inner_corner[axis] = 0.125
    lower, upper = occupancy(*box((-0.5,) * 3, cut), n=17), occupancy(*box(inner_corner, (0.5,) * 3), n=17)
    full = occupancy(*box((-0.5,) * 3, (0.5,) * 3), n=17)
    assert full.sum() == 8**3
    assert not (lower & upper).any()
    np.testing.assert_array_equal(lower | upper, full)


@pytest.mark.parametrize("seed", range(5))
def test_tetrahedra_on_grid_nodes_tile_their_hull(seed):
    """Each node of a tiling belongs to exactly one tile: no edge or vertex is counted twice or not at all."""
    rng = np.random.default_rng(seed)
    corners = box((-1,) * 3, (1,) * 3)[0]
    points = np.unique(np.concatenate([corners, rng.integers(-8, 9, (30, 3)) / 8]), axis=0)
    covered = np.zeros((17,) * 3, int)
    for cell in Delaunay(points).simplices:
        covered += occupancy(points[cell], np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]), n=17)
    # Exact on the rays; a node on a slanted face may still be rounded to either side of it along the ray, or
    # to both.
    hull = np.zeros((17,) * 3, int)
    hull[:-1, :-1, :-1] = 1
    assert np.count_nonzero(covered - hull) <= 2


def test_a_triangle_soup_is_as_closed_as_shared_vertices(peptide):
    points, _, faces = peptide
    unit = UnitCube.of([points]).to_unit(points)
    soup = unit[faces].reshape(-1, 3), np.arange(faces.size).reshape(-1, 3)
    np.testing.assert_array_equal(occupancy(*soup), occupancy(unit, faces))


def test_winding_and_order_of_faces_do_not_matter(peptide):
    points, _, faces = peptide
    unit = UnitCube.of([points]).to_unit(points)
    shuffled = np.random.default_rng(0).permutation(faces)
    shuffled[::2] = shuffled[::2, ::-1]
    np.testing.assert_array_equal(occupancy(unit, shuffled), occupancy(unit, faces))


def test_a_mesh_reaching_out_of_the_grid_is_cut_off():
    points, _, faces = sphere(3.0, (0, 0, 2.5))
    inside = occupancy(points, faces, n=33)
    nodes = np.stack(np.meshgrid(*[np.linspace(-1, 1, 33)] * 3, indexing="ij"), -1)
    distance = np.linalg.norm(nodes - [0, 0, 2.5], axis=-1)
    sure = np.abs(distance - 3) > 0.01
    np.testing.assert_array_equal(inside[sure], (distance < 3)[sure])


def test_occupancy_agrees_with_libigl_on_a_real_surface(peptide):
    igl = pytest.importorskip("igl")
    points, _, faces = peptide
    unit = UnitCube.of([points]).to_unit(points)
    n = 64
    nodes = np.stack(np.meshgrid(*[np.linspace(-1, 1, n)] * 3, indexing="ij"), -1).reshape(-1, 3)
    winding = igl.fast_winding_number(unit, faces.astype(np.int64), nodes)
    inside = occupancy(unit, faces, n)
    assert inside.sum() > 5000
    # libigl's fast winding number is approximate, so a node or two next to the surface may differ.
    assert np.count_nonzero(inside.ravel() != (winding > 0.5)) <= 3


@pytest.mark.parametrize("hole", [(0, 0, 1), (0, 1, 0), (-1, 0, 0), (1, 1, 1)])
def test_a_hole_is_outvoted(hole):
    points, _, faces = sphere(0.8, subdivisions=3)
    full = occupancy(points, faces)
    facing = np.argmax(points[faces].mean(axis=1) @ np.array(hole))
    wrong = np.argwhere(occupancy(points, np.delete(faces, facing, axis=0)) != full)
    # Where the rays of two axes pass through the hole: at the hole itself, within its longest edge. Along one
    # axis that faces the hole the wrong nodes reach through the whole sphere; there are 240 to 3400 of them.
    assert len(wrong) <= 50
    centre = points[faces[facing]].mean(axis=0)
    assert (np.linalg.norm(wrong * (2 / 127) - 1 - centre, axis=1) < 0.15).all()


def test_a_mesh_that_falls_between_the_nodes_is_empty():
    tiny = occupancy(*box((0.001, 0.001, 0.001), (0.002, 0.002, 0.002)))
    assert not tiny.any()
    assert iou(tiny, tiny) == 0.0


# Chamfer


@pytest.mark.system
def test_chamfer_of_concentric_spheres():
    rng = np.random.default_rng(0)
    (p, _, f), (q, _, g) = sphere(0.8), sphere(0.7)
    l1, squared = chamfer(build_tree(sample(p, f, rng)), build_tree(sample(q, g, rng)))
    # The nearest of 300 000 samples is 3e-3 to the side: sqrt(0.1² + 0.003²) is 0.05 % more than 0.1.
    assert l1 == pytest.approx(0.1, rel=3e-3)
    assert squared == pytest.approx(2 * 0.1**2, rel=5e-3)


def test_chamfer_of_a_mesh_with_itself_is_that_of_two_independent_samplings():
    points, normals, faces = sphere(0.8)
    scores = GroundTruth(points, normals, faces, UNIT).score(points, normals, faces)
    density = 300_000 / (4 * np.pi * 0.8**2)
    # Nearest neighbour in a Poisson process in the plane: mean 1/(2√density), mean square 1/(π density).
    assert scores.chamfer_l1 == pytest.approx(0.5 / density**0.5, rel=0.01)
    assert scores.chamfer_sq == pytest.approx(2 / (np.pi * density), rel=0.02)
    assert scores.iou == 1.0
    assert scores.nc == pytest.approx(1.0)


def test_chamfer_agrees_with_brute_force(peptide):
    points, _, faces = peptide
    rng = np.random.default_rng(1)
    a = sample(points, faces, rng, 1500)
    b = sample(points + 0.5, faces, rng, 1000)
    distance = np.linalg.norm(a[:, None] - b[None], axis=-1)
    a_to_b, b_to_a = distance.min(axis=1), distance.min(axis=0)
    l1, squared = chamfer(build_tree(a), build_tree(b))
    assert l1 == pytest.approx(0.5 * (a_to_b.mean() + b_to_a.mean()), rel=1e-12)
    assert squared == pytest.approx((a_to_b**2).mean() + (b_to_a**2).mean(), rel=1e-12)


def test_samples_lie_on_the_mesh_in_proportion_to_area():
    # Two triangles in the planes z = 0 and z = 1, the second with three times the area; one without area
    # between.
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [3, 0, 1], [0, 1, 1]], float)
    samples = sample(points, np.array([[0, 1, 2], [1, 1, 2], [3, 4, 5]]), np.random.default_rng(0), 100_000)
    assert samples.shape == (100_000, 3)
    assert set(np.unique(samples[:, 2])) == {0.0, 1.0}
    assert np.mean(samples[:, 2] == 1.0) == pytest.approx(0.75, abs=0.005)
    first = samples[samples[:, 2] == 0.0]
    assert (first[:, :2] >= 0).all() and (first[:, :2].sum(axis=1) <= 1 + 1e-12).all()
    np.testing.assert_allclose(first.mean(axis=0), [1 / 3, 1 / 3, 0], atol=0.005)


@pytest.mark.parametrize("faces", [[[0, 1, 2]], np.zeros((0, 3), int)])
def test_a_mesh_without_area_has_no_samples(faces):
    line = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], float)
    with pytest.raises(ValueError, match=rf"cannot sample a mesh without area \({len(faces)} faces\)"):
        sample(line, faces, np.random.default_rng(0))


def test_three_hundred_thousand_samples_are_drawn():
    points = np.eye(3)
    assert sample(points, [[0, 1, 2]], np.random.default_rng(0)).shape == (300_000, 3)


# Normal consistency


def test_nc_of_concentric_spheres_is_one():
    (p, n, _), (q, m, _) = sphere(0.8), sphere(0.5)
    assert normal_consistency(p, n, q, m) == pytest.approx(1.0)
    assert normal_consistency(p, n, q, -m) == pytest.approx(1.0)


def test_nc_is_the_mean_over_true_vertices():
    truth = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    up = np.array([[0.0, 0, 1]] * 3)
    predicted = np.array([[0.0, 0, 0.1], [1.6, 0, 0]])
    tilted = np.array([[0, 0.6, 0.8], [1.0, 0, 0]])
    # Only the first vertex is nearest to the tilted normal, whose cosine is 0.8.
    assert normal_consistency(truth, up, predicted, tilted) == pytest.approx(0.8 / 3)
    assert normal_consistency(predicted, tilted, truth, up) == pytest.approx(0.4)


def test_nc_agrees_with_brute_force(peptide):
    points, normals, _ = peptide
    rng = np.random.default_rng(2)
    pick = rng.permutation(len(points))[:800]
    moved = points[pick] + rng.normal(0, 0.3, (800, 3))
    distance = np.linalg.norm(points[:, None].astype(float) - moved[None], axis=-1)
    expected = np.abs((normals * normals[pick][distance.argmin(axis=1)]).sum(axis=1)).mean()
    assert normal_consistency(points, normals, moved, normals[pick]) == pytest.approx(expected, rel=1e-6)


def test_nc_takes_normals_as_directions():
    points, normals, _ = sphere(0.8, subdivisions=2)
    scaled = normals * np.linspace(0.5, 2, len(normals))[:, None]
    assert normal_consistency(points, normals, points, scaled) == pytest.approx(1.0)
    scaled[::2] = 0
    assert normal_consistency(points, normals, points, scaled) == pytest.approx(0.5, abs=0.01)


# All together


@pytest.mark.system
def test_scores_do_not_depend_on_where_or_in_which_unit_the_molecule_is(peptide):
    points, normals, faces = peptide
    scaled_points = points.astype(np.float64)
    moved_points = scaled_points * 10 + [500, -2000, 30]
    truths = [GroundTruth(truth, normals, faces, UnitCube.of([truth])) for truth in (scaled_points, moved_points)]
    a = truths[0].score(scaled_points + 0.3, normals, faces)
    b = truths[1].score(moved_points + 3, normals, faces)
    assert 0.7 < a.iou < 1 and 0.7 < a.nc < 1
    # A node that lies on the surface to the last digit may fall to the other side.
    assert b.iou == pytest.approx(a.iou, abs=1e-4)
    assert (b.chamfer_l1, b.chamfer_sq, b.nc) == pytest.approx((a.chamfer_l1, a.chamfer_sq, a.nc), rel=1e-9)


@pytest.mark.system
def test_same_seed_same_scores(peptide):
    points, normals, faces = peptide
    frame = UnitCube.of([points])
    moved = points + np.float32(0.2)
    scores = [GroundTruth(points, normals, faces, frame, seed).score(moved, normals, faces) for seed in (3, 3, 4)]
    assert scores[0] == scores[1]
    assert scores[0].chamfer_l1 != scores[2].chamfer_l1
    assert scores[0].chamfer_l1 == pytest.approx(scores[2].chamfer_l1, rel=2e-3)


@pytest.mark.parametrize(
    "points, faces",
    [
        (np.empty((0, 3)), np.empty((0, 3), int)),
        (np.ones((4, 3)), np.empty((0, 3), int)),
        (np.ones((4, 3)), np.array([[0, 1, 2], [1, 2, 3]])),
        (np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.array([[0, 1, 2]])),
    ],
    ids=["nothing", "no faces", "one point", "a line"],
)
def test_a_prediction_without_area_scores_nothing(points, faces):
    truth = GroundTruth(*sphere(0.8, subdivisions=2), UNIT)
    assert truth.score(points, np.ones_like(points), faces) == NOTHING_PREDICTED
    with pytest.raises(ValueError, match="no area"):
        GroundTruth(points, np.ones_like(points), faces, UNIT)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda p, n, f: (p, n[:-1], f), "got 161 for 162 points"),
        (lambda p, n, f: (p[:, :2], n, f), r"points must have shape \[N, 3\], got \[162, 2\]"),
        (lambda p, n, f: (np.where(p == p.max(), np.inf, p), n, f), "points must be finite"),
        (lambda p, n, f: (p, np.where(n == n.max(), np.nan, n), f), "normals must be finite"),
        (lambda p, n, f: (p, n, f - 1), "got indices -1 to 160"),
        (lambda p, n, f: (p, n, f + 1), "got indices 1 to 162"),
        (lambda p, n, f: (p, n, f.astype(float)), "faces must be integers"),
        (lambda p, n, f: (p, n, f[:, :2]), r"got int32 \[320, 2\]"),
    ],
)
def test_a_malformed_mesh_is_refused_on_either_side(change, message):
    mesh = sphere(0.8, subdivisions=2)
    broken: tuple[Any, Any, Any] = change(*mesh)
    with pytest.raises(ValueError, match=message):
        GroundTruth(*broken, UNIT)
    with pytest.raises(ValueError, match=message):
        GroundTruth(*mesh, UNIT).score(*broken)
