"""The roofline of a fit: counts that go with its sizes, bounds that go with the machine's limits."""

import sys

import pytest
import torch

from support.paths import ROOT
from support.shapes import ball, cloud, fit

sys.path.insert(0, str(ROOT / "benchmarks"))

import roofline
from roofline import Part, counted, lines


@pytest.fixture(scope="module")
def field():
    return fit([ball(k, 5.0, atoms=cloud()) for k in (1, 2)])


def test_counts_go_with_nodes_and_points(field):
    seconds = {"distances": 1.0, "correction": 2.0}
    once, nodes, points = (counted(field, *counts, seconds) for counts in ((10, 20), (20, 20), (10, 40)))
    assert nodes[0].bytes == 2 * once[0].bytes and nodes[0].operations == 2 * once[0].operations
    assert nodes[1] == once[1] and points[0] == once[0]
    assert once[1].bytes < points[1].bytes < 2 * once[1].bytes
    assert [kernel.seconds for kernel in once] == [1.0, 2.0]


def test_the_bound_is_the_slower_of_moving_and_computing():
    kernels = [Part("moves", 8e9, 1e9, 4.0), Part("computes", 1e9, 40e9, 5.0)]
    text = "\n".join(lines(kernels, ("here", 4e9, 10e9), ("there", 4e12, 10e12)))
    assert "| moves | 8.0 | 1.0 | 0.12 | 4.0 | 2.0 | 50 % | 2 |" in text
    assert "| computes | 1.0 | 40.0 | 40.00 | 5.0 | 4.0 | 80 % | 4 |" in text


def test_limits_are_measured():
    bandwidth, rate = roofline.limits(torch.device("cpu"))
    assert 1e8 < bandwidth < 1e13 and 1e8 < rate < 1e15
