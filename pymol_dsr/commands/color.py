"""dsr_color."""

from __future__ import annotations

import os
from typing import Any

from pymol import CmdException, cmd

from ..fits.fit import Activity
from ..scene import color_sources, colors, palettes
from ..scene.kept_movies import KeptMovie
from ..session import Session, session_of
from ..shared.options import ColorOptions
from .arguments import fit_name
from .command import command
from .running import Runner


@command
def dsr_color(
    name: str,
    by: str = ColorOptions.by,
    *commas: str,
    palette: str = "",
    minimum: str = "",
    maximum: str = "",
    file: str = "",
    map: str = "",
    transparency: str = "",
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> None:
    """
    DESCRIPTION

        Colours a movie of dsr_movie anew, without a new fit and without new meshes: by the atoms, by how the
        surface moves, by any number of the atoms, by a map or in one colour. A bar named
        <object>_bar_<what>_<unit> shows which colour stands for which value.

        Extrapolated states stay transparent and become paler. Vertices without a value are grey.

    USAGE

        dsr_color name [, by [, palette=..., minimum=..., maximum=..., file=..., map=..., transparency=...,
            async_=... ]]

    ARGUMENTS

        name = str: an object that dsr_movie made; or a fit, for all its movies, if no object has its name

        by = atoms: the atoms' present colours, so that "color", "spectrum" and "util.cbc" work on the surface

        by = motion: how far the nearest atoms move from their mean place over all states (RMSF, Angstrom)

        by = speed or velocity: how fast the surface moves at that time, along its normal (Angstrom per state);
        velocity is below 0 inwards, above 0 outwards. The first use takes a third of the time of the meshes

        by = b, q, partial_charge, vdw, ...: any number of the atoms that "iterate" knows

        by = values: numbers of the atoms that change with time, from file=

        by = map: a map at the surface, from map=

        by = a colour: that colour everywhere {default: atoms}

        palette = str: viridis, one of those of "spectrum" as blue_white_red, or colours joined by _ as
        white_orange_firebrick {default: viridis; blue_white_red for velocity, red_white_blue for charges and maps}

        minimum, maximum = float: values of the first and the last colour {default: the 2nd and 98th percentile
        over all states; around 0 for velocity, charges and maps}

        file = str: .csv with the columns state,index,value; index is PyMOL's (from 1). Between two states in the
        file, values change in straight lines; before the first and after the last, they stay as they are

        map = str: a map object, or a ramp of one, whose colours are taken then

        transparency = float: 0 to 1 {default: as it is}

        async_ = 0/1: colour in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        dsr_color adk_dsr, motion
        dsr_color adk_dsr, velocity, maximum=0.3
        dsr_color adk_dsr, values, file=sasa.csv, palette=white_red

        util.cbc adk
        dsr_color adk_dsr

    SEE ALSO

        dsr_movie, spectrum, ramp_new
    """
    options = ColorOptions.parse(
        by=by,
        palette=palette,
        minimum=minimum,
        maximum=maximum,
        file=os.path.expanduser(str(file)),
        map=map,
        transparency=transparency,
    )
    color_movie(session_of(_self), fit_name(name, _self), options, Runner.of("dsr_color", async_, quiet, _self), _self)


def color_movie(session: Session, name: str, options: ColorOptions, runner: Runner, _self: Any) -> None:
    """Colour the movie that an object belongs to, or all movies of a fit.

    Raises CmdException, SceneError, JobError, OSError or BackendError.
    """
    movies, by = session.movies.find(name, _self), options.by
    color = by if color_sources.is_color(by, _self) else ""
    plain = bool(color) or by == "atoms"
    limits = (options.minimum, options.maximum)
    if plain and (options.palette or limits != (None, None)):
        raise CmdException(f"by {by}: palette, minimum and maximum go with values, and here are none")
    palettes.check_limits(*limits)
    plain_coloring = colors.Coloring(by, color, transparency=options.transparency)
    colorings = [plain_coloring if plain else value_coloring(session, movie, options, _self) for movie in movies]
    fit = movies[0].fit

    def work() -> None:
        for movie, coloring in zip(movies, colorings, strict=True):
            runner.say(f" {movie.name}: {colors.apply_coloring(movie, coloring, session.movies, _self)}")
            movie.coloring = options

    runner.run(session.jobs.claimed(fit, Activity.COLORS, work))


def value_coloring(session: Session, movie: KeptMovie, options: ColorOptions, _self: Any) -> colors.Coloring:
    """Return the coloring of a movie by values; its meshes may be still to come.

    Raises CmdException, SceneError, JobError, OSError or BackendError.
    """
    by = options.by
    shades = palettes.palette(options.palette or palettes.SIGNED.get(by, "viridis"), _self)
    values, scale = color_sources.color_source(movie, by, options.file, options.map, session.jobs, _self)
    limits = (options.minimum, options.maximum)
    return colors.Coloring(by, "", values, scale, shades, limits, options.transparency)


def color_or_values(color: str, _self: Any) -> tuple[str, str]:
    """Tell one colour for all from what colours a surface: the two, of which one is empty, or both for the atoms'.

    Raises CmdException for what is neither, or needs a file or a map.
    """
    if color in ("", "atoms"):
        return "", ""
    if color in ("values", "map"):
        option = "file" if color == "values" else "map"
        raise CmdException(
            f"color {color}: load the movie first, then name the {option}: dsr_color NAME, {color}, {option}=…"
        )
    if color in color_sources.KINDS:
        return "", color
    if _self.get_color_index(color) == -1:
        raise CmdException(f"color {color}: PyMOL has no such colour")
    return color, ""
