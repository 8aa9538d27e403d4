"""dsr_ensemble."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pymol import CmdException, cmd

from ..analysis import landscape as landscapes
from ..analysis.landscape import EnsembleLandscape, ResidueStates
from ..fits.ensemble import entered
from ..fits.fit import Activity
from ..scene.gui_thread import in_gui
from ..session import Session, session_of
from ..shared.ensemble_options import LandscapeOptions
from ..sources.atoms import read_states
from ..surfaces.selections import check_named_once, selected_object, split_by_object
from .arguments import new_fit_name, table_path
from .command import command
from .running import Runner


@command
def dsr_ensemble(
    objects: str,
    *commas: str,
    reference: str = "",
    lag: str = "",
    states: int = LandscapeOptions.states,
    ordered: str = LandscapeOptions.ordered,
    only: str = "all",
    file: str = "",
    split: int = 0,
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> EnsembleLandscape | None:
    """
    DESCRIPTION

        Describes the landscape of an ensemble of a protein: the slow axes of its motion (TICA of the distances
        between CA atoms), its free energy on them, macrostates and implied time scales of a Markov model, RMSD,
        RMSF and secondary structure. Several objects are several runs: time does not go on from one to the next.

        With a reference ensemble, all of it is on the reference's axes, and a table tells how alike both are,
        with two rows for comparison: states drawn from the reference (bootstrap) and its last one (hold). The
        divergence between the halves of the reference shows how small a divergence can be. Where dsr_simulate has
        made both, a line says how many independent samples of the slowest axis each gave a CPU second.

        States that are no time series, as models of NMR or docked poses, get principal components and no Markov
        model. It needs deeptime where the backend runs: pip install "pymol-dsr[simulate]".

    USAGE

        dsr_ensemble objects [, reference=..., lag=..., states=..., ordered=..., only=..., file=..., split=...,
            async_=... ]

    ARGUMENTS

        objects = str: a selection, or one+two for several objects, of the same residues

        reference = str: the same of a reference; of one state it is the native state of the RMSD
        {default: none, and the first state is the native one}

        lag = int: lag of TICA and the Markov model in states {default: a 50th of the shortest run, 20 at most}

        states = int: number of macrostates {default: 4}

        ordered = 1, 0 or auto: whether the states are in order of time {default: auto, by their autocorrelation}

        only = str: states to take, of each object {default: all}

        file = str: also write tables (.csv: states, _residues, _timescales, _scores, _figures), and a picture (.png)
        where matplotlib is there

        split = 0/1: also make an object of each macrostate, <object>_macro1 and so on, for dsr_fit or
        dsr_occupancy {default: 0}

        async_ = 0/1: work in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        dsr_ensemble run1+run2+run3, file=landscape.csv
        dsr_ensemble generated, reference=md, states=3
        dsr_ensemble md, split=1
        dsr_occupancy md_macro1

    SEE ALSO

        dsr_occupancy, dsr_sample, intra_rms_cur
    """
    runner = Runner.of("dsr_ensemble", async_, quiet, _self)
    compute_landscape = plan_landscape(
        session_of(_self),
        EnsembleObjects(str(objects), str(reference), str(only)),
        LandscapeOptions.parse(lag=lag, states=states, ordered=ordered),
        runner,
        _self,
        file=str(file),
        split=bool(int(split)),
    )
    return runner.run(compute_landscape)


@dataclass(frozen=True)
class EnsembleObjects:
    """The states of a landscape, as a user names them.

    objects, reference: selections of one object or of several; no reference where it is empty. states: a states text
    for each object.
    """

    objects: str
    reference: str = ""
    states: str = "all"


def plan_landscape(
    session: Session,
    chosen: EnsembleObjects,
    options: LandscapeOptions,
    runner: Runner,
    _self: Any,
    *,
    file: str = "",
    split: bool = False,
) -> Callable[[], EnsembleLandscape]:
    """Read the states from the scene; the function that computes their landscape, for any thread.

    file: also write tables (.csv) and a picture. split: also make an object of each macrostate. Raises CmdException,
    JobError, ExtractError, SceneError, StatesError or BackendError.
    """
    path = table_path(file)
    for text in (chosen.objects.strip(), chosen.reference.strip()):
        fit = session.jobs.fits.get(text)
        if fit is not None and text not in _self.get_names("all"):
            molecules = "+".join(trajectory.object for trajectory in fit.trajectories if trajectory.object)
            raise CmdException(f"{text} is a fit, and a landscape is of atoms; name its molecule, {molecules}")
    ensemble = [_read(selection, chosen.states, _self) for selection in split_by_object(chosen.objects.strip(), _self)]
    check_named_once(chosen.objects.strip(), [states.atoms.object for states in ensemble])
    reference_selections = split_by_object(chosen.reference, _self) if chosen.reference else []
    reference = [_read(selection, "all", _self) for selection in reference_selections]
    matched, line = landscapes.in_common([*ensemble, *reference])
    ensemble, reference = matched[: len(ensemble)], matched[len(ensemble) :]
    request = landscapes.request_of(ensemble, reference, options)
    first = ensemble[0].atoms.object
    macro_names = [f"{first}_macro{number + 1}" for number in range(options.states)]
    occupied = sorted(set(macro_names) & set(_self.get_names("all"))) if split else []
    if occupied:
        raise CmdException(f"split 1: the scene has {', '.join(occupied)} already; delete {first}_macro* first")
    costs = _costs(ensemble, reference, session, _self) if chosen.states == "all" else None
    jobs = session.jobs
    fit = jobs.new(new_fit_name(jobs.fits, f"{first}_ensemble", "objects", _self), (), Activity.LANDSCAPE)
    if line:
        runner.say(f" dsr_ensemble: {line}")

    def work() -> EnsembleLandscape:
        with entered(jobs, fit):
            landscape = EnsembleLandscape.of(ensemble, reference, jobs.connection.ask(fit, request), costs)
        for text in landscapes.summary(landscape):
            runner.say(f" {first}: {text}")
        if path:
            written = landscapes.write_landscape(path, landscape, f"{chosen.objects}: {len(landscape.states)} states")
            missing = "" if written[-1].endswith(".png") else "; no picture without matplotlib"
            runner.say(f" {first}: written to {', '.join(written)}{missing}")
        if split:
            # There may be fewer macrostates than asked for.
            names = macro_names[: len(landscape.result.macrostates)]
            for number, name in enumerate(names):
                in_gui(_self, _make_object, name, landscape.members(number), _self)
            verb = "holds" if len(names) == 1 else "hold"
            runner.say(f" {first}: {', '.join(names)} {verb} the states of each macrostate")
        return landscape

    return work


def _read(selection: str, states: str, _self: Any) -> ResidueStates:
    """Read the backbone of one object. Raises CmdException, ExtractError or StatesError."""
    name = selected_object(selection, _self)
    traced = f"({selection}) and name CA and not elem Ca"
    if not _self.count_atoms(traced):
        raise CmdException(f"{name}: a landscape is of a protein's CA atoms, and here are none; try dsr_occupancy")
    # Water and ligands have atoms of these names, too.
    backbone = f"({selection}) and name N+CA+C+O+OXT+OT1+OT2+O1 and byres ({traced})"
    atoms = read_states(backbone, states, _self, title="dsr_ensemble")
    # Messages name the selection that the user knows.
    return ResidueStates.of(replace(atoms, selection=selection))


def _costs(
    objects: Sequence[ResidueStates], reference: Sequence[ResidueStates], session: Session, _self: Any
) -> tuple[float, float] | None:
    """Return the CPU seconds that the objects and the reference took to simulate; None where some are not known."""
    sums = []
    for group in (objects, reference):
        seconds = [
            session.sources.provenance.simulation_seconds(name, _self)
            for name in dict.fromkeys(member.atoms.object for member in group)
        ]
        known = [value for value in seconds if value is not None]
        if not known or len(known) < len(seconds):
            return None
        sums.append(sum(known))
    return sums[0], sums[1]


def _make_object(name: str, members: dict[str, list[int]], _self: Any) -> None:
    """Make an object of some states of others, with all their atoms."""
    number = 0
    for owner, states in members.items():
        for state in states:
            number += 1
            _self.create(name, f"%{owner}", state, number, zoom=0)
            # The title says that a state was generated, and `create` drops it.
            if title := _self.get_title(owner, state):
                _self.set_title(name, number, title)
