"""dsr_learn."""

from __future__ import annotations

from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np
from pymol import CmdException, cmd

from ..session import Session, session_of
from ..shared import messages
from ..shared.learn_options import GeneratorOptions, LearnOptions
from ..sources.backbones import generator_request
from ..sources.beads import potential_request
from ..sources.jobs import SourceJob
from ..sources.learning import run_learning
from ..surfaces.selections import names_there
from .arguments import new_fit_name
from .command import command
from .running import Runner

GENERATOR = "generator"
KINDS = (LearnOptions.kind, GENERATOR)


@command
def dsr_learn(
    objects: str = "",
    kind: str = LearnOptions.kind,
    *commas: str,
    states: str = "all",
    forces: str = "auto",
    calibrate: int = int(LearnOptions.calibrate),
    temperature: float = LearnOptions.temperature,
    name: str = "",
    preset: str = LearnOptions.preset,
    budget: float = LearnOptions.budget,
    resume: int = int(LearnOptions.resume),
    folder: str = "",
    seed: int = LearnOptions.seed,
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Learns a model from the states of objects, and keeps it in a file.

        kind=potential: a coarse-grained potential of one or several proteins, with one bead for each Cα, prior
        energies, and a graph network. It is learned from states and, where dsr_simulate has made them, from the
        forces that were kept with them. dsr_simulate selection, model=<name> simulates with it. Forces alone do
        not fix how often the protein is in each of its shapes. So a calibration follows, which moves the
        averages of the potential's own ensemble to those of the data. dsr_cancel keeps the best network so far
        and its calibration; resume=1 goes on.

        kind=generator: a net that continues trajectories, fills them in and samples states. It learns from
        trajectories of one or several proteins, of 400 states or more. It starts as a baseline, a linear rule
        with normal noise. While it learns, its progress shows its error on held-out states over that of the
        baseline: at 1 it has learned nothing, and below 0.95 it helps. dsr_continue, dsr_fill and dsr_sample
        use it with method=net, model=<name>. The best net so far is kept when the budget ends, and when
        dsr_cancel ends it before; resume=1 goes on.

        A model says what its data say. It knows nothing of shapes that the data do not show. A potential holds
        for one temperature. Neither carries over to other proteins.

    USAGE

        dsr_learn objects [, kind [, states=..., name=..., preset=..., budget=..., resume=..., seed=...,
            async_=... ]]
        dsr_learn objects, potential [, forces=..., calibrate=..., temperature=..., folder=..., ... ]
        dsr_learn folder=..., temperature=..., name=...
        dsr_learn kind=generator, folder=..., name=...

    ARGUMENTS

        objects = str: objects with some thousand states, as pep_md, or pep_md trp_md for several proteins

        kind = str: potential or generator {default: potential}

        states = str: states to learn from; for a potential, of objects without a simulation {default: all}

        forces = 1, 0 or auto: learn a potential from forces, or from the states alone {default: auto, where there
        are any}

        calibrate = 0/1: calibrate the ensemble of a potential {default: 1}

        temperature = float: of a potential, in K, of states without a simulation and of the folder {default: 300}

        name = str: name of the model {default: <object>_model, or <object>_net for a generator}

        preset = small or large: size of the network; large is for a GPU {default: small}

        budget = float: most seconds to learn {default: 300}

        resume = 0/1: go on with the model of that name, from the same proteins, for the budget {default: 0}

        folder = str: a folder of proteins where the backend runs. For a potential, with files mdcath_dataset_*.h5,
            as mdCATH has them: their proteins are learned from, too, at the given temperature. For a generator,
            in place of objects, with NAME/NAME.pdb and NAME/NAME*.xtc, as ATLAS has them: the error is measured
            on one of five proteins, which is not learned from {default: none}

        seed = int: seed of random numbers {default: 0}

        async_ = 0/1: work in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        fab AAAAAAAAAA, ala, ss=1
        dsr_simulate ala, 5, every=0.5
        dsr_learn ala_md, name=ala10
        dsr_simulate ala, 0.2, model=ala10, replicas=8
        dsr_learn ala_md, generator, name=ala_net
        dsr_continue ala_md, 50, method=net, model=ala_net
        dsr_learn kind=generator, folder=~/atlas, states=1-10000:10, name=atlas, preset=large, budget=36000

    SEE ALSO

        dsr_simulate, dsr_continue, dsr_fill, dsr_sample, dsr_fit, dsr_status, dsr_cancel
    """
    options: LearnOptions | GeneratorOptions
    if str(kind) not in KINDS:
        raise CmdException(f"kind {kind}: choose {' or '.join(KINDS)}")
    if str(kind) == GENERATOR:
        _refuse_potential_options(LearnOptions.parse(forces=forces, calibrate=calibrate, temperature=temperature))
        options = GeneratorOptions.parse(preset=preset, budget=budget, seed=seed, resume=resume)
    else:
        options = LearnOptions.parse(
            kind=kind,
            forces=forces,
            calibrate=calibrate,
            temperature=temperature,
            preset=preset,
            budget=budget,
            resume=resume,
            seed=seed,
        )
    runner = Runner.of("dsr_learn", async_, quiet, _self)
    session = session_of(_self)
    job, request = plan_learning(session, str(objects), str(states), str(name), options, runner, _self, str(folder))
    runner.run(partial(run_learning, session.sources, job, request, runner.say))
    return job.name


def plan_learning(
    session: Session,
    objects: str,
    states: str,
    name: str,
    options: LearnOptions | GeneratorOptions,
    runner: Runner,
    _self: Any,
    folder: str = "",
) -> tuple[SourceJob, messages.LearnPotential | messages.LearnGenerator]:
    """Read the states to learn from, and enter the job; the job and its request.

    objects: separated by spaces or +. states: a states text. name: of the model; empty for that of the first object
    with a suffix. folder: of many proteins where the backend runs, in mdCATH's layout for a potential and in ATLAS's
    for a generator; with it, no object is needed. Raises CmdException, JobError, ExtractError or StatesError.
    """
    of_generator = isinstance(options, GeneratorOptions)
    if folder and isinstance(options, GeneratorOptions):
        return _plan_folder(session, folder, objects, states, name, options, runner, _self)
    if not objects and not folder:
        raise CmdException("objects: name objects with states to learn from, as pep_md, or give folder=")
    named = _object_names(objects, _self) if objects else []
    first = named[0] if named else "mdcath"
    name = new_fit_name({}, name or f"{first}_{'net' if of_generator else 'model'}", "name", _self)
    request: messages.LearnPotential | messages.LearnGenerator
    if isinstance(options, GeneratorOptions):
        request, lines = generator_request(name, named, states, options, session.sources, _self)
        for line in lines:
            runner.say(f" {name}: {line}")
    else:
        request = potential_request(name, named, states, options, session.sources, _self, folder)
    runner.say(
        f" {name}: learns from {', '.join([*named, *([folder] if folder else [])])} for at most {options.budget:g} s"
    )
    return session.sources.new(name, runner.title, 0), request


def _object_names(objects: str, _self: Any) -> list[str]:
    """Return the names of the objects that a user lists. Raises CmdException where there are none."""
    try:
        named = _self.get_object_list(objects.replace("+", " ")) or []
    except CmdException:
        named = []
    if not named:
        raise CmdException(
            f"objects {objects}: no object has such atoms ({names_there(_self)}); name some that have states"
        )
    return list(named)


def _refuse_potential_options(options: LearnOptions) -> None:
    """Raise CmdException for options of a potential, which a generator does not have."""
    for key in ("forces", "calibrate", "temperature"):
        value = getattr(options, key)
        if value != getattr(LearnOptions, key):
            raise CmdException(f"{key} {value:g}: it goes with kind=potential; leave it out for a generator")


def _plan_folder(
    session: Session,
    folder: str,
    objects: str,
    states: str,
    name: str,
    options: GeneratorOptions,
    runner: Runner,
    _self: Any,
) -> tuple[SourceJob, messages.LearnGenerator]:
    """Enter the job that learns from a folder of many proteins."""
    if objects:
        raise CmdException(f"folder {folder}: it stands in place of objects, and {objects} are named: leave one out")
    name = new_fit_name({}, name or f"{PurePath(folder).name}_net", "name", _self)
    request = messages.LearnGenerator(
        model=name,
        options=options,
        proteins=(),
        stride=1.0,
        folder=folder,
        states=states,
        backbones=np.zeros((0, 3, 3), np.float32),
    )
    runner.say(f" {name}: learns from the proteins in {folder} for at most {options.budget:g} s")
    return session.sources.new(name, runner.title, 0), request
