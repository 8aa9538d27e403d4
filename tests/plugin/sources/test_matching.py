"""Structures that differ in residues, names, order, hydrogens and ligands, as states of their common atoms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pymol_dsr.sources.alignment import PymolAlignment
from pymol_dsr.sources.atoms import read_states
from pymol_dsr.sources.common_states import common_states, superpose_on_core
from pymol_dsr.sources.matching import match_atoms
from pymol_dsr.sources.residues import residues_of, standard_atom_name
from pymol_dsr.surfaces.source import ExtractError
from support.paths import CASES
from support.scene import coordinates, put

SEQUENCE = "ACDEFGHIKLMNPQRSTVWY"


@pytest.fixture
def pair(cmd):
    """`closed` and `open`: one chain of 20 residues, whose second half turns about the middle."""
    cmd.fab(SEQUENCE, "closed", ss=1)
    cmd.alter("closed", "chain = 'A'")
    cmd.create("open", "closed")
    xyz = coordinates(cmd, "open", 1)
    rows: list[bool] = []
    cmd.iterate("open", "rows.append(int(resi) > 12)", space={"rows": rows})
    moving = np.array(rows)
    pivot = xyz[moving][0]
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    xyz[moving] = (xyz[moving] - pivot) @ turn.T + pivot
    put(cmd, "open", 1, xyz)
    return cmd


def matched(cmd, first="closed", second="open"):
    a, b = read_states(first, "1", cmd), read_states(second, "1", cmd)
    matching = match_atoms(a, b, PymolAlignment(cmd))
    return a, b, matching


def named(structure, places):
    keys = structure.atom_keys()
    return [keys[k] for k in places]


def test_all_atoms_of_equal_structures_are_paired(pair):
    a, b, matching = matched(pair)
    assert named(a, matching.first) == named(b, matching.second)
    assert len(matching.first) == len(a) and not matching.left_out
    assert matching.how == "by residue numbers"


def test_chains_and_numbers_may_differ_and_residues_may_be_missing(pair):
    pair.alter("open", "chain, resi = 'X', str(int(resi) + 100)")
    pair.remove("open and resi 105-106+120")
    present = pair.get_names("all")
    a, b, matching = matched(pair)
    assert pair.get_names("all") == present, "nothing of the alignment is left"
    assert matching.how == "by their aligned sequences"
    assert [(name, resn) for _, _, resn, name in named(a, matching.first)] == [
        (name, resn) for _, _, resn, name in named(b, matching.second)
    ]
    numbers = {key[1] for key in named(a, matching.first)}
    assert numbers == {str(number) for number in range(1, 20)} - {"5", "6"}
    assert matching.left_out == ("closed: left out: 3 residues (A/5-6, A/20)",)


def test_hydrogens_of_one_are_left_out_and_names_of_force_fields_are_the_same(pair):
    pair.remove("open and hydro")
    pair.alter("open and resn HIS", "resn = 'HSD'")
    pair.alter("open and resn ILE and name CD1", "name = 'CD'")
    a, _, matching = matched(pair)
    heavy = [atom for atom, element in enumerate(a.molecule.elements) if element != "H"]
    assert matching.first.tolist() == heavy
    assert matching.left_out == (f"closed: left out: {len(a) - len(heavy)} hydrogens",)


@pytest.mark.parametrize(
    "residue, name, standard",
    [("ALA", "2HB", "HB2"), ("GLY", "OT1", "O"), ("DA", "C5*", "C5'"), ("ILE", "CD", "CD1"), ("LYS", "CD", "CD")],
)
def test_names_of_atoms_are_those_of_the_protein_data_bank(residue, name, standard):
    assert standard_atom_name(residue, name) == standard


def test_of_a_mutated_residue_the_backbone_is_common(pair):
    pair.alter("open and resi 5", "resn = 'LEU'")
    a, _, matching = matched(pair)
    common = {key[3] for key in named(a, matching.first) if key[1] == "5"}
    assert common == {"N", "CA", "C", "O", "CB"}
    assert matching.different_names == 1


def test_atoms_of_equal_meaning_take_the_nearer_name(pair):
    pair.remove("hydro")
    before = matched(pair)[2].second
    for first_name, second_name in (("OD1", "OD2"), ("CD1", "CD2"), ("CE1", "CE2")):
        pair.alter(f"open and resn ASP+PHE+TYR and name {first_name}", "name = 'tmp'")
        pair.alter(f"open and resn ASP+PHE+TYR and name {second_name}", f"name = '{first_name}'")
        pair.alter("open and name tmp", f"name = '{second_name}'")
    a, b, matching = matched(pair)
    pairs = list(zip(matching.first, matching.second, strict=True))
    swapped = {a.molecule.names[i] for i, j in pairs if a.molecule.names[i] != b.molecule.names[j]}
    assert swapped == {"OD1", "OD2", "CD1", "CD2", "CE1", "CE2"}
    assert (matching.second == before).all(), "the same atoms are paired as before their names were exchanged"


def test_ligands_are_paired_by_name_and_place_and_solvent_is_left_out(pair):
    for owner in ("closed", "open"):
        center = coordinates(pair, f"{owner} and resi 1 and name CA", 1)[0]
        for number, shift in ((301, 4.0), (302, -4.0)):
            # The open one numbers them the other way round.
            resi = number if owner == "closed" else 603 - number
            pair.pseudoatom(owner, resn="ZN", resi=resi, name="ZN", elem="Zn", hetatm=1, chain="A",
                            pos=(center + np.array([shift, 0, 0])).tolist())  # fmt: skip
        pair.pseudoatom(owner, resn="HOH", resi=900, name="O", elem="O", hetatm=1, chain="A", pos=[9.0, 9.0, 9.0])
    pair.pseudoatom("closed", resn="AP5", resi=400, name="PA", elem="P", hetatm=1, chain="A", pos=[5.0, 5.0, 5.0])
    a, b, matching = matched(pair)
    zinc = [(a.molecule.residue_numbers[i], b.molecule.residue_numbers[j])
            for i, j in zip(matching.first, matching.second, strict=True) if a.molecule.names[i] == "ZN"]  # fmt: skip
    assert sorted(zinc) == [("301", "302"), ("302", "301")]
    assert matching.left_out == (
        "closed: left out: 1 ligand or ion (AP5 A/400), 1 atom of solvent",
        "open: left out: 1 atom of solvent",
    )


def test_a_ligand_alone_is_paired_by_its_name(cmd):
    cmd.fragment("trp", "bound")
    cmd.alter("bound", "resn, type, name = 'LIG', 'HETATM', f'X{index}'")
    cmd.create("free", "bound")
    a, b, matching = matched(cmd, "bound", "free")
    assert matching.how == "by the names of ligands"
    assert named(a, matching.first) == named(b, matching.second)
    assert len(matching.first) == cmd.count_atoms("bound")


def test_atoms_that_names_do_not_tell_apart_are_paired_by_their_order(cmd):
    cmd.load(str(CASES / "conformers.sdf"), "poses")
    a, b = (read_states(f"poses and state {state}", str(state), cmd) for state in (1, 3))
    assert len(set(a.molecule.names)) < len(a) == 22
    matching = match_atoms(a, b, PymolAlignment(cmd))
    assert matching.first.tolist() == matching.second.tolist() == list(range(22)) and not matching.left_out
    # With other bonds, the order says nothing, and the only oxygen is paired by its name.
    rebonded = replace(b, molecule=replace(b.molecule, bonds=b.molecule.bonds[1:]))
    assert match_atoms(a, rebonded, PymolAlignment(cmd)).first.tolist() == [3]


@pytest.mark.parametrize("resn", ["", "UNK"])
def test_traces_of_one_atom_a_residue_are_paired_by_their_numbers(pair, resn):
    for owner in ("closed", "open"):
        pair.remove(f"{owner} and not name CA")
        if resn:
            pair.alter(owner, f"resn = '{resn}'")
    pair.rotate("x", 70, "open", camera=0, object=None)
    pair.translate([30, 0, 0], "open", camera=0, object=None)
    a, b, matching = matched(pair)
    assert matching.how == "by residue numbers"
    assert matching.paired == len(SEQUENCE)
    assert named(a, matching.first) == named(b, matching.second)


def test_a_side_chain_without_its_backbone_is_of_the_polymer(pair):
    for owner in ("closed", "open"):
        pair.remove(f"{owner} and not name CB")
    pair.translate([7.0, 0, 0], "open", camera=0, object=None)
    a, b, matching = matched(pair)
    assert matching.how == "by residue numbers"
    assert named(a, matching.first) == named(b, matching.second)


def test_an_atom_is_a_trace_by_its_element(cmd):
    for chain, element in (("A", "C"), ("B", "Ca"), ("C", "P"), ("D", "Pd")):
        cmd.pseudoatom("atoms", chain=chain, name="P" if element[0] == "P" else "CA", resn="XXX", elem=element, resi=1)
    residues = residues_of(read_states("atoms", "1", cmd))
    assert {residue.chain for residue in residues if residue.is_polymer} == {"A", "C"}


def test_ligands_that_have_moved_are_paired_by_their_numbers(pair):
    center = coordinates(pair, "closed and resi 1 and name CA", 1)[0]
    for owner, shifts in (("closed", (20.0, 40.0)), ("open", (40.0 + 5.0, 20.0 - 5.0))):
        for number, shift in zip((301, 302), shifts, strict=True):
            pair.pseudoatom(owner, resn="POP", resi=number, name="C1", elem="C", hetatm=1, chain="L",
                            pos=(center + np.array([shift, 0, 0])).tolist())  # fmt: skip
    a, b, matching = matched(pair)
    lipids = [(a.molecule.residue_numbers[i], b.molecule.residue_numbers[j])
              for i, j in zip(matching.first, matching.second, strict=True) if a.molecule.names[i] == "C1"]  # fmt: skip
    assert sorted(lipids) == [("301", "301"), ("302", "302")]


def test_chains_of_a_dimer_are_paired_by_their_places(pair):
    for owner, second in (("closed", "B"), ("open", "D")):
        pair.create("half", owner)
        pair.alter("half", f"chain = '{second}'")
        put(pair, "half", 1, coordinates(pair, "half", 1) + np.array([0.0, 0.0, 40.0]))
        pair.create(f"{owner}2", f"{owner} or half")
        pair.delete("half")
    pair.alter("open2 and chain A", "chain = 'C'")
    # In the file, D comes before C.
    pair.alter("open2 and chain C", "chain = 'Z'")
    pair.sort("open2")
    a, b, matching = matched(pair, "closed2", "open2")
    assert len(matching.first) == len(a)
    chains = {
        (a.molecule.chains[i], b.molecule.chains[j]) for i, j in zip(matching.first, matching.second, strict=True)
    }
    assert len(chains) == 2
    common = common_states([a, b], PymolAlignment(pair), True)
    distances = np.linalg.norm(common.atoms.coordinates[1] - common.atoms.coordinates[0], axis=1)
    assert np.median(distances) < 10.0, "chains that are 40 A apart are not exchanged"


def test_the_part_that_moves_least_stands_still(pair):
    pair.rotate("z", 70, "open", camera=0, object=None)
    pair.translate([30, 5, -8], "open", camera=0, object=None)
    common = common_states([read_states(name, "1", pair) for name in ("closed", "open")], PymolAlignment(pair), True)
    numbers = np.array([int(number) for number in common.atoms.molecule.residue_numbers])
    distances = np.linalg.norm(common.atoms.coordinates[1] - common.atoms.coordinates[0], axis=1)
    assert distances[numbers <= 12].max() < 0.6
    assert distances[numbers > 12].max() > 3.0


def test_a_core_is_met_through_a_large_turn():
    rng = np.random.default_rng(5)
    fixed = rng.normal(size=(60, 3)).astype(np.float32) * 10
    moved = fixed.copy()
    moved[40:, 0] += 25
    superposed = superpose_on_core(np.stack([fixed, moved + np.float32(7.0)]), np.arange(60))
    assert np.abs(superposed[1, :40] - fixed[:40]).max() < 0.05


def test_other_molecules_and_cut_ones_are_named(pair):
    pair.fab("GGGGSGGGGSGGGGS", "loop", ss=3)
    with pytest.raises(ExtractError, match="structures of one molecule, or of like ones"):
        common_states([read_states(name, "1", pair) for name in ("closed", "loop")], PymolAlignment(pair), True)
    xyz = coordinates(pair, "open", 1)
    xyz[-30:] += 60.0
    put(pair, "open", 1, xyz)
    lines = common_states(
        [read_states(name, "1", pair) for name in ("closed", "open")], PymolAlignment(pair), True
    ).lines
    assert any("bonded atoms" in line and "pbc_unwrap open" in line for line in lines)


def test_a_contact_of_one_structure_is_no_bond_that_a_box_cuts(pair):
    pair.bond("open and resi 3 and name CB", "open and resi 18 and name CB")
    structures = [read_states(name, "1", pair) for name in ("closed", "open")]
    assert not [line for line in common_states(structures, PymolAlignment(pair), True).lines if "bonded atoms" in line]


def test_three_structures_have_the_atoms_of_all(pair):
    pair.create("middle", "open and not resi 20")
    pair.remove("open and resi 1")
    structures = [read_states(name, "1", pair) for name in ("closed", "middle", "open")]
    common = common_states(structures, PymolAlignment(pair), True)
    assert {residue.number for residue in residues_of(common.atoms)} == {str(number) for number in range(2, 20)}
    assert common.atoms.coordinates.shape[0] == 3 and common.atoms.states == (1, 2, 3)


def test_segments_of_one_chain_are_paired_with_themselves(pair):
    for name in ("closed", "open"):
        pair.create("further", name)
        pair.alter("further", "segi = 'P2'")
        pair.translate([60, 0, 0], "further", camera=0)
        pair.alter(name, "segi = 'P1'")
        pair.create(f"two_{name}", f"{name} or further")
        pair.delete("further")
    a, b, matching = matched(pair, "two_closed", "two_open")
    assert named(a, matching.first) == named(b, matching.second)
    assert len(matching.first) == len(a) and not matching.left_out and matching.how == "by residue numbers"
