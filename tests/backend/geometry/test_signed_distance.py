"""Exact signed distances against closed forms and libigl, and how training samples are spread."""

from typing import Any

import numpy as np
import pytest
import torch
from dsr_backend.geometry import triangle_mesh
from dsr_backend.geometry.signed_distance import (
    AB,
    BC,
    CA,
    FACE,
    FEATURES,
    A,
    B,
    C,
    closest_feature,
    pseudonormals,
)
from dsr_backend.geometry.triangle_mesh import TriangleMesh, face_areas
from scipy.spatial import ConvexHull

from support.shapes import ball, moved, peptide, sphere

CPU = torch.device("cpu")


def distances(points, faces, x, **options):
    mesh = TriangleMesh(np.asarray(points, np.float32), np.asarray(faces, np.int32), CPU)
    return mesh.signed_distance(torch.tensor(np.asarray(x), dtype=torch.float32), **options).numpy()


def outward_hull(points):
    """Faces of a convex hull, outward by the right-hand rule."""
    hull = ConvexHull(points)
    faces = hull.simplices
    corners = points[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    inward = (normal * hull.equations[:, :3]).sum(1) < 0
    faces[inward] = faces[inward, ::-1]
    return faces


def cube() -> tuple[Any, Any]:
    points = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    return points, outward_hull(points)


def cube_distance(x):
    """Closed form for the cube [−1, 1]³."""
    q = np.abs(x) - 1.0
    return np.linalg.norm(np.maximum(q, 0.0), axis=1) + np.minimum(q.max(1), 0.0)


def igl_distance(points, faces, x):
    igl = pytest.importorskip("igl")
    signed = igl.signed_distance(
        np.asarray(x, float),
        np.asarray(points, float),
        np.asarray(faces, np.int64),
        sign_type=igl.SIGNED_DISTANCE_TYPE_PSEUDONORMAL,
    )
    return signed[0]


def around(surface, count=20_000):
    """Points f4[count,3] near a surface, and a tenth of them within 8 Å of its box."""
    rng = np.random.default_rng(0)
    points = surface.points.astype(np.float64)
    near = points[rng.integers(len(points), size=count - count // 10)]
    near = near + rng.choice([0.3, 1.0], (len(near), 1)) * rng.normal(size=near.shape)
    spread = rng.uniform(points.min(0) - 8.0, points.max(0) + 8.0, (count // 10, 3))
    return torch.as_tensor(np.concatenate([near, spread]).astype(np.float32))


# Distances


def test_cube_in_closed_form():
    x = np.random.default_rng(0).uniform(-3, 3, (20_000, 3))
    np.testing.assert_allclose(distances(*cube(), x), cube_distance(x), atol=2e-6)


@pytest.mark.parametrize("feature", [(1, 1, 1), (1, 1, 0), (-1, 0, 1), (1, -1, -1), (0, -1, 0)])
def test_signs_are_right_all_around_a_vertex_an_edge_and_a_face(feature):
    around = np.random.default_rng(1).normal(size=(5000, 3))
    x = np.array(feature) + 0.3 * around / np.linalg.norm(around, axis=1, keepdims=True)
    np.testing.assert_allclose(distances(*cube(), x), cube_distance(x), atol=2e-6)


def test_signs_are_right_at_sharp_tips_and_edges():
    """A tetrahedron pulled long: about its tip, the face that looks most squarely at a point looks away."""
    points = np.array([[0, 0, 10], [1, 0, 0], [-0.5, 0.9, 0], [-0.5, -0.9, 0]], float)
    faces = outward_hull(points)
    planes = ConvexHull(points).equations
    x = np.random.default_rng(2).uniform((-2, -2, -2), (2, 2, 12), (20_000, 3))
    values = distances(points, faces, x)
    outside = (x @ planes[:, :3].T + planes[:, 3]).max(1) > 0
    assert ((values > 0) == outside).all()


def test_points_on_the_surface_have_distance_zero():
    points, faces = cube()
    x = np.concatenate([points, points[faces].mean(1), 0.5 * (points[faces[:, 0]] + points[faces[:, 1]])])
    np.testing.assert_allclose(distances(points, faces, x), 0.0, atol=1e-6)


def nearest_on(p, a, b, c):
    """The point of triangle abc that is nearest to p, and its feature, by plane, edges and corners in turn."""
    candidates = []
    normal = np.cross(b - a, c - a)
    plane = p - normal * ((p - a) @ normal) / (normal @ normal)
    inside = [np.cross(end - start, plane - start) @ normal for start, end in ((a, b), (b, c), (c, a))]
    if min(inside) > 0:
        candidates.append((plane, FACE))
    for start, end, feature in ((a, b, AB), (b, c, BC), (c, a, CA)):
        fraction = (p - start) @ (end - start) / ((end - start) @ (end - start))
        if 0 < fraction < 1:
            candidates.append((start + fraction * (end - start), feature))
    candidates += [(a, A), (b, B), (c, C)]
    return min(candidates, key=lambda candidate: np.linalg.norm(p - candidate[0]))


def test_the_nearest_point_of_a_triangle_and_the_feature_it_lies_on():
    rng = np.random.default_rng(6)
    corners = rng.normal(size=(3, 40, 3))
    # Thin triangles too, and points far from all.
    corners[2, 20:] = 0.5 * (corners[0, 20:] + corners[1, 20:]) + 0.05 * corners[2, 20:]
    p = rng.normal(size=(40, 60, 3)) * rng.choice([0.3, 1.0, 10.0], (40, 60, 1))
    a, b, c = (torch.tensor(corner)[:, None].expand(40, 60, 3) for corner in corners)
    vector, feature = closest_feature(torch.tensor(p), a, b, c)
    for i in range(40):
        for j in range(60):
            point, expected = nearest_on(p[i, j], *corners[:, i])
            np.testing.assert_allclose(vector[i, j], p[i, j] - point, atol=1e-9)
            assert feature[i, j] == expected
    assert set(feature.reshape(-1).tolist()) == set(FEATURES)


def test_points_on_a_triangle_s_own_features():
    a, b, c = (torch.tensor([corner], dtype=torch.float64) for corner in ([0, 0, 0], [4, 0, 0], [0, 3, 0]))
    for p, expected in (
        ([1, 1, 0], FACE), ([2, 0, 0], AB), ([2, 1.5, 0], BC), ([0, 1, 0], CA), ([0, 0, 0], A), ([4, 0, 0], B),
        ([0, 3, 0], C), ([-1, 0, 5], A), ([5, 0, 0], B), ([0, 4, 0], C), ([0, -2, 0], A),
    ):  # fmt: skip
        vector, feature = closest_feature(torch.tensor([p], dtype=torch.float64), a, b, c)
        assert feature.item() == expected
        inside = np.clip(p, 0, [4, 3, 0])
        np.testing.assert_allclose(vector[0], p - inside, atol=1e-12)


def test_normals_are_sums_over_the_faces_at_an_edge_and_by_angles_at_a_vertex():
    points, faces = outward_mesh()
    corners = points[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    normals = pseudonormals(torch.tensor(corners, dtype=torch.float32), torch.tensor(faces).long(), len(points)).numpy()
    assert normals.shape == (len(faces), 7, 3) and normals.dtype == np.float32
    np.testing.assert_allclose(normals[:, FACE], normal, atol=1e-6)
    angle = np.empty((len(faces), 3))
    for k in range(3):
        first_edge, second_edge = corners[:, (k + 1) % 3] - corners[:, k], corners[:, (k + 2) % 3] - corners[:, k]
        cosine = (
            (first_edge * second_edge).sum(1) / np.linalg.norm(first_edge, axis=1) / np.linalg.norm(second_edge, axis=1)
        )
        angle[:, k] = np.arccos(cosine)
    for face in range(len(faces)):
        for k, (edge, vertex) in enumerate(((AB, A), (BC, B), (CA, C))):
            ends = {faces[face, k], faces[face, (k + 1) % 3]}
            sharing = [face for face in range(len(faces)) if ends <= set(faces[face])]
            assert len(sharing) == 2
            np.testing.assert_allclose(normals[face, edge], normal[sharing].sum(0), atol=1e-5)
            weights = np.where(faces == faces[face, k], angle, 0.0).sum(1)
            np.testing.assert_allclose(normals[face, vertex], weights @ normal, atol=1e-5)


def outward_mesh():
    """A convex polyhedron with faces of many shapes."""
    rng = np.random.default_rng(7)
    points = rng.normal(size=(14, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points, outward_hull(points)


def test_areas_of_faces():
    points = np.array([[0, 0, 0], [3, 0, 0], [0, 4, 0], [0, 4, 2]], float)
    faces = np.array([[0, 1, 2], [0, 2, 3], [0, 0, 1]])
    np.testing.assert_allclose(face_areas(points, faces), [6.0, 4.0, 0.0])
    mesh = TriangleMesh((points + 1e4).astype(np.float32), faces.astype(np.int32), CPU)
    np.testing.assert_allclose(mesh.areas, [6.0, 4.0, 0.0], atol=1e-2)
    np.testing.assert_array_equal(mesh.middle, [1e4 + 1.5, 1e4 + 2, 1e4 + 1])


def test_icosphere_in_closed_form():
    points, _, faces = sphere(6.0, subdivisions=5)
    rng = np.random.default_rng(3)
    direction = rng.normal(size=(20_000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radius = rng.uniform(0.5, 12.0, (20_000, 1))
    # The flat faces lie up to 0.006 Å within the sphere.
    values = distances(points, faces, direction * radius)
    assert np.abs(values - (radius[:, 0] - 6.0)).max() < 0.01
    assert (values >= radius[:, 0] - 6.0 - 1e-4).all()


def test_a_face_turned_inside_out_turns_the_sign():
    points, faces = cube()
    np.testing.assert_allclose(distances(points, faces[:, ::-1], [[0.2, 0.1, 0.0]]), [0.8], atol=1e-6)


def test_real_surface_against_libigl():
    """As exact as libigl on PyMOL's surface, but for the few distances that eight candidates miss."""
    surface = peptide()[0]
    x = around(surface).numpy()
    truth = igl_distance(surface.points, surface.faces, x)
    values = distances(surface.points, surface.faces, x)
    long = np.abs(values) - np.abs(truth)
    assert len(x) > 5000
    assert long.min() > -1e-5
    assert (long > 1e-4).mean() < 1e-3 and long.max() < 0.2
    assert ((values < 0) == (truth < 0)).all()


def test_far_from_the_origin_distances_keep_their_digits():
    surface = moved(peptide()[0], translation=(1e5, -1e5, 1e5))
    x = around(surface).numpy()
    shift = np.array([1e5, -1e5, 1e5])
    truth = igl_distance(surface.points - shift, surface.faces, x - shift)
    error = np.abs(distances(surface.points, surface.faces, x) - truth)
    assert np.quantile(error, 0.999) < 1e-5


@pytest.mark.parametrize("shift", [0.0, 1e5])
def test_brute_force_finds_what_the_tree_finds(shift):
    """The way of the GPU, here on the CPU."""
    surface = moved(peptide()[0], translation=(shift, shift, shift))
    x = around(surface)[::4]
    mesh = TriangleMesh(surface.points, surface.faces, CPU)
    by_tree = mesh.signed_distance(x)
    mesh.nearest_centres.query = None
    np.testing.assert_allclose(mesh.signed_distance(x), by_tree, atol=1e-5)


@pytest.mark.parametrize("side", [1, -1])
def test_faces_without_area_change_nothing(side):
    """side −1: a cube inside out, whose edges and vertices are all reflex."""
    points, faces = cube()
    points = np.concatenate([points, points[faces[0]].mean(0, keepdims=True)])
    degenerate = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 0, 1], [8, 8, 2], [0, 3, 3], [7, 7, 6]])
    x = np.random.default_rng(4).uniform(-3, 3, (5000, 3))
    # All faces are tried: the few of a cube are not what the usual number is chosen for.
    values = distances(points, np.concatenate([degenerate, faces[:, ::side]]), x, candidates=30)
    np.testing.assert_allclose(values, side * cube_distance(x), atol=2e-6)


def test_chunks_change_nothing(monkeypatch):
    points, _, faces = sphere(3.0, subdivisions=2)
    x = np.random.default_rng(5).uniform(-4, 4, (1000, 3))
    expected = distances(points, faces, x)
    monkeypatch.setattr(triangle_mesh, "CHUNK", 333)
    np.testing.assert_array_equal(distances(points, faces, x), expected)


def test_no_points_have_no_distances():
    assert distances(*cube(), np.zeros((0, 3))).shape == (0,)


def test_check_is_called_between_chunks_and_may_stop(monkeypatch):
    class Stop(Exception):
        pass

    calls = []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise Stop

    monkeypatch.setattr(triangle_mesh, "CHUNK", 100)
    surface = ball(1)
    mesh = TriangleMesh(surface.points, surface.faces, CPU)
    with pytest.raises(Stop):
        mesh.signed_distance(torch.zeros(1000, 3), check)
    assert len(calls) == 3


# Samples


def test_points_on_the_surface_are_on_it_and_uniform_over_its_area():
    points, _, faces = sphere(5.0, (20.0, 0.0, -7.0), subdivisions=3)
    mesh = TriangleMesh(points.astype(np.float32), faces, CPU)
    mesh_corners = torch.as_tensor(points.astype(np.float32)[faces])
    x, face, weight = mesh.sample(40_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close((mesh_corners[face] * weight[..., None]).sum(1), x)
    assert mesh.signed_distance(x).abs().max() < 1e-5
    direction = (x.numpy() - [20.0, 0.0, -7.0]) / 5.0
    # Every coordinate of a uniform direction is uniform on −1 to 1.
    for axis in range(3):
        counts = np.histogram(direction[:, axis], np.linspace(-1, 1, 9))[0]
        assert counts.min() > 4600 and counts.max() < 5400


def test_a_large_face_gets_as_many_points_as_its_area_asks_for():
    points = np.array([[0, 0, 0], [9, 0, 0], [0, 2, 0], [0, 0, 0.02]], np.float32)
    mesh = TriangleMesh(points, np.array([[0, 1, 2], [0, 3, 1]], np.int32), CPU)
    x, _, _ = mesh.sample(10_000, torch.Generator().manual_seed(0))
    assert (x[:, 1] > 0).float().mean().item() == pytest.approx(9.0 / 9.09, abs=1e-4)
    assert (x[:, 0] + 4.5 * x[:, 1]).max() <= 9.0 + 1e-4


def test_of_some_faces_alone_points_lie_on_those_by_their_areas():
    points, _, faces = sphere(5.0, subdivisions=2)
    mesh = TriangleMesh(points.astype(np.float32), faces, CPU)
    upper = torch.nonzero(mesh.centres[:, 2] > 2.0)[:, 0]
    x, face, _ = mesh.sample(20_000, torch.Generator().manual_seed(0), upper)
    counts = torch.bincount(face, minlength=len(faces)).float()
    assert x[:, 2].min() > 1.0 and counts.sum() == counts[upper].sum()
    fractions = mesh.areas[upper] / mesh.areas[upper].sum()
    torch.testing.assert_close(counts[upper] / counts.sum(), fractions, rtol=0.0, atol=1e-4)
