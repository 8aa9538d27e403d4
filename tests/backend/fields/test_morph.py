"""The way between two trajectories of one family, of fields that are put together by hand."""

import numpy as np
import pytest
import torch
from dsr_backend.fields.base import Family
from dsr_backend.fields.morph import Morph
from dsr_backend.fields.select import field_between, select_field

from pymol_dsr.shared.options import FieldOptions
from support.fast_field import field
from support.formula_field import SPHERE, balls
from support.shapes import cloud, turn

X = torch.tensor(np.random.default_rng(0).uniform(-8, 8, (300, 3)), dtype=torch.float32)


def pair(first=None, second=None, states=(2, 2)):
    """Two fields of one decoder, the second with other values; atoms of the states or None."""
    one, other = field(states[0], 0, atoms=first), field(states[1], 1, atoms=second)
    other.clearance, other.extent = 4.0, other.extent * np.array([[2.0], [0.5]], np.float32)
    return one, other


@pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("time", [1.0, 1.4, 2.0, 2.5])
def test_without_atoms_distances_are_mixed_in_place(fraction, time):
    one, other = pair(states=(2, 4))
    found = Morph(one, other, fraction).at(time)
    # The other's times are taken at the same fraction of its range: 1 to 2 is its 1 to 4.
    mixed = (1 - fraction) * one.at(time).distance(X) + fraction * other.at(1 + 3 * (time - 1)).distance(X)
    np.testing.assert_allclose(found.distance(X), mixed, atol=1e-4)
    assert found.atoms is None and found.extrapolated == (time > 2.0)
    np.testing.assert_array_equal(found.box, [[-14.0] * 3, [7.0] * 3])


def test_a_first_trajectory_of_one_state_goes_with_the_first_state_of_the_other():
    one, other = pair(states=(1, 3))
    np.testing.assert_allclose(Morph(one, other, 1.0).at(1.0).distance(X), other.at(1.0).distance(X), atol=1e-5)


def rigid():
    """A molecule at rest, and the same molecule turned, shifted and bent a little."""
    base = cloud(40)
    bent = base + 0.4 * base[:, [1, 2, 0]]
    return [base] * 2, [bent @ turn(70.0).T + [30.0, 0.0, 0.0]] * 2


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_the_same_molecule_is_superposed_and_its_atoms_are_mixed(fraction):
    first, second = rigid()
    one, other = pair(first, second)
    found = Morph(one, other, fraction).at(1.5)
    assert found.atoms is not None
    # The way is at the place of the first: its last atoms are the second's, superposed on it.
    base, bent = first[0], first[0] + 0.4 * first[0][:, [1, 2, 0]]
    centred = bent - bent.mean(0)
    u, _, vt = np.linalg.svd(centred.T @ (base - base.mean(0)))
    superposed = centred @ (u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt) + base.mean(0)
    atoms = (1 - fraction) * base + fraction * superposed
    np.testing.assert_allclose(found.atoms, atoms, atol=5e-3)
    np.testing.assert_allclose(found.box, [atoms.min(0) - 4.0, atoms.max(0) + 4.0], atol=5e-3)


def test_the_ends_of_the_way_are_the_two_fields_superposed():
    first, second = rigid()
    one, other = pair(first, second)
    start, end = Morph(one, other, 0.0).at(1.5), Morph(one, other, 1.0).at(1.5)
    np.testing.assert_allclose(start.distance(X), one.at(1.5).distance(X), atol=5e-3)
    # The second's own frame, of which `superposed` is a turn and a shift.
    own = other.at(1.5)
    assert own.atoms is not None and end.atoms is not None
    back = own.atoms.astype(float)
    u, _, vt = np.linalg.svd((end.atoms - end.atoms.mean(0)).T.astype(float) @ (back - back.mean(0)))
    there = (X.numpy() - end.atoms.mean(0)) @ (u @ vt) + back.mean(0)
    np.testing.assert_allclose(end.distance(X), own.distance(torch.tensor(there, dtype=torch.float32)), atol=2e-2)


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("count, others", [(30, 20), (20, 30)])
def test_molecules_of_other_sizes_are_mixed_centre_on_centre(fraction, count, others):
    one, other = pair([cloud(count)] * 2, [cloud(others, seed=1) + np.array([50.0, 0, 0])] * 2)
    morph = Morph(one, other, fraction)
    found = morph.at(1.0)
    assert found.atoms is None
    shift = other.motion.origin - one.motion.origin
    apart = cloud(others, seed=1).mean(0) + np.array([50.0, 0, 0]) - cloud(count).mean(0)
    np.testing.assert_allclose(shift, apart, atol=1e-6)
    moved = X + torch.tensor(shift, dtype=torch.float32)
    mixed = (1 - fraction) * one.at(1.0).distance(X) + fraction * other.at(1.0).distance(moved)
    np.testing.assert_allclose(found.distance(X), mixed, atol=5e-3)
    low, high = np.minimum([-7.0] * 3, -14.0 - shift), np.maximum([7.0] * 3, 3.5 - shift)
    np.testing.assert_allclose(found.box, [low, high], atol=1e-4)


@pytest.mark.parametrize("count, turned", [(2, False), (3, True)])
def test_three_atoms_at_least_are_superposed(count, turned):
    base = cloud(count)
    one, other = pair([base] * 2, [base @ turn(90.0).T] * 2)
    atoms = Morph(one, other, 1.0).at(1.0).atoms
    assert atoms is not None and np.allclose(atoms, base, atol=5e-3) is turned


def test_a_morph_says_what_its_first_field_says():
    one, other = pair()
    one.report["source"] = "first"
    morph = Morph(one, other, 0.5)
    assert (morph.kind, morph.motion, morph.report) == ("morph", one.motion, one.report)
    assert morph.clearance == 4.0
    with pytest.raises(TypeError, match="save their family"):
        morph.tensors()
    smooth = morph.with_uniform_smoothing()
    assert smooth.first.motion.kernel.uniform and smooth.second.motion.kernel.uniform and smooth.fraction == 0.5


# Selection


def test_a_field_is_chosen_by_its_names():
    one, other = pair()
    family = Family({"a": one, "b": other}, {})
    assert select_field(one, FieldOptions()) is one
    assert select_field(family, FieldOptions("b")) is other
    between = select_field(family, FieldOptions("a", "b", 0.25))
    assert isinstance(between, Morph) and (between.first, between.second, between.fraction) == (one, other, 0.25)
    for fraction in (0, 1):
        assert isinstance(select_field(family, FieldOptions("a", "b", fraction)), Morph)


@pytest.mark.parametrize(
    "choice, message",
    [
        (FieldOptions(), "this fit is a family: name a trajectory, one of a, b$"),
        (FieldOptions("c"), r"there is no trajectory 'c' in this family \(there: a, b\)"),
        (FieldOptions("a", "c", 0.5), "there is no trajectory 'c'"),
    ],
)
def test_choices_that_do_not_go_with_a_family_are_refused(choice, message):
    one, other = pair()
    with pytest.raises(ValueError, match=message):
        select_field(Family({"a": one, "b": other}, {}), choice)


@pytest.mark.parametrize("choice", [FieldOptions("a"), FieldOptions("", "b", 0.5)])
def test_a_single_fit_has_no_trajectories(choice):
    with pytest.raises(ValueError, match="this fit is of one trajectory: leave trajectory, towards and share out"):
        select_field(field(), choice)


def test_fields_of_two_kinds_have_no_way_between_them():
    with pytest.raises(ValueError, match="were not fitted together: fit them as one family"):
        field_between(Family({"a": field(), "b": balls(SPHERE)}, {}), "a", "b", 0.5)
