"""Values at nodes that are not measured, or that the inverse of the warp misses."""

import numpy as np
import pytest
import torch
from dsr_backend.fields.fast import NarrowBand
from dsr_backend.fitting.fast.shapes import between_measured_nodes, continued, measured_nodes
from dsr_backend.geometry.lattice import Lattice

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
