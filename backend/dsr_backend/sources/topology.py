"""Quantities that sources derive from a molecule's topology: atoms to superpose by, residues, local frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pymol_dsr.shared.molecule import Molecule

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]

BACKBONE = ("N", "CA", "C")
# Fewer atoms than this do not hold a superposition.
MIN_TRACE = 4


@dataclass(frozen=True, eq=False)
class Topology:
    """Index arrays of a molecule of A atoms.

    trace: i8[K], the atoms that superpositions and RMSDs use: Cα of a protein, P of nucleic acids, otherwise the heavy
    atoms. heavy: bool[A]. bonds: i8[B,2]. residue: i8[A], numbers from 0 in order. corners: i8[R,3], atoms N, CA and C
    of each residue, -1 where one is missing. chain_next: i8[N,2], trace atoms that follow each other in a chain.
    """

    trace: Indices
    heavy: NDArray[np.bool_]
    bonds: Indices
    residue: Indices
    corners: Indices
    chain_next: Indices

    @classmethod
    def of(cls, molecule: Molecule) -> Topology:
        """Return the arrays of a molecule."""
        names = np.array(molecule.names)
        heavy = molecule.heavy
        residue = residue_indices(molecule)
        corners = np.full((int(residue[-1]) + 1, 3), -1, np.int64)
        polymer = ~np.asarray(molecule.hetatm)
        for corner, name in enumerate(BACKBONE):
            atoms = np.flatnonzero((names == name) & polymer)
            corners[residue[atoms], corner] = atoms
        trace = heavy.nonzero()[0]
        for name in ("CA", "P"):
            atoms = np.flatnonzero((names == name) & polymer & heavy)
            if len(atoms) >= MIN_TRACE:
                trace = atoms
                break
        if len(trace) < MIN_TRACE:
            trace = np.arange(len(names))
        same_chain = np.array(molecule.chains)[trace]
        follows = np.flatnonzero(same_chain[1:] == same_chain[:-1])
        bonds = np.asarray(molecule.bonds, np.int64).reshape(-1, 2)
        return cls(trace, heavy, bonds, residue, corners, np.stack([trace[follows], trace[follows + 1]], 1))

    @property
    def heavy_bonds(self) -> Indices:
        """The bonds i8[B,2] between heavy atoms."""
        return np.asarray(self.bonds[self.heavy[self.bonds].all(1)])

    def rides_on(self, state: Floats) -> Indices:
        """Return for each atom of a state f[A,3] the place i8[A] in the trace that it moves with.

        That is the trace atom of its residue, else the nearest in space.
        """
        of_residue = np.full(len(self.corners), -1, np.int64)
        of_residue[self.residue[self.trace][::-1]] = np.arange(len(self.trace))[::-1]
        trace_index = of_residue[self.residue]
        if len(np.unique(self.residue[self.trace])) < len(self.trace):
            # Heavy atoms are the trace: each other atom goes with the nearest.
            trace_index[:] = -1
            trace_index[self.trace] = np.arange(len(self.trace))
        missing = np.flatnonzero(trace_index < 0)
        trace_index[missing] = nearest_places(np.asarray(state), self.trace, missing)
        return np.asarray(trace_index)

    def frames(self, states: Floats) -> NDArray[np.float64]:
        """Return a rotation f8[S,A,3,3] for each atom of states f[S,A,3]: the axes (columns) of its residue's N, CA, C.

        Atoms of residues without these three turn with the nearest residue in order; without any the axes are those of
        the scene.
        """
        x = np.asarray(states, np.float64)
        complete = np.flatnonzero((self.corners >= 0).all(1))
        if not len(complete):
            return np.broadcast_to(np.eye(3), (*x.shape[:2], 3, 3))
        n, alpha, c = (x[:, self.corners[complete, corner]] for corner in range(3))
        axes = np.stack(corner_axes(n, alpha, c), -1)
        nearest = np.abs(np.arange(len(self.corners))[:, None] - complete).argmin(1)
        return np.asarray(axes[:, nearest[self.residue]])


def residue_indices(molecule: Molecule) -> Indices:
    """Return the number from 0 of each atom's residue, i8[A]."""
    labels = list(zip(molecule.chains, molecule.residue_numbers, molecule.residue_names, strict=True))
    begins = [n > 0 and labels[n] != labels[n - 1] for n in range(len(labels))]
    return np.cumsum(begins).astype(np.int64)


def nearest_places(state: Floats, trace: Indices, atoms: Indices) -> Indices:
    """Return the places i8[N] in the trace i8[K] of the trace atoms nearest to atoms i8[N] of a state f[A,3] (Å)."""
    return np.asarray(cKDTree(state[trace]).query(state[atoms])[1], np.int64)


def corner_axes(previous: Floats, centre: Floats, following: Floats) -> tuple[Floats, Floats, Floats]:
    """Return right-handed axes x, y and z, f[...,3] each, at the corner of three points f[...,3] (Å).

    x points from the centre to the following point; the previous one is in the plane of x and y, where y is positive.
    """
    x = _unit(following - centre)
    z = _unit(np.cross(x, previous - centre))
    return x, np.cross(z, x), z


def _unit(vectors: Floats) -> NDArray[np.float64]:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9))
