"""Displacements around the atoms against a sum over all of them, and the search for a reference that folds nothing."""

import numpy as np
import pytest
import torch
from dsr_backend.geometry.lattice import Lattice
from dsr_backend.motion import warp
from dsr_backend.motion.poses import Pose
from dsr_backend.motion.warp import WARP_SCALES, WARP_SIGMAS, Warp, least_folding, splat
from dsr_backend.runtime.errors import Cancelled

from support.shapes import cloud, turn

CPU = torch.device("cpu")


def tensor(values):
    return torch.tensor(np.asarray(values), dtype=torch.float32)


# Displacements


def summed(atoms, reference, sigma, node):
    """The mean displacement at a node: each atom stands at the eight nodes around it, with trilinear weights."""
    lattice = Lattice.around(atoms.min(0) - 8.0, atoms.max(0) + 8.0, 1.6)
    top, bottom = np.zeros(3), 0.0
    for atom, home in zip(atoms.astype(float), reference.astype(float), strict=True):
        cell = np.floor((atom - lattice.origin) / 1.6)
        inside = (atom - lattice.origin) / 1.6 - cell
        for corner in np.ndindex(2, 2, 2):
            corner_weight = np.prod(np.where(corner, inside, 1 - inside))
            offset = (cell + corner) * 1.6 + lattice.origin - node
            for scale, weight in WARP_SCALES:
                # A Gaussian of `scale` times the width, whose integral is not 1 but scale³.
                kernel = corner_weight * weight * np.exp(-(offset @ offset) / (2 * (scale * sigma) ** 2))
                top, bottom = top + kernel * (home - atom), bottom + kernel
    return top / bottom


@pytest.mark.parametrize("sigma", [2.0, 4.5])
def test_displacements_are_averages_over_all_atoms_by_gaussians(sigma):
    rng = np.random.default_rng(0)
    atoms = cloud(12).astype(np.float32)
    reference = (atoms + rng.normal(size=atoms.shape)).astype(np.float32)
    lattice, u = splat(atoms, reference, sigma, CPU)
    assert lattice == Lattice.around(atoms.min(0) - 8.0, atoms.max(0) + 8.0, 1.6) and u.is_contiguous()
    picked = rng.integers(0, lattice.size, 25)
    nodes = lattice.nodes(torch.as_tensor(picked)).numpy().astype(float)
    expected = [summed(atoms, reference, sigma, node) for node in nodes]
    np.testing.assert_allclose(u[:, picked].T, expected, atol=2e-4)


def test_the_widths_that_are_summed():
    """Each is twice as wide as the one before, and weighs a hundredth of it."""
    assert tuple((2.0**k, pytest.approx(10.0 ** (-2 * k))) for k in range(4)) == WARP_SCALES


def test_weights_of_far_atoms_are_no_denormal_numbers(monkeypatch):
    volume = torch.zeros(1, 40, 40, 40)
    volume[0, 0, 0, 0] = 1.0

    def has_denormals():
        blurred = warp.blur(volume, 1.25)
        return bool(((blurred > 0) & (blurred < torch.finfo(torch.float32).tiny)).any())

    assert not has_denormals()
    monkeypatch.setattr(warp, "TAIL", 0.0)
    assert has_denormals()


def test_a_shift_of_all_atoms_is_the_displacement_everywhere():
    atoms = cloud(12).astype(np.float32)
    _, u = splat(atoms, atoms + np.array([1.0, -2.0, 0.5], np.float32), 2.0, CPU)
    np.testing.assert_allclose(u.T, np.tile([1.0, -2.0, 0.5], (u.shape[1], 1)), atol=1e-5)


# The map


def test_points_go_to_the_reference_s_frame_and_then_by_their_displacement():
    pose = Pose(turn(50.0), np.array([1e5, 3.0, -7.0]))
    x = (np.random.default_rng(0).uniform(-4, 4, (30, 3)) - pose.translation) @ pose.rotation
    placed = np.float32(x).astype(float) @ pose.rotation.T + pose.translation
    np.testing.assert_allclose(Warp(pose, None, CPU)(tensor(x)), placed, atol=2e-4)
    lattice = Lattice.around([-5.0] * 3, [5.0] * 3, 1.0)
    slope = np.diag([0.1, 0.2, -0.1])
    u = (lattice.nodes(torch.arange(lattice.size)) @ tensor(slope)).T
    np.testing.assert_allclose(Warp(pose, (lattice, u), CPU)(tensor(x)), placed + placed @ slope, atol=5e-4)


# The reference


def chosen(*factors):
    """Reference and width for one cloud that is stretched by these factors."""
    return least_folding(np.array([cloud(150) * factor for factor in factors], np.float32), CPU)


def test_the_inverse_leads_back_where_the_warp_does_not_fold():
    lattice = Lattice.around([-8.0] * 3, [8.0] * 3, 1.6)
    # A gentle wave: its steepest slope is a third.
    u = torch.sin(lattice.nodes(torch.arange(lattice.size)).roll(1, 1) / 3.0).T
    pose = Pose(turn(40.0), np.array([3.0, -1.0, 2.0]))
    bent = Warp(pose, (lattice, u), CPU)
    xi = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 8.0 - 4.0
    x, miss = bent.inverse(xi)
    torch.testing.assert_close(bent(x), xi, rtol=0.0, atol=0.02)
    torch.testing.assert_close(torch.linalg.norm(bent(x) - xi, dim=1), miss, rtol=0.0, atol=1e-5)
    rigid = Warp(pose, None, CPU)
    x, miss = rigid.inverse(xi)
    torch.testing.assert_close(rigid(x), xi, rtol=0.0, atol=1e-5)
    assert not miss.any()


@pytest.mark.parametrize("stretch", [2.0, 3.0, 5.0])
def test_the_inverse_leads_back_where_the_warp_expands(stretch):
    """By the factor 2 or more, as of a chain that is pulled out, plain steps lead away from the point."""
    lattice = Lattice.around([-8.0] * 3, [8.0] * 3, 1.6)
    u = lattice.nodes(torch.arange(lattice.size)).T * (stretch - 1.0)
    warp = Warp(Pose(turn(40.0), np.zeros(3)), (lattice, u), CPU)
    xi = stretch * (torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 8.0 - 4.0)
    x, miss = warp.inverse(xi)
    assert miss.max() < 0.02
    torch.testing.assert_close(warp(x), xi, rtol=0.0, atol=0.02)


def test_the_inverse_says_by_how_much_it_misses_where_the_warp_folds():
    lattice = Lattice.around([-8.0] * 3, [8.0] * 3, 0.5)
    # Neighbouring nodes are displaced by 3 Å this way and that.
    u = 3.0 * torch.randn(3, lattice.size, generator=torch.Generator().manual_seed(0))
    folding = Warp(Pose(turn(40.0), np.zeros(3)), (lattice, u), CPU)
    xi = torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) * 8.0 - 4.0
    x, miss = folding.inverse(xi)
    assert (miss > 1.0).sum() > 100
    torch.testing.assert_close(torch.linalg.norm(folding(x) - xi, dim=1), miss, rtol=0.0, atol=1e-4)


def test_a_single_state_is_its_own_reference():
    assert chosen(1.0) == (0, WARP_SIGMAS[0])


def test_states_that_do_not_fold_have_the_middle_one_and_the_narrowest_width():
    assert chosen(1.0, 1.0, 1.0, 1.0) == (2, WARP_SIGMAS[0])
    assert chosen(1.0, 1.0, 1.0, 1.0, 1.0) == (2, WARP_SIGMAS[0])


def test_folding_is_what_the_determinant_lacks_of_three_tenths():
    """Atoms shrunk by a factor are warped onto themselves: the determinant is the factor's cube, less at the rim."""
    atoms = cloud(2000, 6.0).astype(np.float32)

    def folding(factor):
        return vars(warp)["_folding"](atoms, (atoms * factor).astype(np.float32), 10.0, CPU, lambda: False)

    # A wide Gaussian makes the displacement nearly the same everywhere: nothing folds.
    assert folding(0.9) == 0.0
    # Mirrored along one axis, by a narrow one: the determinant is about −1 amid the atoms.
    mirrored = (atoms * [-1, 1, 1]).astype(np.float32)
    estimate = vars(warp)["_folding"](atoms, mirrored, 0.5, CPU, lambda: False)
    assert 0.3 < estimate < 1.3 + 0.6


def test_the_reference_is_searched_among_five_states_and_the_widths_in_turn(monkeypatch):
    polls = []

    def folding(atoms, reference, sigma, device, cancelled):
        state, target = int(atoms[0, 0]), int(reference[0, 0])
        polls.append((state, target, sigma))
        # State 7 folds least, and little enough at the third width.
        return {2.0: 1.0, 3.0: 0.5, 4.5: 0.0009}.get(sigma, 0.0) if target == 7 else 2.0

    monkeypatch.setattr(warp, "_folding", folding)
    states = np.zeros((10, 3, 3), np.float32) + np.arange(10, dtype=np.float32)[:, None, None]
    assert least_folding(states, CPU) == (7, 4.5)
    assert [sigma for *_, sigma in polls] == [2.0] * 25 + [3.0] * 25 + [4.5] * 25
    assert {state for state, *_ in polls} == {target for _, target, _ in polls} == {0, 2, 4, 7, 9}


@pytest.mark.parametrize("at_most, sigma", [(0.00099, 2.0), (0.001, 10.0)])
def test_a_width_is_taken_below_the_limit_and_the_widest_where_none_is(at_most, sigma, monkeypatch):
    monkeypatch.setattr(warp, "_folding", lambda *_: at_most)
    assert least_folding(np.zeros((3, 4, 3), np.float32), CPU) == (1, sigma)


def test_differences_below_a_hundred_thousandth_count_as_equal(monkeypatch):
    """The middle state, state 2 of 5, wins over one that is better by less than that."""
    for better, best in ((4e-6, 2), (2e-5, 0)):
        monkeypatch.setattr(warp, "_folding", lambda a, reference, *_, by=better: 5e-4 - by * (reference[0, 0] == 0))
        states = np.zeros((5, 3, 3), np.float32) + np.arange(5, dtype=np.float32)[:, None, None]
        assert least_folding(states, CPU) == (best, 2.0)


def test_a_search_for_the_reference_is_cancelled_between_two_lattices():
    """Asked before each lattice and between its blurs."""
    polls = []

    def cancelled():
        polls.append(1)
        return len(polls) > 7

    states = np.array([cloud(50) * factor for factor in (1.0, 1.1, 1.2)], np.float32)
    with pytest.raises(Cancelled):
        least_folding(states, CPU, cancelled)
    assert len(polls) == 8


def test_atoms_in_a_box_that_no_warp_covers_are_refused_at_once():
    corners = np.array([[0, 0, 0], [500, 500, 500]], np.float32)
    states = np.stack([corners, corners + 1])
    with pytest.raises(ValueError, match=r"take a box of 51\d × 51\d × 51\d Å, .*: make .* whole .* or select fewer"):
        least_folding(states, CPU)
