"""dsr_continue, dsr_fill and dsr_sample."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymol import CmdException, cmd

from ..session import Session, session_of
from ..shared import messages
from ..shared.source_options import FRAMES, GenerateOptions, check_method
from ..sources.atoms import MoleculeStates, further_trajectories, read_states
from ..sources.loader import GivenState, StatePlace, check_generated_names
from ..sources.run import SourceWork, check_size, fill_places, run_source
from ..surfaces.selections import split_by_object
from .arguments import new_fit_name, parse_states
from .command import command
from .running import Runner, count_of_states

# With these, other trajectories of the molecule are sent along.
FROM_OTHERS = ("auto", "analog", "net")


@command
def dsr_continue(
    selection: str,
    frames: int = FRAMES["continue"],
    *commas: str,
    replicas: int = 1,
    method: str = GenerateOptions.method,
    model: str = "",
    ordered: str = "auto",
    states: str = "all",
    name: str = "",
    refine: int = int(GenerateOptions.refine),
    seed: int = GenerateOptions.seed,
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Continues a trajectory: states of all selected atoms after the last one, as an object of its own. A
        back-test comes first: the last fifth of the states is held out, each method predicts it from the others,
        and the table of their errors is printed and kept with the object. Holding the last state is in every
        table; with method=auto the best one is taken.

        States that are no time series, as models of NMR or docked poses, have nothing to continue: see
        dsr_sample. Other loaded trajectories of the same molecule are used where a method can (analog).

        The carbons of the object are orange, and the title of each state says that it was generated. dsr_fit
        takes the object as any other; dsr_eval refuses it as truth.

    USAGE

        dsr_continue selection [, frames [, replicas=..., method=..., model=..., ordered=..., states=...,
            name=..., refine=..., seed=..., async_=... ]]

    ARGUMENTS

        selection = str: atoms of one object

        frames = int: states to generate {default: 20}

        replicas = int: independent continuations, an object each in a group {default: 1}

        method = str: auto, hold, straight, damped, trend, drift, dmd, ar, analog, ou, gaussian, bootstrap or net:
        how to continue {default: auto, by the back-test}

        model = str: for method=net, a generator of dsr_learn {default: none, one is trained for five minutes}

        ordered = 1, 0 or auto: whether the states are a time series {default: auto, by their autocorrelation}

        states = str: states to continue from, as 1-80 {default: all}

        name = str: name of the object {default: <object>_next}

        refine = 0/1: minimise the energy of each state, where OpenMM is installed {default: 0}

        seed = int: seed of random numbers {default: 0}

        async_ = 0/1: work in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        load_traj adk_dims.dcd, adk
        dsr_continue adk, 20
        dsr_fit adk_next

    SEE ALSO

        dsr_fill, dsr_sample, dsr_morph, dsr_learn, dsr_cancel
    """
    check_method("continue", method)
    options = GenerateOptions.parse(
        task="continue",
        frames=frames,
        replicas=replicas,
        method=method,
        model=model,
        ordered=ordered,
        refine=refine,
        seed=seed,
    )
    runner = Runner.of("dsr_continue", async_, quiet, _self)
    return generate_states(session_of(_self), str(selection), str(states), str(name), options, runner, _self)


@command
def dsr_fill(
    selection: str,
    states: str = "all",
    frames: int = FRAMES["fill"],
    *commas: str,
    sample: int = int(GenerateOptions.sample),
    method: str = GenerateOptions.method,
    model: str = "",
    name: str = "",
    refine: int = int(GenerateOptions.refine),
    seed: int = GenerateOptions.seed,
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Fills in states between those that are given, as an all-atom object of its own: the given states and the
        generated ones in their order. A back-test holds out states, fills them in by each method, and prints the
        table of the errors.

        The path is a likely one, not the one that the molecule takes: nothing in two states says which of many
        it is.

    USAGE

        dsr_fill selection [, states [, frames [, sample=..., method=..., model=..., name=..., refine=...,
            seed=..., async_=... ]]]

    ARGUMENTS

        selection = str: atoms of one object; dsr_morph takes structures in several objects, and of unlike atoms

        states = str: states to fill between, as 1+50 or 1-100:10 {default: all}

        frames = int: states to generate between each two of them {default: 10}

        sample = 0/1: a path with fluctuations in place of the mean path {default: 0}

        method = str: auto, hold, straight, elastic, analog, minimised, targeted or net: how to fill in. minimised
        and targeted need OpenMM: states of less energy near the path, or a short simulation that is pulled from
        one state to the next {default: auto, by the back-test}

        model = str: for method=net, a generator of dsr_learn {default: none, one is trained for five minutes}

        name = str: name of the object {default: <object>_fill}

        refine = 0/1: minimise the energy of each state, where OpenMM is installed {default: 0}

        seed = int: seed of random numbers {default: 0}

        async_ = 0/1: work in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        dsr_fill adk, 1-101:20, 19
        dsr_fit adk_fill

    SEE ALSO

        dsr_morph, dsr_continue, dsr_sample, dsr_learn
    """
    check_method("fill", method)
    options = GenerateOptions.parse(
        task="fill", frames=frames, sample=sample, method=method, model=model, refine=refine, seed=seed
    )
    objects = split_by_object(str(selection), _self)
    if len(objects) > 1:
        raise CmdException(
            f"selection {selection}: it spans {len(objects)} objects; dsr_morph makes the way through several, and "
            "with surface=0 the atoms alone"
        )
    runner = Runner.of("dsr_fill", async_, quiet, _self)
    return generate_states(session_of(_self), str(selection), str(states), str(name), options, runner, _self)


@command
def dsr_sample(
    selection: str,
    frames: int = FRAMES["sample"],
    *commas: str,
    method: str = GenerateOptions.method,
    model: str = "",
    states: str = "all",
    name: str = "",
    refine: int = int(GenerateOptions.refine),
    seed: int = GenerateOptions.seed,
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Generates more states like those of an ensemble, in no order: for models of NMR, docked poses, or states
        of a trajectory whose order does not matter. A table compares the generated states with held-out ones, by
        each method; drawing from the given states again is in every table.

        The states fluctuate as the given ones do. Conformations that no given state is near to do not come up.

    USAGE

        dsr_sample selection [, frames [, method=..., model=..., states=..., name=..., refine=..., seed=...,
            async_=... ]]

    ARGUMENTS

        selection = str: atoms of one object

        frames = int: states to generate {default: 50}

        method = str: auto, bootstrap, gaussian, ou or net: how to sample {default: auto, by the back-test}

        model = str: for method=net, a generator of dsr_learn {default: none, one is trained for five minutes}

        states = str: states to learn from {default: all}

        name = str: name of the object {default: <object>_sample}

        refine = 0/1: minimise the energy of each state, where OpenMM is installed {default: 0}

        seed = int: seed of random numbers {default: 0}

        async_ = 0/1: work in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        fetch 1d3z
        dsr_sample 1d3z, 50

    SEE ALSO

        dsr_continue, dsr_fill, dsr_learn, dsr_fit
    """
    check_method("sample", method)
    options = GenerateOptions.parse(task="sample", frames=frames, method=method, model=model, refine=refine, seed=seed)
    runner = Runner.of("dsr_sample", async_, quiet, _self)
    return generate_states(session_of(_self), str(selection), str(states), str(name), options, runner, _self)


SUFFIXES = {"continue": "next", "fill": "fill", "sample": "sample"}
# States that a task starts from, at least, with the remedy where there are fewer.
LEAST_STATES = {
    "continue": (2, "give two or more to continue, as dsr_simulate makes them of one state of a protein"),
    "fill": (2, "give two to fill between, as 1+50"),
    "sample": (3, "give three or more to generate states like them"),
}


def generate_states(
    session: Session, selection: str, states: str, name: str, options: GenerateOptions, runner: Runner, _self: Any
) -> str:
    """Continue, fill in or sample the states of a selection; the name of the object or group of the new states.

    states: a states text. name: empty for that of the object with a suffix. Raises CmdException, JobError,
    ExtractError, SceneError, StatesError or BackendError.
    """
    work = plan_states(session, selection, states, name, options, runner, _self)
    runner.run(partial(run_source, session.sources, work, runner.say, _self, runner.progress))
    return work.job.name


def plan_states(
    session: Session, selection: str, states: str, name: str, options: GenerateOptions, runner: Runner, _self: Any
) -> SourceWork:
    """Read the states to continue, fill in or sample, check names, and enter the job.

    Arguments and errors are those of `generate_states`.
    """
    atoms = read_states(selection, states, _self, title=runner.title)
    report_left_out(atoms, runner.title)
    least, remedy = LEAST_STATES[options.task]
    # A learned generator continues one state, and samples by itself.
    if len(atoms.states) < least and (options.task == "fill" or options.model is None):
        count = "one state" if len(atoms.states) == 1 else count_of_states(len(atoms.states))
        raise CmdException(f"states {states}: {atoms.object} has {count} there; {remedy}")
    name = new_fit_name({}, name or f"{atoms.object}_{SUFFIXES[options.task]}", "name", _self)
    trajectories = trajectories_of(atoms, options, runner, _self)
    work = _plan(session, name, atoms, options, trajectories, runner.title, _self)
    runner.say(f" {name}: {len(atoms)} atoms, {work.subject}")
    if options.task == "fill" and parse_states(states, last=max(atoms.states)) != list(atoms.states):
        runner.note(f" {name}: states are filled in as they rise; dsr_morph goes through {states} in that order")
    return work


def _plan(
    session: Session,
    name: str,
    atoms: MoleculeStates,
    options: GenerateOptions,
    trajectories: Sequence[Any],
    title: str,
    _self: Any,
) -> SourceWork:
    """Check names, and enter the job."""
    request = messages.Generate(
        source=name, options=options, **messages.SourceRequest.contents(atoms.molecule, trajectories)
    )
    given_states: list[GivenState] = []
    if options.task == "fill":
        places, given_states = fill_places(name, atoms, options.frames)
        expected = options.frames * (len(atoms.states) - 1)
        subject = f"{count_of_states(expected)} between {len(atoms.states)} of {atoms.object}"
    else:
        replicas = options.replicas if options.task == "continue" else 1
        places, expected = partial(_replica_places, name, replicas), options.frames * replicas
        after = f"after state {atoms.states[-1]}" if options.task == "continue" else f"like {len(atoms.states)}"
        subject = f"{count_of_states(options.frames)} {after} of {atoms.object}"
    check_size(expected, len(atoms))
    group = name if options.replicas > 1 else ""
    check_generated_names(sorted({name, *(state_place.object for state_place in places(expected))}), _self)
    job = session.sources.new(name, title, len(atoms))
    return SourceWork(job, request, atoms, places, expected, subject, given_states, group)


def _replica_places(name: str, replicas: int, count: int) -> list[StatePlace]:
    if replicas == 1:
        return [StatePlace(name, number + 1) for number in range(count)]
    per_replica = max(1, count // replicas)
    return [StatePlace(f"{name}_{number // per_replica + 1:02d}", number % per_replica + 1) for number in range(count)]


def trajectories_of(
    atoms: MoleculeStates, options: GenerateOptions, runner: Runner, _self: Any
) -> list[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """Return the coordinates f4[S,A,3] (Å) and times f8[S] that a method needs: of these atoms and of others like them.

    The other loaded trajectories of the same atoms are named to the user.
    """
    from_others = (options.method in FROM_OTHERS and options.model is None) or options.sample
    similar = further_trajectories(atoms, _self) if from_others else []
    if similar:
        runner.say(
            f" {runner.title}: also uses {', '.join(trajectory.object for trajectory in similar)}, of the same atoms"
        )
    if options.sample:
        # The fluctuations are those of all states of the object, not only of the ones to fill between.
        all_states = read_states(atoms.selection, "all", _self)
        if len(all_states.states) > len(atoms.states):
            similar.append(all_states)
    return [(trajectory.coordinates, trajectory.times) for trajectory in (atoms, *similar)]


def report_left_out(atoms: MoleculeStates, title: str) -> None:
    """Print how many atoms were left out, where there are some. title: the command that read them."""
    if atoms.left_out:
        print(f" {title}: {atoms.object}: left out: {atoms.left_out} atoms that are alternate locations")
