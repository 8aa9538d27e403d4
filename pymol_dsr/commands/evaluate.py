"""dsr_eval."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymol import CmdException, cmd

from ..analysis import evaluation
from ..analysis.baselines import needed_states
from ..analysis.evaluation import StateScores
from ..fits.fit import Activity, Fit, Trajectory
from ..scene.atoms import present_indices, present_selection
from ..scene.moved_atoms import radii_line
from ..scene.objects import SceneError
from ..session import Session, session_of
from ..shared.options import EvaluationOptions, FieldOptions
from ..surfaces import extract
from ..surfaces.selections import filled_states, generated_states
from ..surfaces.source import Source
from .arguments import chosen_trajectory, fit_name, format_states, parse_states, table_path
from .command import command
from .running import Runner


@command
def dsr_eval(
    name: str,
    states: str = "",
    *commas: str,
    file: str = "",
    baselines: str = " ".join(EvaluationOptions.baselines),
    trajectory: str = "",
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> list[StateScores] | None:
    """
    DESCRIPTION

        Compares a fit with PyMOL's own surfaces: volumetric IoU, Chamfer distance (mean, and mean squared)
        and normal consistency, as mean and standard deviation over the fitted states, those between and those
        after. It also prints how much the atoms move: their RMSD from the state before, superposed.

        For comparison, it does the same for simple methods without a fit, the baselines. They use the fitted states
        only.

    USAGE

        dsr_eval name [, states [, file=..., baselines=..., trajectory=..., async_=... ]]

    ARGUMENTS

        name = str: name of a fit

        states = str: states to compare {default: all of the fitted range and up to 20 after it}

        file = str: also write a table of all states (.csv), and, with matplotlib, a plot (.png)

        baselines = str: any of these, with spaces between, or none. hold is the surface of the nearest fitted
        state; linear is PyMOL's surface of atoms that are superposed and moved in straight lines between two fitted
        states; smooth is the same after PyMOL's "smooth"; surface3 is linear with surface_type 3
        {default: hold linear}

        trajectory = str: the trajectory to compare, of a family

        async_ = 0/1: compare in the background {default: -1, in the background when typed, blocking in
        scripts}

    EXAMPLE

        dsr_fit adk, 1-79:2
        dsr_eval adk_dsr, 1-100, file=adk.csv

    SEE ALSO

        dsr_fit, dsr_movie
    """
    return evaluate_fit(
        session_of(_self),
        fit_name(name, _self),
        str(states),
        FieldOptions.parse(trajectory=trajectory),
        EvaluationOptions.of_words(baselines),
        Runner.of("dsr_eval", async_, quiet, _self),
        _self,
        file=str(file),
    )


def evaluate_fit(
    session: Session,
    name: str,
    states: str,
    field: FieldOptions,
    options: EvaluationOptions,
    runner: Runner,
    _self: Any,
    *,
    file: str = "",
) -> list[StateScores] | None:
    """Compare a fit with PyMOL's own surfaces; None where that is begun in the background.

    states: a states text, empty for the fitted range and some states after it. file: also write a table (.csv) and a
    plot beside it. Raises CmdException, JobError, ExtractError, StatesError or BackendError.
    """
    jobs, say = session.jobs, runner.say
    fit = jobs.get(name)
    trajectory = chosen_trajectory(fit, field)
    if not all(time.is_integer() for time in trajectory.states):
        raise CmdException(f"{fit.name} was fitted to fractions of states, which PyMOL has no surfaces of")
    if trajectory.object not in _self.get_names("objects"):
        raise CmdException(f"{fit.name}: the object {trajectory.object} is not in the scene; load it to compare with")
    path = table_path(file)
    compared = _compared_states(fit, trajectory, states, _self)
    if generated := sorted(set(generated_states(trajectory.object, _self)) & set(compared)):
        raise CmdException(
            f"{fit.name}: states {format_states(generated)} of {trajectory.object} were generated, so they are no "
            "truth to compare with; give states= that were not, or fit the molecule that they come from"
        )
    source = _source(fit, trajectory, compared, options.baselines, _self)
    order = _fitted_order(trajectory, source, _self)
    for line in _changed_settings(fit, trajectory, source):
        # Not only where it is asked for: scores against other surfaces look like any others.
        print(f" {fit.name}: warning: {line}")

    def work() -> list[StateScores]:
        if line := evaluation.moved_atoms_line(jobs, fit, trajectory, source, compared, order):
            print(f" {fit.name}: warning: {line}")
        scores = evaluation.evaluate(jobs, fit, field, trajectory, source, compared, options.baselines, say)
        for line in evaluation.score_table(scores):
            say(line)
        if path:
            evaluation.write_scores(path, scores)
            plot = os.path.splitext(path)[0] + ".png"
            title = f"{fit.name}: {trajectory.name or trajectory.object} against PyMOL's surfaces"
            fitted_range = int(min(trajectory.states)), int(max(trajectory.states))
            drawn = evaluation.write_score_plot(plot, scores, fitted_range, title)
            say(f" {fit.name}: written to {path}" + (f" and {plot}" if drawn else "; no plot without matplotlib"))
        return scores

    return runner.run(jobs.claimed(fit, Activity.EVALUATION, work))


def _compared_states(fit: Fit, trajectory: Trajectory, states: str, _self: Any) -> list[int]:
    """Return the states of a states text; where it is empty, those of the usual ones that have coordinates."""
    last = _self.count_states(f"%{trajectory.object}")
    if states:
        return [int(state) for state in parse_states(states, last=last, owner=f"the object {trajectory.object}")]
    filled, usual = filled_states(trajectory.object, _self), evaluation.default_states(trajectory, last)
    empty = [state for state in usual if state not in filled]
    if empty:
        plural = len(empty) > 1
        print(
            f" {fit.name}: state{'s' if plural else ''} {format_states(empty)} of {trajectory.object} "
            f"{'have' if plural else 'has'} no coordinates, and {'are' if plural else 'is'} left out"
        )
    return [state for state in usual if state in filled]


def _source(fit: Fit, trajectory: Trajectory, compared: Sequence[int], baselines: Sequence[str], _self: Any) -> Source:
    """Return the atoms in all states that a comparison needs. Raises CmdException where other atoms were fitted."""
    needed = needed_states(compared, [int(state) for state in trajectory.states], baselines)
    try:
        selection = present_selection(trajectory, _self)
    except SceneError as error:
        raise CmdException(f"{fit.name}: {error}") from error
    source = extract.read_source(selection, format_states(needed), before=True, unwrap=trajectory.unwrap, _self=_self)
    if trajectory.atoms is not None and len(source.atoms) != len(trajectory.atoms):
        # Flags and surface_mode leave atoms out, too.
        raise CmdException(
            f"{fit.name}: {len(source.atoms)} atoms of {trajectory.object} have a surface now and "
            f"{len(trajectory.atoms)} had one when it was fitted; set surface_mode and the flags as they were, or fit "
            "it anew with dsr_fit"
        )
    # For messages, which name what the user has typed.
    return dataclasses.replace(source, selection=trajectory.selection)


def _changed_settings(fit: Fit, trajectory: Trajectory, source: Source) -> list[str]:
    """Return a line for each surface setting that has another value than when the fit was made, and on radii."""
    molecule = fit.report.sources().get(trajectory.name)
    before = (molecule.settings if molecule is not None else None) or {}
    # A setting that one of the two versions of PyMOL does not have has no value to compare.
    changed = [key for key, value in source.settings.items() if key in before and before[key] != value]
    lines = [
        f"PyMOL's surfaces have {key} {source.settings[key]}, and the fitted ones had {before[key]}; to compare like "
        f"with like, 'set {key}, {before[key]}, {source.object}'"
        for key in changed
    ]
    radii = radii_line(fit, trajectory, source.mean_radius())
    return lines + ([radii] if radii else [])


def _fitted_order(trajectory: Trajectory, source: Source, _self: Any) -> NDArray[np.int64] | None:
    """Return the place of each fitted atom among those of the source, i8[A]; None where they are not known."""
    if trajectory.atoms is None:
        return None
    present = present_indices(trajectory, _self)
    # A discrete object has atoms of its own in each state.
    return np.searchsorted(source.atoms, present) if np.array_equal(source.atoms, np.sort(present)) else None
