"""dsr_morph."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from pymol import CmdException, cmd

from ..scene import placement
from ..scene.gui_thread import in_gui
from ..session import Session, session_of
from ..shared import messages
from ..shared import states as states_texts
from ..shared.options import FitOptions, MovieOptions, StartOptions, SurfaceOptions
from ..shared.source_options import GenerateOptions, MorphOptions, check_method
from ..sources.alignment import PymolAlignment
from ..sources.atoms import MoleculeStates, read_states
from ..sources.common_states import CommonStates, common_states
from ..sources.loader import GivenState, check_generated_names
from ..sources.run import SourceWork, check_size, fill_places, run_source
from ..surfaces.selections import split_by_object
from .arguments import new_fit_name
from .command import command
from .fit import check_name_is_free, prepare_fit, run_request
from .generate import trajectories_of
from .movie import load_movie
from .running import Runner, count_of_states

# So that the atoms are seen in their surface.
TRANSPARENCY = 0.6
# Å. Structures whose atoms lie nearer to each other are the same one.
SAME_STRUCTURE = 1e-3


@command
def dsr_morph(
    first: str,
    second: str = "",
    frames: int = MorphOptions.frames,
    *commas: str,
    states: str = "",
    method: str = GenerateOptions.method,
    align: int = int(MorphOptions.align),
    surface: int = int(MorphOptions.surface),
    preset: str = FitOptions.preset,
    name: str = "",
    refine: int = int(GenerateOptions.refine),
    seed: int = GenerateOptions.seed,
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Morphs one structure into another, or through several: atoms and surface as one movie. The structures may
        differ in residues, ligands, hydrogens, names of chains and order of atoms. The morph has the atoms that
        all of them have; a line says which ones were left out.

        Residues are paired by chain and number, or by aligned sequences where the numbers do not agree (PyMOL's
        align, and super for sequences that are too unlike). Each structure is superposed on the first by the
        atoms that move least, so that the largest rigid part stands still.

        The path between two structures is a likely one, not the one that the molecule takes. All states but the
        given ones are marked as generated: orange carbons, and titles.

    USAGE

        dsr_morph first [, second [, frames [, states=..., method=..., align=..., surface=..., preset=...,
            name=..., refine=..., seed=..., async_=... ]]]

    ARGUMENTS

        first, second = str: atoms of an object each. With first alone: one object whose states are morphed, or
        several as closed+middle+open

        frames = int: states from each structure to the next, both of them counted {default: 30}

        states = str: of one object, the states to morph through, as 1+102 {default: the first and the last}; of
        several, a state of each, as 1+3 {default: 1 of each}

        method = str: auto, straight, elastic, analog, minimised or targeted: how the path is made, as in dsr_fill
        {default: auto}

        align = 0/1: superpose the structures; 0 leaves them where they are {default: 1}

        surface = 0/1: also fit the surface and load the movie; 0 makes the atoms alone {default: 1}

        preset = fast, fine, preview or paper: as in dsr_fit {default: fast}

        name = str: name of the object; the surface is named <name>_dsr {default: <first object>_morph}

        refine = 0/1: minimise the energy of each state, where OpenMM is installed {default: 0}

        seed = int: seed of random numbers {default: 0}

        async_ = 0/1: work in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        fetch 1ake 4ake
        dsr_morph 1ake and chain A, 4ake and chain A
        mplay

        dsr_morph adk, states=1+102, frames=60

    SEE ALSO

        dsr_fill, dsr_fit, dsr_movie, dsr_film, align
    """
    options = MorphOptions.parse(frames=frames, align=align, surface=surface)
    check_method("fill", method)
    fill = GenerateOptions.parse(task="fill", frames=options.frames - 2, method=method, refine=refine, seed=seed)
    selections = [str(first), *filter(None, [str(second)])]
    structures = read_structures(selections, str(states), _self)
    return morph_structures(
        session_of(_self),
        structures,
        options,
        fill,
        # A path has no jumps; a step of it may be longer than its neighbours.
        FitOptions.parse(preset=preset, breaks="none"),
        Runner.of("dsr_morph", async_, quiet, _self),
        _self,
        name=str(name),
    )


def read_structures(selections: list[str], states: str, _self: Any) -> list[MoleculeStates]:
    """Read the structures of a morph, of one state each: of one object by its states, of several an object each.

    states: a states text, empty for the first and the last of one object, and for the first of each of several. Raises
    CmdException, ExtractError or StatesError.
    """
    object_selections = [
        object_selection for selection in selections for object_selection in split_by_object(selection, _self)
    ]
    if len(object_selections) == 1:
        [object_selection] = object_selections
        last = _self.count_states(f"({object_selection})")
        text = states or f"1+{last}"
        if last < 2:
            raise CmdException(
                f"first {object_selection}: it has one state; name a second structure, or give it another state"
            )
        numbers = [int(number) for number in states_texts.parse(text, last=last, owner=object_selection)]
        if len(numbers) < 2:
            raise CmdException(f"states {text}: give at least two to morph through, as 1+{last}")
        # Each state may have atoms that others lack, as structures have.
        return [read_states(f"({object_selection}) and state {number}", str(number), _self) for number in numbers]
    numbers = [int(number) for number in states_texts.parse(states)] if states else [1] * len(object_selections)
    if len(numbers) != len(object_selections):
        raise CmdException(
            f"states {states}: they are {len(numbers)}, and {len(object_selections)} structures; give one for each"
        )
    return [
        read_states(object_selection, str(number), _self)
        for object_selection, number in zip(object_selections, numbers, strict=True)
    ]


def morph_structures(
    session: Session,
    structures: list[MoleculeStates],
    options: MorphOptions,
    fill: GenerateOptions,
    fit: FitOptions,
    runner: Runner,
    _self: Any,
    *,
    name: str = "",
) -> str:
    """Morph structures of one state each into one another; the name of the object.

    fill: how the path is made. fit: how its surface is fitted. name: empty for that of the first object with _morph.
    Raises CmdException, JobError, ExtractError, SceneError or BackendError.
    """
    title = runner.title
    name = new_fit_name({}, name or f"{structures[0].object}_morph", "name", _self)
    check_generated_names([name], _self)
    if options.surface:
        check_name_is_free(session, f"{name}_dsr", True, _self)
    common = in_gui(_self, common_states, structures, PymolAlignment(_self), options.align)
    for line in common.lines:
        runner.note(f" {title}: {line}")
    if not options.align:
        atoms = {structure.object: structure.coordinates[0] for structure in structures}
        for line in in_gui(_self, placement.shown_elsewhere, atoms, _self):
            print(f" {title}: warning: {line}")
    _refuse_same_structures(structures, common)
    places, path_states = fill_places(name, common.atoms, fill.frames)
    given_states = [
        GivenState(state.place, state.coordinates, f"state {structure.states[0]} of {structure.object}")
        for state, structure in zip(path_states, structures, strict=True)
    ]
    trajectories = in_gui(_self, trajectories_of, common.atoms, fill, runner, _self)
    request = messages.Generate(
        source=name,
        options=fill,
        **messages.SourceRequest.contents(common.atoms.molecule, trajectories),
    )
    expected = fill.frames * (len(structures) - 1)
    check_size(expected, len(common.atoms))
    work = SourceWork(
        session.sources.new(name, title, len(common.atoms)), request, common.atoms, places, expected, "", given_states
    )
    object_names = [structure.object for structure in structures]
    runner.say(f" {name}: {len(common.atoms)} atoms, {count_of_states(expected)} between {len(structures)} structures")
    runner.run(partial(_morph, session, work, fit if options.surface else None, object_names, runner, _self))
    return name


def _refuse_same_structures(structures: list[MoleculeStates], common: CommonStates) -> None:
    """Raise CmdException where one structure follows itself."""
    moved = np.linalg.norm(np.diff(common.atoms.coordinates, axis=0), axis=2).max(axis=1)
    for (first, second), distance in zip(itertools.pairwise(structures), moved.tolist(), strict=True):
        if distance < SAME_STRUCTURE:
            raise CmdException(
                f"{first.object} (state {first.states[0]}) and {second.object} (state {second.states[0]}) are the same "
                f"structure: their atoms lie {distance:.3f} A apart at most; name another structure or state"
            )


def _morph(
    session: Session,
    work: SourceWork,
    fit: FitOptions | None,
    objects: list[str],
    runner: Runner,
    _self: Any,
) -> None:
    """Generate the path, and make its surface a movie."""
    run_source(session.sources, work, runner.say, _self, runner.progress)
    name = work.job.name
    for structure in dict.fromkeys(objects):
        in_gui(_self, _self.disable, structure)
    if fit is None:
        return
    blocking = replace(runner, background=False)
    fit_name, request = in_gui(
        _self, prepare_fit, session, f"%{name}", "all", f"{name}_dsr", fit, StartOptions(), _self
    )
    run_request(session, fit_name, request, blocking, _self)
    loaded = load_movie(session, fit_name, "", SurfaceOptions(), MovieOptions(play="bounce"), blocking, _self)
    in_gui(_self, _show_both, name, loaded, _self)


def _show_both(name: str, surface: str, _self: Any) -> None:
    """Show the atoms in their surface."""
    _self.enable(name)
    _self.set("cgo_transparency", TRANSPARENCY, surface)
