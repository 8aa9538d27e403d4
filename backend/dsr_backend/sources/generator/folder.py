"""Reads trajectories of proteins: of a list, or of a folder as ATLAS has it, NAME/NAME.pdb and NAME/NAME*.xtc."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared import states as states_text
from pymol_dsr.shared.chains import LONGEST_PEPTIDE_BOND, chain_numbers
from pymol_dsr.shared.values import ValueFault

from ..contract import Check
from .learn import ProteinStates, Spacing, hold_out

INSTALL = 'pip install "pymol-dsr[backend,stream]"'
TRAJECTORIES = (".xtc", ".trr", ".dcd")
NAMES = ("N", "CA", "C")
MOST_BYTES = 4 * 10**9
SAME_TIME = 1e-3


@dataclass(frozen=True)
class ProteinFiles:
    """Files of a protein: its topology and its trajectories; of none, the topology has the states itself.

    states: a states text, of each trajectory. unseen: measure on it, and learn nothing from it.
    """

    name: str
    topology: Path
    trajectories: tuple[Path, ...]
    states: str = "all"
    unseen: bool = False


def read_folder(
    folder: Path, states: str, check: Check, progress: Callable[[float, str], None]
) -> tuple[list[ProteinStates], Spacing]:
    """Return the proteins of a folder, one of five to measure on, and the time between their states.

    states: a states text, of each trajectory. progress: gets a fraction and a name. Raises ValueFault for a folder of
    another layout, and where MDAnalysis is missing.
    """
    files_by_protein = protein_files(folder)
    held_out = hold_out(list(files_by_protein))
    return read_proteins(
        [
            ProteinFiles(name, topology, tuple(trajectories), states, name in held_out)
            for name, (topology, trajectories) in files_by_protein.items()
        ],
        check,
        progress,
    )


def read_proteins(
    proteins: Sequence[ProteinFiles], check: Check, progress: Callable[[float, str], None]
) -> tuple[list[ProteinStates], Spacing]:
    """Return the states of proteins, and the time between them.

    progress: gets a fraction and a name. Raises ValueFault for files that don't fit, and where MDAnalysis is missing.
    """
    try:
        # Optional, and slow to import.
        import MDAnalysis
    except ImportError as error:
        raise ValueFault(f"{proteins[0].topology} is read by MDAnalysis, where the backend runs: {INSTALL}") from error
    protein_states: list[ProteinStates] = []
    spacings: dict[str, Spacing] = {}
    size = 0
    for number, protein in enumerate(proteins):
        runs = []
        residues: tuple[str, ...] = ()
        chains: tuple[int, ...] = ()
        for path in protein.trajectories or (protein.topology,):
            check()
            progress(number / len(proteins), f"{protein.name}: {path.name}")
            universe = _opened(MDAnalysis, protein, path)
            count = len(universe.trajectory)
            state_numbers = [int(k) for k in states_text.parse(protein.states, last=count, owner=path.name)]
            residues, corners = _corners(universe, protein.topology)
            size += len(state_numbers) * corners.size * 12
            if size > MOST_BYTES:
                raise ValueFault(
                    f"up to {protein.name} the backbones have {size / 1e9:.1f} GB, and {MOST_BYTES / 1e9:g} are the "
                    "most: take fewer states of each trajectory, as states=1-10000:10"
                )
            runs.append(_read(universe, state_numbers, corners, check))
            known_time = float(universe.trajectory.dt) if protein.trajectories else 0.0
            spacings[f"{protein.name}: {path.name}"] = _spacing(state_numbers, known_time, path)
            chains = _chains(universe, corners, runs[0][0])
        protein_states.append(ProteinStates(protein.name, residues, chains, runs, protein.unseen))
    return protein_states, _one_spacing(spacings)


def _opened(mdanalysis: Any, protein: ProteinFiles, path: Path) -> Any:
    """Return the universe of a trajectory. Raises ValueFault for a file that can't be read."""
    try:
        with warnings.catch_warnings():
            # Elements and boxes that a file does not say are of no concern here.
            warnings.simplefilter("ignore")
            files = [str(protein.topology), *([str(path)] if protein.trajectories else [])]
            return mdanalysis.Universe(*files)
    except (OSError, ValueError, EOFError, IndexError, TypeError) as error:
        raise ValueFault(f"{path} with {protein.topology.name} can't be read: {error}") from error


def protein_files(folder: Path) -> dict[str, tuple[Path, list[Path]]]:
    """Return topology and trajectories by name. Raises ValueFault where there are none."""
    if not folder.is_dir():
        raise ValueFault(f"folder={folder}: there is no such folder where the backend runs")
    files_by_protein = {}
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        topology = inner / f"{inner.name}.pdb"
        trajectories = sorted(
            path for path in inner.iterdir() if path.name.startswith(inner.name) and path.suffix in TRAJECTORIES
        )
        if topology.is_file() and trajectories:
            files_by_protein[inner.name] = (topology, trajectories)
    if not files_by_protein:
        raise ValueFault(
            f"folder={folder}: no protein in the layout NAME/NAME.pdb with NAME/NAME*.xtc, as ATLAS has it, is in it"
        )
    return files_by_protein


def _corners(universe: Any, topology: Path) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the names of residues with N, CA and C, and these atoms i8[R,3]."""
    names, corners = [], []
    for residue in universe.residues:
        atoms: dict[str, int] = {}
        for name, index in zip(residue.atoms.names.tolist(), residue.atoms.indices.tolist(), strict=True):
            atoms.setdefault(name, index)
        if set(NAMES) <= set(atoms):
            names.append(str(residue.resname))
            corners.append([atoms[name] for name in NAMES])
    if not corners:
        raise ValueFault(f"{topology} has no residues with N, CA and C")
    return tuple(names), np.array(corners, np.int64)


def _read(universe: Any, state_numbers: Sequence[int], corners: NDArray[np.int64], check: Check) -> NDArray[np.float32]:
    """Return the backbones f4[S,R,3,3] (Å) of states, from 1."""
    run = np.empty((len(state_numbers), *corners.shape, 3), np.float32)
    for row, state in enumerate(state_numbers):
        if row % 200 == 0:
            check()
        universe.trajectory[state - 1]
        run[row] = universe.atoms.positions[corners]
    return run


def _chains(universe: Any, corners: NDArray[np.int64], first: NDArray[np.float32]) -> tuple[int, ...]:
    """Return the number of the chain of each residue, from 0; first: a backbone f4[R,3,3] (Å)."""
    labels = universe.atoms.segids[corners[:, 1]].tolist()
    bonds = np.linalg.norm(first[:-1, 2] - first[1:, 0], axis=1)
    return chain_numbers(labels, bonds, LONGEST_PEPTIDE_BOND)


def _spacing(state_numbers: Sequence[int], picoseconds: float, path: Path) -> Spacing:
    gaps = set(np.diff(state_numbers).tolist()) or {1}
    if len(gaps) > 1 or min(gaps) <= 0:
        raise ValueFault(f"states of {path.name} must be equally far apart, as 1-1000:10")
    stride = float(gaps.pop())
    return Spacing(stride, stride * picoseconds if picoseconds > 0 else None)


def _one_spacing(spacings: dict[str, Spacing]) -> Spacing:
    """Return the spacing of all trajectories. Raises ValueFault where they differ."""
    [(first, spacing), *remaining] = spacings.items()
    for name, another in remaining:
        picoseconds, other_picoseconds = spacing.picoseconds or 0.0, another.picoseconds or 0.0
        if abs(picoseconds - other_picoseconds) > SAME_TIME * max(picoseconds, other_picoseconds):
            raise ValueFault(
                f"the states of {first} are {picoseconds:g} ps apart, and those of {name} {other_picoseconds:g} ps"
            )
    return spacing
