"""Values at nodes that the inverse of the warp misses."""

import torch
from dsr_backend.fields.fast import NarrowBand
from dsr_backend.fitting.fast.shapes import continued
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
