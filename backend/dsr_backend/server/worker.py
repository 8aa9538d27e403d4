"""The worker-lane methods: the numerics library behind the protocol, one job at a time.

The numerics are imported inside the methods, so that the server greets before torch is loaded.
"""

from __future__ import annotations

import gc
import os
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.atomic_write import previous_of
from pymol_dsr.shared.frames import Arrays
from pymol_dsr.shared.names import RULE, is_name

from ..fields.select import select_field
from ..runtime.errors import Cancelled, RequestError
from ..runtime.folders import fits_folder
from . import detached_registry
from .job import Answer, Job, Method
from .requests import (
    RESOLUTION,
    array_param,
    callers_fault,
    check_name,
    count_param,
    file_array,
    fit_name,
    flag_param,
    mask_array,
    mesh_arrays,
    number_list_param,
    number_param,
    object_param,
    per_vertex_colors,
    progress_params,
    send_log,
)

if TYPE_CHECKING:
    from pymol_dsr.shared.options import FitOptions

    from ..fields.base import Family, Field
    from ..fitting.fast.samples import BackgroundSampler
    from ..fitting.preview import Preview
    from ..results.mesh import Mesh
    from ..surfaces.staging import SurfaceStaging

MESHES_AT_ONCE = 4
"""On a CPU with as many cores. What a mesh of a large molecule takes while it is made is 2.2 GiB at most."""


@dataclass
class _Opened:
    """A fit that waits for its surfaces.

    trajectories: their names, in the order of `surfaces`; none for a single one. family: what to start from. preview:
    what is shown meanwhile. early: what draws samples meanwhile; none for preset `paper`.
    resume: go on with a training that was interrupted, where there is one. params: what `open` was told.
    """

    config: FitOptions
    source: dict[str, Any]
    trajectories: list[str]
    surfaces: SurfaceStaging
    family: Family | None
    frozen: bool
    preview: Preview | None
    early: BackgroundSampler | None
    resume: bool
    params: dict[str, Any]

    def close(self) -> None:
        if self.early is not None:
            self.early.close()
        self.surfaces.close()


class Worker:
    """Fits by name: those being sent and those finished."""

    def __init__(self) -> None:
        self._opened: dict[str, _Opened] = {}
        self._fitted: dict[str, Field | Family] = {}
        # The last one between two trajectories, which a movie asks for again and again.
        self._between: tuple[Field | Family, tuple[Any, ...], Field] | None = None
        # Read by the control lane: entries are replaced, never changed.
        self._status: dict[str, dict[str, Any]] = {}
        self._at_once, self._threads_each = 1, 1
        self.methods: dict[str, Method] = {
            "open": self._open,
            "surface": self._surface,
            "fit": self._fit,
            "detach": self._detach,
            "mesh": self._mesh,
            "paint": self._paint,
            "grid": self._grid,
            "measure": self._measure,
            "compare": self._compare,
            "export": self._export,
            "save": self._save,
            "load": self._load,
            "drop": self._drop,
        }

    together = frozenset({"mesh", "grid", "compare", "export", "paint", "measure"})

    @property
    def at_once(self) -> int:
        return self._at_once

    def enter(self) -> None:
        import torch

        torch.set_num_threads(self._threads_each)

    def prepare(self) -> dict[str, Any]:
        from ..runtime import device

        described = device.describe("auto")
        if described.device == "cpu":
            # Meshes share out badly to many threads: two on two take half the time, one on two as long as on one.
            self._at_once = min(MESHES_AT_ONCE, described.threads)
            self._threads_each = described.threads // self._at_once
        return asdict(described)

    def status(self) -> dict[str, Any]:
        return dict(self._status)

    def detached(self) -> dict[str, Any]:
        return detached_registry.statuses(fits_folder())

    def stop(self, name: Any) -> bool:
        try:
            return detached_registry.stop_detached(fits_folder(), check_name(name))
        except OSError as exc:
            raise RequestError("internal", f"fit {str(name)!r} can't be told to stop: {exc}") from exc

    def interrupted(self) -> dict[str, Any]:
        from ..surfaces.staging import interrupted_fits

        found = interrupted_fits(fits_folder())
        busy = {name for name, status in self.detached().items() if status["phase"] not in detached_registry.ENDED}
        return {name: about for name, about in found.items() if name not in self._opened and name not in busy}

    def release(self) -> None:
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    # Fitting

    def _open(self, job: Job) -> Answer:
        from pymol_dsr.shared.options import FitOptions

        from ..surfaces.staging import SurfaceStaging

        name = fit_name(job)
        with callers_fault():
            config = FitOptions.from_json(object_param(job, "config"))
        source = object_param(job, "source")
        folder = fits_folder()
        if not job.params.get("detached"):
            detached_registry.ensure_not_running(folder, name)
            detached_registry.remove_record(folder, name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            writable = os.access(folder, os.W_OK)
            reason = "not writable"
        except OSError as exc:
            writable, reason = False, str(exc)
        if not writable:
            send_log(
                job,
                f"the finished fit can't be kept in {folder} ({reason}): set DSR_HOME, or dsr_save it yourself",
            )
        trajectories, family, frozen = self._start(job, name, config)
        known = None if family is None else job.params["family"]
        preview = self._preview(job, name, trajectories)
        from ..fitting.fast.samples import BackgroundSampler

        with callers_fault():
            early = None if config.preset == "paper" else BackgroundSampler(config)
        self._forget_opened(name)
        self._opened[name] = _Opened(
            config,
            source,
            trajectories,
            SurfaceStaging(
                folder / f"{name}.surfaces",
                {"source": source, "trajectories": trajectories},
                max(1, len(trajectories)),
                bool(job.params.get("resume")),
                lambda text: send_log(job, f"fit {name!r}: {text}"),
                {**object_param(job, "asked"), "config": config.to_json(), "family": known, "frozen": frozen},
            ),
            family,
            frozen,
            preview,
            early,
            bool(job.params.get("resume")),
            job.params,
        )
        self._status[name] = progress_params("surfaces", 0.0)
        kept = self._opened[name].surfaces
        if trajectories:
            return {"states": {one: kept.states(k) for k, one in enumerate(trajectories)}}, {}
        return {"states": kept.states(0)}, {}

    def _start(self, job: Job, name: str, config: FitOptions) -> tuple[list[str], Family | None, bool]:
        """What `open` says of families: trajectories, the family to start from, and whether its network stays."""
        from ..fields.base import Family

        trajectories = job.params.get("trajectories")
        if trajectories is not None:
            if not isinstance(trajectories, list) or not trajectories:
                raise RequestError("bad-request", f"open needs trajectories as a list of names, got {trajectories!r}")
            for one in trajectories:
                if not is_name(one):
                    raise RequestError("bad-request", f"a trajectory can't be named {str(one)[:100]!r}: {RULE}")
            if len(set(trajectories)) < len(trajectories):
                raise RequestError("bad-request", f"two trajectories have one name among {', '.join(trajectories)}")
        frozen = flag_param(job, "frozen")
        known = job.params.get("family")
        if known is None:
            if frozen:
                raise RequestError("bad-request", "frozen keeps the network of a family: name the family too")
            return trajectories or [], None, False
        if trajectories:
            raise RequestError(
                "bad-request", "a known family takes one new trajectory at a time: leave trajectories out"
            )
        if known == name:
            raise RequestError(
                "bad-request", f"fit {name!r} would replace the family it starts from: name it otherwise"
            )
        family = self._found(check_name(known))
        if not isinstance(family, Family):
            raise RequestError("bad-request", f"fit {known!r} is of one trajectory and no family: fit several together")
        if family.report.get("preset") != config.preset:
            raise RequestError(
                "bad-request",
                f"family {known!r} has preset {family.report.get('preset')} and this fit {config.preset}: "
                f"fit with preset={family.report.get('preset')}",
            )
        return [], family, frozen

    def _preview(self, job: Job, name: str, trajectories: list[str]) -> Preview | None:
        """What `open` says of a preview."""
        asked = object_param(job, "preview")
        if not asked:
            return None
        from ..fitting.preview import Preview

        of = Job(job.id, "a preview", asked, {}, job._server)
        time = number_param(of, "time")

        def show(mesh: Mesh, final: bool) -> None:
            job.event("preview", {"fit": name, "time": time, "final": final}, mesh_arrays(mesh))

        return Preview(
            time,
            number_param(of, "resolution", 1.0),
            count_param(of, "triangles"),
            trajectories[0] if trajectories else None,
            job.arrays.get("radii"),
            show,
            lambda text: send_log(job, f"fit {name!r}: {text}"),
        )

    def _surface(self, job: Job) -> Answer:
        from ..surfaces.surface import Surface

        name = fit_name(job)
        opened = self._waiting(name)
        trajectory, names = job.params.get("trajectory"), opened.trajectories
        if names and trajectory not in names:
            raise RequestError(
                "bad-request", f"surface needs trajectory as one of {', '.join(names)}, got {str(trajectory)[:100]!r}"
            )
        if trajectory is not None and not names:
            raise RequestError(
                "bad-request",
                f"fit {name!r} is of one trajectory, not of {str(trajectory)[:100]!r}: leave trajectory out",
            )
        with callers_fault():
            surface = Surface(
                state=number_param(job, "state"),
                points=array_param(job, "points"),
                normals=array_param(job, "normals"),
                faces=array_param(job, "faces"),
                atoms=job.arrays.get("atoms"),
            )
            number, state = names.index(str(trajectory)) if names else 0, surface.state
            opened.surfaces.put(number, surface)
        if opened.early is not None:
            # Not the surface itself: those that wait for their turn would pile up in memory.
            opened.early.add(number, state, lambda: opened.surfaces.get(number, state))
        if opened.preview is not None and opened.preview.wants(surface, trajectory):
            opened.preview.begin(surface, opened.config, job.cancelled)
        return {"points": len(surface.points)}, {}

    def _fit(self, job: Job) -> Answer:
        from ..fitting import run
        from ..fitting.paper.checkpoint import Training
        from ..surfaces.staging import TRAINING

        name = fit_name(job)
        opened = self._waiting(name)
        series = [opened.surfaces.series(k) for k in range(max(1, len(opened.trajectories)))]
        if empty := [one for one, its in zip(opened.trajectories, series, strict=False) if not its]:
            raise RequestError("bad-request", f"there are no surfaces of {', '.join(empty)}: send them before `fit`")

        def progress(phase: str, fraction: float, extra: dict[str, Any]) -> None:
            self._status[name] = progress_params(phase, fraction, extra)
            job.progress({"fit": name, **self._status[name]})

        how = (opened.config, progress, job.cancelled)
        preview = opened.preview
        training = None
        if opened.config.preset == "paper":
            training = Training(
                opened.surfaces.folder / TRAINING, opened.resume, lambda text: send_log(job, f"fit {name!r}: {text}")
            )
        watch = None if preview is None else lambda field: preview.watch(field, job.cancelled)
        fitted: Field | Family
        try:
            if preview is not None and not preview.begun:
                # Its surface was there from before.
                for surface in series[0]:
                    if preview.wants(surface, preview.trajectory):
                        preview.begin(surface, opened.config, job.cancelled)
            with callers_fault():
                if opened.trajectories:
                    fitted = run.fit_family(
                        dict(zip(opened.trajectories, series, strict=True)),
                        *how,
                        watch=watch,
                        early=opened.early,
                        training=training,
                    )
                elif opened.family is not None:
                    fitted = run.fit_member(
                        opened.family,
                        series[0],
                        *how,
                        frozen=opened.frozen,
                        watch=watch,
                        early=opened.early,
                        training=training,
                    )
                else:
                    fitted = run.fit_trajectory(series[0], *how, watch=watch, early=opened.early, training=training)
            fitted.report["source"] = opened.source
            progress("saving", 1.0, {})
            self._fitted[name] = fitted
            path = self._keep(job, name, fitted)
            if path is not None:
                opened.surfaces.remove()
            if preview is not None:
                preview.end(fitted, job.cancelled)
        except Cancelled:
            if training is not None and training.step is not None:
                send_log(job, f"fit {name!r}: checkpoint at step {training.step}; dsr_resume {name} goes on from it")
            raise
        finally:
            # Those of an unfinished fit stay in its folder; what of them is here only takes memory.
            self._forget_opened(name)
            self._forget_status(name)
        return {"report": {**fitted.report, "path": path}}, {}

    def _detach(self, job: Job) -> Answer:
        """Leave a fit whose surfaces are there to a process of its own."""
        name = fit_name(job)
        opened = self._waiting(name)
        for number, one in enumerate(opened.trajectories or [name]):
            if not opened.surfaces.states(number):
                raise RequestError("bad-request", f"there are no surfaces of {one}: send them before `detach`")
        if not opened.surfaces.whole:
            raise RequestError(
                "bad-request",
                f"the surfaces of {name!r} could not all be written to {opened.surfaces.folder}, where a "
                "detached fit finds them: make room there, or fit without detach=1",
            )
        if "SLURM_JOB_ID" in os.environ:
            send_log(job, "this backend is a job of Slurm, with whose end a detached fit ends, too")
        # That process is to have them.
        opened.surfaces.close()
        try:
            status = detached_registry.start_detached(
                fits_folder(), name, {**opened.params, "preview": None, "detached": True}
            )
        except OSError as exc:
            raise RequestError("internal", f"fit {name!r} can't be started on its own: {exc}") from exc
        self._forget_opened(name)
        self._fitted.pop(name, None)
        self._forget_status(name)
        return {"pid": status["pid"], "host": status["host"]}, {}

    def _keep(self, job: Job, name: str, fitted: Field | Family) -> str | None:
        """Write a finished fit to the folder of fits.

        Its path, or None where that failed, which costs no fit.
        """
        from ..results import dsr_file

        path = fits_folder() / f"{name}.dsr"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            dsr_file.save(fitted, path)
        except OSError as exc:
            size = len(dsr_file.to_bytes(fitted))
            send_log(
                job,
                f"fit {name!r} could not be kept as {path} ({size} bytes): {exc.__cause__ or exc}; "
                "it is in memory, dsr_save it",
            )
            return None
        return str(path)

    # Results

    def _mesh(self, job: Job) -> Answer:
        wants_blend, wants_motion = flag_param(job, "blend"), flag_param(job, "motion")
        mesh = self._meshed(job)
        arrays = mesh_arrays(mesh)
        if len(mesh.atoms):
            arrays["atoms"] = np.asarray(mesh.atoms, "<f4")
        if wants_blend or wants_motion:
            arrays |= self._vertices(job, mesh, wants_blend, wants_motion)
        names = ("time", "area", "volume", "islands_dropped", "expected_error", "extrapolated", "seconds")
        return {key: getattr(mesh, key) for key in names}, arrays

    def _vertices(self, job: Job, mesh: Mesh, wants_blend: bool, wants_motion: bool) -> Arrays:
        """What colours of a mesh's vertices are made of."""
        from ..results import vertex_motion

        arrays: Arrays = {}
        if wants_blend and len(mesh.atoms):
            with callers_fault():
                near, shares = vertex_motion.atom_weights(mesh.points, mesh.atoms, job.arrays.get("radii"))
            arrays.update(near=np.asarray(near, "<i4"), shares=np.asarray(shares, "<f4"))
        if wants_motion:
            arrays |= self._velocity(job, mesh.time, mesh.points) | self._excursions(job)
        return arrays

    def _paint(self, job: Job) -> Answer:
        points = array_param(job, "points")
        if points.dtype.kind != "f" or points.ndim != 2 or points.shape[1] != 3:
            raise RequestError("bad-request", f"paint needs points as f4 N x 3, got {list(points.shape)}")
        if not len(points):
            return {}, self._excursions(job)
        return {}, self._velocity(job, number_param(job, "time"), np.asarray(points, np.float32))

    def _velocity(self, job: Job, time: float, points: NDArray[np.float32]) -> Arrays:
        from ..results import vertex_motion

        smooth = None if job.params.get("smooth") is None else number_param(job, "smooth")
        velocity = vertex_motion.normal_velocity(self._field(job), time, points, smooth)
        return {"velocity": np.asarray(velocity, "<f4")}

    def _excursions(self, job: Job) -> Arrays:
        from ..results import vertex_motion

        excursions = vertex_motion.rmsf(self._field(job))
        return {} if excursions is None else {"excursions": np.asarray(excursions, "<f4")}

    def _meshed(self, job: Job, time: float | None = None) -> Mesh:
        from ..results import mesh

        with callers_fault():
            return mesh.extract_mesh(
                self._field(job),
                number_param(job, "time") if time is None else time,
                level=number_param(job, "level", 0.0),
                resolution=number_param(job, "resolution", RESOLUTION),
                triangles=count_param(job, "triangles"),
                smooth=None if job.params.get("smooth") is None else number_param(job, "smooth"),
                radii=job.arrays.get("radii"),
                cancelled=job.cancelled,
            )

    def _grid(self, job: Job) -> Answer:
        from ..results import mesh

        with callers_fault():
            grid = mesh.distance_grid(
                self._field(job),
                number_param(job, "time"),
                number_param(job, "resolution", RESOLUTION),
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

    def _measure(self, job: Job) -> Answer:
        from ..results import measure

        with callers_fault():
            found = measure.measure_surface(
                self._field(job),
                number_param(job, "time"),
                selection=mask_array(job, "selection"),
                pocket=mask_array(job, "pocket"),
                resolution=number_param(job, "resolution", RESOLUTION),
                radii=job.arrays.get("radii"),
                smooth=None if job.params.get("smooth") is None else number_param(job, "smooth"),
                cancelled=job.cancelled,
            )
        names = ["time", "area", "volume", "speed", "selection_area", "selection_volume", "pocket_volume"]
        names += ["expected_error", "extrapolated", "seconds"]
        arrays = {"area": np.asarray(found.atom_area, "<f4"), "speed": np.asarray(found.atom_speed, "<f4")}
        return {key: getattr(found, key) for key in names}, arrays

    def _compare(self, job: Job) -> Answer:
        from ..geometry import metrics
        from ..results.mesh import extract_mesh

        fitted = self._field(job)
        truth = (array_param(job, "truth_points"), array_param(job, "truth_normals"), array_param(job, "truth_faces"))
        with callers_fault():
            if "points" in job.arrays:
                predicted = (array_param(job, "points"), array_param(job, "normals"), array_param(job, "faces"))
            else:
                mesh = extract_mesh(fitted, number_param(job, "time"), resolution=RESOLUTION, cancelled=job.cancelled)
                predicted = (mesh.points, mesh.normals, mesh.faces)
            scores = metrics.compare(*predicted, *truth, fitted.frame)
        return {key: getattr(scores, key) for key in ("iou", "chamfer_l1", "chamfer_sq", "nc")}, {}

    def _export(self, job: Job) -> Answer:
        from ..results.export import checks, gltf, write
        from ..results.export.gltf import AnimationFrame

        format = job.params.get("format")
        if format not in checks.FORMATS:
            raise RequestError("bad-request", f"format is {format!r}, not one of {', '.join(checks.FORMATS)}")
        binary = flag_param(job, "binary")
        matrix, colors = job.arrays.get("matrix"), job.arrays.get("colors")
        several = "times" in job.params
        if several and format != "glb":
            raise RequestError("bad-request", f"only a glb holds several times, not a {format}: ask for one at a time")
        frames = []
        for time in number_list_param(job, "times") if several else [number_param(job, "time")]:
            mesh = self._meshed(job, time)
            painted = None if colors is None else per_vertex_colors(colors, mesh)
            frames.append(AnimationFrame(time, mesh.points, mesh.normals, mesh.faces, painted))
        with callers_fault():
            if several:
                data = gltf.animated_glb(frames, number_param(job, "fps", gltf.FPS), matrix)
            else:
                only = frames[0]
                data = write.to_bytes(only.points, only.normals, only.faces, format, only.colors, binary, matrix)
        return {}, file_array(data)

    # Fields as files

    def _save(self, job: Job) -> Answer:
        from ..results import dsr_file

        return {}, file_array(dsr_file.to_bytes(self._found(fit_name(job))))

    def _load(self, job: Job) -> Answer:
        from ..results import dsr_file

        name = fit_name(job)
        if "file" not in job.arrays:
            if name in detached_registry.statuses(fits_folder()):
                # What is in memory under this name is an older one.
                self._fitted.pop(name, None)
            report = self._found(name).report
            detached_registry.remove_record(fits_folder(), name)
            return {"report": report}, {}
        with callers_fault():
            fitted = dsr_file.from_bytes(array_param(job, "file").tobytes())
        self._fitted[name] = fitted
        self._forget_status(name)
        return {"report": fitted.report}, {}

    def _drop(self, job: Job) -> Answer:
        name = fit_name(job)
        self._forget_opened(name)
        self._fitted.pop(name, None)
        self._between = None
        self._forget_status(name)
        self.release()
        return {}, {}

    # Fits by name

    def _forget_status(self, name: str) -> None:
        if name in self._fitted:
            self._status[name] = progress_params("ready", 1.0)
        else:
            self._status.pop(name, None)

    def _forget_opened(self, name: str) -> None:
        opened = self._opened.pop(name, None)
        if opened is not None:
            opened.close()

    def _waiting(self, name: str) -> _Opened:
        if name not in self._opened:
            raise RequestError("bad-request", f"fit {name!r} is not open: send `open` and its surfaces first")
        return self._opened[name]

    def _field(self, job: Job) -> Field:
        """The field that a request is about: a fit, a trajectory of a family, or one between two of them; steadied
        where the request says `steady`.
        """
        found = self._picked(job)
        return found.with_uniform_smoothing() if flag_param(job, "steady") else found

    def _picked(self, job: Job) -> Field:
        fitted = self._found(fit_name(job))
        wanted = tuple(job.params.get(key) for key in ("trajectory", "towards", "share"))
        between = self._between
        if between is not None and between[:2] == (fitted, wanted):
            return between[2]
        with callers_fault():
            found = select_field(fitted, *wanted)
        if wanted[1] is not None:
            self._between = (fitted, wanted, found)
        return found

    def _found(self, name: str) -> Field | Family:
        if name not in self._fitted:
            path = fits_folder() / f"{name}.dsr"
            if not (path.is_file() or previous_of(path).is_file()):
                there = ", ".join(sorted(self._fitted)) or "none"
                raise RequestError(
                    "no-fit",
                    f"there is no fit {name!r}, neither in memory (there: {there}) nor as {path}: "
                    "fit it with dsr_fit, or dsr_load its file",
                )
            from ..results import dsr_file

            try:
                self._fitted[name] = dsr_file.load(path)
            except (OSError, ValueError) as exc:
                raise RequestError("no-fit", f"fit {name!r} can't be read from {path}: {exc}; fit it anew") from exc
            self._forget_status(name)
        return self._fitted[name]
