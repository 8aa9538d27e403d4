"""dsr_surfaces, dsr_save, dsr_load and dsr_export."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import math
import os
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymol import CmdException, cmd

from ..backend.process import BackendError
from ..fits.ensemble import entered
from ..fits.fit import Activity, Cancelled, Fit, Phase, Say
from ..scene import color_sources, palettes, placement
from ..scene.atoms import PresentAtoms
from ..scene.moved_atoms import warn_of_atoms
from ..session import Session, session_of
from ..shared import atomic_write, messages
from ..shared.frames import MAX_PAYLOAD
from ..shared.options import (
    FORMATS,
    TRIANGLES_PER_CELL,
    AppearanceOptions,
    ExportOptions,
    FieldOptions,
    MeshOptions,
    StartOptions,
    SurfaceOptions,
    mesh_resolution,
)
from ..shared.paths import names_by_time
from ..shared.reading import ReadError, read_file
from ..surfaces import extract, surfaces_file, workers
from ..surfaces.source import Surface
from .arguments import STEADY, chosen_trajectory, fit_name, new_fit_name, path_to_write, requested_times
from .color import color_or_values
from .command import command
from .fit import check_name_is_free
from .running import Runner, count_of_states, reporter

# A moving .glb has at most so many bytes, unless resolution or triangles are given; the least triangles of a time.
MOVIE_BYTES, LEAST_TRIANGLES = 50e6, 15_000
# Size of a triangle in a .glb with several times: half a vertex of 20 bytes, and 6 or 12 of indices.
TRIANGLE_BYTES = 16


@command
def dsr_surfaces(
    selection: str,
    file: str,
    *commas: str,
    states: str = "all",
    unwrap: int = int(StartOptions.unwrap),
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Writes PyMOL's surfaces of all states (points, normals, triangles, atoms) as one file. "dsr-backend fit"
        fits it in a terminal, also on a machine without PyMOL. "dsr_cancel <object>_surfaces" ends the work, and then
        no file is written.

    USAGE

        dsr_surfaces selection, file [, states=..., unwrap=..., async_=... ]

    ARGUMENTS

        selection = str: atoms of one object

        file = str: file to write, ending in .safetensors, or in .npz for versions before 0.3

        states = str: states, as 1-150, 1-79:2 or 1+5+9 {default: all}

        unwrap = 0/1: make molecules whole that the periodic box of a simulation cuts, as in dsr_fit {default: 0}

        async_ = 0/1: work in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        dsr_surfaces polymer, adk.safetensors, states=1-79:2

    SEE ALSO

        dsr_fit, dsr_cancel
    """
    return write_surfaces(
        session_of(_self),
        str(selection),
        str(states),
        str(file),
        Runner.of("dsr_surfaces", async_, quiet, _self),
        _self,
        unwrap=StartOptions.parse(unwrap=unwrap).unwrap,
    )


@command
def dsr_save(name: str, filename: str, *, quiet: int = 1, _self: Any = cmd) -> str:
    """
    DESCRIPTION

        Saves a fit as one file. dsr_load loads it, and the verbs of dsr-backend read it.

    USAGE

        dsr_save name, filename

    ARGUMENTS

        name = str: name of a fit

        filename = str: file to write, ending in .dsr

    SEE ALSO

        dsr_load, dsr_export
    """
    return save_fit(session_of(_self), fit_name(name, _self), str(filename), reporter(quiet))


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
    return load_fit(session_of(_self), str(filename), str(name), reporter(quiet), _self)


@command
def dsr_export(
    name: str,
    filename: str,
    *commas: str,
    states: str = "",
    level: float = MeshOptions.level,
    resolution: str = "",
    triangles: str = "",
    smooth: str = "",
    color: str = AppearanceOptions.color,
    binary: int = int(ExportOptions.binary),
    trajectory: str = "",
    towards: str = "",
    share: str = "",
    steady: str = "",
    quiet: int = 1,
    _self: Any = cmd,
) -> list[str]:
    """
    DESCRIPTION

        Writes the surface at one or more times as mesh files, in the coordinates of the scene (Angstrom, also in
        .glb) and with the colours of the atoms. An .stl file has no colours.

    USAGE

        dsr_export name, filename [, states=..., level=..., resolution=..., triangles=..., smooth=..., color=...,
            binary=..., trajectory=..., towards=..., share=..., steady=... ]

    ARGUMENTS

        name = str: name of a fit

        filename = str: .ply, .obj, .stl, .glb or .npz; for several states, surface.ply becomes
        surface_0001.00.ply, ..., and surface.glb is one file that plays them, movie_fps states per second

        states = str: times, as 40, 1-79:2 or 1-10:0.25 {default: the first fitted state}

        level = float: level of the surface in Angstrom, outwards {default: 0}

        resolution = float: spacing of the mesh in Angstrom {default: 0.5, 0.35 for a fit of preset fine}

        triangles = int: most triangles per state {default: no limit; in a .glb with several states, as many as make
        50 MB, unless you give a resolution}

        smooth = float: width of the smoothing over time, in states {default: the fit's own}

        color = str: one colour for all; or motion, b and other numbers of the atoms, as in dsr_color, over the range
        of all atoms {default: the colours of the nearest atoms}

        binary = 0/1: write the binary kind of .ply. It is smaller, but PyMOL itself does not load it {default: 0}

        trajectory, towards, share, steady: as in dsr_movie

        Mesh files hold no transparency.

    EXAMPLE

        dsr_export adk_dsr, adk.ply, states=1-79:2
        dsr_export adk_dsr, adk.glb, states=1-79:0.5, triangles=20000

    SEE ALSO

        dsr_movie, save
    """
    return export_meshes(
        session_of(_self),
        fit_name(name, _self),
        str(filename),
        str(states),
        SurfaceOptions(
            FieldOptions.parse(trajectory=trajectory, towards=towards, share=share),
            MeshOptions.parse(level=level, resolution=resolution, triangles=triangles, smooth=smooth),
            AppearanceOptions.parse(color=color, steady=steady),
        ),
        binary=bool(int(binary)),
        say=reporter(quiet),
        _self=_self,
    )


def write_surfaces(
    session: Session, selection: str, states: str, file: str, runner: Runner, _self: Any, *, unwrap: bool
) -> str:
    """Write PyMOL's surfaces of a selection as a surfaces file, and return its whole path.

    unwrap: make molecules whole that the periodic box cuts. The work is listed as <object>_surfaces, and can be
    cancelled by that name. Raises CmdException, ExtractError, StatesError, Cancelled or OSError.
    """
    try:
        path = surfaces_file.check_path(file)
    except ValueError as error:
        raise CmdException(str(error)) from error
    source = extract.read_source(selection, states, unwrap=unwrap, _self=_self)
    reported = len(source.warnings)
    for line in source.warnings:
        print(f" {runner.title}: warning: {line}")

    jobs, count = session.jobs, len(source.states)
    names = itertools.chain([""], (f"_{number}" for number in itertools.count(2)))
    name = next(f"{source.object}_surfaces{end}" for end in names if f"{source.object}_surfaces{end}" not in jobs.fits)
    task = jobs.new(name, [source], Activity.SURFACES)
    if runner.background:
        runner.say(f" {runner.title}: {count_of_states(count)} of {source.object}; dsr_cancel {name} ends it")

    def surfaces() -> Generator[Surface, None, None]:
        warned, task.phase = reported, Phase.SURFACES
        computed = workers.compute_surfaces(source, session.settings.workers, task.stop.is_set)
        for number, surface in enumerate(computed, 1):
            for line in source.warnings[warned:]:
                print(f" {runner.title}: warning: {line}")
            warned, task.fraction = len(source.warnings), number / count
            yield surface
        if task.stop.is_set():
            raise Cancelled(f"{name}: cancelled; {path} is not written")

    def work() -> None:
        with entered(jobs, task), contextlib.closing(surfaces()) as computed:
            surfaces_file.write(path, source, computed)
        runner.say(f" {runner.title}: {count_of_states(count)} of {source.object} written to {path}")

    runner.run(work)
    return path


def save_fit(session: Session, name: str, filename: str, say: Say) -> str:
    """Save a fit as a .dsr file, and return its whole path.

    Raises CmdException, JobError, BackendError or OSError.
    """
    fit = session.jobs.get(name)
    path = path_to_write(filename, (".dsr",), "filename")
    with session.jobs.busy(fit, Activity.SAVING):
        data = session.jobs.connection.ask(fit, messages.Save(fit=fit.name)).file.tobytes()
        atomic_write.replace(path, data)
    fit.file, fit.digest, fit.fetch = path, hashlib.sha256(data).hexdigest(), None
    say(f" {fit.name}: saved as {path}, {os.path.getsize(path) / 1e6:.1f} MB")
    return path


def load_fit(session: Session, filename: str, name: str, say: Say, _self: Any) -> str:
    """Load a fit from a .dsr file, and return its name. Raises CmdException, JobError, BackendError or OSError."""
    path = os.path.expanduser(filename)
    try:
        data = read_file(path, MAX_PAYLOAD)
    except ReadError as error:
        raise CmdException(f"filename {error}") from error
    stem = os.path.splitext(os.path.basename(path))[0]
    # The movie takes the fit's name, so that must not be the molecule's; an older movie gives way.
    is_molecule = stem in _self.get_names("objects") and _self.get_type(stem) == "object:molecule"
    if not name:
        # A file may have any name; PyMOL's form of it may be that of another file's fit.
        name = fit_name(stem + ("_dsr" if is_molecule else ""), _self)
        namesake = session.jobs.fits.get(name)
        if name != stem and namesake is not None and namesake.file not in ("", os.path.abspath(path)):
            raise CmdException(f"filename {filename}: PyMOL writes it {name}, as {namesake.file}; give another name=")
    else:
        name = new_fit_name(session.jobs.fits, name, "name", _self)
        check_name_is_free(session, name, False, _self)
    try:
        fit = session.jobs.load(name, data)
    except BackendError as error:
        if error.code != "bad-request":
            raise
        raise CmdException(f"filename {filename}: {error.message}; give one that dsr_save has written") from error
    fit.file = os.path.abspath(path)
    session.molecules.claim(fit, _self)
    for trajectory in fit.trajectories:
        if trajectory.object and trajectory.object not in _self.get_names("objects"):
            print(f" {name}: the object {trajectory.object} is not in the scene: its colours and atoms are missing")
    say(f" {fit.line()}")
    return name


def export_meshes(
    session: Session,
    name: str,
    filename: str,
    times: str | Sequence[float],
    surface: SurfaceOptions,
    *,
    binary: bool = False,
    say: Say,
    _self: Any,
) -> list[str]:
    """Write the surface at some times as mesh files; their whole paths. The ending of `filename` says the format.

    times: a states text, or numbers; empty for the first fitted state. Raises CmdException, JobError, StatesError,
    SceneError, BackendError or OSError.
    """
    jobs = session.jobs
    fit = jobs.get(name)
    path = path_to_write(filename, [f".{kind}" for kind in FORMATS], "filename")
    trajectory, mesh = chosen_trajectory(fit, surface.field), surface.mesh
    chosen = requested_times(trajectory, times) if times else [min(trajectory.states)]
    options = ExportOptions(format=os.path.splitext(path)[1][1:].lower(), binary=binary)
    plays = options.format == "glb" and len(chosen) > 1
    if plays:
        mesh = _movie_mesh(mesh, len(chosen))
        report = fit.trajectory_report(trajectory)
        if report is not None and report.area:
            spacing = mesh.resolution or mesh_resolution(fit.report.preset)
            triangles = min(TRIANGLES_PER_CELL * report.area / spacing**2, mesh.triangles or math.inf)
            size = 1e-6 * TRIANGLE_BYTES * triangles * len(chosen)
            say(f" {fit.name}: {len(chosen)} times of about {triangles:.0f} triangles, {size:.0f} MB")
    rate = _self.get_setting_float("movie_fps")
    field = surface.field_at(chosen, trajectory.states)
    present = PresentAtoms.of(trajectory, _self)
    request = messages.Export(
        fit=fit.name,
        field=field,
        format=options.format,
        binary=options.binary,
        fps=rate if plays and rate > 0 else options.fps,
        mesh=mesh,
        radii=present.radii(),
        colors=_atom_colors(session, fit, present, field, surface.appearance.color, _self),
        matrix=placement.object_matrix(trajectory.object, _self).astype(np.float64),
    )
    if reason := present.change:
        print(f" {fit.name}: {reason}; until then files have no colours of its atoms")
    written = []
    with jobs.busy(fit, Activity.EXPORT):
        warn_of_atoms(jobs, fit, trajectory, field, chosen, _self)
        for target, times_in_it in _targets(path, options.format, chosen).items():
            if len(times_in_it) > 1:
                timed = dataclasses.replace(request, times=tuple(times_in_it))
            else:
                timed = dataclasses.replace(request, time=times_in_it[0])
            atomic_write.replace(target, jobs.connection.ask(fit, timed).file.tobytes())
            written.append(target)
    listed = written[0] if len(written) == 1 else f"{len(written)} files, the last is {written[-1]}"
    say(f" {fit.name}: written {listed}")
    if field.steady and surface.appearance.steady is None:
        say(f" {fit.name}: {STEADY}")
    first, last = min(trajectory.states), max(trajectory.states)
    if not fit.is_loop(trajectory) and any(not first <= time <= last for time in chosen):
        print(f" {fit.name}: states past the fitted {first:g} to {last:g} are extrapolated")
    return written


def _atom_colors(
    session: Session, fit: Fit, present: PresentAtoms, field: FieldOptions, color: str, _self: Any
) -> NDArray[np.float32] | None:
    """Return the colours f4[A,3] of the fitted atoms that a file takes; None where they are not known."""
    trajectory = present.trajectory
    color_name, by = color_or_values(color, _self)
    if by:
        return color_sources.colors_of_atoms(fit, trajectory, field, by, session.jobs, _self)
    if not color_name:
        return present.colors()
    if trajectory.atoms is None:
        raise CmdException(f"color {color_name}: the fit {fit.name} holds no atoms, so files of it have no colours")
    return palettes.one_color(len(trajectory.atoms), _self.get_color_tuple(color_name))


def _movie_mesh(mesh: MeshOptions, count: int) -> MeshOptions:
    """Return the options of the meshes of `count` times in one .glb, which stays small unless more is asked for."""
    if mesh.triangles is not None or mesh.resolution is not None:
        return mesh
    return dataclasses.replace(mesh, triangles=int(max(LEAST_TRIANGLES, MOVIE_BYTES / (TRIANGLE_BYTES * count))))


def _targets(path: str, format: str, times: Sequence[float]) -> dict[str, list[float]]:
    """Return the files to write, each with its times: several in a .glb, one in any other."""
    if format == "glb":
        return {path: [float(time) for time in times]}
    return {name: [float(time)] for name, time in zip(names_by_time(path, times), times, strict=True)}
