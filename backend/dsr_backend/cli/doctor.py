"""The verb `doctor` of dsr-backend."""

from __future__ import annotations

import argparse
import importlib.util
import math
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import TYPE_CHECKING

import numpy as np

from pymol_dsr.shared.checkup import CheckFailed, check_line, free_gigabytes
from pymol_dsr.shared.options import FieldOptions, FitOptions

from ..fields.select import select_field
from ..runtime.folders import fits_folder
from ..surfaces import from_pymol
from .io import device_text

if TYPE_CHECKING:
    from ..surfaces.surface import Surface

USUAL_REMEDY = "mend what failed above; if nothing did, report this line"


def run_doctor(options: argparse.Namespace) -> int:
    """Run `dsr-backend doctor` and return the exit code."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", lambda: f"{platform.python_version()}, {sys.executable}"),
        ("numpy", lambda: _package("numpy", "numpy")),
        ("torch", lambda: _package("torch", "torch")),
        ("scipy", lambda: _package("scipy.spatial", "scipy")),
        ("safetensors", lambda: _package("safetensors.torch", "safetensors")),
        ("device", lambda: _check_device(options.device)),
        ("folder", _check_folder),
        ("pymol", _check_pymol),
        ("round trip", lambda: _check_round_trip(options.device)),
    ]
    failed = False
    for name, check in checks:
        line = check_line(name, check, separator=" — ", usual_remedy=USUAL_REMEDY)
        failed = failed or line.startswith("FAIL")
        print(line, flush=True)
    return 1 if failed else 0


def _package(module: str, name: str) -> str:
    try:
        importlib.import_module(module)
        return metadata.version(name)
    # Broken libraries of a package are an OSError.
    except (ImportError, OSError) as error:
        hint = "; see https://pytorch.org/get-started for your GPU" if name == "torch" else ""
        raise CheckFailed(str(error), f"{sys.executable} -m pip install {name}{hint}") from error


def _check_device(device: str) -> str:
    try:
        return device_text(device).removeprefix("device ")
    except ValueError as error:
        raise CheckFailed(str(error), "install a torch made for your GPU and driver, or take --device cpu") from error


def _check_folder() -> str:
    folder = fits_folder()
    free = free_gigabytes(str(folder), "written", "set DSR_HOME to a folder of yours", "set DSR_HOME to another disk")
    return f"{folder}, {free:.1f} GB free"


def _check_pymol() -> str:
    try:
        python = from_pymol.pymol_python()
    except ValueError:
        # No fault: machines with a GPU rarely have one.
        return "none here, so fit takes surfaces files; set DSR_PYMOL_PYTHON to fit trajectories"
    code = "import pymol2, pymol_dsr; from pymol import cmd; print('PyMOL', cmd.get_version()[0])"
    remedy = f"install PyMOL and pymol-dsr for {python}, or set DSR_PYMOL_PYTHON to a Python that has both"
    try:
        outcome = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, errors="replace", timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CheckFailed(f"{python} can't be run: {error}", remedy) from error
    if outcome.returncode:
        raise CheckFailed((outcome.stderr.strip().splitlines() or ["no message"])[-1], remedy)
    return f"{outcome.stdout.strip().splitlines()[-1]}, {python}"


def _check_round_trip(device: str) -> str:
    """Fit a growing sphere, write it, read it, mesh it: everything that a fit needs, in a second or two."""
    from ..fitting import run
    from ..results import dsr_file, mesh

    started = time.monotonic()
    fitted = run.fit_trajectory(_spheres(), FitOptions(preset="preview", device=device))
    data = dsr_file.to_bytes(fitted)
    loaded = select_field(dsr_file.from_bytes(data, device), FieldOptions())
    sphere = mesh.extract_mesh(loaded, 2.0, resolution=1.0)
    deviation = float(np.abs(np.linalg.norm(sphere.points, axis=1) - 7.0).mean()) if len(sphere.points) else math.inf
    if not deviation < 0.2:
        raise CheckFailed(
            f"a sphere came back {deviation:.2f} Å off", "try --device cpu, and report it with this output"
        )
    return f"a sphere came back {deviation:.3f} Å off in {time.monotonic() - started:.1f} s on {fitted.device}"


def _spheres() -> list[Surface]:
    """Spheres of 6, 7 and 8 Å as states 1, 2 and 3."""
    from scipy.spatial import ConvexHull

    from ..surfaces.surface import Surface

    count = 500
    step = np.arange(count) + 0.5
    height, turn = 1.0 - 2.0 * step / count, np.pi * (1.0 + 5.0**0.5) * step
    ring = np.sqrt(1.0 - height**2)
    unit = np.stack([ring * np.cos(turn), ring * np.sin(turn), height], axis=1).astype(np.float32)
    faces = ConvexHull(unit).simplices
    inward = np.linalg.det(unit[faces]) < 0.0
    faces[inward] = faces[inward][:, ::-1]
    return [
        Surface(state, (5.0 + state) * unit, unit, faces.astype(np.int32), (3.0 + state) * unit[::50])
        for state in (1, 2, 3)
    ]
