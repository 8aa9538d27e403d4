"""The trained generator as a source: what it can learn from, and all atoms of what it generates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pymol_dsr.shared.amino_acids import LETTERS
from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.spacing import evenly_spaced
from pymol_dsr.shared.values import ValueFault

from ..runtime.device import choose_device
from .backmap import BACKBONE, BackMap
from .continuation import States
from .contract import Check, Trajectory
from .generator import learn
from .generator.frames import Frames, atoms_of, frames_of, superposed
from .generator.model import HISTORY, PRESETS, UNEVEN, Generator
from .generator.model_file import KnownProtein, SavedGenerator
from .generator.rollout import continue_states, fill_states, sample_states
from .generator.training import Measurement, Training
from .projection import BondProjection
from .topology import Topology

SECONDS = 300.0
"""Seconds of training."""
DONORS = 100
"""Known states that side chains are taken from, and that tell the lengths of bonds."""
LONGEST_SEQUENCE = 30
OTHER_STEPS = 1.5
"""Factor between the steps of a selection and those of the training from which on the user is warned."""


@dataclass(frozen=True, eq=False)
class Net:
    """A generator of one molecule: backbone, i8[R,3], atoms N, CA and C.

    curve: measurements of its training; best: the one of its weights. donors: known states f8[D,A,3] (Å).
    """

    generator: Generator
    topology: Topology
    molecule: Molecule
    backbone: NDArray[np.int64]
    projection: BondProjection
    donors: States
    curve: tuple[Measurement, ...]

    @property
    def best(self) -> Measurement:
        """The measurement of its weights."""
        return min(self.curve, key=lambda measurement: measurement.ratio)

    @classmethod
    def train(
        cls,
        molecule: Molecule,
        topology: Topology,
        trajectories: Sequence[States],
        seed: int,
        check: Check,
        progress: Callable[[float, Training], None],
        seconds: float | None = None,
    ) -> Net:
        """Return the net of trajectories f8[S,A,3] (Å), each evenly spaced in time.

        Raises ValueFault for a molecule or a number of states that it can't learn from, with what works instead.
        """
        backbone = backbone_of(molecule, topology)
        residues, chains = names_of(molecule, topology, backbone)
        runs = [states[:, backbone].astype(np.float32) for states in trajectories]
        [protein] = learn.merged([learn.ProteinStates("the molecule", residues, chains, runs)])
        learn.ensure_learnable([protein])
        vocabulary = sorted(set(residues))
        data = learn.protein_runs(protein, vocabulary)
        training = Training([data], len(vocabulary), PRESETS["small"], seed, choose_device())
        training.run(SECONDS if seconds is None else seconds, check=check, progress=progress)
        known = np.concatenate(trajectories)
        [generator] = training.generators
        return cls._of(generator, topology, molecule, backbone, known, training.curve)

    @classmethod
    def of_model(
        cls, name: str, saved: SavedGenerator, molecule: Molecule, topology: Topology, known: States
    ) -> tuple[Net, KnownProtein]:
        """Return the net of a saved generator, and the protein that it was learned from.

        known: states f8[S,A,3] (Å) that side chains are taken from. Raises ValueFault for another protein.
        """
        backbone = backbone_of(molecule, topology)
        residues, chains = names_of(molecule, topology, backbone)
        numbers = [k for k, protein in enumerate(saved.proteins) if protein.residues == residues]
        if not numbers:
            raise ValueFault(_another_protein(name, saved, residues))
        number = next((k for k in numbers if saved.proteins[k].chains == chains), numbers[0])
        net = cls._of(saved.generator(number), topology, molecule, backbone, known, saved.curve)
        return net, saved.proteins[number]

    @classmethod
    def _of(
        cls,
        generator: Generator,
        topology: Topology,
        molecule: Molecule,
        backbone: NDArray[np.int64],
        known: States,
        curve: Sequence[Measurement],
    ) -> Net:
        donors = known[evenly_spaced(range(len(known)), DONORS)]
        projection = _backbone_projection(topology, backbone, donors)
        return cls(generator, topology, molecule, backbone, projection, donors, tuple(curve))

    def continued(
        self, states: States, times: Sequence[float], frames: int, replicas: int, seed: int, check: Check
    ) -> States:
        """Return states f8[replicas × frames,A,3] (Å) after known states f8[S,A,3], replica by replica.

        times: of the known states, in gaps of the net.
        """
        history = [self._frames(state, replicas) for state in states[-HISTORY:]]
        backbones = self.continued_backbones(history, frames, seed, check, times[-HISTORY:])
        return self._all_atoms(backbones.flatten(0, 1), check)

    def continued_backbones(
        self, history: list[Frames], frames: int, seed: int, check: Check, times: Sequence[float] = ()
    ) -> Tensor:
        """Return backbones f[B,frames,R,3,3] (Å) after a history of frames [B,R]; times: its times in gaps."""
        return continue_states(self.generator, history, frames, self._mend, _generator(seed), check=check, times=times)

    def filled(self, first: States, last: States, frames: int, seed: int, check: Check) -> States:
        """Return states f8[frames,A,3] (Å) between two states f8[A,3]."""
        ends = (self._frames(first, 1), self._frames(last, 1))
        backbones = fill_states(self.generator, *ends, frames, self._mend, _generator(seed), check=check)
        return self._all_atoms(backbones[0], check)

    def sampled(self, count: int, reference: States, seed: int, check: Check) -> States:
        """Return states f8[count,A,3] (Å) of the ensemble, each drawn alone, superposed on a state f8[A,3]."""
        drawn = frames_of(sample_states(self.generator, count, self._mend, _generator(seed)))
        placed = superposed(drawn, self._frames(reference, count))
        return self._all_atoms(atoms_of(placed, self.generator.residues.local), check)

    def _frames(self, state: States, count: int) -> Frames:
        return frames_of(torch.as_tensor(state[self.backbone], dtype=torch.float32)).expand(count)

    def _mend(self, atoms: Tensor) -> Tensor:
        flat = atoms.reshape(len(atoms), -1, 3).double().numpy()
        return torch.as_tensor(self.projection(flat), dtype=torch.float32).reshape(atoms.shape)

    def _all_atoms(self, backbone: Tensor, check: Check) -> States:
        """Return all atoms f8[F,A,3] (Å) of backbones f[F,R,3,3]."""
        flat = backbone.reshape(len(backbone), -1, 3).double().numpy()
        if self.backbone.size == len(self.molecule):
            all_atoms = np.zeros_like(flat)
            all_atoms[:, self.backbone.ravel()] = flat
            return np.asarray(all_atoms)
        mapping = BackMap(self.molecule, self.donors, BACKBONE)
        return np.stack(list(mapping.build(flat, check))).astype(np.float64)


def backbone_of(molecule: Molecule, topology: Topology) -> NDArray[np.int64]:
    """Return the atoms N, CA and C i8[R,3] of the residues.

    Raises ValueFault for what is no protein, or lacks some of these atoms.
    """
    polymer = ~np.asarray(molecule.hetatm)
    residues = np.unique(topology.residue[polymer])
    corners = topology.corners[residues]
    complete = (corners >= 0).all(1)
    if not complete.any():
        raise ValueFault("method net needs residues with N, CA and C, and there are none (nucleic acids?): choose auto")
    if not complete.all():
        atom = int(np.flatnonzero(topology.residue == residues[~complete][0])[0])
        raise ValueFault(
            f"method net needs N, CA and C of every residue, and {int((~complete).sum())} lack some, the first one "
            f"{molecule.residue_names[atom]} {molecule.residue_numbers[atom]}: select the others, or choose auto"
        )
    return np.asarray(corners)


def names_of(
    molecule: Molecule, topology: Topology, backbone: NDArray[np.int64]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the names of residues with atoms i8[R,3], and the number of the chain of each, from 0.

    A chain ends where its name changes, and where a residue is not bonded to the next one.
    """
    alphas = backbone[:, 1].tolist()
    bonded = {(min(i, j), max(i, j)) for i, j in topology.bonds.tolist()}
    chains = [0]
    for last, c, first, n in zip(
        alphas[:-1], backbone[:-1, 2].tolist(), alphas[1:], backbone[1:, 0].tolist(), strict=True
    ):
        linked = (min(c, n), max(c, n)) in bonded and molecule.chains[last] == molecule.chains[first]
        chains.append(chains[-1] + (not linked))
    return tuple(molecule.residue_names[atom] for atom in alphas), tuple(chains)


def even_runs(trajectory: Trajectory, gap: float) -> list[States]:
    """Return the parts f8[S,A,3] of a trajectory whose states are one gap apart."""
    x = np.asarray(trajectory.coordinates, np.float64)
    breaks = np.flatnonzero(np.abs(np.diff(trajectory.times) - gap) > UNEVEN * gap) + 1
    return np.split(x, breaks.tolist())


def sequence_text(residues: Sequence[str]) -> str:
    """Return residues as `10 residues AAAAAAAAAA`."""
    letters = "".join(LETTERS.get(name, "X") for name in residues)
    cut = letters if len(letters) <= LONGEST_SEQUENCE else f"{letters[: LONGEST_SEQUENCE - 1]}…"
    return f"{len(residues)} residues {cut}"


def _another_protein(name: str, saved: SavedGenerator, residues: Sequence[str]) -> str:
    known = "; ".join(f"{protein.name}, {sequence_text(protein.residues)}" for protein in saved.proteins[:3])
    if len(saved.proteins) > 3:
        known += f"; and {len(saved.proteins) - 3} others"
    same_length = [protein for protein in saved.proteins if len(protein.residues) == len(residues)]
    difference = ""
    if same_length:
        position, residue, learned = next(
            (k, a, b) for k, (a, b) in enumerate(zip(residues, same_length[0].residues, strict=True), 1) if a != b
        )
        difference = f"; residue {position} of them is {residue}, not {learned}"
    return (
        f"model {name} is of another protein ({known}), and here are {sequence_text(residues)}{difference}: select "
        "those residues, or learn from trajectories of these by dsr_learn OBJECTS, kind=generator"
    )


def _backbone_projection(topology: Topology, backbone: NDArray[np.int64], states: States) -> BondProjection:
    """Return the projection of backbones i8[R,3], flattened."""
    atoms = backbone.ravel()
    backbone_index = np.full(len(topology.heavy), -1, np.int64)
    backbone_index[atoms] = np.arange(len(atoms))
    bonds = backbone_index[topology.bonds]
    return BondProjection.of(bonds[(bonds >= 0).all(1)], np.ones(len(atoms), bool), states[:, atoms])


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
