"""Paths by energy, with OpenMM: method=minimised and method=targeted."""

import sys

import numpy as np
import pytest
from dsr_backend.motion.statistics import bond_lengths, rmsd_to
from dsr_backend.runtime.errors import Cancelled
from dsr_backend.sources.contract import Trajectory
from dsr_backend.sources.generate import generate
from dsr_backend.sources.simulation import targeted

from pymol_dsr.shared.source_options import GenerateOptions
from pymol_dsr.shared.values import ValueFault
from support.silent_report import Silent

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def peptide():
    """Five alanines, as a helix and stretched: the molecule and both states f4[2,A,3]."""
    import pymol2

    from pymol_dsr.sources.atoms import read_states

    with pymol2.PyMOL() as session:
        session.cmd.feedback("disable", "all", "everything")
        session.cmd.fab("AAAAA", "helix", ss=1)
        session.cmd.fab("AAAAA", "stretched", ss=2)
        read = [read_states(name, "all", session.cmd) for name in ("helix", "stretched")]
    return read[0].molecule, np.stack([trajectory.coordinates[0] for trajectory in read])


def filled(peptide, method, frames=4):
    molecule, ends = peptide
    options = GenerateOptions(task="fill", method=method, frames=frames)
    return generate(molecule, [Trajectory(ends, np.array([1.0, 2.0]))], options, Silent(), lambda: None)


@pytest.mark.parametrize("method", ["minimised", "targeted"])
def test_a_path_by_energy_leads_from_end_to_end_with_whole_bonds(peptide, method):
    pytest.importorskip("openmm")
    molecule, ends = peptide
    result = filled(peptide, method)
    path = np.concatenate([ends[:1], result.coordinates, ends[1:]]).astype(np.float64)
    heavy = np.array([element != "H" for element in molecule.elements])
    left = rmsd_to(path[:, heavy], path[-1, heavy])
    assert (np.diff(left) < 0.3).all()
    # The steps next to the ends are no larger than those between by far.
    steps = rmsd_to(path[1:, heavy], path[:-1, heavy])
    assert max(steps[0], steps[-1]) < 2.5 * np.median(steps)
    lengths = bond_lengths(path, np.asarray(molecule.bonds))
    assert np.abs(lengths[1:-1] - lengths[[0, -1]].mean(0)).max() < 0.25
    assert result.method == method and any("energy" in note or "targeted" in note for note in result.notes)


def test_a_targeted_path_is_no_straight_line(peptide):
    pytest.importorskip("openmm")
    molecule, _ = peptide
    alpha = np.array([name == "CA" for name in molecule.names])
    lengths = {
        method: np.linalg.norm(np.diff(filled(peptide, method, 1).coordinates[0][alpha], axis=0), axis=1)
        for method in ("straight", "targeted")
    }
    # Half-way on straight lines the chain is too short.
    assert lengths["straight"].min() < 3.6 < lengths["targeted"].min()


def test_a_targeted_path_can_be_cancelled_while_it_minimises(peptide, monkeypatch):
    pytest.importorskip("openmm")
    molecule, ends = peptide
    calls = 0

    def check():
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Cancelled

    def progress(fraction, left):
        pytest.fail("the simulation ran")

    monkeypatch.setattr(targeted, "PICOSECONDS_AN_ANGSTROM", 0.0)
    monkeypatch.setattr(targeted, "LEAST_PICOSECONDS", 0.0)
    with pytest.raises(Cancelled):
        targeted.pulled(molecule, ends[0], ends[1], 1, 0, check, progress)


@pytest.mark.parametrize("method", ["minimised", "targeted"])
def test_without_openmm_the_remedy_is_a_pip_command(peptide, method, monkeypatch):
    monkeypatch.setitem(sys.modules, "openmm", None)
    with pytest.raises(ValueFault, match=rf'method={method} needs OpenMM.*pip install "pymol-dsr\[simulate\]"'):
        filled(peptide, method)
