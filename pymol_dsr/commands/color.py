"""dsr_color."""

from __future__ import annotations

import os
from typing import Any

from pymol import CmdException, cmd

from ..fits.fit import Activity
from ..scene import color_sources, colors, palettes
from ..session import session_of
from .command import command
from .options import fit_name, parse_number
from .running import reporter, run_or_start


@command
def dsr_color(
    name: str,
    by: str = "atoms",
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

        Extrapolated parts stay transparent and tinted orange. Vertices without a value are grey.

    USAGE

        dsr_color name [, by [, palette=..., minimum=..., maximum=..., file=..., map=..., transparency=...,
            async_=... ]]

    ARGUMENTS

        name = str: an object that dsr_movie made; a fit for all its movies, where none of them has its name

        by = atoms: the atoms' present colours, so that "color", "spectrum" and "util.cbc" work on the surface

        by = motion: how far the atoms below go over the trajectory (root mean square, Angstrom)

        by = speed or velocity: how fast the surface moves at that time, along its normal (Angstrom per state);
        velocity is below 0 inwards, above 0 outwards. The first time it takes a third of a mesh for each state

        by = b, q, partial_charge, vdw, ...: any number of the atoms that "iterate" knows

        by = values: numbers of the atoms that change with time, from file=

        by = map: a map at the surface, from map=

        by = a colour: that colour everywhere {default: atoms}

        palette = str: viridis, one of those of "spectrum" as blue_white_red, or colours joined by _ as
        white_orange_firebrick {default: viridis; blue_white_red for velocity, red_white_blue for charges and maps}

        minimum, maximum = float: values of the first and the last colour {default: the 2nd and 98th percentile
        over all states; around 0 for velocity, charges and maps}

        file = str: .csv with the columns state,index,value; index is PyMOL's (from 1). Values go in straight lines
        from one given state to the next and stay as they are before the first and after the last

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
    say, session = reporter(quiet), session_of(_self)
    by, file, map = str(by), os.path.expanduser(str(file)), str(map)
    low, high = (
        parse_number(key, value) if str(value) else None for key, value in (("minimum", minimum), ("maximum", maximum))
    )
    clear = parse_number("transparency", transparency, 0.0) if str(transparency) else None
    if clear is not None and clear > 1.0:
        raise CmdException(f"transparency {transparency}: it must lie between 0 (opaque) and 1 (not to be seen)")
    for key, kind, given in (("file", "values", file), ("map", "map", map)):
        if by == kind and not given:
            raise CmdException(f"by {by}: name the {key} with {key}=")
        if by != kind and given:
            raise CmdException(f"{key} {given}: it goes with by={kind}, not with by={by}")
    found = session.movies.find(fit_name(name, _self), _self)
    one = by if color_sources.is_color(by, _self) else ""
    if (one or by == "atoms") and (str(palette) or low is not None or high is not None):
        raise CmdException(f"by {by}: palette, minimum and maximum go with values, and here are none")
    shades = palettes.palette(str(palette) or palettes.SIGNED.get(by, "viridis"), _self)
    palettes.value_range([], low, high, by in palettes.SIGNED)
    sources = [
        (None, None) if one or by == "atoms" else color_sources.color_source(movie, by, file, map, session.jobs, _self)
        for movie in found
    ]
    fit = found[0].fit
    session.jobs.claim(fit, Activity.COLORS)

    def work() -> None:
        try:
            for movie, (values, scale) in zip(found, sources, strict=True):
                coloring = colors.Coloring(by, one, values, scale, shades, (low, high), clear)
                line = colors.apply_coloring(movie, coloring, session.movies, _self)
                say(f" {movie.name}: {line}")
        finally:
            session.jobs.release(fit)

    run_or_start("dsr_color", work, async_, quiet, _self)
