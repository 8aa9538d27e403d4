"""Nearest points against a sort of all distances, by both trees of the CPU and by the chunks of a GPU."""

import functools
import sys

import numpy as np
import pytest
import torch
from dsr_backend.geometry import nearest_points
from dsr_backend.geometry.nearest_points import NearestPoints

from support.pretend_gpu import DEVICE, pretend_gpu


@pytest.fixture(params=["pykdtree", "scipy", "gpu"])
def device(request, monkeypatch):
    if request.param != "gpu":
        if request.param == "scipy":
            # Its import fails then, as where it is not installed.
            monkeypatch.setitem(sys.modules, "pykdtree.kdtree", None)
        yield torch.device("cpu")
        return
    with pretend_gpu():
        yield DEVICE


def spread(count, seed):
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def nearest(points, x, count, device):
    search = NearestPoints(torch.as_tensor(points, device=device))
    assert (search.query is None) == (device.type != "cpu")
    if device.type == "cpu":
        is_scipy = isinstance(search.query, functools.partial)
        assert is_scipy == (sys.modules["pykdtree.kdtree"] is None)
    distance, index = search(torch.as_tensor(x, device=device), count)
    assert distance.device.type == index.device.type == device.type
    return distance.cpu().numpy(), index.cpu().numpy()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_nearest_come_first(count, device):
    points, x = spread(40, 0), spread(25, 1)
    all_distances = np.linalg.norm(x[:, None] - points[None], axis=2)
    distance, index = nearest(points, x, count, device)
    np.testing.assert_array_equal(index, np.argsort(all_distances, axis=1)[:, :count])
    np.testing.assert_allclose(distance, np.sort(all_distances, axis=1)[:, :count], rtol=1e-5)


def test_of_few_points_all_are_found(device):
    distance, index = nearest(np.array([[0, 0, 0], [3, 4, 12]], np.float32), np.zeros((1, 3), np.float32), 5, device)
    assert index.tolist() == [[0, 1]] and distance.tolist() == [[0.0, 13.0]]


def test_one_nearest_point_is_one_column(device):
    distance, index = nearest(spread(9, 0), spread(4, 1), 1, device)
    assert distance.shape == index.shape == (4, 1)


def test_points_beyond_a_distance_may_be_left_out():
    search, x = NearestPoints(torch.as_tensor(spread(40, 0))), torch.as_tensor(2.0 * spread(200, 1))
    distance, index = search(x, 3)
    near, near_index = search(x, 3, within=1.0)
    is_near = distance < 1.0
    assert 0.1 < is_near.double().mean() < 0.9
    assert torch.equal(near[is_near], distance[is_near]) and torch.equal(near_index[is_near], index[is_near])
    assert torch.isinf(near[~is_near]).all() and (near_index[~is_near] == 40).all()


def test_no_point_has_no_neighbours(device):
    distance, index = nearest(spread(9, 0), np.zeros((0, 3), np.float32), 2, device)
    assert distance.shape == index.shape == (0, 2) and index.dtype == np.int64


@pytest.mark.parametrize("pairs", [1, 40, 119, 120, 1000])
def test_chunks_of_distances_change_nothing(pairs, monkeypatch):
    points, x = spread(40, 0), spread(25, 1)
    expected = nearest(points, x, 3, torch.device("cpu"))
    shapes = []
    squared_distances = vars(nearest_points)["_squared_distances"]

    def counted(a, b):
        shapes.append((len(a), len(b)))
        return squared_distances(a, b)

    monkeypatch.setattr(nearest_points, "PAIRS", pairs)
    monkeypatch.setattr(nearest_points, "_squared_distances", counted)
    with pretend_gpu():
        distance, index = nearest(points, x, 3, DEVICE)
    np.testing.assert_array_equal(index, expected[1])
    np.testing.assert_allclose(distance, expected[0], rtol=1e-5)
    # As many distances at once as PAIRS says, and one row of them at least.
    assert max(a * b for a, b in shapes) <= max(pairs, 40)
    assert len(shapes) == -(-25 // max(1, pairs // 40))


def test_far_from_the_origin_differences_keep_their_digits():
    """Points 10⁴ Å away, a hundredth apart: products of coordinates in f4 would lose all of it."""
    points = (1e4 + np.arange(12).reshape(4, 3) * 2.0**-6).astype(np.float32)
    with pretend_gpu():
        distance, _ = nearest(points, points[:1], 4, DEVICE)
    np.testing.assert_allclose(distance[0], np.arange(4) * 3 * 2.0**-6 * 3**0.5, rtol=1e-6)


def test_distances_at_once_take_half_a_gibibyte():
    assert nearest_points.PAIRS * 4 == 2**29
