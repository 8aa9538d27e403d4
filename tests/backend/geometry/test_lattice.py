"""Lattices: where nodes are, exactness of trilinear interpolation, nesting of fine and coarse."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from dsr_backend.geometry.lattice import Lattice, LatticeLimit, gather, refined, smooth_nodes
from dsr_backend.runtime.errors import Cancelled

LATTICE = Lattice((-3.0, 1.5, 4.0), 0.75, (5, 7, 4))


def inside(lattice, count=500, seed=0):
    """Points f4[count,3] in the lattice's box."""
    low = np.array(lattice.origin)
    size = (np.array(lattice.shape) - 1) * lattice.spacing
    return torch.tensor(low + np.random.default_rng(seed).random((count, 3)) * size, dtype=torch.float32)


def all_nodes(lattice):
    return lattice.nodes(torch.arange(lattice.size))


# Where nodes are


@pytest.mark.parametrize("even", [1, 4])
@pytest.mark.parametrize("spacing", [0.5, 1.0, 1.4])
def test_around_covers_the_box_from_multiples_of_the_spacing(spacing, even):
    low, high = [-7.3, 0.0, 12.01], [5.1, 0.2, 40.0]
    lattice = Lattice.around(low, high, spacing, multiple=even)
    nodes = all_nodes(lattice)
    assert (nodes.amin(0).numpy() <= low).all() and (nodes.amax(0).numpy() >= high).all()
    # No layer of cells more than needed.
    anchor = spacing * even
    assert (nodes.amin(0).numpy() > np.array(low) - anchor).all()
    assert (nodes.amax(0).numpy() < np.array(high) + anchor).all()
    np.testing.assert_allclose(np.array(lattice.origin) / anchor, np.round(np.array(lattice.origin) / anchor))
    assert all((n - 1) % even == 0 for n in lattice.shape)


def test_a_lattice_is_a_value():
    assert Lattice((-3.0, 1.5, 4.0), 0.75, (5, 7, 4)) == LATTICE and LATTICE.size == 140
    with pytest.raises(FrozenInstanceError):
        LATTICE.spacing = 1.0  # type: ignore[misc]


def test_around_a_point_has_one_cell():
    assert Lattice.around([1.0] * 3, [1.0] * 3, 0.5).shape == (2, 2, 2)


def test_nodes_are_numbered_with_z_fastest():
    numbers = torch.arange(LATTICE.size).reshape(LATTICE.shape)
    node = LATTICE.nodes(numbers[2, 5, 3].reshape(1))[0]
    np.testing.assert_allclose(node, [-3.0 + 2 * 0.75, 1.5 + 5 * 0.75, 4.0 + 3 * 0.75])


def test_boxes_of_lattices_with_one_spacing_share_nodes():
    a = Lattice.around([0.1] * 3, [3.2] * 3, 0.7)
    b = Lattice.around([-5.0] * 3, [9.9] * 3, 0.7)
    offset = (np.array(a.origin) - b.origin) / 0.7
    np.testing.assert_allclose(offset, np.round(offset), atol=1e-9)


# Interpolation


def test_linear_functions_are_reproduced_exactly():
    slope = torch.tensor([[1.5, -0.25], [0.5, 2.0], [-3.0, 0.125]])
    x = inside(LATTICE)
    values = LATTICE.interpolate(all_nodes(LATTICE) @ slope + 7.0, x)
    np.testing.assert_allclose(values, x @ slope + 7.0, atol=2e-5)


def test_trilinear_functions_are_reproduced_exactly():
    def product(p):
        return (p[:, :1] - 1.0) * (p[:, 1:2] + 0.5) * (p[:, 2:] - 5.0)

    # x y z is trilinear in every cell, though not linear.
    x = inside(LATTICE)
    np.testing.assert_allclose(LATTICE.interpolate(product(all_nodes(LATTICE)), x), product(x), atol=1e-4)


def test_weights_are_a_partition_of_unity_and_never_negative():
    index, weight = LATTICE.corners(inside(LATTICE))
    np.testing.assert_allclose(weight.sum(1), 1.0, atol=1e-6)
    assert weight.min() >= 0.0
    assert index.min() >= 0 and index.max() < LATTICE.size


def test_values_at_nodes_are_the_nodes_own():
    values = torch.rand(LATTICE.size, 3)
    np.testing.assert_allclose(LATTICE.interpolate(values, all_nodes(LATTICE)), values, atol=1e-5)


def test_points_outside_take_the_value_where_they_are_clamped_to():
    values = torch.rand(LATTICE.size, 1)
    x = inside(LATTICE) * 3.0
    clamped = LATTICE.clamp(x)
    assert (clamped != x).any(1).sum() > 100
    np.testing.assert_allclose(LATTICE.interpolate(values, x), LATTICE.interpolate(values, clamped), atol=1e-5)


def test_clamp_leaves_inner_points_and_finds_the_nearest_of_the_box():
    x = inside(LATTICE)
    assert torch.equal(LATTICE.clamp(x), x)
    np.testing.assert_array_equal(LATTICE.clamp(torch.tensor([[-9.0, 2.0, 99.0]])), [[-3.0, 2.0, 4.0 + 3 * 0.75]])


def test_no_points_give_no_values():
    assert LATTICE.interpolate(torch.rand(LATTICE.size, 2), torch.zeros(0, 3)).shape == (0, 2)


def test_far_from_the_origin_the_lattice_is_the_same():
    far = Lattice.around([100_000.0] * 3, [100_004.0] * 3, 1.0)
    near = Lattice.around([0.0] * 3, [4.0] * 3, 1.0)
    values = torch.rand(far.size, 1)
    # Steps of 1/64 Å are exact in float32 at 10⁵ Å.
    x = torch.randint(0, 4 * 64, (300, 3)) / 64
    assert torch.equal(far.interpolate(values, x + 100_000.0), near.interpolate(values, x))


def test_gather_sums_weighted_rows_and_passes_gradients():
    values = torch.rand(5, 2, requires_grad=True)
    index = torch.tensor([[0, 0, 1, 1, 2, 2, 3, 3], [4] * 8])
    weight = torch.rand(2, 8)
    gathered = gather(values, index, weight)
    np.testing.assert_allclose(gathered.detach(), (weight[..., None] * values[index]).sum(1).detach(), atol=1e-6)
    gathered.sum().backward()
    assert values.grad is not None and values.grad[4, 0].item() == pytest.approx(weight[1].sum().item())


# Fine and coarse


def test_the_coarser_lattice_has_every_so_many_th_node_of_the_fine_one():
    fine = Lattice.around([-3.3] * 3, [9.1, 4.0, 5.0], 0.7, multiple=4)
    coarse = fine.coarser(4)
    grid = all_nodes(fine).reshape(*fine.shape, 3)[::4, ::4, ::4]
    assert grid.shape[:3] == coarse.shape
    np.testing.assert_allclose(all_nodes(coarse).reshape(grid.shape), grid, atol=1e-5)


def test_the_fine_lattice_repeats_the_coarse_one_between_its_nodes():
    """A trilinear function is trilinear in every part of its cell: why a band ends without a step."""
    fine = Lattice.around([0.0] * 3, [8.0] * 3, 1.0, multiple=4)
    coarse = fine.coarser(4)
    values = torch.rand(coarse.size, 1)
    x = inside(fine)
    sampled = coarse.interpolate(values, all_nodes(fine))
    np.testing.assert_allclose(fine.interpolate(sampled, x), coarse.interpolate(values, x), atol=1e-6)


# Largest lattices

LIMIT = LatticeLimit(1000, 80, "the atoms", "select fewer", nodes_per_side=100)


@pytest.mark.parametrize(
    ("shape", "sides"), [((10, 10, 11), "14 × 14 × 15"), ((101, 2, 2), "150 × 2 × 2"), ((2**20,) * 3, "1572862 × ")]
)
def test_a_lattice_of_too_many_nodes_is_refused_before_anything_is_allocated(shape, sides):
    with pytest.raises(ValueError, match=rf"^the atoms take a box of {sides}.* Å, more than 1000 nodes 1.5 Å apart: s"):
        Lattice((0.0, 0.0, 0.0), 1.5, shape).ensure_allocatable(LIMIT, torch.device("cpu"))
    Lattice((0.0, 0.0, 0.0), 1.5, (10, 10, 10)).ensure_allocatable(LIMIT, torch.device("cpu"))


def test_a_lattice_for_which_the_memory_does_not_last_is_refused():
    """2⁴⁰ nodes of 80 bytes each: more than any machine has."""
    lattice = Lattice((0.0, 0.0, 0.0), 1.0, (2**14, 2**13, 2**13))
    with pytest.raises(MemoryError, match=r"takes 81920\.0 GiB, and [\d.]+ GiB are free"):
        lattice.ensure_allocatable(LatticeLimit(2**50, 80, "the atoms", ""), torch.device("cpu"))


def test_a_cancelled_job_allocates_no_lattice():
    with pytest.raises(Cancelled):
        Lattice((0.0, 0.0, 0.0), 1.5, (2, 2, 2)).ensure_allocatable(LIMIT, torch.device("cpu"), lambda: True)


# Scalars, and finer lattices


def test_scalars_are_interpolated_as_columns_are():
    values = torch.rand(LATTICE.size)
    x = torch.cat([inside(LATTICE), inside(LATTICE) + 4.0])
    expected = LATTICE.interpolate(values[:, None], x)[:, 0]
    np.testing.assert_allclose(LATTICE.interpolate_columns(values, x), expected, atol=1e-6)


def test_rows_of_values_are_interpolated_each_by_itself_and_in_chunks(monkeypatch):
    values, x = torch.rand(3, LATTICE.size), torch.rand(100, 3) * 12.0 - 6.0
    expected = LATTICE.interpolate(values.T.contiguous(), x).T
    monkeypatch.setattr("dsr_backend.geometry.lattice.CHUNK", 7)
    np.testing.assert_allclose(LATTICE.interpolate_columns(values, x), expected, atol=1e-6)
    np.testing.assert_allclose(LATTICE.interpolate_columns(values[1], x), expected[1], atol=1e-6)


def test_extrapolated_scalars_grow_by_the_distance_to_the_box():
    values = torch.rand(LATTICE.size)
    x = torch.cat([inside(LATTICE), inside(LATTICE) + 4.0, inside(LATTICE) - 4.0])
    distance = (x - LATTICE.clamp(x)).norm(dim=1)
    assert (distance > 0.0).sum() > 500
    expected = LATTICE.interpolate(values[:, None], x)[:, 0] + distance
    np.testing.assert_allclose(LATTICE.extrapolate_columns(values, x), expected, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_refined_values_are_those_of_the_trilinear_function(factor):
    values = torch.rand(5, 7, 4)
    shape = [(count - 1) * factor + 1 for count in values.shape]
    expected = torch.nn.functional.interpolate(values[None, None], size=shape, mode="trilinear", align_corners=True)[
        0, 0
    ]
    np.testing.assert_allclose(refined(values, factor), expected, atol=1e-6)
    if factor == 2:
        assert torch.equal(refined(values, 2), expected)


@pytest.mark.parametrize("width", [0.0, 0.4, 1.0, 1.7])
def test_smoothed_nodes_are_spread_by_a_gaussian(width):
    values = torch.zeros(19, 21, 17)
    values[9, 10, 8] = 1.0
    smooth_nodes(values, width)
    assert float(values.min()) >= 0.0
    assert float(values.sum()) == pytest.approx(1.0, abs=1e-5)
    for axis, middle in enumerate((9, 10, 8)):
        along = values.sum([across for across in range(3) if across != axis])
        offset = torch.arange(len(along)) - middle
        assert float((along * offset**2).sum()) == pytest.approx(width**2, abs=1e-3)


def test_smoothing_leaves_what_is_even():
    """Nothing flows through the sides, and a linear function has as much on either side of a node."""
    constant = torch.full((5, 6, 7), 2.0)
    smooth_nodes(constant, 1.0)
    np.testing.assert_allclose(constant, 2.0, atol=1e-6)
    linear = torch.arange(20.0)[:, None, None].expand(20, 4, 4).clone()
    smooth_nodes(linear, 0.7)
    np.testing.assert_allclose(linear[3:-3], torch.arange(3.0, 17.0)[:, None, None].expand(14, 4, 4), atol=1e-5)
