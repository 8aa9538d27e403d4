"""Collects what a potential is learned from: kept simulations, or the Cα of the states of objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..shared import messages
from ..shared.chains import LONGEST_CALPHA_STEP, chain_numbers
from ..shared.learn_options import LearnOptions
from ..surfaces.selections import generated_states
from .atoms import MoleculeStates, read_states
from .jobs import Sources


def potential_request(
    name: str,
    objects: Sequence[str],
    states: str,
    options: LearnOptions,
    sources: Sources,
    _self: Any,
    folder: str = "",
) -> messages.LearnPotential:
    """Return the request that learns from objects, and from a folder in mdCATH's layout where the backend runs.

    states: a states text, of those that no simulation has kept. Raises ExtractError or StatesError.
    """
    proteins: list[messages.LearnedProtein] = []
    beads: list[NDArray[np.float32]] = []
    for object_name in objects:
        origin = sources.provenance.get(object_name, _self) or {}
        simulation = origin.get("simulation")
        if isinstance(simulation, str):
            if simulation in [protein.simulation for protein in proteins]:
                continue
            # By this state the backend sees whether the simulation that it has kept is the object's.
            object_states, kept = str(generated_states(object_name, _self)[0]), simulation
        else:
            object_states, kept = states, None
        object_atoms = read_states(f"%{object_name}", object_states, _self, title=name)
        residues, chains, frames = _beads(object_atoms)
        proteins.append(messages.LearnedProtein(object_name, residues, chains, len(frames), kept))
        beads.append(frames.reshape(-1, 3))
    all_beads = np.concatenate(beads) if beads else np.zeros((0, 3), np.float32)
    return messages.LearnPotential(
        model=name, options=options, proteins=tuple(proteins), beads=all_beads, folder=folder or None
    )


def _beads(atoms: MoleculeStates) -> tuple[tuple[str, ...], tuple[int, ...], NDArray[np.float32]]:
    """Return residue names, chain numbers and frames f4[S,N,3] (Å) of the Cα."""
    molecule = atoms.molecule
    places = [
        index
        for index, (name, element) in enumerate(zip(molecule.names, molecule.elements, strict=True))
        if name == "CA" and element.upper() == "C"
    ]
    frames = np.ascontiguousarray(atoms.coordinates[:, places])
    steps = np.linalg.norm(np.diff(frames[0], axis=0), axis=1)
    chains = chain_numbers([molecule.chains[index] for index in places], steps, LONGEST_CALPHA_STEP)
    return tuple(molecule.residue_names[index] for index in places), chains, frames
