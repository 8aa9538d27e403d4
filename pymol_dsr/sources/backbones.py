"""Collects what a generator is learned from: the backbones of the states of objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fits.fit import JobError
from ..shared import messages
from ..shared.chains import LONGEST_PEPTIDE_BOND, chain_numbers
from ..shared.frames import MAX_PAYLOAD
from ..shared.learn_options import GeneratorOptions
from ..surfaces.source import ExtractError
from .atoms import MoleculeStates, read_states
from .jobs import Sources

NAMES = ("N", "CA", "C")


@dataclass(frozen=True, eq=False)
class Backbone:
    """The backbone of an object.

    residues: names of those with N, CA and C; chains: number of the chain of each, from 0. runs: f4[S,R,3,3] (state,
    residue, atom, axis; Å), parts of the trajectory with states `stride` apart. left_out: residues of the polymer that
    lack atoms, as `ACE 1`.
    """

    residues: tuple[str, ...]
    chains: tuple[int, ...]
    runs: list[NDArray[np.float32]]
    stride: float
    left_out: tuple[str, ...]


def generator_request(
    name: str, objects: Sequence[str], states: str, options: GeneratorOptions, sources: Sources, _self: Any
) -> tuple[messages.LearnGenerator, list[str]]:
    """Return the request that learns from objects, and lines for the user. states: a states text.

    Raises ExtractError, JobError or StatesError.
    """
    proteins, atoms, lines = [], [], []
    strides: dict[str, float] = {}
    for object_name in objects:
        object_atoms = read_states(f"%{object_name}", states, _self, title=name)
        backbone = backbone_of(object_atoms)
        strides[object_name] = backbone.stride
        if backbone.left_out:
            lines.append(
                f"{object_name}: left out: {len(backbone.left_out)} residues without N, CA and C, the first one "
                f"{backbone.left_out[0]}"
            )
        if len(backbone.runs) > 1:
            lines.append(f"{object_name}: its states are uneven in time: {len(backbone.runs)} parts are learned from")
        lengths = tuple(len(run) for run in backbone.runs)
        proteins.append(messages.LearnedTrajectories(object_name, backbone.residues, backbone.chains, lengths))
        atoms += [run.reshape(-1, 3, 3) for run in backbone.runs]
    if len(set(strides.values())) > 1:
        stride_text = ", ".join(f"{object_name} {stride:g}" for object_name, stride in strides.items())
        raise ExtractError(f"states {states}: those of the objects are not equally far apart ({stride_text})")
    joined = np.concatenate(atoms)
    if joined.nbytes > MAX_PAYLOAD:
        raise JobError(
            f"the backbones of these states are {joined.nbytes / 1e6:.0f} MB, and {MAX_PAYLOAD / 1e6:.0f} MB are the "
            "most at once; learn from fewer states, as states=1-10000"
        )
    stride = next(iter(strides.values()))
    request = messages.LearnGenerator(
        model=name,
        options=options,
        proteins=tuple(proteins),
        stride=stride,
        picoseconds=_picoseconds(objects, stride, sources, _self),
        backbones=joined,
    )
    return request, lines


def backbone_of(atoms: MoleculeStates) -> Backbone:
    """Return the backbone of the states of an object. Raises ExtractError where it has none."""
    molecule = atoms.molecule
    places: dict[tuple[str, str, str], dict[str, int]] = {}
    for index, key in enumerate(zip(molecule.chains, molecule.residue_numbers, molecule.residue_names, strict=True)):
        if not molecule.hetatm[index]:
            places.setdefault(key, {}).setdefault(molecule.names[index], index)
    complete = {
        key: [atom_indices[name] for name in NAMES]
        for key, atom_indices in places.items()
        if set(NAMES) <= set(atom_indices)
    }
    if not complete:
        raise ExtractError(f"{atoms.object} has no residues with N, CA and C, which a generator learns from")
    corners = np.array(list(complete.values()))
    frames = np.ascontiguousarray(atoms.coordinates[:, corners], np.float32)
    bonds = np.linalg.norm(frames[0, :-1, 2] - frames[0, 1:, 0], axis=1)
    chains = chain_numbers([chain for chain, _, _ in complete], bonds, LONGEST_PEPTIDE_BOND)
    gaps = np.diff(atoms.states)
    stride = float(np.median(gaps)) if len(gaps) else 1.0
    runs = np.split(frames, (np.flatnonzero(gaps != stride) + 1).tolist())
    left_out = tuple(f"{name} {number}" for chain, number, name in places if (chain, number, name) not in complete)
    return Backbone(tuple(name for _, _, name in complete), chains, runs, stride, left_out)


def _picoseconds(objects: Sequence[str], stride: float, sources: Sources, _self: Any) -> float | None:
    """Return the time from state to state where dsr_simulate has made all objects, with one time between states."""
    times = set()
    for object_name in objects:
        options = (sources.provenance.get(object_name, _self) or {}).get("options")
        interval = options.get("every") if isinstance(options, dict) else None
        times.add(float(interval) if isinstance(interval, int | float) and interval > 0 else None)
    [time, *other_times] = times
    return None if other_times or time is None else stride * time
