"""dsr_surfaces, dsr_save, dsr_load and dsr_export."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from pymol import CmdException, cmd

from ..fits.fit import Activity
from ..scene import atoms, placement
from ..session import session_of
from ..shared.frames import MAX_PAYLOAD
from ..surfaces import extract, surfaces_file, workers
from .command import command
from .options import (
    FORMATS,
    chosen_trajectory,
    fit_name,
    parse_number,
    parse_whole_number,
    requested_times,
    writable_path,
    write_file,
)
from .running import count_of_states, reporter, run_or_start


@command
def dsr_surfaces(
    selection: str,
    file: str,
    *commas: str,
    states: str = "all",
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Writes PyMOL's surfaces of all states (points, normals, triangles, atoms) as one file, which
        "dsr-backend fit" takes on a machine without PyMOL.

    USAGE

        dsr_surfaces selection, file [, states=..., async_=... ]

    ARGUMENTS

        selection = str: atoms of one object

        file = str: file to write, ending in .safetensors, or in .npz for versions before 0.3

        states = str: states, as 1-150, 1-79:2 or 1+5+9 {default: all}

        async_ = 0/1: work in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        dsr_surfaces polymer, adk.safetensors, states=1-79:2

    SEE ALSO

        dsr_fit
    """
    say = reporter(quiet)
    try:
        path = surfaces_file.check_path(str(file))
    except ValueError as error:
        raise CmdException(str(error)) from error
    source = extract.read_source(str(selection), str(states), _self=_self)
    reported = len(source.warnings)
    for line in source.warnings:
        print(f" dsr_surfaces: warning: {line}")

    def work() -> None:
        made = list(workers.compute_surfaces(source, session_of(_self).settings.workers))
        for line in source.warnings[reported:]:
            print(f" dsr_surfaces: warning: {line}")
        surfaces_file.write(path, source, made)
        say(f" dsr_surfaces: {count_of_states(len(made))} of {source.object} written to {path}")

    run_or_start("dsr_surfaces", work, async_, quiet, _self)
    return path


@command
def dsr_save(name: str, filename: str, *, quiet: int = 1, _self: Any = cmd) -> str:
    """
    DESCRIPTION

        Saves a fit as one file, which dsr_load and "dsr-backend mesh" take.

    USAGE

        dsr_save name, filename

    ARGUMENTS

        name = str: name of a fit

        filename = str: file to write, ending in .dsr

    SEE ALSO

        dsr_load, dsr_export
    """
    jobs = session_of(_self).jobs
    fit = jobs.get(fit_name(name, _self))
    path = writable_path(str(filename), ("dsr",))
    with jobs.busy(fit, Activity.SAVING):
        _, arrays = jobs.ask(fit, "save")
        data = arrays["file"].tobytes()
        write_file(path, data)
    fit.file, fit.digest, fit.fetch = path, hashlib.sha256(data).hexdigest(), None
    reporter(quiet)(f" {fit.name}: saved as {path}, {os.path.getsize(path) / 1e6:.1f} MB")
    return path


@command
def dsr_load(filename: str, name: str = "", *, quiet: int = 1, _self: Any = cmd) -> str:
    """
    DESCRIPTION

        Loads a fit that dsr_save or "dsr-backend fit" has written.

    USAGE

        dsr_load filename [, name ]

    ARGUMENTS

        filename = str: a .dsr file

        name = str: name of the fit {default: that of the file, with _dsr added where a molecule has that name}

    SEE ALSO

        dsr_save, dsr_movie
    """
    path = os.path.expanduser(str(filename))
    if os.path.getsize(path) > MAX_PAYLOAD:
        raise CmdException(f"filename {filename}: {os.path.getsize(path)} bytes, and a fit has at most {MAX_PAYLOAD}")
    with open(path, "rb") as stream:
        data = stream.read()
    stem = os.path.splitext(os.path.basename(path))[0]
    # The movie takes the fit's name, so that must not be the molecule's; an older movie gives way.
    molecule = stem in _self.get_names("objects") and _self.get_type(stem) == "object:molecule"
    taken = "_dsr" if molecule and not str(name) else ""
    name = _self.get_legal_name(str(name) or stem + taken)
    fit = session_of(_self).jobs.load(name, data)
    fit.file = os.path.abspath(path)
    for trajectory in fit.trajectories:
        if trajectory.object and trajectory.object not in _self.get_names("objects"):
            print(f" {name}: the object {trajectory.object} is not in the scene: its colours and atoms are missing")
    reporter(quiet)(f" {fit.line()}")
    return name


@command
def dsr_export(
    name: str,
    filename: str,
    *commas: str,
    states: str = "",
    level: float = 0.0,
    resolution: float = 0.5,
    triangles: str = "",
    binary: int = 0,
    trajectory: str = "",
    towards: str = "",
    share: str = "",
    steady: int = 0,
    quiet: int = 1,
    _self: Any = cmd,
) -> list[str]:
    """
    DESCRIPTION

        Writes the surface at one or more times as mesh files in Angstrom (.glb too: one unit is 1 Angstrom), in
        the frame of the scene and with the colours of the atoms, which .stl has no place for.

    USAGE

        dsr_export name, filename [, states=..., level=..., resolution=..., triangles=..., binary=...,
            trajectory=..., towards=..., share=..., steady=... ]

    ARGUMENTS

        name = str: name of a fit

        filename = str: .ply, .obj, .stl, .glb or .npz; for several states, surface.ply becomes
        surface_0001.00.ply, ..., and surface.glb is one file that plays them, movie_fps of them a second

        states = str: times, as 40, 1-79:2 or 1-10:0.25 {default: the first fitted state}

        level = float: level of the surface in Angstrom, outwards {default: 0}

        resolution = float: spacing of the mesh in Angstrom {default: 0.5}

        triangles = int: most triangles per state {default: no limit}

        binary = 0/1: .ply in its binary kind, 0.6 of the size, which PyMOL itself does not load {default: 0}

        trajectory, towards, share, steady: as in dsr_movie

    EXAMPLE

        dsr_export adk_dsr, adk.ply, states=1-79:2
        dsr_export adk_dsr, adk.glb, states=1-79:0.5, triangles=20000

    SEE ALSO

        dsr_movie, save
    """
    say, jobs = reporter(quiet), session_of(_self).jobs
    fit = jobs.get(fit_name(name, _self))
    path = writable_path(str(filename), FORMATS)
    stem, suffix = os.path.splitext(path)
    chosen, which = chosen_trajectory(fit, trajectory, towards, share, steady)
    times = requested_times(chosen, str(states)) if str(states) else [min(chosen.states)]
    params: dict[str, Any] = {
        **which,
        "format": suffix[1:].lower(),
        "level": parse_number("level", level),
        "resolution": parse_number("resolution", resolution, 0.0, above=True),
    }
    if str(triangles):
        params["triangles"] = parse_whole_number("triangles", triangles, 100)
    if int(binary):
        if params["format"] != "ply":
            raise CmdException(f"binary {binary}: only .ply comes in two kinds, {suffix} in one")
        params["binary"] = True
    requests: dict[str, dict[str, Any]]
    if params["format"] == "glb" and len(times) > 1:
        requests = {path: {"times": [float(t) for t in times]}}
        if _self.get_setting_float("movie_fps") > 0:
            params["fps"] = _self.get_setting_float("movie_fps")
    elif len(times) > 1:
        # As many digits as tell the times apart.
        digits = max(2, *(len(repr(float(t)).split(".")[1]) for t in times))
        requests = {f"{stem}_{t:0{5 + digits}.{digits}f}{suffix}": {"time": float(t)} for t in times}
    else:
        requests = {path: {"time": float(times[0])}}
    arrays = {"matrix": placement.object_matrix(chosen.object, _self)}
    colors = atoms.atom_colors(chosen, _self)
    if colors is not None:
        arrays["colors"] = colors
    radii = atoms.atom_radii(chosen, _self)
    if radii is not None:
        arrays["radii"] = radii
    written = []
    with jobs.busy(fit, Activity.EXPORT):
        for target, request in requests.items():
            _, out = jobs.ask(fit, "export", {**params, **request}, arrays)
            write_file(target, out["file"].tobytes())
            written.append(target)
    say(f" {fit.name}: {len(written)} {'file' if len(written) == 1 else 'files'} written, the last is {written[-1]}")
    first, last = min(chosen.states), max(chosen.states)
    if any(not first <= t <= last for t in times):
        print(f" {fit.name}: states past the fitted {first:g} to {last:g} are extrapolated")
    return written
