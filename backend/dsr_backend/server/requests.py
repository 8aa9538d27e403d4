"""Parses parameters and arrays of requests."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.frames import Arrays
from pymol_dsr.shared.names import RULE, is_name

from ..runtime.errors import RequestError
from .job import Job

if TYPE_CHECKING:
    from ..results.mesh import Mesh

RESOLUTION = 0.5
"""Å between grid nodes where a request names none."""


@contextmanager
def callers_fault() -> Iterator[None]:
    """Within, a ValueError is about what the caller sent."""
    try:
        yield
    except RequestError:
        raise
    except ValueError as exc:
        raise RequestError("bad-request", str(exc)) from exc


def progress_params(phase: str, fraction: float, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    empty = {"step": None, "steps": None, "loss": None, "seconds_left": None}
    return {**empty, **(extra or {}), "phase": phase, "fraction": fraction}


def send_log(job: Job, text: str) -> None:
    job.event("log", {"text": text})


def mesh_arrays(mesh: Mesh) -> Arrays:
    arrays = {
        "points": np.asarray(mesh.points, "<f4"),
        "normals": np.asarray(mesh.normals, "<f4"),
        "faces": np.asarray(mesh.faces, "<i4"),
    }
    if len(mesh.atoms):
        arrays["nearest"] = np.asarray(mesh.nearest, "<i4")
    return arrays


def file_array(data: bytes) -> Arrays:
    return {"file": np.frombuffer(data, np.uint8)}


def per_vertex_colors(colors: NDArray[Any], mesh: Mesh) -> NDArray[Any]:
    """Colours of atoms, f4[A,3], as colours of the mesh's vertices, f4[N,3]."""
    if not len(mesh.atoms):
        raise RequestError("bad-request", "colors were sent, but this fit has no atoms: export without colours")
    if colors.shape != (len(mesh.atoms), 3):
        raise RequestError(
            "bad-request",
            f"colors have shape {list(colors.shape)}, but the fit has {len(mesh.atoms)} atoms: send one row per atom",
        )
    return np.asarray(colors[mesh.nearest])


def fit_name(job: Job) -> str:
    return check_name(job.params.get("fit"))


def check_name(name: Any) -> str:
    if not is_name(name):
        raise RequestError("bad-request", f"a fit can't be named {str(name)[:100]!r}: {RULE}")
    return str(name)


def number_param(job: Job, key: str, default: float | None = None) -> float:
    value = job.params.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise RequestError("bad-request", f"{job.method} needs {key} as a finite number, got {value!r}")
    return float(value)


def number_list_param(job: Job, key: str) -> list[float]:
    values = job.params.get(key)
    if not isinstance(values, list) or not values:
        raise RequestError("bad-request", f"{job.method} needs {key} as a list of numbers, got {values!r}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise RequestError("bad-request", f"{job.method} needs {key} as finite numbers, got {value!r} among them")
    return [float(value) for value in values]


def count_param(job: Job, key: str) -> int | None:
    value = job.params.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RequestError("bad-request", f"{job.method} needs {key} as a whole number from 1, got {value!r}")
    return value


def flag_param(job: Job, key: str) -> bool:
    value = job.params.get(key, False)
    if not isinstance(value, bool):
        raise RequestError("bad-request", f"{job.method} needs {key} as true or false, got {value!r}")
    return value


def object_param(job: Job, key: str) -> dict[str, Any]:
    value = job.params.get(key)
    if value is not None and not isinstance(value, dict):
        raise RequestError("bad-request", f"{job.method} needs {key} as an object, got {value!r}")
    return value or {}


def mask_array(job: Job, name: str) -> NDArray[np.bool_] | None:
    mask = job.arrays.get(name)
    return None if mask is None else mask != 0


def array_param(job: Job, name: str) -> NDArray[Any]:
    if name not in job.arrays:
        raise RequestError(
            "bad-request",
            f"{job.method} needs the array {name!r}, got {', '.join(job.arrays) or 'no arrays'}",
        )
    return job.arrays[name]
