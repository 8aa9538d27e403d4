"""Atoms far from each other: refused before any surface is made, in whichever direction they lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pymol_dsr.shared.extents import FARTHEST, gap_fault
from pymol_dsr.surfaces import extract
from pymol_dsr.surfaces.source import ExtractError


@pytest.mark.parametrize("direction", [(1, 0, 0), (1, 1, 1), (-3, 0.5, 2)])
def test_two_atoms_900_angstrom_apart_are_named_with_their_distance(cmd: Any, direction: tuple[float, ...]) -> None:
    offset = 900 * np.array(direction) / np.linalg.norm(direction)
    for name in "AB":
        cmd.pseudoatom("two", pos=[0, 0, 0], name=name)
    cmd.create("two", "two", 1, 2)
    cmd.alter_state(2, "two and name B", "(x, y, z) = place", space={"place": offset.tolist()})
    with pytest.raises(ExtractError) as error:
        extract.read_source("two", "1-2", _self=cmd)
    assert str(error.value).startswith("state 2 of two: atoms are 900 Å apart with nothing between them")
    assert "make the molecule whole across its periodic box, or select one of the parts" in str(error.value)


def test_what_is_long_is_not_far_apart() -> None:
    """A filament of a micrometre has atoms everywhere along it."""
    filament = np.outer(np.arange(0.0, 10_000.0, 3.0), [1, 1, 1]).astype(np.float32)
    assert gap_fault(filament) == ""


def test_parts_may_be_as_far_apart_as_is_said() -> None:
    """Two clouds, one of which is moved and both of which are turned."""
    generator = np.random.default_rng(0)
    clouds = generator.normal(size=(2, 200, 3))
    direction = np.array([2.0, -1.0, 0.5]) / np.linalg.norm([2.0, -1.0, 0.5])
    reach = np.ptp(clouds.reshape(-1, 3) @ direction)
    for gap, refused in ((FARTHEST - 1, False), (FARTHEST + 2 * reach, True)):
        parted = np.concatenate([clouds[0], clouds[1] + gap * direction]).astype(np.float32)
        assert bool(gap_fault(parted)) is refused


@pytest.mark.parametrize("atoms", [np.zeros((0, 3)), np.zeros((1, 3)), np.zeros((5, 3))])
def test_one_place_is_not_far_from_itself(atoms: np.ndarray) -> None:
    assert gap_fault(atoms) == ""
