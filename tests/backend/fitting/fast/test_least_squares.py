"""Regularised least squares against the dense solution."""

import pytest
import torch
from dsr_backend.fitting.fast.least_squares import Observations, Smoothing, solve

NODES = 12


@pytest.fixture
def observed():
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(NODES, (40, 8), generator=generator)
    weight = torch.rand(40, 8, generator=generator)
    return Observations(index, weight / weight.sum(1, keepdim=True), torch.randn(40, generator=generator))


def matrix(observed):
    """The interpolation as a dense matrix f8[N,nodes]."""
    dense = torch.zeros(len(observed.target), NODES, dtype=torch.float64)
    for row, (nodes, weights) in enumerate(zip(observed.index.tolist(), observed.weight.tolist(), strict=True)):
        for node, weight in zip(nodes, weights, strict=True):
            dense[row, node] += weight
    return dense


def test_values_between_the_nodes_are_means_of_theirs(observed):
    v = torch.randn(NODES, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(observed.predict(v).double(), matrix(observed) @ v.double())


@pytest.mark.parametrize("ridge", [0.03, 1.0, 100.0])
def test_the_solution_is_that_of_the_normal_equations(observed, ridge):
    prior = torch.randn(NODES, generator=torch.Generator().manual_seed(2))
    dense = matrix(observed)
    right = dense.T @ observed.target.double() + ridge * prior.double()
    expected = torch.linalg.solve(dense.T @ dense + ridge * torch.eye(NODES, dtype=torch.float64), right)
    torch.testing.assert_close(solve(observed, prior, ridge, 3 * NODES).double(), expected, rtol=1e-4, atol=1e-4)


def test_smoothed_nodes_are_drawn_to_their_neighbours(observed):
    nodes, neighbours = torch.tensor([2, 5]), torch.tensor([[0, 1, 3, 4, 2, 2], [4, 6, 7, 8, 9, 10]])
    prior = torch.randn(NODES, generator=torch.Generator().manual_seed(2))
    weight, ridge, dense = 0.7, 0.1, matrix(observed)
    links = torch.zeros(NODES, NODES, dtype=torch.float64)
    for node, around in zip(nodes.tolist(), neighbours.tolist(), strict=True):
        for neighbour in around:
            difference = torch.zeros(NODES, dtype=torch.float64)
            difference[node] += 1.0
            difference[neighbour] -= 1.0
            links += weight * torch.outer(difference, difference)
    regular = ridge * torch.eye(NODES, dtype=torch.float64) + links
    right = dense.T @ observed.target.double() + regular @ prior.double()
    expected = torch.linalg.solve(dense.T @ dense + regular, right)
    solved = solve(observed, prior, ridge, 4 * NODES, smoothing=Smoothing(nodes, neighbours, weight))
    torch.testing.assert_close(solved.double(), expected, rtol=1e-4, atol=1e-4)


def test_without_iterations_the_prior_stays(observed):
    prior = torch.arange(float(NODES))
    assert torch.equal(solve(observed, prior, 0.1, 0), prior)


def test_it_is_asked_before_each_iteration_whether_to_stop(observed):
    polls = []
    solve(observed, torch.zeros(NODES), 0.1, 5, lambda: polls.append(1))
    assert len(polls) == 5
