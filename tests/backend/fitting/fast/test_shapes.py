"""Values at nodes that are not measured, or that the inverse of the warp misses; points to choose widths with."""

import numpy as np
import pytest
import torch
from dsr_backend.fields.fast import NarrowBand
from dsr_backend.fitting.fast.shapes import between_measured_nodes, continued, measured_nodes, validation_points
from dsr_backend.geometry.lattice import Lattice

from support.shapes import ball

LATTICE = Lattice.around([-4.0] * 3, [4.0] * 3, 1.0)
NODES = LATTICE.nodes(torch.arange(LATTICE.size))
NEIGHBOURS = NarrowBand(LATTICE, torch.ones(LATTICE.size, dtype=torch.bool)).neighbours


def test_missed_nodes_continue_a_slope_exactly():
    slope = NODES @ torch.tensor([1.0, -2.0, 0.5])
    missed = NODES.norm(dim=1) < 2.1
    continuation = continued(torch.where(missed, 99.0, slope), missed, NEIGHBOURS)
    torch.testing.assert_close(continuation, slope, rtol=0.0, atol=0.05)


def test_all_other_values_stay():
    values = torch.randn(LATTICE.size, generator=torch.Generator().manual_seed(0))
    missed = NODES.norm(dim=1) < 2.1
    original = values.clone()
    continuation = continued(values, missed, NEIGHBOURS)
    assert torch.equal(continuation[~missed], original[~missed]) and torch.equal(values, original)
    assert torch.equal(continued(values, torch.zeros_like(missed), NEIGHBOURS), values)


@pytest.mark.parametrize("shape", [(9, 9, 9), (8, 11, 2)])
def test_a_slope_between_measured_nodes_is_exact_to_the_last_node(shape):
    lattice = Lattice((-1.0, 2.0, 0.5), 1.0, shape)
    slope = lattice.nodes(torch.arange(lattice.size)) @ torch.tensor([1.0, -2.0, 0.5])
    numbers = measured_nodes(lattice, 1, torch.zeros(0, 3, dtype=torch.int32))
    assert len(numbers) == np.prod([count // 2 + 1 for count in shape])
    torch.testing.assert_close(between_measured_nodes(lattice, numbers, slope[numbers]), slope)


def test_nodes_near_the_surface_are_measured_and_keep_their_values():
    cells = torch.tensor([[1, 1, 1]], dtype=torch.int32)
    numbers = measured_nodes(LATTICE, 1, cells)
    near = ((NODES >= 0.0) & (NODES <= 3.0)).all(1)
    assert near[numbers].sum() == near.sum() == 64
    values = torch.randn(LATTICE.size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(between_measured_nodes(LATTICE, numbers, values[numbers])[numbers], values[numbers])


def test_validation_points_are_equally_dense_near_the_surface():
    """Volumes count then as they do in an IoU: points that are densest at the surface would overrate its crevices."""
    far_out = np.array([300.0, -200.0, 100.0])
    surface = ball(1.0, 8.0, far_out)
    points = validation_points(surface, torch.device("cpu"), torch.Generator().manual_seed(0))
    radius = np.linalg.norm(points.double().numpy() - far_out, axis=1)
    assert abs(radius - 8.0).max() < 2.0 * np.sqrt(3.0)
    edges = np.array([7.2, 7.6, 8.0, 8.4, 8.8])
    density = np.histogram(radius, edges)[0] / np.diff(edges**3)
    np.testing.assert_allclose(density / density.mean(), 1.0, atol=0.1)
