"""The worker-lane methods: the numerics library behind the protocol, one job at a time.

The numerics are imported inside the methods, so that the server greets before torch is loaded.
"""

from __future__ import annotations

import gc
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import RequestError
from .protocol import Arrays
from .server import Answer, Job, Method

if TYPE_CHECKING:
    from .config import FitConfig
    from .field import Field
    from .mesher import Mesh
    from .surfaces import Surface

RESOLUTION = 0.5
"""Å between grid nodes where a request names none."""

_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,79}")


@dataclass
class _Opened:
    """A fit that waits for its surfaces."""

    config: FitConfig
    source: dict[str, Any]
    surfaces: dict[float, Surface] = field(default_factory=dict)


class Worker:
    """Fits by name: those being sent and those finished."""

    def __init__(self) -> None:
        self._opened: dict[str, _Opened] = {}
        self._fields: dict[str, Field] = {}
        # Read by the control lane: entries are replaced, never changed.
        self._status: dict[str, dict[str, Any]] = {}
        self.methods: dict[str, Method] = {
            "open": self._open,
            "surface": self._surface,
            "fit": self._fit,
            "mesh": self._mesh,
            "grid": self._grid,
            "compare": self._compare,
            "export": self._export,
            "save": self._save,
            "load": self._load,
            "drop": self._drop,
        }

    def prepare(self) -> dict[str, Any]:
        from . import device

        return dict(device.describe("auto"))

    def status(self) -> dict[str, Any]:
        return dict(self._status)

    def release(self) -> None:
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    # Fitting

    def _open(self, job: Job) -> Answer:
        from .config import FitConfig

        name = _name(job)
        with _callers_fault():
            config = FitConfig.from_json(_object(job, "config"))
        source = _object(job, "source")
        folder = fits_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            writable = os.access(folder, os.W_OK)
            reason = "not writable"
        except OSError as exc:
            writable, reason = False, str(exc)
        if not writable:
            _log(
                job,
                f"the finished fit can't be kept in {folder} ({reason}): set DSR_HOME, or dsr_save it yourself",
            )
        opened = _Opened(config, source)
        if job.params.get("resume"):
            opened.surfaces = self._left_behind(job, name, source)
        self._opened[name] = opened
        self._status[name] = _progress("surfaces", 0.0)
        return {"states": sorted(opened.surfaces)}, {}

    def _left_behind(self, job: Job, name: str, source: dict[str, Any]) -> dict[float, Surface]:
        """The surfaces that an interrupted fit of this name and source left, by state."""
        from . import surfaces

        path = _surfaces_of(name)
        try:
            series, meta = surfaces.read(path)
        except (OSError, surfaces.SurfacesError) as exc:
            _log(job, f"fit {name!r} begins anew: it left no surfaces to go on from ({exc})")
            return {}
        if meta.get("source") != source:
            _log(job, f"fit {name!r} begins anew: the surfaces in {path} are of other atoms or settings")
            return {}
        return {surface.state: surface for surface in series}

    def _surface(self, job: Job) -> Answer:
        from .surfaces import Surface

        name = _name(job)
        opened = self._waiting(name)
        with _callers_fault():
            surface = Surface(
                state=_number(job, "state"),
                points=_array(job, "points"),
                normals=_array(job, "normals"),
                faces=_array(job, "faces"),
                atoms=job.arrays.get("atoms"),
            )
        opened.surfaces[surface.state] = surface
        return {"points": len(surface.points)}, {}

    def _fit(self, job: Job) -> Answer:
        from . import trainer

        name = _name(job)
        opened = self._waiting(name)
        surfaces = [opened.surfaces[state] for state in sorted(opened.surfaces)]

        def progress(phase: str, fraction: float, extra: dict[str, Any]) -> None:
            self._status[name] = _progress(phase, fraction, extra)
            job.progress({"fit": name, **self._status[name]})

        self._set_aside(job, name, surfaces, opened.source)
        try:
            with _callers_fault():
                fitted = trainer.fit(surfaces, opened.config, progress, job.cancelled)
            fitted.report["source"] = opened.source
            progress("saving", 1.0, {})
            self._fields[name] = fitted
            path = self._keep(job, name, fitted)
            if path is not None:
                _surfaces_of(name).unlink(missing_ok=True)
        finally:
            # Those of an unfinished fit are in its folder; here they only take memory.
            del self._opened[name]
            self._forget_status(name)
        return {"report": {**fitted.report, "path": path}}, {}

    def _set_aside(self, job: Job, name: str, series: list[Surface], source: dict[str, Any]) -> None:
        """Write the surfaces down until the fit is finished: they are what takes PyMOL long to make again."""
        from . import surfaces

        path = _surfaces_of(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            surfaces.write(path, series, {"source": source})
        except (OSError, ValueError) as exc:
            _log(job, f"fit {name!r} can't be resumed should it be interrupted: {path} not written: {exc}")

    def _keep(self, job: Job, name: str, fitted: Field) -> str | None:
        """Write a finished fit to the folder of fits.

        Its path, or None where that failed, which costs no fit.
        """
        from . import checkpoint

        path = fits_folder() / f"{name}.dsr"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.save(fitted, path)
        except OSError as exc:
            size = len(checkpoint.to_bytes(fitted))
            _log(
                job,
                f"fit {name!r} could not be kept as {path} ({size} bytes): {exc}; it is in memory, dsr_save it",
            )
            return None
        return str(path)

    # Results

    def _mesh(self, job: Job) -> Answer:
        mesh = self._meshed(job)
        arrays = {
            "points": np.asarray(mesh.points, "<f4"),
            "normals": np.asarray(mesh.normals, "<f4"),
            "faces": np.asarray(mesh.faces, "<i4"),
        }
        if len(mesh.atoms):
            arrays["nearest"] = np.asarray(mesh.nearest, "<i4")
            arrays["atoms"] = np.asarray(mesh.atoms, "<f4")
        names = ("time", "area", "volume", "islands_dropped", "expected_error", "extrapolated", "seconds")
        return {key: getattr(mesh, key) for key in names}, arrays

    def _meshed(self, job: Job) -> Mesh:
        from . import mesher

        with _callers_fault():
            return mesher.mesh(
                self._field(_name(job)),
                _number(job, "time"),
                level=_number(job, "level", 0.0),
                resolution=_number(job, "resolution", RESOLUTION),
                triangles=_count(job, "triangles"),
                smooth=None if job.params.get("smooth") is None else _number(job, "smooth"),
                radii=job.arrays.get("radii"),
                cancelled=job.cancelled,
            )

    def _grid(self, job: Job) -> Answer:
        from . import mesher

        with _callers_fault():
            grid = mesher.grid(
                self._field(_name(job)),
                _number(job, "time"),
                _number(job, "resolution", RESOLUTION),
                cancelled=job.cancelled,
            )
        values = np.asarray(grid.values, "<f4")
        result = {
            "origin": grid.origin,
            "spacing": grid.spacing,
            "shape": values.shape,
            "extrapolated": grid.extrapolated,
            "expected_error": grid.expected_error,
        }
        return result, {"values": values}

    def _compare(self, job: Job) -> Answer:
        from . import mesher, metrics

        fitted = self._field(_name(job))
        truth = (_array(job, "truth_points"), _array(job, "truth_normals"), _array(job, "truth_faces"))
        with _callers_fault():
            if "points" in job.arrays:
                predicted = (_array(job, "points"), _array(job, "normals"), _array(job, "faces"))
            else:
                mesh = mesher.mesh(fitted, _number(job, "time"), resolution=RESOLUTION, cancelled=job.cancelled)
                predicted = (mesh.points, mesh.normals, mesh.faces)
            scores = metrics.compare(*predicted, *truth, fitted.frame)
        return {key: getattr(scores, key) for key in ("iou", "chamfer_l1", "chamfer_sq", "nc")}, {}

    def _export(self, job: Job) -> Answer:
        from . import meshio

        format = job.params.get("format")
        if format not in meshio.FORMATS:
            raise RequestError("bad-request", f"format is {format!r}, not one of {', '.join(meshio.FORMATS)}")
        mesh = self._meshed(job)
        colors = job.arrays.get("colors")
        if colors is not None:
            colors = _per_vertex(colors, mesh)
        with _callers_fault():
            data = meshio.to_bytes(
                mesh.points, mesh.normals, mesh.faces, format, colors=colors, matrix=job.arrays.get("matrix")
            )
        return {}, _file(data)

    # Fields as files

    def _save(self, job: Job) -> Answer:
        from . import checkpoint

        return {}, _file(checkpoint.to_bytes(self._field(_name(job))))

    def _load(self, job: Job) -> Answer:
        from . import checkpoint

        name = _name(job)
        with _callers_fault():
            fitted = checkpoint.from_bytes(_array(job, "file").tobytes())
        self._fields[name] = fitted
        self._forget_status(name)
        return {"report": fitted.report}, {}

    def _drop(self, job: Job) -> Answer:
        name = _name(job)
        self._opened.pop(name, None)
        self._fields.pop(name, None)
        self._forget_status(name)
        self.release()
        return {}, {}

    # Fits by name

    def _forget_status(self, name: str) -> None:
        if name in self._fields:
            self._status[name] = _progress("ready", 1.0)
        else:
            self._status.pop(name, None)

    def _waiting(self, name: str) -> _Opened:
        if name not in self._opened:
            raise RequestError("bad-request", f"fit {name!r} is not open: send `open` and its surfaces first")
        return self._opened[name]

    def _field(self, name: str) -> Field:
        if name not in self._fields:
            path = fits_folder() / f"{name}.dsr"
            if not path.is_file():
                there = ", ".join(sorted(self._fields)) or "none"
                raise RequestError(
                    "no-fit",
                    f"there is no fit {name!r}, neither in memory (there: {there}) nor as {path}: "
                    "fit it with dsr_fit, or dsr_load its file",
                )
            from . import checkpoint

            try:
                self._fields[name] = checkpoint.load(path)
            except (OSError, ValueError) as exc:
                raise RequestError("no-fit", f"fit {name!r} can't be read from {path}: {exc}; fit it anew") from exc
            self._forget_status(name)
        return self._fields[name]


def fits_folder() -> Path:
    """Where finished fits are kept: `$DSR_HOME/fits`, by default `~/.pymol_dsr/fits`."""
    return Path(os.environ.get("DSR_HOME") or "~/.pymol_dsr").expanduser() / "fits"


def _surfaces_of(name: str) -> Path:
    """Where an unfinished fit's surfaces are."""
    return fits_folder() / f"{name}.surfaces.npz"


@contextmanager
def _callers_fault() -> Iterator[None]:
    """Within, a ValueError is about what the caller sent."""
    try:
        yield
    except RequestError:
        raise
    except ValueError as exc:
        raise RequestError("bad-request", str(exc)) from exc


def _progress(phase: str, fraction: float, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    empty = {"step": None, "steps": None, "loss": None, "seconds_left": None}
    return {**empty, **(extra or {}), "phase": phase, "fraction": fraction}


def _log(job: Job, text: str) -> None:
    job.event("log", {"text": text})


def _file(data: bytes) -> Arrays:
    return {"file": np.frombuffer(data, np.uint8)}


def _per_vertex(colors: NDArray[Any], mesh: Mesh) -> NDArray[Any]:
    """Colours of atoms, f4[A,3], as colours of the mesh's vertices, f4[N,3]."""
    if not len(mesh.atoms):
        raise RequestError("bad-request", "colors were sent, but this fit has no atoms: export without colours")
    if colors.shape != (len(mesh.atoms), 3):
        raise RequestError(
            "bad-request",
            f"colors have shape {list(colors.shape)}, but the fit has {len(mesh.atoms)} atoms: send one row per atom",
        )
    return np.asarray(colors[mesh.nearest])


def _name(job: Job) -> str:
    name = job.params.get("fit")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RequestError(
            "bad-request",
            f"a fit can't be named {str(name)[:100]!r}: use 1 to 80 letters, digits and _ . + -, with no dot in front",
        )
    return name


def _number(job: Job, key: str, default: float | None = None) -> float:
    value = job.params.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise RequestError("bad-request", f"{job.method} needs {key} as a finite number, got {value!r}")
    return float(value)


def _count(job: Job, key: str) -> int | None:
    value = job.params.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RequestError("bad-request", f"{job.method} needs {key} as a whole number from 1, got {value!r}")
    return value


def _object(job: Job, key: str) -> dict[str, Any]:
    value = job.params.get(key)
    if value is not None and not isinstance(value, dict):
        raise RequestError("bad-request", f"{job.method} needs {key} as an object, got {value!r}")
    return value or {}


def _array(job: Job, name: str) -> NDArray[Any]:
    if name not in job.arrays:
        raise RequestError(
            "bad-request",
            f"{job.method} needs the array {name!r}, got {', '.join(job.arrays) or 'no arrays'}",
        )
    return job.arrays[name]
