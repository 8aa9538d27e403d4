"""Groups under the names of results: PyMOL deletes all members of a group with it."""

from __future__ import annotations

import pytest

from pymol_dsr.scene import cgo
from pymol_dsr.scene.objects import SceneError, check_names, delete_objects

KINDS = ("cgo", "group")


@pytest.fixture
def grouped(peptide):
    """A PyMOL with surfaces of levels in the group `nest`, and others beside it."""
    for name in ("nest_0", "nest_+2", "nest_-1.5", "nest_1e+03", "nest_axes", "nest2_0"):
        peptide.load_cgo(cgo.NOTHING, name, 1)
    peptide.group("nest", "nest_0 nest_+2 nest_-1.5 nest_1e+03 nest_axes")
    return peptide


def test_a_group_that_holds_a_molecule_is_the_users(grouped):
    check_names(["nest"], KINDS, grouped)
    grouped.create("nest_1", "pep")
    grouped.group("nest", "pep")
    with pytest.raises(SceneError) as error:
        check_names(["nest"], KINDS, grouped)
    assert str(error.value) == (
        "the name nest is taken by a group that holds pep; give another one with object=, or 'ungroup pep'"
    )
    check_names(["nest", "pep"], (*KINDS, "molecule"), grouped)


def test_only_surfaces_that_are_named_after_a_group_go_with_it(grouped):
    grouped.group("nest", "pep")
    delete_objects(["nest", "missing"], grouped)
    assert sorted(grouped.get_names("objects")) == ["nest2_0", "nest_axes", "pep"]
