"""Atoms of a selection as trajectory sources take them, in a real PyMOL."""

from __future__ import annotations

import numpy as np
import pytest

from pymol_dsr.sources.atoms import further_trajectories, read_states, subset
from pymol_dsr.surfaces.selections import ATOMS_TITLE, GENERATED_TITLE
from pymol_dsr.surfaces.source import ExtractError
from support.paths import CASES
from support.scene import coordinates

ALTERNATE = """\
ATOM      1  N   SER A   1      11.000  10.000  10.000  1.00 20.00           N
ATOM      2  CA  SER A   1      12.450  10.000  10.000  1.00 20.00           C
ATOM      3  CB ASER A   1      13.000  11.400  10.000  0.60 20.00           C
ATOM      4  CB BSER A   1      13.000   8.600  10.000  0.40 20.00           C
ATOM      5  OG ASER A   1      14.400  11.400  10.000  0.60 20.00           O
ATOM      6  OG BSER A   1      14.400   8.600  10.000  0.40 20.00           O
HETATM    7  O   HOH A   2      18.000  10.000  10.000  1.00 20.00           O
"""


def test_names_bonds_and_coordinates_are_those_of_the_selection(peptide, capfd):
    atoms = read_states("pep and resi 2-3", "2+4", peptide)
    assert capfd.readouterr().out == ""
    rows: list[tuple[int, str, str, str]] = []
    peptide.iterate("pep and resi 2-3", "rows.append((index - 1, name, resn, resi))", space={"rows": rows})
    assert atoms.indices.tolist() == [row[0] for row in rows]
    assert list(atoms.molecule.names) == [row[1] for row in rows]
    assert atoms.states == (2, 4)
    for number, state in enumerate(atoms.states):
        assert (atoms.coordinates[number] == coordinates(peptide, "pep and resi 2-3", state)).all()
    lengths = np.linalg.norm(np.diff(atoms.coordinates[0][atoms.molecule.bonds], axis=1), axis=2)
    assert len(atoms.molecule.bonds) >= len(atoms) - 1
    assert lengths.max() < 2.0, "bonded atoms are neighbours"


def test_of_alternate_locations_the_first_is_taken(cmd):
    cmd.read_pdbstr(ALTERNATE, "ser")
    atoms = read_states("ser", "all", cmd)
    assert atoms.molecule.names == ("N", "CA", "CB", "OG", "O")
    assert atoms.left_out == 2
    assert atoms.molecule.hetatm.tolist() == [False] * 4 + [True]
    assert atoms.coordinates[0, 2].tolist() == pytest.approx([13.0, 11.4, 10.0])


def test_states_that_lack_atoms_are_named_and_those_of_objects_nobody_asked_for_are_left_out(peptide):
    peptide.create("half", "pep and resi 1", 1, 1)
    peptide.create("half", "pep", 2, 2)
    peptide.create("half", "pep", 3, 3)
    with pytest.raises(ExtractError, match=r"^state 1: 123 of the 133 selected atoms"):
        read_states("half", "1-2", peptide)
    # Atoms that are not read may be missing.
    assert len(read_states("half and resi 1", "1-2", peptide).states) == 2
    assert further_trajectories(read_states("pep", "1-2", peptide), peptide) == []


def test_molecules_that_the_box_cuts_are_named_with_what_mends_them(cmd, capsys):
    def warnings_of(selection, states):
        read_states(selection, states, cmd, title="dsr_fill")
        return capsys.readouterr().out.splitlines()

    cmd.load(str(CASES / "whole.pdb"), "brk")
    cmd.load(str(CASES / "wrapped.pdb"), "brk")
    assert not warnings_of("brk", "1")
    # Bonds of whole molecules count, whatever atoms are read.
    [line] = warnings_of("brk and name CA", "all")
    assert line.startswith(" dsr_fill: warning: state 2 and 3 other states: 14 bonds are cut in brk, up to 41.2 A long")
    assert line.endswith(
        "make its molecules whole, as by 'gmx trjconv -pbc whole', or by PyMOL's 'pbc_unwrap brk, bymol=0'"
    )
    cmd.pbc_unwrap("brk", bymol=0)
    assert not warnings_of("brk", "all")


def test_further_trajectories_have_the_same_atoms_in_any_order(peptide):
    peptide.create("turned", "pep")
    for state in range(1, 7):
        peptide.translate([0.3 * state, 0, 0], "turned and resi 5-9", state=state, camera=0)
    peptide.create("single", "turned", 1, 1)
    peptide.create("shorter", "turned and not resi 1")
    for name, title in (("movie", ATOMS_TITLE), ("made", GENERATED_TITLE)):
        peptide.create(name, "turned")
        peptide.set_title(name, 1, title)
    peptide.alter("turned and name CA", "ID = 10000 + ID")
    atoms = read_states("pep and name CA+N", "all", peptide)
    further = further_trajectories(atoms, peptide)
    assert [trajectory.object for trajectory in further] == ["turned"]
    assert further[0].atom_keys() == atoms.atom_keys()
    for number, state in enumerate(further[0].states):
        assert np.allclose(further[0].coordinates[number], coordinates(peptide, "turned and name CA+N", state))


def bend_more(cmd, name, states):
    for state in states:
        cmd.translate([0.3 * state, 0, 0], f"{name} and resi 5-9", state=state, camera=0)


def test_states_that_the_object_has_itself_are_no_further_trajectory(peptide):
    """A test would follow them to the states that it holds out."""
    peptide.create("copy", "pep")
    peptide.create("moved", "pep")
    peptide.rotate("y", 40, "moved", state=0, camera=0)
    peptide.create("longer", "pep")
    for state in (7, 8, 9):
        peptide.create("longer", "pep", 6, state)
    bend_more(peptide, "longer", (7, 8, 9))
    peptide.create("run_macro1", "longer")
    bend_more(peptide, "run_macro1", range(1, 10))
    for chosen_states in ("all", "1-4"):
        further = further_trajectories(read_states("pep", chosen_states, peptide), peptide)
        assert [(trajectory.object, trajectory.states) for trajectory in further] == [("longer", (7, 8, 9))]
        assert further[0].coordinates.shape == (3, peptide.count_atoms("pep"), 3)


def test_a_gap_in_the_states_of_another_object_is_no_fault(peptide, capfd):
    peptide.feedback("enable", "all", "errors")
    peptide.create("hole", "pep", 1, 1)
    peptide.create("hole", "pep", 2, 4)
    peptide.fab("GGG", "other")
    peptide.create("other", "other", 1, 3)
    peptide.create("late", "pep", 3, 2)
    peptide.create("late", "pep", 3, 3)
    bend_more(peptide, "late", (2, 3))
    further = further_trajectories(read_states("pep", "all", peptide), peptide)
    assert [(trajectory.object, trajectory.states) for trajectory in further] == [("late", (2, 3))]
    assert "invalid state" not in "".join(capfd.readouterr())


def test_a_subset_keeps_the_bonds_among_its_atoms(peptide):
    atoms = read_states("pep and resi 2", "1", peptide)
    names = list(atoms.molecule.names)
    places = [names.index("CA"), names.index("N"), names.index("O")]
    chosen = subset(atoms, places)
    assert chosen.molecule.names == ("CA", "N", "O")
    assert sorted(chosen.molecule.bonds[0].tolist()) == [0, 1] and len(chosen.molecule.bonds) == 1


def test_several_objects_are_refused(peptide):
    peptide.create("two", "pep")
    with pytest.raises(ExtractError, match="take one at a time"):
        read_states("pep or two", "1", peptide)


def test_two_segments_of_one_chain_are_told_apart(peptide):
    for segment in ("P1", "P2"):
        peptide.create(segment, "pep")
        peptide.alter(segment, f"segi, chain = '{segment}', 'A'")
    peptide.alter("P2", "ID = 1000 + ID")
    peptide.create("twice", "P1 or P2")
    atoms = read_states("twice", "1-2", peptide)
    keys = atoms.atom_keys()
    assert len(atoms) == 2 * peptide.count_atoms("pep") and len(set(keys)) == len(keys)
    assert set(atoms.molecule.chains) == {"A_P1", "A_P2"}
    # One alone is its chain, as in any other object.
    assert set(read_states("twice and segi P2", "1", peptide).molecule.chains) == {"A"}
