"""dsr_example."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

from pymol import cmd

from ..scene.gui_thread import in_gui
from ..session import Session, session_of
from ..shared.options import FitOptions, MeshOptions, MovieOptions, StartOptions, SurfaceOptions
from ..shared.source_options import GenerateOptions, MorphOptions
from ..shared.values import Options, Value
from .command import command
from .fit import begin_fit
from .morph import morph_structures, read_structures
from .movie import load_movie
from .running import Runner, has_window

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "examples")
TRAJECTORY, OPEN = "trpcage", "trpcage_open"
STATES = 20
# Between two fitted states of the movie, in states.
STEP = 0.25
# Resolution of the meshes in Å: fine enough for so small a protein, and a third of the memory.
RESOLUTION = 0.8


@dataclass(frozen=True)
class ExampleOptions(Options):
    """The example to show."""

    kind: Annotated[str, Value("the example", choices=("trajectory", "morph"))] = "trajectory"


@command
def dsr_example(
    kind: str = ExampleOptions.kind, *commas: str, async_: int = -1, quiet: int = 1, _self: Any = cmd
) -> None:
    """
    DESCRIPTION

        Shows what pymol-dsr does, with a small protein that comes with it: loads Trp-cage (20 residues, molecular
        dynamics in implicit solvent), makes its surface, and plays the movie where PyMOL has a window. It needs no file
        and no network.

    USAGE

        dsr_example [ kind [, async_=... ]]

    ARGUMENTS

        kind = trajectory or morph: trajectory shows 20 states, 1 ps apart, and the surface at quarters of them;
        morph goes from the folded structure to one at 450 K that is farther open {default: trajectory}

        async_ = 0/1: work in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        dsr_example
        dsr_example morph

    SEE ALSO

        dsr_fit, dsr_movie, dsr_morph, mstop
    """
    options = ExampleOptions.parse(kind=kind)
    runner = Runner.of("dsr_example", async_, quiet, _self)
    runner.run(partial(show_example, session_of(_self), options, replace(runner, background=False), _self))


def show_example(session: Session, options: ExampleOptions, runner: Runner, _self: Any) -> str:
    """Load the molecule of an example and make its surface; the name of the movie's object.

    It plays where PyMOL has a window. Raises CmdException, JobError, ExtractError, SceneError or BackendError.
    """
    show = _show_trajectory if options.kind == "trajectory" else _show_morph
    name = show(session, runner, _self)
    # Without a window nobody sees it, and PyMOL does not end while a movie plays.
    if has_window():
        in_gui(_self, _self.mplay)
    return name


def _show_trajectory(session: Session, runner: Runner, _self: Any) -> str:
    molecule = in_gui(_self, _load, TRAJECTORY, _self)
    fit = begin_fit(session, f"%{molecule}", "all", "", FitOptions(), StartOptions(), runner, _self)
    return load_movie(
        session,
        fit,
        f"1-{STATES}:{STEP}",
        SurfaceOptions(mesh=MeshOptions(resolution=RESOLUTION)),
        MovieOptions(play="bounce"),
        runner,
        _self,
    )


def _show_morph(session: Session, runner: Runner, _self: Any) -> str:
    molecules = [in_gui(_self, _load, name, _self) for name in (TRAJECTORY, OPEN)]
    structures = in_gui(_self, read_structures, [f"%{molecule}" for molecule in molecules], "", _self)
    fill = GenerateOptions(task="fill", frames=MorphOptions.frames - 2)
    name = morph_structures(session, structures, MorphOptions(), fill, FitOptions(breaks=()), runner, _self)
    return f"{name}_dsr"


def _load(file: str, _self: Any) -> str:
    """Load a molecule of the examples under a name that is free; the name."""
    name: str = _self.get_unused_name(file, 0)
    _self.load(os.path.join(FOLDER, f"{file}.pdb.gz"), name)
    _self.spectrum("count", "rainbow", f"%{name} and name CA", byres=1)
    _self.zoom(f"%{name}", 2)
    return name
