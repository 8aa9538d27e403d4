"""The trained generator as a source: what it can learn from, and all atoms of what it generates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.values import ValueFault

from .backmap import BACKBONE, BackMap
from .continuation import States
from .generator import training
from .generator.frames import Frames, frames_of, local_atoms
from .generator.model import HISTORY
from .generator.rollout import continue_states, fill_states, sample_states
from .projection import BondProjection
from .topology import Topology

# Steps from state to state below which training has never paid, and the residues above which it takes too long.
MIN_WINDOWS = 400
MAX_RESIDUES = 400
# Seconds of training.
SECONDS = 300.0
# Held-out loss over that of the prior from which on the net adds nothing.
HELPS = 0.95
# Known states that side chains are taken from, and that tell the lengths of bonds.
DONORS = 100
OTHER_CHAIN = 1_000


@dataclass(frozen=True, eq=False)
class Net:
    """A trained generator of one molecule: backbone, i8[R,3], atoms N, CA and C; local, f[R,3,3], their places."""

    trained: training.Trained
    topology: Topology
    molecule: Molecule
    backbone: NDArray[np.int64]
    local: Tensor
    projection: BondProjection
    donors: States

    @classmethod
    def train(
        cls,
        molecule: Molecule,
        topology: Topology,
        trajectories: Sequence[States],
        gap: float,
        seed: int,
        check: Callable[[], None],
        progress: Callable[[float, float], None],
        seconds: float | None = None,
    ) -> Net:
        """Return the net of trajectories f8[S,A,3] (Å), evenly spaced by `gap`.

        Raises ValueFault for a molecule or a number of states that it can't learn from, with what works instead.
        """
        backbone = backbone_of(molecule, topology)
        ensure_learnable(len(backbone), [len(states) for states in trajectories])
        atoms = [torch.as_tensor(states[:, backbone], dtype=torch.float32) for states in trajectories]
        frames = [frames_of(states) for states in atoms]
        local = torch.cat([local_atoms(f, a) for f, a in zip(frames, atoms, strict=True)]).mean(0)
        kinds = {name: k for k, name in enumerate(sorted(set(molecule.residue_names)))}
        chains = {chain: k for k, chain in enumerate(dict.fromkeys(molecule.chains))}
        first = backbone[:, 1].tolist()
        bonded = {(min(i, j), max(i, j)) for i, j in topology.bonds.tolist()}
        linked = [
            (min(c, n), max(c, n)) in bonded
            for c, n in zip(backbone[:-1, 2].tolist(), backbone[1:, 0].tolist(), strict=True)
        ]
        trained = training.train(
            frames,
            torch.tensor([kinds[molecule.residue_names[atom]] for atom in first]),
            torch.tensor([k + OTHER_CHAIN * chains[molecule.chains[atom]] for k, atom in enumerate(first)]),
            local,
            torch.tensor(linked),
            gap=gap,
            seconds=SECONDS if seconds is None else seconds,
            seed=seed,
            check=check,
            progress=progress,
        )
        known = np.concatenate(trajectories)
        donors = known[np.unique(np.linspace(0, len(known) - 1, DONORS).round().astype(int))]
        return cls(
            trained, topology, molecule, backbone, local, _backbone_projection(topology, backbone, donors), donors
        )

    def continued(self, states: States, frames: int, replicas: int, seed: int, check: Callable[[], None]) -> States:
        """Return states f8[replicas × frames,A,3] (Å) after known states f8[S,A,3], replica by replica."""
        history = [self._frames(state, replicas) for state in states[-HISTORY:]]
        made = self.continued_backbones(history, frames, seed, check)
        return self._all_atoms(made.flatten(0, 1), check)

    def continued_backbones(self, history: list[Frames], frames: int, seed: int, check: Callable[[], None]) -> Tensor:
        """Return backbones f[B,frames,R,3,3] (Å) after a history of frames [B,R], one gap apart."""
        return continue_states(
            self.trained.model, history, frames, self.local, self._mend, _generator(seed), check=check
        )

    def filled(self, first: States, last: States, frames: int, seed: int, check: Callable[[], None]) -> States:
        """Return states f8[frames,A,3] (Å) between two states f8[A,3]."""
        ends = (self._frames(first, 1), self._frames(last, 1))
        made = fill_states(self.trained.model, *ends, frames, self.local, self._mend, _generator(seed), check=check)
        return self._all_atoms(made[0], check)

    def sampled(self, count: int, seed: int, check: Callable[[], None]) -> States:
        """Return states f8[count,A,3] (Å) of the ensemble, each drawn alone."""
        made = sample_states(self.trained.model, count, self.local, self._mend, _generator(seed))
        return self._all_atoms(made, check)

    def _frames(self, state: States, count: int) -> Frames:
        return frames_of(torch.as_tensor(state[self.backbone], dtype=torch.float32)).expand(count)

    def _mend(self, atoms: Tensor) -> Tensor:
        flat = atoms.reshape(len(atoms), -1, 3).double().numpy()
        return torch.as_tensor(self.projection(flat), dtype=torch.float32).reshape(atoms.shape)

    def _all_atoms(self, backbone: Tensor, check: Callable[[], None]) -> States:
        """Return all atoms f8[F,A,3] (Å) of backbones f[F,R,3,3]."""
        flat = backbone.reshape(len(backbone), -1, 3).double().numpy()
        if self.backbone.size == len(self.molecule):
            whole = np.zeros_like(flat)
            whole[:, self.backbone.ravel()] = flat
            return np.asarray(whole)
        mapping = BackMap(self.molecule, self.donors, BACKBONE)
        return np.stack(list(mapping.build(flat, check))).astype(np.float64)


def backbone_of(molecule: Molecule, topology: Topology) -> NDArray[np.int64]:
    """Return the atoms N, CA and C i8[R,3] of the residues.

    Raises ValueFault for what is no protein, or lacks some of these atoms.
    """
    polymer = ~np.asarray(molecule.hetatm)
    residues = np.unique(topology.residue[polymer])
    corners = topology.corners[residues]
    whole = (corners >= 0).all(1)
    if not whole.any():
        raise ValueFault("method net needs residues with N, CA and C, and there are none (nucleic acids?): choose auto")
    if not whole.all():
        atom = int(np.flatnonzero(topology.residue == residues[~whole][0])[0])
        raise ValueFault(
            f"method net needs N, CA and C of every residue, and {int((~whole).sum())} lack some, the first one "
            f"{molecule.residue_names[atom]} {molecule.residue_numbers[atom]}: select the others, or choose auto"
        )
    return np.asarray(corners)


def ensure_learnable(residues: int, lengths: Sequence[int]) -> None:
    """Raise ValueFault for a molecule of too many residues, or trajectories of too few states."""
    windows = sum(length - 1 for length in lengths)
    if residues > MAX_RESIDUES:
        raise ValueFault(f"method net learns up to {MAX_RESIDUES} residues, and there are {residues}: choose auto")
    if windows < MIN_WINDOWS:
        raise ValueFault(
            f"method net learns from {MIN_WINDOWS} steps from state to state or more, and there are {windows}: choose "
            f"auto, or load more trajectories of the same atoms"
        )


def _backbone_projection(topology: Topology, backbone: NDArray[np.int64], states: States) -> BondProjection:
    """Return the projection of backbones i8[R,3], flattened."""
    atoms = backbone.ravel()
    place = np.full(len(topology.heavy), -1, np.int64)
    place[atoms] = np.arange(len(atoms))
    bonds = place[topology.bonds]
    return BondProjection.of(bonds[(bonds >= 0).all(1)], np.ones(len(atoms), bool), states[:, atoms])


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
