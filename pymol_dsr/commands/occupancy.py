"""dsr_occupancy."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from pymol import CmdException, cmd

from ..scene import occupancy as shown_occupancy
from ..scene import placement
from ..scene.color_sources import is_color
from ..scene.gui_thread import in_gui
from ..session import Session, session_of
from ..shared.ensemble_options import LandscapeOptions, OccupancyOptions, OccupancyShow
from ..shared.messages import Occupancy, OccupancyResult
from ..shared.reading import read_file
from ..shared.superpose import is_apart
from ..shared.text import counted
from ..shared.values import ValueFault
from ..shared.weights import check_weights, numbers_in
from .command import command
from .ensemble_states import Ensemble, EnsembleSelection, read_ensemble
from .landscape import EnsembleObjects, plan_landscape
from .running import Runner, count_of_states

# Most bytes of a file of weights.
MOST_BYTES = 1 << 24


@command
def dsr_occupancy(
    name: str,
    states: str = "",
    *commas: str,
    levels: str = " ".join(f"{level:g}" for level in OccupancyOptions.levels),
    resolution: float = OccupancyOptions.resolution,
    weights: str = "",
    color: str = OccupancyShow.color,
    as_: str = OccupancyShow.representation,
    by: str = OccupancyShow.by,
    object: str = "",
    transparency: float = OccupancyShow.transparency,
    trajectory: str = "",
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Shows the space that an ensemble fills, as nested surfaces: inside the one of 90 lies the space that at
        least 90 % of the states fill, inside the one of 50 that which half of them fill. The volumes are printed.

        The colour is the spread: how far the surface of a state lies from that of 50 % (standard deviation over
        the states, Angstrom). The bar <object>_bar_spread_A shows which colour stands for which.

        The states need no order in time and are not smoothed: docked poses, the models of an NMR structure and
        several runs of a simulation are ensembles, too. They must be superposed, as by intra_fit or extra_fit.

    USAGE

        dsr_occupancy name [, states [, levels=..., resolution=..., weights=..., color=..., as_=..., by=...,
            object=..., transparency=..., trajectory=..., async_=... ]]

    ARGUMENTS

        name = str: name of a fit, whose surfaces are there already; or a selection, whose surfaces are made now,
        one+two for several objects

        states = str: states, of each object {default: every fitted state, or every state of the selection}

        levels = str: least percentages of the states, with spaces between {default: 10 50 90}

        resolution = float: spacing of the lattice in Angstrom {default: 0.8}

        weights = str: a weight for each state, with spaces between, or a text file of them; they need not add
        up to 1 {default: all alike}

        color = spread, or a colour {default: spread}

        as_ = surface or map: meshes, or a map of the fraction of the states (0 to 1) with isosurfaces, whose
        level can be changed with isolevel {default: surface}

        by = all or macrostate: one occupancy of all states, or a group of its own for each macrostate of
        dsr_ensemble, <object>_macro1 and so on {default: all}

        object = str: name of the group {default: <fit>_occupancy or <object>_occupancy}

        transparency = float: of all levels but the innermost, 0 to 1 {default: 0.7}

        trajectory = str: only this one, of a fit of several

        async_ = 0/1: compute in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        fetch 2k39, type=pdb
        intra_fit 2k39 and name CA
        dsr_occupancy 2k39 and polymer

        dsr_occupancy adk_dsr, 1-100, levels=5 50 95
        dsr_occupancy run1+run2+run3, as_=map
        dsr_occupancy md, by=macrostate

    SEE ALSO

        dsr_levels, dsr_color, dsr_ensemble, intra_fit, isolevel
    """
    return occupy(
        session_of(_self),
        EnsembleSelection(str(name), str(states), str(trajectory), parse_weights(weights)),
        OccupancyOptions.parse(levels=levels, resolution=resolution),
        OccupancyShow.parse(object=object, color=color, representation=as_, transparency=transparency, by=by),
        Runner.of("dsr_occupancy", async_, quiet, _self),
        _self,
    )


def occupy(
    session: Session,
    selection: EnsembleSelection,
    options: OccupancyOptions,
    show: OccupancyShow,
    runner: Runner,
    _self: Any,
) -> str:
    """Show the occupancy of a fit or a selection as a group of objects; the name of the group.

    With macrostates it is a group for each of them; what their names begin with. Raises CmdException, JobError,
    ExtractError, SceneError, StatesError or BackendError.
    """
    if show.color != shown_occupancy.SPREAD and not is_color(show.color, _self):
        raise CmdException(f"color {show.color}: it must be spread or a colour of PyMOL")
    by_macrostate = show.by == "macrostate"
    if by_macrostate and selection.weights is not None:
        raise CmdException("weights: with by=macrostate all states of a macrostate count alike; leave weights out")
    ensemble = read_ensemble(session, selection, runner.say, _self)
    if by_macrostate:
        return _occupy_macrostates(session, ensemble, selection.states, options, show, runner, _self)
    group, work = _prepared(ensemble, options, selection.weights, show, runner, _self)
    runner.run(work)
    return group


def _occupy_macrostates(
    session: Session,
    ensemble: Ensemble,
    states: str,
    options: OccupancyOptions,
    show: OccupancyShow,
    runner: Runner,
    _self: Any,
) -> str:
    """Show the occupancy of each macrostate as a group of objects of its own; what their names begin with."""
    stem = str(_self.get_legal_name(show.object or f"{ensemble.name}_occupancy"))
    landscape_options = LandscapeOptions()
    groups = [f"{stem}_macro{number + 1}" for number in range(landscape_options.states)]
    for group in groups:
        shown_occupancy.check_occupancy_names(group, options.levels, _self)

    chosen_states = EnsembleObjects(ensemble.selection, states=states or ensemble.states)
    compute_landscape = plan_landscape(session, chosen_states, landscape_options, runner, _self)

    def work() -> None:
        landscape = compute_landscape()
        for number, group in enumerate(groups[: len(landscape.result.macrostates)]):
            chosen = ensemble.among(landscape.members(number))
            if sum(map(len, chosen.times)) < 2:
                print(f" {group}: macrostate {number + 1} has fewer than two states here, and no occupancy")
                continue
            named = replace(show, object=group)
            _, show_group = in_gui(_self, _prepared, chosen, options, None, named, runner, _self)
            show_group()

    runner.run(work)
    return stem


def _prepared(
    ensemble: Ensemble,
    options: OccupancyOptions,
    weights: tuple[float, ...] | None,
    show: OccupancyShow,
    runner: Runner,
    _self: Any,
) -> tuple[str, Callable[[], None]]:
    """Check an ensemble and enter it; the name of its group, and the function that computes and shows it."""
    count = sum(map(len, ensemble.times))
    if count < 2:
        raise CmdException(
            f"{ensemble.name}: an ensemble has two states at least, and here is one; name more states or objects"
        )
    if weights is not None and len(weights) != count:
        raise CmdException(f"weights: there are {len(weights)} for {count_of_states(count)}; give one for each")
    group = str(_self.get_legal_name(show.object or f"{ensemble.name}_occupancy"))
    shown_occupancy.check_occupancy_names(group, options.levels, _self)
    request = Occupancy(
        series=ensemble.series(group),
        weights=weights,
        grid=show.representation == "map",
        options=options,
    )
    ask = ensemble.begin(group, request)

    def work() -> None:
        result = ask()
        ttt = in_gui(_self, placement.object_ttt, ensemble.object, _self)
        loaded = shown_occupancy.show_occupancy(
            result, group, show, ttt, lambda text: print(f" {group}: {text}"), _self
        )
        for line in summary(result):
            runner.say(f" {group}: {line}")
        if (warning := apart_line(result)) is not None:
            runner.note(f" {group}: warning: {warning}")
        runner.say(f" {group}: {counted(len(loaded), 'level')} of {count_of_states(result.states)} loaded")

    return group, work


def summary(result: OccupancyResult) -> list[str]:
    """Return volumes and spread as lines for the user."""
    volumes = ", ".join(f"{surface.level:g} %: {surface.volume:.0f}" for surface in result.surfaces)
    lines = [f"volume of a state {result.volume:.0f} A^3 on average; of the levels {volumes}"]
    if len(result.spread):
        median, high = np.percentile(result.spread, (50, 98))
        lines.append(f"spread {median:.2f} A in the middle, 98 % of the surface below {high:.2f} A")
    return lines


def apart_line(result: OccupancyResult) -> str | None:
    """Return a warning where the states are not superposed, else None."""
    raw, superposed = result.rmsd, result.rmsd_superposed
    if raw is None or superposed is None or not is_apart(raw, superposed):
        return None
    return (
        f"the states are not superposed: their atoms lie {raw:.1f} A from the first state, and {superposed:.1f} A "
        "after superposition; the levels show how the molecule tumbles. intra_fit superposes states, extra_fit objects"
    )


def parse_weights(words: Any) -> tuple[float, ...] | None:
    """Return weights from numbers with spaces between or from a text file; None for none. Raises CmdException."""
    text = str(words).strip()
    if not text:
        return None
    path, content = os.path.expanduser(text), text.strip("[]()")
    try:
        if os.path.isfile(path):
            content = read_file(path, MOST_BYTES).decode("utf-8")
        weights = numbers_in(content)
    except ValueError as error:
        raise CmdException(f"weights {text[:80]}: they are neither numbers nor a text file of numbers") from error
    try:
        check_weights(weights, f"weights {text[:80]}")
    except ValueFault as fault:
        raise CmdException(str(fault)) from fault
    return weights
