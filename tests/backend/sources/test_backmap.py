"""Back-mapping of Trp-cage: folded at 300 K and unfolding at 450 K."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from dsr_backend.sources.backmap import ALPHAS, BACKBONE, BACKBONE_WITH_OXYGEN, BackMap, clashes
from dsr_backend.sources.topology import residue_indices
from scipy.spatial.transform import Rotation

from pymol_dsr.shared.molecule import COLUMNS, Molecule
from support.paths import ROOT

BENCHMARK_DATA = ROOT / "benchmarks" / "data"


class Peptide:
    """A molecule and its coordinates f4[A,3]."""

    def __init__(self, molecule: Molecule, coordinates) -> None:
        self.molecule, self.coordinates = molecule, coordinates
        self.heavy = np.array([element != "H" for element in molecule.elements])

    @classmethod
    def read(cls, cmd, name: str):
        model = cmd.get_model(name)
        rows = [(a.name, a.resn, a.resi, a.chain, a.symbol) for a in model.atom]
        columns: dict[str, Any] = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
        bonds = np.array([bond.index for bond in model.bond], np.int32)
        molecule = Molecule(**columns, bonds=bonds, hetatm=np.zeros(len(model.atom), bool))
        return cls(molecule, np.array([atom.coord for atom in model.atom], np.float32))

    def map(self, donors, anchors=ALPHAS) -> BackMap:
        return BackMap(self.molecule, np.asarray(donors), anchors)

    def clashes(self, coordinates) -> int:
        return clashes(coordinates, self.molecule)


@pytest.fixture(scope="module")
def peptides():
    """The same atoms folded and unfolding."""
    pymol2 = pytest.importorskip("pymol2")
    with pymol2.PyMOL() as session:
        cmd = session.cmd
        cmd.feedback("disable", "all", "everything")
        for name, stem in (("folded", "trpcage_300k"), ("unfolding", "trpcage_450k")):
            cmd.load(str(BENCHMARK_DATA / f"{stem}.pdb"), name)
            cmd.load_traj(str(BENCHMARK_DATA / f"{stem}.xtc"), name, state=1, start=150)
        return Peptide.read(cmd, "folded"), Peptide.read(cmd, "unfolding")


def rmsd(a, b) -> float:
    return float(np.sqrt(((a - b) ** 2).sum(-1).mean()))


def build_state(backmap: BackMap, coordinates, **options):
    return next(backmap.build(coordinates[None, backmap.atoms], **options))


@pytest.mark.parametrize("anchors", [ALPHAS, BACKBONE, BACKBONE_WITH_OXYGEN])
def test_a_donor_is_met_again_and_given_atoms_stay_where_they_are(peptides, anchors) -> None:
    folded, _ = peptides
    backmap = folded.map([folded.coordinates], anchors)
    assert [folded.molecule.names[atom] for atom in backmap.atoms[: len(anchors)]] == list(anchors)
    assert rmsd(build_state(backmap, folded.coordinates, relax=False), folded.coordinates) < 1e-4
    relaxed = build_state(backmap, folded.coordinates)
    assert rmsd(relaxed, folded.coordinates) < 0.2
    np.testing.assert_allclose(relaxed[backmap.atoms], folded.coordinates[backmap.atoms], atol=1e-5)


def test_each_residue_takes_the_donor_that_is_most_alike(peptides) -> None:
    folded, unfolding = peptides
    backmap = folded.map([folded.coordinates, unfolding.coordinates])
    for target, partner in ((folded.coordinates, unfolding.coordinates), (unfolding.coordinates, folded.coordinates)):
        exact = folded.map([target])
        transplanted = build_state(folded.map([partner]), target, relax=False)
        built = build_state(backmap, target, relax=False)
        np.testing.assert_allclose(build_state(exact, target, relax=False), target, atol=1e-3)
        # A residue has the atoms of its own state, or the mean with the same conformer of the other one.
        differences = np.linalg.norm(built - target, axis=1)
        halves = 0.5 * np.linalg.norm(transplanted - target, axis=1)
        nearest = np.minimum(differences, np.abs(differences - halves))
        np.testing.assert_allclose(nearest[folded.heavy], 0.0, atol=1e-3)
        assert 0.1 < (differences[folded.heavy] < 1e-3).mean() < 0.9


def test_thermal_motion_of_many_donors_averages_out(peptides) -> None:
    folded, _ = peptides
    rng = np.random.default_rng(0)
    donors = folded.coordinates + rng.normal(scale=0.2, size=(10, *folded.coordinates.shape))
    single_donor, ten_donors = (
        rmsd(
            build_state(folded.map(chosen), folded.coordinates, relax=False)[folded.heavy],
            folded.coordinates[folded.heavy],
        )
        for chosen in (donors[:1], donors)
    )
    assert ten_donors < 0.7 * single_donor


def test_the_result_turns_with_the_atoms_that_are_given(peptides) -> None:
    folded, unfolding = peptides
    backmap = folded.map([folded.coordinates])
    turn, shift = Rotation.from_euler("xyz", [0.4, -1.1, 2.0]).as_matrix(), np.array([30.0, -4.0, 9.0])
    unrelaxed = build_state(backmap, unfolding.coordinates, relax=False)
    np.testing.assert_allclose(
        build_state(backmap, unfolding.coordinates @ turn.T + shift, relax=False), unrelaxed @ turn.T + shift, atol=1e-3
    )


@pytest.mark.parametrize("anchors", [ALPHAS, BACKBONE_WITH_OXYGEN])
def test_atoms_of_the_unfolding_state_fold_without_clashes_and_with_whole_bonds(peptides, anchors) -> None:
    folded, unfolding = peptides
    backmap = folded.map([unfolding.coordinates], anchors)
    raw = build_state(backmap, folded.coordinates, relax=False)
    relaxed = build_state(backmap, folded.coordinates)
    assert folded.clashes(relaxed) <= min(1, folded.clashes(raw))
    first, second = folded.molecule.bonds.T
    lengths, true = (np.linalg.norm(x[first] - x[second], axis=1) for x in (relaxed, folded.coordinates))
    assert np.abs(lengths - true).max() < 0.25
    assert np.abs(lengths - true).mean() < 0.05


def test_amino_acids_keep_their_hand(peptides) -> None:
    folded, unfolding = peptides
    relaxed = build_state(folded.map([unfolding.coordinates]), folded.coordinates)

    def volumes(x):
        residues = residue_indices(folded.molecule).tolist()
        atom_index = {(r, n): a for a, (r, n) in enumerate(zip(residues, folded.molecule.names, strict=True))}
        corners = [[atom_index[r, n] for n in ("CA", "N", "C", "CB")] for r in range(20) if (r, "CB") in atom_index]
        centre, *neighbours = x[np.array(corners)].transpose(1, 0, 2)
        return np.linalg.det(np.stack([neighbour - centre for neighbour in neighbours], 1))

    assert (volumes(folded.coordinates) > 0).all()
    assert (volumes(relaxed) > 1.0).all()


def test_a_residue_without_the_given_atoms_rides_on_its_neighbour(peptides) -> None:
    folded, _ = peptides
    complete = folded.map([folded.coordinates])
    names = list(folded.molecule.names)
    names[names.index("CA")] = "CX"
    capped = Peptide(dataclasses.replace(folded.molecule, names=tuple(names)), folded.coordinates)
    backmap = capped.map([folded.coordinates])
    assert len(backmap.atoms) == len(complete.atoms) - 1
    built = build_state(backmap, folded.coordinates, relax=False)
    assert rmsd(built, folded.coordinates) < 1e-3


def test_errors_say_what_is_missing(peptides) -> None:
    folded, _ = peptides
    with pytest.raises(ValueError, match="there are none: give a state with all atoms"):
        folded.map(np.zeros((0, len(folded.molecule), 3)))
    single_atom = Molecule(("CA",), ("GLY",), ("1",), ("A",), ("C",), np.zeros((0, 2), np.int32), np.zeros(1, bool))
    with pytest.raises(ValueError, match="no residue has CA and a frame: three bonded residues"):
        BackMap(single_atom, np.zeros((1, 1, 3)))
    with pytest.raises(ValueError, match=r"\[1, 3, 3\], expected frames × 20 atoms × 3"):
        next(folded.map([folded.coordinates]).build(np.zeros((1, 3, 3))))


def test_a_check_may_end_it_between_frames(peptides) -> None:
    folded, _ = peptides
    backmap = folded.map([folded.coordinates])
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise InterruptedError

    frames = backmap.build(np.repeat(folded.coordinates[None, backmap.atoms], 3, 0), check)
    next(frames)
    with pytest.raises(InterruptedError):
        next(frames)
