"""Simulates a protein by a learned potential: Langevin replicas of its beads, brought back to all atoms."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.simulation_options import SimulationOptions
from pymol_dsr.shared.superpose import superpose
from pymol_dsr.shared.text import in_words
from pymol_dsr.shared.values import JsonObject, ValueFault

from ...runtime.errors import Cancelled
from .. import model_file
from ..backmap import ALPHAS, BackMap
from ..contract import MOST_TITLES, Check, Generated, Report, Trajectory
from ..refine import Minimiser
from .beads import TYPES, Protein, beads_of, k_centres, nearest_distance
from .checkpoint import BeadCheckpoint, checkpoint_path, save
from .checkpoint import load as load_checkpoint
from .forces import ClosedForces
from .langevin import STEP, Langevin
from .model_file import load
from .potential import Potential, Trained

MOST_DONORS = 50
STEPS_AT_ONCE = 10
TIMING_STEPS = 20
CHECKPOINT_SECONDS = 30.0
CPU = torch.device("cpu")
FAR = 1.5
"""Times the spacing of the training data; farther from them, a state is where the potential has not learned."""


def simulate_beads(
    molecule: Molecule,
    trajectory: Trajectory,
    options: SimulationOptions,
    report: Report,
    check: Check,
    log: Callable[[str], None],
    device: torch.device = CPU,
    name: str = "",
) -> Generated:
    """Simulate a molecule by the potential options.model; its states are the donors of side chains.

    States come time by time, and at each time replica by replica. Replicas that fly apart are started anew and counted.
    log: takes a line that says how long it will take. device: computes the forces. name: of the checkpoint, which is
    written every CHECKPOINT_SECONDS; empty for none. Raises ValueFault, and Cancelled where there is no state yet.
    """
    return _BeadSimulation(molecule, trajectory, options, report, check, log, device, name).run()


class _BeadSimulation:
    """A simulation under way."""

    def __init__(
        self,
        molecule: Molecule,
        trajectory: Trajectory,
        options: SimulationOptions,
        report: Report,
        check: Check,
        log: Callable[[str], None],
        device: torch.device,
        name: str,
    ) -> None:
        self._device = device
        self._options, self._report, self._check, self._log = options, report, check, log
        self._potential, self._training = load(options.model)
        self._potential.to(device)
        self._protein, alphas = beads_of(molecule, trajectory.coordinates[0])
        self._trained, self._notes = _trained(self._potential, self._protein, self._training)
        _check_types(self._potential, self._protein)
        self._refiner = Minimiser(molecule) if options.refine else None
        alpha_coordinates = trajectory.coordinates[:, alphas]
        starts = alpha_coordinates if self._trained is None else self._trained.centres
        self._starts = torch.as_tensor(
            starts[k_centres(starts, options.replicas, options.seed)], dtype=torch.float32, device=device
        )
        self._first = alpha_coordinates[0]
        self._backmap = BackMap(molecule, _donors(trajectory), ALPHAS)
        if len(self._backmap.atoms) != len(alphas):
            raise ValueFault(f"{len(alphas) - len(self._backmap.atoms)} Cα have no residue around them: leave them out")
        self._steps = max(1, round(1e3 * options.every / STEP))
        self._checkpoint = checkpoint_path(name) if name else None
        self._described = _described(options, self._protein)
        self._beads: list[NDArray[np.float32]] = []
        self._last: tuple[torch.Tensor, torch.Tensor] | None = None
        self._states: list[NDArray[np.float32]] = []
        self._times: list[float] = []
        self._far: list[bool] = []
        self._flown_apart = 0
        self._stopped = ""

    def run(self) -> Generated:
        options = self._options
        dynamics = self._resumed() if options.resume else self._dynamics(self._starts)
        bonds = torch.as_tensor(self._protein.runs(2), device=self._device)
        before = len(self._states)
        self._say_how_long(dynamics)
        started, stepping = time.monotonic(), 0.0
        written = started
        try:
            for number in range(before + 1, options.states + 1):
                stepping += self._advance(dynamics)
                lost = dynamics.flown_apart(bonds)
                if bool(lost.any()):
                    self._flown_apart += int(lost.sum())
                    dynamics.restart(lost, self._starts[lost])
                self._keep(number, dynamics.x.cpu().numpy().copy())
                self._last = dynamics.v.clone(), self._generator.get_state()
                elapsed = time.monotonic() - started
                count = number - before
                text = f"{1e3 * stepping / (count * self._steps):.1f} ms a step of {options.replicas} replicas"
                left = elapsed * (options.states - number) / count
                if time.monotonic() - written > CHECKPOINT_SECONDS:
                    self._write()
                    written = time.monotonic()
                self._report(number / options.states, "simulating", text, left)
                if options.budget is not None and elapsed > options.budget and number < options.states:
                    self._stopped = f"ended by budget={options.budget:g}"
                    break
        except Cancelled:
            if not self._states:
                raise
            self._stopped = "cancelled"
        self._write()
        return self._generated()

    def _write(self) -> None:
        """Write a checkpoint at the last state of this run."""
        if self._checkpoint is None or self._last is None:
            return
        velocities, random = self._last
        checkpoint = BeadCheckpoint(np.stack(self._beads), velocities, random, self._device.type, self._flown_apart)
        try:
            save(self._checkpoint, checkpoint, self._described)
        except OSError as error:
            self._log(f"the checkpoint can't be written: {error}")

    def _advance(self, dynamics: Langevin) -> float:
        """Take the steps to the next state, and return their seconds."""
        started = time.monotonic()
        with self._forces.suitable_threads(self._options.replicas):
            for count in blocks(self._steps, STEPS_AT_ONCE):
                self._check()
                dynamics.run(count)
        return time.monotonic() - started

    def _resumed(self) -> Langevin:
        """Take up the states and the checkpoint of this name."""
        if self._checkpoint is None:
            raise ValueFault("resume 1: this run has no name")
        replicas, count = len(self._starts), len(self._protein)
        checkpoint = load_checkpoint(self._checkpoint, replicas, count, self._described)
        self._flown_apart = checkpoint.flown_apart
        for number, x in enumerate(checkpoint.beads[: self._options.states], 1):
            self._keep(number, x)
        last = torch.as_tensor(checkpoint.beads[-1], device=self._device)
        dynamics = self._dynamics(last, checkpoint.velocities.to(self._device))
        if checkpoint.device == self._device.type:
            try:
                self._generator.set_state(checkpoint.random)
            except RuntimeError as error:
                raise ValueFault(f"{self._checkpoint}: {error}; simulate anew without resume=1") from error
        else:
            self._generator.manual_seed(self._options.seed + len(checkpoint.beads))
            self._notes.append("goes on with other random numbers: on another device")
        return dynamics

    def _dynamics(self, x: torch.Tensor, v: torch.Tensor | None = None) -> Langevin:
        potential, protein = self._potential, self._protein
        offsets = None if self._trained is None else torch.as_tensor(self._trained.offsets, device=self._device)
        self._forces = ClosedForces(potential, protein, offsets)
        self._generator = torch.Generator(self._device).manual_seed(self._options.seed)
        return Langevin(self._forces, x, potential.temperature, self._generator, v)

    def _say_how_long(self, dynamics: Langevin) -> None:
        """Time a few steps and the way back to all atoms, and say how long the whole takes."""
        self._report(0.0, "estimate")
        started = time.monotonic()
        copy = dynamics.copy()
        with self._forces.suitable_threads(self._options.replicas):
            copy.run(TIMING_STEPS)
        self._check()
        step = (time.monotonic() - started) / TIMING_STEPS
        started = time.monotonic()
        self._all_atoms(copy.x.cpu().numpy()[:1])
        state = time.monotonic() - started
        options = self._options
        seconds = (options.states - len(self._states)) * (self._steps * step + options.replicas * state)
        if options.budget is not None:
            seconds = min(seconds, options.budget)
        replicas = f" of {options.replicas} replicas each" if options.replicas > 1 else ""
        self._log(
            f"{options.ns:g} ns{replicas} take about {in_words(seconds)} here ({1e3 * step:.1f} ms a step, "
            f"{1e3 * state:.0f} ms a state with all atoms)"
        )

    def _all_atoms(self, beads: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return all atoms f4[R,A,3] of beads [R,N,3]."""
        atoms = np.stack(list(self._backmap.build(beads, self._check)))
        if self._refiner is None:
            return atoms
        return self._refiner.minimised(atoms.astype(np.float64), self._check).astype(np.float32)

    def _keep(self, number: int, x: NDArray[np.float32]) -> None:
        beads = _superposed(x, self._first)
        atoms = self._all_atoms(beads)
        self._report.frames(atoms)
        self._beads.append(x)
        self._states.append(atoms)
        self._times += [number * self._steps * STEP * 1e-3] * len(atoms)
        if self._trained is not None:
            self._far += (nearest_distance(beads, self._trained.centres) > FAR * self._trained.spacing).tolist()

    def _generated(self) -> Generated:
        options, times = self._options, self._times
        notes = [*self._notes]
        if options.refine:
            notes.append("the energy of each state was minimised (refine=1)")
        notes += _notes(self._far, self._flown_apart, options.replicas, self._stopped)
        titles = _titles(options, self._potential, times, self._far) if len(times) <= MOST_TITLES else []
        return Generated(
            np.concatenate(self._states),
            np.array(times),
            f"potential {options.model}",
            notes=tuple(notes),
            titles=tuple(titles),
            model={
                "model": options.model,
                "temperature": self._potential.temperature,
                "seed": options.seed,
                **({"mutate": options.mutate} if options.mutate else {}),
                "training": self._training,
            },
        )


def blocks(steps: int, longest: int) -> Iterator[int]:
    """Yield the lengths of blocks of at most `longest` steps, which are `steps` together."""
    for first in range(0, steps, longest):
        yield min(longest, steps - first)


def _described(options: SimulationOptions, protein: Protein) -> JsonObject:
    """Say which run this is, for its checkpoint."""
    content = model_file.read(options.model, model_file.POTENTIAL)
    return {
        "model": options.model,
        "potential": hashlib.sha256(content).hexdigest(),
        "every": options.every,
        "seed": options.seed,
        "replicas": options.replicas,
        "mutate": options.mutate,
        "residues": list(protein.residues),
    }


def _trained(potential: Potential, protein: Protein, training: JsonObject) -> tuple[Trained | None, list[str]]:
    """Return the protein of the training that is meant, and lines about it."""
    lines = [f"at {potential.temperature:g} K, the temperature of the training; times are not those of real motion"]
    calibrated = training.get("calibrated")
    for trained in potential.proteins:
        if trained.protein == protein:
            if isinstance(calibrated, list) and trained.name not in calibrated:
                lines.append("not calibrated to the end: how often it is in each of its shapes may be far off")
            return trained, lines
    for trained in potential.proteins:
        if trained.protein.chains == protein.chains:
            changed = [
                f"{a}{n}{b}"
                for n, (a, b) in enumerate(zip(trained.protein.residues, protein.residues, strict=True), 1)
                if a != b
            ]
            text = (
                f"calibrated for {trained.name}, not for this sequence ({', '.join(changed[:10])}): what it says of a "
            )
            return trained, [*lines, text + "mutant is a guess, and no measure of how stable it is"]
    return None, [*lines, "the potential was not trained on this protein, and such potentials carry over badly"]


def _check_types(potential: Potential, protein: Protein) -> None:
    """Raise ValueFault for residues that the training did not have."""
    known = {int(kind) for trained in potential.proteins for kind in trained.protein.types}
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
    notes = [f"{stopped}; the states so far are kept, and resume=1 goes on"] if stopped else []
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
        far_note = ", far from the training data" if far and far[number] else ""
        kelvin = f"{potential.temperature:g} K"
        mutant = f"{options.mutate} " if options.mutate else ""
        titles.append(
            f"{mutant}coarse-grained by {options.model} at {kelvin}, {replica}{moment:g} ps of the model{far_note}"
        )
    return titles
