"""Minimisation of generated states with OpenMM."""

import dataclasses

import numpy as np
import pytest
from dsr_backend.sources.contract import Trajectory
from dsr_backend.sources.generate import generate
from dsr_backend.sources.refine import minimised

from pymol_dsr.shared.source_options import GenerateOptions
from pymol_dsr.shared.values import ValueFault
from support.silent_report import Silent

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def peptide():
    """Ala–Ala as PyMOL builds it: the molecule and its atoms f8[A,3]."""
    import pymol2

    from pymol_dsr.sources.atoms import read_states

    with pymol2.PyMOL() as session:
        session.cmd.feedback("disable", "all", "everything")
        session.cmd.fab("AAA", "pep")
        read = read_states("pep", "all", session.cmd)
    return read.molecule, read.coordinates[0].astype(np.float64)


def test_a_stretched_bond_is_mended_and_the_other_atoms_stay_near(peptide):
    pytest.importorskip("openmm")
    molecule, atoms = peptide
    carbon = next(k for k, name in enumerate(molecule.names) if name == "CB")
    bonded = next(
        int(i + j - carbon)
        for i, j in molecule.bonds.tolist()
        if carbon in (i, j) and molecule.names[i + j - carbon] == "CA"
    )
    stretched = atoms.copy()
    stretched[carbon] += 0.5 * (atoms[carbon] - atoms[bonded])
    refined = minimised(molecule, stretched[None], lambda: None)[0]
    length = np.linalg.norm(refined[carbon] - refined[bonded])
    assert length == pytest.approx(1.53, abs=0.08) and np.linalg.norm(stretched[carbon] - stretched[bonded]) > 2.2
    heavy = [k for k, element in enumerate(molecule.elements) if element != "H"]
    assert np.sqrt(((refined - atoms)[heavy] ** 2).sum(1).mean()) < 0.5


def test_refine_is_said_and_a_molecule_that_the_force_field_lacks_is_refused(peptide):
    pytest.importorskip("openmm")
    molecule, atoms = peptide
    states = Trajectory(np.stack([atoms, atoms + 0.05]).astype(np.float32), np.array([1.0, 2.0]))
    options = GenerateOptions(task="fill", method="straight", frames=1, refine=True)
    result = generate(molecule, [states], options, Silent(), lambda: None)
    assert "refine=1" in result.notes[-1] and np.isfinite(result.coordinates).all()
    ligand = dataclasses.replace(molecule, residue_names=("LIG",) * len(molecule))
    with pytest.raises(ValueFault, match="standard amino acids"):
        minimised(ligand, atoms[None], lambda: None)
