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
    first_field, second_field = field(states[0], 0, atoms=first), field(states[1], 1, atoms=second)
    second_field.clearance, second_field.extent = 4.0, second_field.extent * np.array([[2.0], [0.5]], np.float32)
    return first_field, second_field


@pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("time", [1.0, 1.4, 2.0, 2.5])
def test_without_atoms_distances_are_mixed_in_place(fraction, time):
    first_field, second_field = pair(states=(2, 4))
    snapshot = Morph(first_field, second_field, fraction).at(time)
    # The other's times are taken at the same fraction of its range: 1 to 2 is its 1 to 4.
    mixed = (1 - fraction) * first_field.at(time).distance(X) + fraction * second_field.at(1 + 3 * (time - 1)).distance(
        X
    )
    np.testing.assert_allclose(snapshot.distance(X), mixed, atol=1e-4)
    assert snapshot.atoms is None and snapshot.extrapolated == (time > 2.0)
    np.testing.assert_array_equal(snapshot.box, [[-14.0] * 3, [7.0] * 3])


def test_a_first_trajectory_of_one_state_goes_with_the_first_state_of_the_other():
    first_field, second_field = pair(states=(1, 3))
    np.testing.assert_allclose(
        Morph(first_field, second_field, 1.0).at(1.0).distance(X), second_field.at(1.0).distance(X), atol=1e-5
    )


def rigid():
    """A molecule at rest, and the same molecule turned, shifted and bent a little."""
    base = cloud(40)
    bent = base + 0.4 * base[:, [1, 2, 0]]
    return [base] * 2, [bent @ turn(70.0).T + [30.0, 0.0, 0.0]] * 2


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_the_same_molecule_is_superposed_and_its_atoms_are_mixed(fraction):
    first, second = rigid()
    first_field, second_field = pair(first, second)
    snapshot = Morph(first_field, second_field, fraction).at(1.5)
    assert snapshot.atoms is not None
    # The way is at the place of the first: its last atoms are the second's, superposed on it.
    base, bent = first[0], first[0] + 0.4 * first[0][:, [1, 2, 0]]
    centred = bent - bent.mean(0)
    u, _, vt = np.linalg.svd(centred.T @ (base - base.mean(0)))
    superposed = centred @ (u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt) + base.mean(0)
    atoms = (1 - fraction) * base + fraction * superposed
    np.testing.assert_allclose(snapshot.atoms, atoms, atol=5e-3)
    np.testing.assert_allclose(snapshot.box, [atoms.min(0) - 4.0, atoms.max(0) + 4.0], atol=5e-3)


def test_the_ends_of_the_way_are_the_two_fields_superposed():
    first, second = rigid()
    first_field, second_field = pair(first, second)
    start, end = Morph(first_field, second_field, 0.0).at(1.5), Morph(first_field, second_field, 1.0).at(1.5)
    np.testing.assert_allclose(start.distance(X), first_field.at(1.5).distance(X), atol=5e-3)
    # The second's own frame, of which `superposed` is a turn and a shift.
    snapshot = second_field.at(1.5)
    assert snapshot.atoms is not None and end.atoms is not None
    target = snapshot.atoms.astype(float)
    u, _, vt = np.linalg.svd((end.atoms - end.atoms.mean(0)).T.astype(float) @ (target - target.mean(0)))
    superposed = (X.numpy() - end.atoms.mean(0)) @ (u @ vt) + target.mean(0)
    np.testing.assert_allclose(
        end.distance(X), snapshot.distance(torch.tensor(superposed, dtype=torch.float32)), atol=2e-2
    )


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("count, other_count", [(30, 20), (20, 30)])
def test_molecules_of_other_sizes_are_mixed_centre_on_centre(fraction, count, other_count):
    first_field, second_field = pair([cloud(count)] * 2, [cloud(other_count, seed=1) + np.array([50.0, 0, 0])] * 2)
    morph = Morph(first_field, second_field, fraction)
    snapshot = morph.at(1.0)
    assert snapshot.atoms is None
    shift = second_field.motion.origin - first_field.motion.origin
    between_centres = cloud(other_count, seed=1).mean(0) + np.array([50.0, 0, 0]) - cloud(count).mean(0)
    np.testing.assert_allclose(shift, between_centres, atol=1e-6)
    moved = X + torch.tensor(shift, dtype=torch.float32)
    mixed = (1 - fraction) * first_field.at(1.0).distance(X) + fraction * second_field.at(1.0).distance(moved)
    np.testing.assert_allclose(snapshot.distance(X), mixed, atol=5e-3)
    low, high = np.minimum([-7.0] * 3, -14.0 - shift), np.maximum([7.0] * 3, 3.5 - shift)
    np.testing.assert_allclose(snapshot.box, [low, high], atol=1e-4)


@pytest.mark.parametrize("count, turned", [(2, False), (3, True)])
def test_three_atoms_at_least_are_superposed(count, turned):
    base = cloud(count)
    first_field, second_field = pair([base] * 2, [base @ turn(90.0).T] * 2)
    atoms = Morph(first_field, second_field, 1.0).at(1.0).atoms
    assert atoms is not None and np.allclose(atoms, base, atol=5e-3) is turned


def test_a_morph_says_what_its_first_field_says():
    first_field, second_field = pair()
    first_field.report["source"] = "first"
    morph = Morph(first_field, second_field, 0.5)
    assert (morph.kind, morph.motion, morph.report) == ("morph", first_field.motion, first_field.report)
    assert morph.clearance == 4.0
    with pytest.raises(TypeError, match="save their family"):
        morph.tensors()
    smooth = morph.with_uniform_smoothing()
    assert smooth.first.motion.kernel.uniform and smooth.second.motion.kernel.uniform and smooth.fraction == 0.5


# Selection


def test_a_field_is_chosen_by_its_names():
    first_field, second_field = pair()
    family = Family({"a": first_field, "b": second_field}, {})
    assert select_field(first_field, FieldOptions()) is first_field
    assert select_field(family, FieldOptions("b")) is second_field
    between = select_field(family, FieldOptions("a", "b", 0.25))
    assert isinstance(between, Morph) and (between.first, between.second, between.fraction) == (
        first_field,
        second_field,
        0.25,
    )
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
    first_field, second_field = pair()
    with pytest.raises(ValueError, match=message):
        select_field(Family({"a": first_field, "b": second_field}, {}), choice)


@pytest.mark.parametrize("choice", [FieldOptions("a"), FieldOptions("", "b", 0.5)])
def test_a_single_fit_has_no_trajectories(choice):
    with pytest.raises(ValueError, match="this fit is of one trajectory: leave trajectory, towards and share out"):
        select_field(field(), choice)


def test_fields_of_two_kinds_have_no_way_between_them():
    with pytest.raises(ValueError, match="were not fitted together: fit them as one family"):
        field_between(Family({"a": field(), "b": balls(SPHERE)}, {}), "a", "b", 0.5)
