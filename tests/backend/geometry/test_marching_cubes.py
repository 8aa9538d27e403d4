"""Marching cubes in torch: closed on any values, where scikit-image puts the surface."""

import itertools

import numpy as np
import pytest
import torch
from dsr_backend.geometry.connected_components import connected_components, lowest_connected_point
from dsr_backend.geometry.marching_cubes import NODE_MARGIN, marching_cubes
from scipy.ndimage import gaussian_filter
from skimage import measure

from support.pretend_gpu import DEVICE, pretend_gpu


def padded(values):
    """A layer of outside around the values, so that no surface leaves the lattice."""
    return torch.nn.functional.pad(torch.as_tensor(values, dtype=torch.float32), (1,) * 6, value=1.0)


def noise(seed, width, shape=(14, 11, 17)):
    values = gaussian_filter(np.random.default_rng(seed).normal(size=shape), width)
    return padded(values / values.std())


def enclosed(points, faces):
    a, b, c = (points.double()[faces[:, k]] for k in range(3))
    return float((a * torch.linalg.cross(b, c)).sum() / 6.0)


def is_closed(faces):
    """Every edge is gone along as often in one direction as in the other."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return sorted(map(tuple, edges.tolist())) == sorted(map(tuple, edges[:, ::-1].tolist()))


def test_all_cases_of_a_cell_are_closed():
    for corners in itertools.product((-1.0, 1.0), repeat=8):
        points, faces = marching_cubes(padded(np.reshape(corners, (2, 2, 2))))
        assert is_closed(faces.numpy())
        assert enclosed(points, faces) > 0.0 or min(corners) > 0.0


@pytest.mark.parametrize("width", [0.0, 0.7, 1.5])
@pytest.mark.parametrize("seed", range(4))
def test_any_values_give_a_closed_surface_between_inside_and_outside(seed, width):
    values = noise(seed, width)
    points, faces = marching_cubes(values)
    assert is_closed(faces.numpy()) and points.dtype == torch.float32
    assert sorted(set(faces.reshape(-1).tolist())) == list(range(len(points)))
    # A point lies on an edge of the lattice, where the straight line between its ends passes 0.
    low, fraction = points.floor().long(), points - points.floor()
    assert ((fraction > 0.0).sum(1) == 1).all()
    at = values[tuple(low.T)]
    ahead = values[tuple((low + (fraction > 0.0)).T)]
    assert (at * ahead <= 0.0).all()
    t = fraction.sum(1)
    deviation = (at + t * (ahead - at)).abs() / (at - ahead).abs()
    assert deviation.max() < 1.1 * NODE_MARGIN


@pytest.mark.parametrize("width", [0.0, 0.7, 1.5])
def test_no_edge_has_more_than_two_triangles(width):
    """Fans of triangles avoid lines in the faces of a cell, which the next cell may draw, too."""
    _, faces = marching_cubes(noise(1, width, (24, 24, 24)))
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    counts = np.unique(edges, axis=0, return_counts=True)[1]
    assert (counts == 2).all()


def test_as_by_scikit_image():
    values = noise(2, 2.0, (40, 30, 35))
    points, faces = marching_cubes(values)
    skimage_points, their_faces, _, _ = measure.marching_cubes(values.numpy(), 0.0, gradient_direction="descent")
    volume = enclosed(torch.tensor(skimage_points.copy()), torch.tensor(their_faces.copy()))
    assert enclosed(points, faces) == pytest.approx(volume, rel=1e-3)
    assert len(points) == pytest.approx(len(skimage_points), rel=1e-3)
    rows = [np.unique(np.round(np.asarray(vertices, np.float64), 2), axis=0) for vertices in (points, skimage_points)]
    shared = set(map(tuple, rows[0])) & set(map(tuple, rows[1]))
    assert len(shared) > 0.99 * len(skimage_points)


def test_values_of_nothing_but_one_side_have_no_surface():
    for side in (-1.0, 1.0):
        points, faces = marching_cubes(torch.full((3, 4, 5), side))
        assert points.shape == (0, 3) and faces.shape == (0, 3)


def test_a_surface_that_leaves_the_lattice_ends_there():
    """A plane that cuts all four sides: a sheet of 2 · 4 · 3 triangles."""
    values = torch.arange(3.0).repeat(5, 4, 1) - 0.5
    points, faces = marching_cubes(values)
    assert len(points) == 20 and len(faces) == 24
    np.testing.assert_allclose(points[:, 2], 0.5)
    a, b, c = (points[faces[:, k]] for k in range(3))
    assert (torch.linalg.cross(b - a, c - a)[:, 2] > 0.0).all()


def test_values_of_exactly_zero_leave_no_triangle_without_area():
    i, j, k = np.indices((13, 13, 13)) - 6.0
    points, faces = marching_cubes(torch.as_tensor(np.abs(i) + np.abs(j) + np.abs(k) - 4.0, dtype=torch.float32))
    a, b, c = (points[faces[:, k]] for k in range(3))
    assert torch.linalg.norm(torch.linalg.cross(b - a, c - a), dim=1).min() > 0.0
    assert is_closed(faces.numpy())


# Pieces


@pytest.mark.parametrize("width", [0.0, 0.7, 1.5])
def test_pieces_are_those_that_faces_connect_on_every_device(width):
    points, faces = marching_cubes(noise(3, width))
    number, piece = connected_components(len(points), faces)
    assert (piece[faces] == piece[faces[:, :1]]).all()
    assert sorted(set(piece.tolist())) == list(range(number)) and number > 1
    # A GPU finds them by other means: the lowest point of each.
    lowest = lowest_connected_point(len(points), faces)
    first = torch.full((number,), len(points)).scatter_reduce_(0, piece, torch.arange(len(points)), "amin")
    assert torch.equal(lowest, first[piece])
    # It numbers them from 0, in the order of these points.
    with pretend_gpu():
        count, numbered = connected_components(len(points), faces.to(DEVICE))
    assert count == number
    np.testing.assert_array_equal(numbered.cpu(), np.unique(lowest, return_inverse=True)[1])


def test_a_long_strip_is_one_piece():
    count = 20_000
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    faces = torch.stack([order[:-2], order[1:-1], order[2:]], 1)
    assert lowest_connected_point(count, faces).max() == 0 and connected_components(count, faces)[0] == 1
