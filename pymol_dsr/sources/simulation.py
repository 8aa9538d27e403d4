"""Runs a simulation: the molecule is prepared, becomes an object of its own, and is then simulated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..fits.fit import Cancelled, Say
from ..scene import placement
from ..scene.gui_thread import in_gui
from ..scene.objects import delete_objects
from ..shared import messages
from ..shared.simulation_options import ALL_ATOMS, SimulationOptions
from ..shared.text import in_words
from ..shared.values import JsonObject
from ..surfaces.selections import GENERATED_TITLE
from .atoms import MoleculeStates, read_states
from .chempy_model import chempy_model
from .jobs import SourceJob, Sources
from .loader import StatePlace
from .mutation import load_mutant
from .run import SourceWork, check_size, run_source


@dataclass(frozen=True, eq=False)
class SimulationWork:
    """A simulation that is checked and can run. atoms: the molecule as it is in the scene, with one state."""

    job: SourceJob
    atoms: MoleculeStates
    options: SimulationOptions

    @property
    def start(self) -> str:
        """Name of the object with the molecule as it is simulated."""
        return start_name(self.job.name)


def start_name(name: str) -> str:
    """Return the name of the object that a simulation of this name starts from."""
    return f"{name}_start"


def object_names(name: str, options: SimulationOptions) -> list[str]:
    """Return the names of all objects that a simulation makes."""
    return [name, start_name(name), *dict.fromkeys(state_place.object for state_place in _places(name, options))]


def run_simulation(
    sources: Sources, work: SimulationWork, say: Say, _self: Any, progress: Say | None = None
) -> messages.SourceResult:
    """Prepare a molecule, say how long its simulation takes, and simulate it; its states are loaded as they arrive.

    progress: prints the lines of its progress where nobody watches the scene. Raises Cancelled, SceneError and
    BackendError.
    """
    job, options = work.job, work.options
    if options.model != ALL_ATOMS:
        return _run_model(sources, work, say, progress, _self)
    try:
        prepared = _prepare(sources, work, progress or say)
        for line in prepared.added:
            say(f" {job.name}: {line}")
        start = in_gui(_self, _load_start, work, prepared, _self)
    except BaseException:
        sources.discard(job)
        raise
    job.atoms = len(start)
    say(f" {job.name}: {estimate_text(prepared, options)}; dsr_cancel {job.name} ends it and keeps its states")
    return _run_from_start(sources, work, start, f"{options.ns:g} ns of {work.atoms.object}", say, progress, _self)


def time_simulation(sources: Sources, work: SimulationWork, say: Say) -> messages.PreparedMolecule:
    """Prepare a molecule and time a few steps of its simulation, which is not run.

    Raises Cancelled, JobError and BackendError.
    """
    try:
        return _prepare(sources, work, say)
    finally:
        sources.discard(work.job)


def estimate_text(prepared: messages.PreparedMolecule, options: SimulationOptions) -> str:
    """Say how long a simulation takes where the backend runs."""
    reused = f", {prepared.states_kept} states are there from before" if prepared.states_kept else ""
    return (
        f"{len(prepared.atoms)} atoms, {options.ns:g} ns{_times(options.replicas)} take about "
        f"{in_words(_seconds(prepared, options))} here ({prepared.ns_a_day:.3g} ns/day on {prepared.platform}){reused}"
    )


def _prepare(sources: Sources, work: SimulationWork, say: Say) -> messages.PreparedMolecule:
    options, atoms = work.options, work.atoms
    contents = messages.SourceRequest.contents(atoms.molecule, [(atoms.coordinates, atoms.times)])
    prepared = sources.ask(work.job, messages.Prepare(source=work.job.name, options=options, **contents), say)
    check_size(options.states * options.replicas, len(prepared.atoms))
    return prepared


def _run_model(
    sources: Sources, work: SimulationWork, say: Say, progress: Say | None, _self: Any
) -> messages.SourceResult:
    """Simulate by a potential, of a mutant from an object of its own."""
    options, atoms = work.options, work.atoms
    subject = f"{options.ns:g} ns by {options.model}"
    if options.mutate is None:
        return run_source(sources, _source_work(work, atoms, subject), say, _self, progress)
    try:
        atoms = in_gui(_self, load_mutant, atoms, work.start, options.mutate, _self)
        work.job.atoms = len(atoms)
    except BaseException:
        sources.discard(work.job)
        raise
    say(f" {work.job.name}: {options.mutate}, the mutant as it is simulated is {work.start}")
    return _run_from_start(sources, work, atoms, subject, say, progress, _self)


def _run_from_start(
    sources: Sources,
    work: SimulationWork,
    start: MoleculeStates,
    subject: str,
    say: Say,
    progress: Say | None,
    _self: Any,
) -> messages.SourceResult:
    """Simulate from the object `work.start`, while the user's molecule is switched off.

    Where no states come of it, that object is removed, and the molecule is as it was.
    """
    molecule = work.atoms.object
    was_on = molecule in _self.get_names("objects", enabled_only=1)
    before = set(_self.get_names("objects"))
    in_gui(_self, _self.disable, molecule)
    try:
        return run_source(sources, _source_work(work, start, subject), say, _self, progress)
    except BaseException as error:
        simulated = set(_self.get_names("objects")) & set(object_names(work.job.name, work.options)) - {work.start}
        # Objects of an earlier run of this name may be there; where it was cancelled, nothing tells them apart.
        if not (simulated if isinstance(error, Cancelled) else simulated - before):
            in_gui(_self, delete_objects, [work.start], _self)
            if was_on and molecule in _self.get_names("objects"):
                in_gui(_self, _self.enable, molecule)
        raise


def _source_work(work: SimulationWork, atoms: MoleculeStates, subject: str) -> SourceWork:
    job, options = work.job, work.options
    request = messages.Simulate(
        source=job.name,
        options=options,
        **messages.SourceRequest.contents(atoms.molecule, [(atoms.coordinates, atoms.times)]),
    )

    def places(count: int) -> list[StatePlace]:
        return _places(job.name, options)[:count]

    group = job.name if options.replicas > 1 else ""
    return SourceWork(
        job, request, atoms, places, options.states * options.replicas, subject, group=group, origin=_origin(work)
    )


def _origin(work: SimulationWork) -> JsonObject:
    """Return what is known of the states of a simulation before its end."""
    options = work.options
    origin: JsonObject = {"kind": "simulate", "seed": options.seed, "options": options.to_json()}
    if options.model != ALL_ATOMS:
        return {**origin, "method": f"potential {options.model}", "model": options.model}
    # The backend keeps states with forces under this name, also of a run that is cancelled.
    simulated: JsonObject = {
        "method": options.forcefield,
        "temperature": options.temperature,
        "simulation": work.job.name,
    }
    return {**origin, **simulated}


def _seconds(prepared: messages.PreparedMolecule, options: SimulationOptions) -> float:
    """Return the estimated time in s of the states that are still to simulate."""
    every_ns = 1e-3 * options.every
    left = max(0, options.states * options.replicas - prepared.states_kept) * every_ns
    seconds = 86400.0 * left / prepared.ns_a_day
    return min(seconds, options.budget) if options.budget is not None else seconds


def _times(replicas: int) -> str:
    return f" in {replicas} replicas each" if replicas > 1 else ""


def _places(name: str, options: SimulationOptions) -> list[StatePlace]:
    if options.replicas == 1:
        return [StatePlace(name, state) for state in range(1, options.states + 1)]
    replicas, states = range(1, options.replicas + 1), range(1, options.states + 1)
    if options.model != ALL_ATOMS:
        # They run side by side.
        return [StatePlace(f"{name}_{replica:02d}", state) for state in states for replica in replicas]
    return [StatePlace(f"{name}_{replica:02d}", state) for replica in replicas for state in states]


def _load_start(work: SimulationWork, prepared: messages.PreparedMolecule, _self: Any) -> MoleculeStates:
    """Load the prepared molecule, and read it as PyMOL orders its atoms."""
    cmd, name = _self, work.start
    delete_objects([name], cmd)
    cmd.load_model(chempy_model(prepared.molecule(), prepared.coordinates), name, zoom=0)
    cmd.set_title(name, 1, GENERATED_TITLE + "start of a simulation")
    placement.place(name, placement.object_ttt(work.atoms.object, cmd), cmd)
    # The simulation takes its place.
    cmd.disable(name)
    return read_states(f"%{name}", "1", cmd)
