"""Values of atoms at the vertices of a surface."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pymol_dsr.analysis.measures import selection_mask
from pymol_dsr.fits.fit import Trajectory
from pymol_dsr.scene import atoms
from pymol_dsr.scene.atoms import PresentAtoms, blend, present_indices, present_selection
from pymol_dsr.scene.objects import SceneError
from pymol_dsr.shared.messages import MoleculeSource, TrajectoryReport
from pymol_dsr.surfaces.extract import read_source
from pymol_dsr.surfaces.identity import find_atoms


def test_values_are_averaged_by_weight_and_atoms_without_a_value_left_out():
    neighbor_indices = np.array([[0, 1], [1, 2], [2, 3]])
    weights = np.array([[255, 0], [51, 204], [128, 127]], np.uint8)
    values = blend(np.array([4.0, 10.0, np.nan, np.nan], np.float32), neighbor_indices, weights)
    np.testing.assert_allclose(values, [4.0, 10.0, np.nan])
    values = blend(np.array([0.0, 10, 20, 0]), neighbor_indices, weights)
    np.testing.assert_allclose(values[1], 18.0, atol=1e-5)


def test_radii_are_those_of_the_fitted_atoms_while_the_scene_has_them(cmd):
    for number, radius in enumerate((1.2, 1.7, 1.5)):
        cmd.pseudoatom("mol", pos=(4 * number, 0, 0), name=f"A{number}", vdw=radius)
    trajectory = Trajectory("", "mol", "mol", np.array([0, 2]), [1.0])
    radii = PresentAtoms.of(trajectory, cmd).radii()
    assert radii is not None and np.abs(radii - [1.2, 1.5]).max() < 1e-6
    cmd.delete("mol")
    assert PresentAtoms.of(trajectory, cmd).radii() is None


def fitted(cmd, selection) -> Trajectory:
    """The trajectory of a fit of these atoms, as its file keeps it."""
    source = MoleculeSource.from_json(read_source(selection, "1", _self=cmd).molecule().to_json())
    return Trajectory.of("", TrajectoryReport((1.0,)), source)


def names(cmd, trajectory) -> list[str] | None:
    return PresentAtoms.of(trajectory, cmd).values("f'{resn} {name}'")


def remove_hydrogens(cmd) -> None:
    cmd.remove("hydro")


def change_numbers(cmd) -> None:
    """Put the residues in another order, and so the indices of their atoms."""
    cmd.alter("pep and resi 1-3", "resi = str(int(resi) + 90)")
    cmd.sort("pep")


def change_chain(cmd) -> None:
    cmd.alter("pep", "chain, segi = 'X', 'S'")


@pytest.mark.parametrize("change", [remove_hydrogens, change_numbers, change_chain])
def test_fitted_atoms_are_known_again_when_the_object_has_changed(peptide, change):
    trajectory = fitted(peptide, "pep and resi 2-8 and not hydro")
    before = names(peptide, trajectory)
    change(peptide)
    assert names(peptide, trajectory) == before
    mask = selection_mask(PresentAtoms.of(trajectory, peptide), "selection", "resn LYS+HIS", peptide)
    assert mask.tolist() == [name.startswith(("LYS", "HIS")) for name in before or []]
    selected = f"({present_selection(trajectory, peptide)})"
    assert peptide.count_atoms(selected) == peptide.count_atoms(f"{selected} and not hydro") == len(mask)


def test_atoms_whose_numbers_occur_twice_are_not_guessed(cmd):
    # As after `create both, first or second` of files that both count from 1.
    cmd.fab("GGGG", "other", chain="A")
    for name, chain in (("pep", "B"), ("copy", "C")):
        cmd.fab("AKEL", name, chain=chain)
    trajectory = fitted(cmd, "pep")
    assert trajectory.identity is not None and trajectory.atoms is not None
    cmd.create("both", "other or pep or copy")
    assert find_atoms("both", trajectory.atoms, trajectory.identity, cmd) is None


def test_one_look_up_serves_all_properties_and_selections(peptide, monkeypatch):
    trajectory, look_ups = fitted(peptide, "pep and resi 2-8"), []

    def counted(*args):
        look_ups.append(args)
        return find_atoms(*args)

    monkeypatch.setattr(atoms, "find_atoms", counted)
    present = PresentAtoms.of(trajectory, peptide)
    masks = [selection_mask(present, argument, "resi 3", peptide) for argument in ("selection", "pocket")]
    properties = [present.colors(), present.radii(), present.residues(), *masks]
    assert [len(values) for values in properties if values is not None] == [peptide.count_atoms("pep and resi 2-8")] * 5
    assert present.change == "" and len(look_ups) == 1


def test_atoms_without_which_a_molecule_is_not_the_fitted_one(peptide):
    trajectory = fitted(peptide, "pep")
    count = peptide.count_atoms("pep")
    peptide.remove("pep and resi 9")
    present_count = peptide.count_atoms("pep")
    assert names(peptide, trajectory) is None
    message = (
        f"pep is not in the scene as it was fitted \\(it has {present_count} atoms now and had {count}\\): load it as "
        "it was, or fit it anew with dsr_fit"
    )
    with pytest.raises(SceneError, match=f"^{message}$"):
        present_indices(trajectory, peptide)
    with pytest.raises(SceneError, match=f"^selection resi 3: {message}$"):
        selection_mask(PresentAtoms.of(trajectory, peptide), "selection", "resi 3", peptide)


def test_another_chain_of_the_same_residues_is_not_the_fitted_one(cmd):
    for chain in "AB":
        cmd.fab("ACD", f"part{chain}", chain=chain)
    cmd.create("dimer", "partA or partB")
    trajectory = fitted(cmd, "dimer and chain A")
    assert names(cmd, trajectory) is not None
    # The IDs of the one chain are those of the other, too, as each was built alone.
    cmd.remove("dimer and chain A")
    assert names(cmd, trajectory) is None


def test_a_molecule_from_another_file_is_known_by_its_residues(peptide):
    trajectory = fitted(peptide, "pep")
    peptide.alter("pep", "ID = ID + 1")
    assert names(peptide, trajectory) is not None


def test_without_an_identity_the_indices_count_as_in_older_files(peptide):
    trajectory = dataclasses.replace(fitted(peptide, "pep and resi 1-3"), identity=None)
    peptide.remove("pep and resi 9")
    assert names(peptide, trajectory) is not None
    peptide.remove("pep and resi 2-9")
    with pytest.raises(SceneError, match=r"it has \d+ atoms now and had at least \d+"):
        present_indices(trajectory, peptide)
