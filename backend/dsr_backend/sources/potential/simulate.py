"""Simulates a protein by a learned potential: Langevin replicas of its beads, brought back to all atoms."""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray

from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.simulation_options import SimulationOptions
from pymol_dsr.shared.superpose import superpose
from pymol_dsr.shared.values import ValueFault

from ...runtime.errors import Cancelled
from ..backmap import ALPHAS, BackMap
from ..contract import MOST_TITLES, Check, Generated, Report, Trajectory
from .beads import TYPES, Protein, beads_of, k_centres, nearest_distance
from .langevin import STEP, Langevin
from .model_file import load
from .potential import Potential, Trained

MOST_DONORS = 50
STEPS_AT_ONCE = 10
FAR = 1.5
"""Times the spacing of the training data; farther from them, a state is where the potential has not learned."""


def simulate_beads(
    molecule: Molecule, trajectory: Trajectory, options: SimulationOptions, report: Report, check: Check
) -> Generated:
    """Simulate a molecule by the potential options.model; its states are the donors of side chains.

    States come time by time, and at each time replica by replica. Replicas that fly apart are started anew and counted.
    Raises ValueFault, and Cancelled where there is no state yet.
    """
    potential, training = load(options.model)
    protein, alphas = beads_of(molecule, trajectory.coordinates[0])
    trained, notes = _trained(potential, protein)
    _check_types(potential, protein)
    own = trajectory.coordinates[:, alphas]
    starts = trained.centres if trained is not None else own
    starts = starts[k_centres(starts, options.replicas, options.seed)]
    backmap = BackMap(molecule, _donors(trajectory), ALPHAS)
    if len(backmap.atoms) != len(alphas):
        raise ValueFault(f"{len(alphas) - len(backmap.atoms)} Cα have no residue around them: leave them out")
    offsets = torch.as_tensor(trained.offsets) if trained is not None else None
    x = torch.as_tensor(starts, dtype=torch.float32)
    dynamics = Langevin(
        lambda at: potential.forces(at, protein, offsets),
        x,
        potential.temperature,
        torch.Generator().manual_seed(options.seed),
    )
    bonds = torch.as_tensor(protein.runs(2))
    steps = max(1, round(1e3 * options.every / STEP))
    states: list[NDArray[np.float32]] = []
    times: list[float] = []
    far: list[bool] = []
    flown_apart, stopped = 0, ""
    started = time.monotonic()
    try:
        for number in range(1, options.states + 1):
            for _ in range(-(-steps // STEPS_AT_ONCE)):
                check()
                dynamics.run(min(STEPS_AT_ONCE, steps))
            lost = dynamics.flown_apart(bonds)
            if bool(lost.any()):
                flown_apart += int(lost.sum())
                dynamics.restart(lost, x[lost])
            beads = _superposed(dynamics.x.numpy(), own[0])
            atoms = np.stack(list(backmap.build(beads, check)))
            report.frames(atoms)
            states.append(atoms)
            times += [number * steps * STEP * 1e-3] * len(atoms)
            if trained is not None:
                far += (nearest_distance(beads, trained.centres) > FAR * trained.spacing).tolist()
            elapsed = time.monotonic() - started
            text = f"{1e3 * elapsed / (number * steps):.1f} ms a step of {options.replicas} replicas"
            report(number / options.states, "simulating", text, elapsed * (options.states / number - 1.0))
            if options.budget is not None and elapsed > options.budget:
                stopped = f"ended by budget={options.budget:g}"
                break
    except Cancelled:
        if not states:
            raise
        stopped = "cancelled"
    notes += _notes(far, flown_apart, options.replicas, stopped)
    return Generated(
        np.concatenate(states),
        np.array(times),
        f"potential {options.model}",
        notes=tuple(notes),
        titles=tuple(_titles(options, potential, times, far)) if len(times) <= MOST_TITLES else (),
        model={
            "model": options.model,
            "temperature": potential.temperature,
            "seed": options.seed,
            "training": training,
        },
    )


def _trained(potential: Potential, protein: Protein) -> tuple[Trained | None, list[str]]:
    """Return the protein of the training that is meant, and lines about it."""
    lines = [f"at {potential.temperature:g} K, the temperature of the training; times are not those of real motion"]
    for one in potential.proteins:
        if one.protein == protein:
            return one, lines
    for one in potential.proteins:
        if one.protein.chains == protein.chains:
            changed = [
                f"{a}{n}{b}"
                for n, (a, b) in enumerate(zip(one.protein.residues, protein.residues, strict=True), 1)
                if a != b
            ]
            return one, [*lines, f"calibrated for {one.name}, not for this sequence ({', '.join(changed[:10])})"]
    return None, [*lines, "the potential was not trained on this protein, and such potentials carry over badly"]


def _check_types(potential: Potential, protein: Protein) -> None:
    """Raise ValueFault for residues that the training did not have."""
    known = {int(kind) for one in potential.proteins for kind in one.protein.types}
    unknown = sorted({TYPES[kind] for kind in protein.types.tolist() if kind not in known})
    if unknown:
        raise ValueFault(
            f"the potential has learned no {', '.join(unknown)}; it knows "
            f"{', '.join(TYPES[kind] for kind in sorted(known))}: learn one with a protein that has them"
        )


def _superposed(frames: NDArray[np.float32], onto: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return frames [F,N,3] turned and moved onto [N,3]: replicas tumble."""
    moved = []
    for frame in frames:
        rotation, shift = superpose(frame, onto)
        moved.append(frame @ rotation.T + shift)
    stacked: NDArray[np.float32] = np.stack(moved).astype(np.float32)
    return stacked


def _donors(trajectory: Trajectory) -> NDArray[np.float32]:
    count = len(trajectory)
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_DONORS)).astype(np.int64))
    donors: NDArray[np.float32] = trajectory.coordinates[chosen]
    return donors


def _notes(far: list[bool], flown_apart: int, replicas: int, stopped: str) -> list[str]:
    notes = [f"{stopped}; the states so far are kept"] if stopped else []
    if flown_apart:
        notes.append(f"replicas flew apart {flown_apart} times and were started anew, of {replicas}")
    if any(far):
        notes.append(
            f"{sum(far)} of {len(far)} states are farther than {FAR:g} spacings from all training data: the potential "
            "has learned nothing there"
        )
    return notes


def _titles(options: SimulationOptions, potential: Potential, times: list[float], far: list[bool]) -> list[str]:
    titles = []
    for number, moment in enumerate(times):
        replica = f"replica {number % options.replicas + 1}, " if options.replicas > 1 else ""
        away = ", far from the training data" if far and far[number] else ""
        kelvin = f"{potential.temperature:g} K"
        titles.append(f"coarse-grained by {options.model} at {kelvin}, {replica}{moment:g} ps of the model{away}")
    return titles
