"""dsr_learn."""

from __future__ import annotations

from functools import partial
from typing import Any

from pymol import CmdException, cmd

from ..session import Session, session_of
from ..shared import messages
from ..shared.learn_options import LearnOptions
from ..sources.jobs import SourceJob
from ..sources.learning import learning_request, run_learning
from .arguments import new_fit_name
from .command import command
from .running import Runner


@command
def dsr_learn(
    objects: str,
    kind: str = LearnOptions.kind,
    *commas: str,
    states: str = "all",
    forces: str = "auto",
    calibrate: int = int(LearnOptions.calibrate),
    temperature: float = LearnOptions.temperature,
    name: str = "",
    budget: float = LearnOptions.budget,
    seed: int = LearnOptions.seed,
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Learns a coarse-grained potential of one or several proteins: one bead for each Cα, prior energies, and a
        graph network. It is learned from the states of objects and, where dsr_simulate has made them, from the
        forces that were kept with them. dsr_simulate selection, model=<name> simulates with it.

        Forces alone do not fix how often the protein is in each of its shapes. So a calibration follows, which
        moves the averages of the potential's own ensemble to those of the data.

        Such a potential says what its data say. It knows nothing of shapes that the data do not show, it holds
        for one temperature, and it does not carry over to other proteins.

    USAGE

        dsr_learn objects [, kind [, states=..., forces=..., calibrate=..., temperature=..., name=...,
            budget=..., seed=..., async_=... ]]

    ARGUMENTS

        objects = str: objects with some thousand states, as pep_md, or pep_md trp_md for several proteins

        kind = str: potential, kind of model {default: potential}

        states = str: states to learn from, of objects without a simulation {default: all}

        forces = 1, 0 or auto: learn from forces, or from the states alone {default: auto, where there are any}

        calibrate = 0/1: calibrate the ensemble {default: 1}

        temperature = float: in K, of states without a simulation {default: 300}

        name = str: name of the potential {default: <object>_model}

        budget = float: most seconds to learn {default: 300}

        seed = int: seed of random numbers {default: 0}

        async_ = 0/1: work in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        fab AAAAAAAAAA, ala, ss=1
        dsr_simulate ala, 5, every=0.5
        dsr_learn ala_md, name=ala10
        dsr_simulate ala, 0.2, model=ala10, replicas=8

    SEE ALSO

        dsr_simulate, dsr_fit, dsr_status, dsr_cancel
    """
    options = LearnOptions.parse(
        kind=kind, forces=forces, calibrate=calibrate, temperature=temperature, budget=budget, seed=seed
    )
    runner = Runner.of("dsr_learn", async_, quiet, _self)
    session = session_of(_self)
    job, request = plan_learning(session, str(objects), str(states), str(name), options, runner, _self)
    runner.run(partial(run_learning, session.sources, job, request, runner.say))
    return job.name


def plan_learning(
    session: Session, objects: str, states: str, name: str, options: LearnOptions, runner: Runner, _self: Any
) -> tuple[SourceJob, messages.Learn]:
    """Read the states to learn from, and enter the job; the job and its request.

    objects: separated by spaces or +. states: a states text. name: of the potential; empty for that of the first object
    with a suffix. Raises CmdException, JobError, ExtractError or StatesError.
    """
    named = _self.get_object_list(objects.replace("+", " "))
    if not named:
        raise CmdException(f"objects {objects}: no object has such atoms; name objects with states, as pep_md")
    name = new_fit_name({}, name or f"{named[0]}_model", "name", _self)
    request = learning_request(name, named, states, options, session.sources, _self)
    runner.say(f" {name}: learns from {', '.join(named)} for at most {options.budget:g} s")
    return session.sources.new(name, runner.title, 0), request
