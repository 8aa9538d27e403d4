"""Molecules that the periodic box cuts: found in each state, said with a remedy that works, made whole on demand."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from MDAnalysis.lib.formats.libmdaxdr import XTCFile

from pymol_dsr.__main__ import main
from pymol_dsr.commands.evaluate import dsr_eval
from pymol_dsr.commands.files import dsr_load, dsr_save
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.surfaces import extract, periodic, stream
from pymol_dsr.surfaces.coordinates import jump_warnings
from pymol_dsr.surfaces.remedies import FOR_TERMINALS
from pymol_dsr.surfaces.source import ExtractError, SelectedAtoms
from support.paths import CASES
from support.scene import coordinates, put

EDGE = 30.0
TRICLINIC = [30.0, 34.0, 32.0, 75.0, 80.0, 65.0]


def bonds_of(cmd, name="whole"):
    """i8[B,2], places of bonded atoms, from the molecule that no box cuts."""
    if name not in cmd.get_names("objects"):
        cmd.load(str(CASES / "whole.pdb"), name)
    # get_bonds counts as iterate_state does, which is not the order of the object's atoms.
    indices: list[int] = []
    cmd.iterate_state(1, name, "indices.append(index - 1)", space={"indices": indices})
    return np.array(indices)[[pair[:2] for pair in cmd.get_bonds(name, 1)]]


def longest(cmd, xyz):
    first, second = bonds_of(cmd).T
    return float(np.linalg.norm(xyz[first] - xyz[second], axis=1).max())


def wrapped(xyz, cell):
    """Each atom in the box, as GROMACS writes them."""
    fractions = xyz @ np.linalg.inv(cell)
    return (fractions - np.floor(fractions)) @ cell


def order_in(line):
    """The command between quotation marks, as a user types it."""
    quoted = re.search("'(.*)'", line)
    assert quoted is not None
    return quoted[1]


@pytest.fixture
def brk(cmd):
    """`brk`: a peptide of which state 1 is whole, and 2 to 5 are cut by a box of 30 Å."""
    cmd.load(str(CASES / "whole.pdb"), "brk")
    cmd.load(str(CASES / "wrapped.pdb"), "brk")
    assert cmd.count_states("brk") == 5
    return cmd


LINE = (
    "state 2 and 3 other states: 14 bonds are cut in brk, up to 41.2 A long (atom id {} to atom id {}): the molecule "
    "is broken by its periodic box; give unwrap=1, or type 'pbc_unwrap brk, bymol=0' first"
)


@pytest.mark.parametrize("states", ["all", "2-5"])
def test_cut_bonds_are_found_in_each_state_and_the_order_mends_them(brk, states):
    (line,) = extract.read_source("brk", states, _self=brk).warnings
    assert re.fullmatch(re.escape(LINE).replace(r"\{\}", r"\d+ \(\w+\)"), line)
    order = order_in(line)
    unwrapped = extract.read_source("brk", states, unwrap=True, _self=brk)
    assert unwrapped.warnings == [] and unwrapped.unwrap
    brk.do(order)
    brk.sync()
    source = extract.read_source("brk", states, _self=brk)
    assert source.warnings == []
    for state in source.states:
        assert longest(brk, unwrapped.coordinates[state]) < 2.5
        np.testing.assert_allclose(unwrapped.coordinates[state], source.coordinates[state], atol=2e-3)


def test_a_first_state_that_is_cut_is_mended_by_unwrap_alone(cmd):
    # PyMOL finds no bonds across the box there, and its own command goes on from that state.
    cmd.load(str(CASES / "wrapped.pdb"), "cut")
    (line,) = extract.read_source("cut", "all", _self=cmd).warnings
    assert line.endswith("is broken by its periodic box; give unwrap=1") and "pbc_unwrap" not in line
    source = extract.read_source("cut", "all", unwrap=True, _self=cmd)
    assert source.warnings == []
    assert max(longest(cmd, xyz) for xyz in source.coordinates.values()) < 2.5


def test_without_a_unit_cell_a_long_bond_is_not_put_down_to_a_periodic_box(peptide):
    peptide.translate([0, 0, 30], "pep and resi 5-9", state=2, camera=0)
    (line,) = extract.read_source("pep", "all", _self=peptide).warnings
    assert re.match(
        r"state 2: 1 bond is \d\d\.\d A long in pep \(atom id \d+ \(C\) to atom id \d+ \(N\)\): the molecule may be "
        r"torn; if the periodic box of a simulation cuts it, type 'set_symmetry pep, ",
        line,
    )


def test_without_a_unit_cell_the_order_sets_it(brk):
    # As of states from a .dcd without a cell.
    brk.set_symmetry("brk", 1, 1, 1, 90, 90, 90)
    for state in range(2, 6):
        brk.set_symmetry("brk", 1, 1, 1, 90, 90, 90, state=state)
    (line,) = extract.read_source("brk", "2-5", _self=brk).warnings
    remedy = "type 'set_symmetry brk, a, b, c, 90, 90, 90' with the edges of its box in A, then give unwrap=1"
    assert line.endswith(remedy)
    with pytest.raises(
        ExtractError, match=r"^unwrap 1: state 1 of brk has no unit cell; type 'set_symmetry brk, a, b, c"
    ):
        extract.read_source("brk", "2-5", unwrap=True, _self=brk)
    brk.do(order_in(line).replace("a, b, c", "30, 30, 30"))
    brk.sync()
    source = extract.read_source("brk", "2-5", unwrap=True, _self=brk)
    assert max(longest(brk, xyz) for xyz in source.coordinates.values()) < 2.5


@pytest.mark.system
def test_a_simulation_as_gromacs_writes_it_is_made_whole(cmd):
    """AdK in a rhombic dodecahedron that changes its size: cut in all states, the structure included."""
    files = pytest.importorskip("MDAnalysisTests.datafiles")
    cmd.load(files.GRO, "adk")
    cmd.load_traj(files.XTC, "adk", state=1)
    (line,) = extract.read_source("adk and polymer", "all", _self=cmd).warnings
    assert line.startswith("state 1 and 9 other states: 19 bonds are cut in adk, up to 79.9 A long")
    assert line.endswith("give unwrap=1")
    source = extract.read_source("adk and polymer", "all", unwrap=True, _self=cmd)
    bonds = np.array([pair[:2] for pair in cmd.get_bonds("adk and polymer", 1)])
    for xyz in source.coordinates.values():
        assert np.linalg.norm(xyz[bonds[:, 0]] - xyz[bonds[:, 1]], axis=1).max() < 2.5
        # As large as it is, in a box with edges of 80 Å.
        assert np.ptp(xyz, axis=0).max() < 70.0
    cmd.delete("adk")
    stream.load(files.GRO, files.XTC, "adk", cmd)
    streamed_source = stream.read_source("adk and polymer", "all", files.XTC, unwrap=True, _self=cmd)
    for state, xyz in source.coordinates.items():
        np.testing.assert_allclose(streamed_source.coordinates[state], xyz, atol=0.02)


def test_a_part_of_a_molecule_is_mended_through_the_whole_of_it(brk):
    two_residues = extract.read_source("brk and resi 1+14", "all", unwrap=True, _self=brk)
    all_atoms = extract.read_source("brk", "all", unwrap=True, _self=brk)
    for state in two_residues.states:
        np.testing.assert_array_equal(two_residues.coordinates[state], all_atoms.coordinates[state][two_residues.atoms])


@pytest.mark.parametrize("symmetry", [[EDGE, EDGE, EDGE, 90.0, 90.0, 90.0], TRICLINIC])
def test_molecules_stay_together_and_do_not_jump_from_state_to_state(cmd, symmetry):
    cmd.load(str(CASES / "whole.pdb"), "one")
    cmd.create("two", "one", 1, 1)
    cmd.alter("two", "chain='B'")
    cmd.translate([0.0, 9.0, 0.0], "two", camera=0)
    cmd.create("both", "one or two", 1, 1)
    cmd.delete("one two")
    start, cell = coordinates(cmd, "both", 1), periodic.cell_of(symmetry)
    assert cell is not None
    np.testing.assert_allclose(np.linalg.norm(cell, axis=1), symmetry[:3])
    truth = {1: start}
    for state in range(2, 12):
        # Through the box, and round it.
        truth[state] = start + np.array([4.0, -3.0, 2.5]) * (state - 1)
        cmd.create("both", "both", 1, state)
        put(cmd, "both", state, wrapped(truth[state], cell))
    cmd.set_symmetry("both", *symmetry, state=0)
    source = extract.read_source("both", "all", unwrap=True, _self=cmd)
    for state, xyz in truth.items():
        np.testing.assert_allclose(source.coordinates[state], xyz, atol=2e-3)
    # Also where states are left out on the way.
    last = extract.read_source("both", "11", unwrap=True, _self=cmd)
    np.testing.assert_array_equal(last.coordinates[11], source.coordinates[11])


def test_a_molecule_that_leaps_is_named_where_no_bond_is_cut(cmd):
    cmd.load(str(CASES / "whole.pdb"), "one")
    cmd.create("one", "one", 1, 2)
    cmd.pseudoatom("ion", pos=[0.0, 0.0, 0.0], name="NA", elem="Na")
    cmd.create("ion", "ion", 1, 2)
    cmd.create("both", "one or ion", 0, 0)
    xyz = coordinates(cmd, "both", 2)
    names: list[str] = []
    cmd.iterate("both", "names.append(name)", space={"names": names})
    xyz[names.index("NA")] += [0.9 * EDGE, 0.0, 0.0]
    put(cmd, "both", 2, xyz)
    cmd.set_symmetry("both", EDGE, EDGE, EDGE, 90, 90, 90, state=0)
    (line,) = extract.read_source("both", "all", _self=cmd).warnings
    assert re.fullmatch(
        r"atom id \d+ \(NA\) moves 27.0 A from state 1 to 2; if it crosses the periodic box, give unwrap=1, or type "
        r"'pbc_unwrap both, bymol=0' first",
        line,
    )
    source = extract.read_source("both", "all", unwrap=True, _self=cmd)
    assert np.abs(source.coordinates[2] - source.coordinates[1]).max() < 4.0
    cmd.do(order_in(line))
    cmd.sync()
    assert extract.read_source("both", "all", _self=cmd).warnings == []


def test_long_bonds_of_coarse_beads_are_no_breaks(cmd):
    for k in range(6):
        cmd.pseudoatom("cg", pos=[6.5 * k, 0.0, 0.0], name=f"B{k}", resi=str(k + 1))
        if k:
            cmd.bond(f"cg and name B{k - 1}", f"cg and name B{k}")
    assert len(cmd.get_bonds("cg", 1)) == 5
    assert extract.read_source("cg", "all", _self=cmd).warnings == ["cg has one state to fit: the field will not move"]


def test_a_close_contact_of_a_hydrogen_that_pymol_takes_for_a_bond_is_none(peptide):
    hydrogen = "resi 6 and name H"
    ((x, y, z),) = coordinates(peptide, f"pep and {hydrogen}", 1)
    peptide.pseudoatom("ligand", pos=[x + 1.6, y, z], name="CL", elem="Cl", resn="LIG")
    peptide.create("both", "pep or ligand", 1, 1)
    peptide.bond(f"both and {hydrogen}", "both and resn LIG")
    peptide.create("both", "both", 1, 2)
    peptide.alter_state(2, "both and resn LIG", "x += 9")
    assert len(peptide.get_bonds("both", 1)) == len(peptide.get_bonds("pep", 1)) + 1
    assert extract.read_source("both", "all", _self=peptide).warnings == []


def test_an_arm_that_swings_far_is_no_leap(cmd):
    for k in range(12):
        cmd.pseudoatom("arm", pos=[6.0 * k, 0.0, 0.0], name=f"B{k}", resi=str(k + 1))
        if k:
            cmd.bond(f"arm and name B{k - 1}", f"arm and name B{k}")
    cmd.create("arm", "arm", 1, 2)
    cmd.alter_state(2, "arm", "(x, y) = (60 - x, 4) if x > 30 else (x, y)")
    assert extract.read_source("arm", "all", _self=cmd).warnings == []


def test_states_that_are_copies_are_named_with_the_others(peptide):
    peptide.create("pep", "pep", 2, 7)
    peptide.create("pep", "pep", 1, 8)
    (line,) = extract.read_source("pep", "all", _self=peptide).warnings
    assert line == (
        "state 7 has the coordinates of state 2, and so has 1 other state those of an earlier one; to leave copies "
        "out, give states=1-6"
    )
    assert extract.read_source("pep", "1-6", _self=peptide).warnings == []


# The command line


@pytest.fixture
def trajectory(cmd, tmp_path):
    """The path of a trajectory whose box cuts the molecule from its second state on, and grows."""
    cmd.load(str(CASES / "whole.pdb"), "whole")
    start = coordinates(cmd, "whole", 1)
    path = tmp_path / "box.xtc"
    with XTCFile(str(path), "w") as file:
        for state in range(1, 6):
            cell = (EDGE + 0.2 * state) * np.eye(3)
            moved = start + np.array([2.0, 1.0, 0.5]) * state
            places = moved if state == 1 else wrapped(moved, cell)
            file.write((places / 10).astype("f4"), (cell / 10).astype("f4"), state, float(state), 1000.0)
    return path


def streamed(cmd, trajectory, states="all", **options):
    stream.load(str(CASES / "whole.pdb"), str(trajectory), "m", cmd)
    source = stream.read_source("m", states, str(trajectory), remedies=FOR_TERMINALS["options"], _self=cmd, **options)
    return source, {state: source.coordinates[state] for state in source.states}


def test_a_trajectory_that_is_read_state_by_state_is_made_whole_by_its_own_cells(cmd, trajectory):
    source, cut = streamed(cmd, trajectory)
    (line,) = source.warnings
    assert line.startswith("state 2: ") and line.endswith("is broken by its periodic box; give --unwrap")
    assert longest(cmd, cut[2]) > 10.0
    cmd.delete("m")
    source, loaded = streamed(cmd, trajectory, unwrap=True)
    assert source.warnings == [] and source.unwrap
    start = coordinates(cmd, "whole", 1)
    for state, xyz in loaded.items():
        np.testing.assert_allclose(xyz, start + np.array([2.0, 1.0, 0.5]) * state, atol=2e-2)


@pytest.mark.system
def test_the_option_of_the_command_line_mends_what_it_warns_of(trajectory, tmp_path, capsys):
    topology, target = str(CASES / "whole.pdb"), str(tmp_path / "box.safetensors")
    assert main([topology, str(trajectory), "--out", target, "--states", "2-4", "--workers", "1"]) == 0
    assert "warning: state 2: " in capsys.readouterr().err
    assert main([topology, str(trajectory), "--out", target, "--states", "2-4", "--workers", "1", "--unwrap"]) == 0
    assert "warning" not in capsys.readouterr().err


@pytest.mark.system
def test_a_fit_with_unwrap_is_scored_against_whole_molecules(backend, tmp_path):
    backend.load(str(CASES / "whole.pdb"), "brk")
    backend.load(str(CASES / "wrapped.pdb"), "brk")
    name = dsr_fit("brk", "2-5", unwrap=1, preset="preview", budget="2", _self=backend)
    reloaded = dsr_load(dsr_save(name, str(tmp_path / "brk.dsr"), _self=backend), "again", _self=backend)
    for fit in (name, reloaded):
        rows = dsr_eval(fit, "2+4", baselines="none", _self=backend)
        assert min(row.iou for row in rows) > 0.9


def test_a_cell_has_the_edges_and_angles_of_its_crystal():
    cell = periodic.cell_of((30.0, 40.0, 50.0, 75.0, 82.0, 100.0, "P 1"))
    assert cell is not None
    edges = np.linalg.norm(cell, axis=1)
    np.testing.assert_allclose(edges, [30.0, 40.0, 50.0])
    angles = [np.degrees(np.arccos(cell[i] @ cell[j] / (edges[i] * edges[j]))) for i, j in ((1, 2), (0, 2), (0, 1))]
    np.testing.assert_allclose(angles, [75.0, 82.0, 100.0])
    # The first edge along x, the second in the plane of x and y, right-handed, as in PDB files.
    assert not np.triu(cell, 1).any() and np.linalg.det(cell) > 0


def test_molecules_that_move_together_make_no_jump():
    atoms = SelectedAtoms("two", np.arange(3, dtype=np.int32), [1, 2, 3], ["A", "B", "C"])
    first = np.array([[0, 0, 0], [5, 0, 0], [9, 0, 0]], np.float32)
    owners = np.array([0, 0, 1])

    def warnings_of(second):
        return jump_warnings([1, 2], {1: first, 2: second}, atoms, owners, half_edge=np.inf, remedy="unwrap")

    assert warnings_of(first + 90) == []
    [line] = warnings_of(first + np.array([[90], [90], [120]], np.float32))
    assert line.startswith("atom id 3 (C) moves 52.0 A from state 1 to 2")


@pytest.mark.parametrize(("states", "unwrap", "first"), [("all", False, 2), ("3-5", False, 3), ("3-5", True, 2)])
def test_lines_with_the_box_that_pymol_takes_for_atoms_are_named(cmd, tmp_path, states, unwrap, first):
    files = pytest.importorskip("MDAnalysisTests.datafiles")
    folder = Path(files.PRM).parent
    cmd.load(str(folder / "bala.prmtop"), "bala")
    cmd.load_traj(shutil.copy(folder / "bala.trj", tmp_path / "bala.mdcrd"), "bala", state=1)
    with pytest.raises(ExtractError, match=rf"^state {first}: bala has .* lines with the box .* to \.nc or \.dcd, as"):
        extract.read_source("bala and polymer", states, unwrap=unwrap, _self=cmd)
    assert extract.read_source("bala and polymer", "1", _self=cmd).states == [1]
    cmd.load(str(folder / "bala.prmtop"), "nc")
    cmd.load_traj(shutil.copy(folder / "bala.ncdf", tmp_path / "bala.nc"), "nc", state=1)
    assert extract.read_source("nc and polymer", _self=cmd).states[-1] > 2


@pytest.mark.parametrize(
    ("edge", "state", "far", "line"),
    [
        (EDGE, 2, 1, "state 2: 2 bonds are cut in small"),
        (EDGE, 6, 2, "state 6: 4 bonds are cut in small"),
        # No cell is known.
        (1.0, 6, 2, "state 6: 4 bonds are up to 30.5 A long in small"),
    ],
)
def test_the_first_atoms_of_a_small_molecule_past_the_edge_of_the_box_are_no_lines_with_it(cmd, edge, state, far, line):
    """Its other atoms are all near to one another, so that each may be taken for the next."""
    cmd.fragment("ala", "small")
    for number in range(2, 7):
        cmd.create("small", "small", 1, number)
        cmd.translate([0.0, 0.0, 0.1 * number], "small", state=number, camera=0)
    cmd.alter_state(state, f"rank 0-{far - 1}", f"x += {EDGE}")
    cmd.set_symmetry("small", edge, edge, edge, 90, 90, 90, state=0)
    (warning,) = extract.read_source("small", "all", _self=cmd).warnings
    assert warning.startswith(line)
