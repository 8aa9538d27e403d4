"""dsr_simulate."""

from __future__ import annotations

from functools import partial
from typing import Any

from pymol import CmdException, cmd

from ..session import Session, session_of
from ..shared.simulation_options import ALL_ATOMS, SimulationOptions
from ..sources.atoms import read_states
from ..sources.loader import check_generated_names
from ..sources.mutation import mutant, parse_mutations
from ..sources.run import check_size
from ..sources.simulation import SimulationWork, object_names, run_simulation
from .arguments import new_fit_name
from .command import command
from .generate import report_left_out
from .running import Runner


@command
def dsr_simulate(
    selection: str,
    ns: float = SimulationOptions.ns,
    *commas: str,
    model: str = SimulationOptions.model,
    temperature: float = SimulationOptions.temperature,
    replicas: int = SimulationOptions.replicas,
    every: float = SimulationOptions.every,
    forcefield: str = SimulationOptions.forcefield,
    gaps: int = int(SimulationOptions.gaps),
    state: int = 1,
    name: str = "",
    budget: str = "none",
    resume: int = int(SimulationOptions.resume),
    seed: int = SimulationOptions.seed,
    platform: str = SimulationOptions.platform,
    refine: int = int(SimulationOptions.refine),
    mutate: str = "none",
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Simulates a protein: molecular dynamics of all its atoms in implicit solvent, with OpenMM in the backend
        (pip install "pymol-dsr[simulate]"). The states come as an object of their own, while they are made.

        Missing atoms, terminal oxygens and hydrogens are added and listed; <name>_start has the molecule as it
        is simulated. Before it starts, a line says how long it takes here. dsr_status shows speed, temperature
        and the time left; dsr_cancel ends the simulation and keeps its states, and resume=1 goes on.

        Only proteins of standard amino acids can be simulated, without water, ions and ligands. Times of ns and
        μs are short: a protein does not fold in them, and rare changes are not seen.

        The carbons of the object are orange, and the title of each state says what it is. dsr_fit takes the
        object as any other.

    USAGE

        dsr_simulate selection [, ns [, model=..., temperature=..., replicas=..., every=..., forcefield=...,
            gaps=..., state=..., name=..., budget=..., resume=..., seed=..., platform=..., refine=...,
            mutate=..., async_=... ]]

    ARGUMENTS

        selection = str: atoms of one object

        ns = float: length of the simulation in nanoseconds {default: 0.1}

        model = str: allatom, or the name of a potential that dsr_learn has made. Then replicas run side by side,
            at the temperature of the training, and side chains come from the states of the selection; forcefield,
            gaps, state and platform do not matter {default: allatom}

        temperature = float: in K {default: 300}

        replicas = int: independent runs, an object each in a group {default: 1}

        every = float: time between two states in picoseconds {default: 1}

        forcefield = str: amber99sbildn+obc, force field and solvent {default: amber99sbildn+obc}

        gaps = 0/1: take both sides of a gap in a chain as ends of chains {default: 0, gaps are refused}

        state = int: state to start from {default: 1}

        name = str: name of the object {default: <object>_md}

        budget = float: most seconds to simulate {default: none}

        resume = 0/1: go on from the last checkpoint of this name, also with a larger ns. Checkpoints are
            written every 30 seconds. On OpenMM's platform Reference the run is then the same to the last bit as
            one without a stop; on others it is the same statistically {default: 0}

        seed = int: seed of random numbers {default: 0}

        platform = str: auto, CPU, Reference, CUDA, OpenCL or HIP, OpenMM's platform {default: auto}

        refine = 0/1: with model=, minimise the energy of each state with OpenMM once it has all atoms {default: 0}

        mutate = str: with model=, mutations as A5G or A5G+K7R, in all chains that have the residue. The potential
            must have learned both kinds of residues; what it says of a mutant is a guess {default: none}

        async_ = 0/1: work in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        fab ACDEFGHIK, pep, ss=1
        dsr_simulate pep, 0.05
        dsr_fit pep_md

    SEE ALSO

        dsr_learn, dsr_fit, dsr_continue, dsr_sample, dsr_status, dsr_cancel
    """
    options = SimulationOptions.parse(
        ns=ns,
        model=model,
        temperature=temperature,
        replicas=replicas,
        every=every,
        forcefield=forcefield,
        gaps=gaps,
        budget=budget,
        resume=resume,
        seed=seed,
        platform=platform,
        refine=refine,
        mutate=mutate,
    )
    runner = Runner.of("dsr_simulate", async_, quiet, _self)
    session = session_of(_self)
    work = plan_simulation(session, str(selection), state, str(name), options, runner.title, _self)
    runner.run(partial(run_simulation, session.sources, work, runner.say, _self))
    return work.job.name


def plan_simulation(
    session: Session, selection: str, state: int, name: str, options: SimulationOptions, title: str, _self: Any
) -> SimulationWork:
    """Read the molecule of a simulation, check its names and enter its job.

    state: to start from. name: of the object; empty for that of the molecule with a suffix. title: the command that
    began it. Raises CmdException, JobError, ExtractError, SceneError or StatesError.
    """
    atoms = read_states(selection, str(state) if options.model == ALL_ATOMS else "all", _self, title=title)
    if options.model == ALL_ATOMS and len(atoms.states) != 1:
        raise CmdException(f"state {state}: a simulation begins at one state, and these are {len(atoms.states)}")
    report_left_out(atoms, title)
    if options.mutate:
        atoms = mutant(atoms, parse_mutations(options.mutate), _self)
    suffix = "md" if options.model == ALL_ATOMS else "cg"
    name = new_fit_name({}, name or f"{atoms.object}_{suffix}", "name", _self)
    check_generated_names(object_names(name, options), _self)
    check_size(options.states * options.replicas, len(atoms))
    return SimulationWork(session.sources.new(name, title, len(atoms)), atoms, options)
