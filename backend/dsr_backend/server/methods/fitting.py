"""Methods that make a fit: open, surface, fit, detach."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from pymol_dsr.shared import atomic_write, messages
from pymol_dsr.shared.fits_folder import DETACHED, FIT, SURFACES
from pymol_dsr.shared.messages import FitStatus
from pymol_dsr.shared.scratch import ScratchFolder

from ...fields.base import Family, Field
from ...fitting import run
from ...fitting.job import Progress
from ...fitting.paper.checkpoint import TrainingCheckpoint
from ...fitting.preview import Preview
from ...results import dsr_file
from ...results.mesh import Mesh
from ...runtime.device import choose_device
from ...runtime.errors import Cancelled, RequestError
from ...runtime.folders import fits_folder
from ...surfaces.staging import TRAINING, SurfaceStaging
from ...surfaces.surface import Surface
from .. import detached_registry
from ..job import Job
from ..replies import callers_fault
from .results import nearest_of
from .state import PendingFit, State

# Endings of the files of a fit in the folder of fits.
SUFFIXES = (FIT, SURFACES, DETACHED)


def open_fit(state: State, job: Job, request: messages.Open) -> messages.OpenResult:
    """Begin a fit, whose surfaces follow."""
    if request.scratch:
        return _open_scratch(state, job, request)
    name, folder = request.fit, fits_folder()
    if not request.detached:
        _ensure_other_letters(folder, name)
        detached_registry.ensure_not_running(folder, name)
        detached_registry.remove_record(folder, name)
    _warn_unless_writable(job, folder)
    family = None if request.family is None else _family(state, request.family, request.config.preset)
    preview = None if request.preview is None else _preview(job, request, request.preview)
    with callers_fault():
        # A device that is not there is said before surfaces are made.
        choose_device(request.config.device)
    state.pending.drop(name)
    state.unkept.pop(name, None)
    trajectories = list(request.trajectories or ())
    surfaces = SurfaceStaging(
        folder / f"{name}{SURFACES}",
        {"source": request.source, "trajectories": trajectories},
        max(1, len(trajectories)),
        request.resume,
        job.log_about(f"fit {name!r}"),
        {
            **request.asked,
            "config": request.config.to_json(),
            "family": request.family,
            "frozen": request.frozen,
        },
    )
    state.pending.put(name, PendingFit(request, surfaces, family, preview))
    state.statuses[name] = FitStatus("surfaces", 0.0)
    return messages.OpenResult(
        states={member: tuple(surfaces.states(number)) for number, member in enumerate(trajectories or [""])}
    )


def _open_scratch(state: State, job: Job, request: messages.Open) -> messages.OpenResult:
    """Take surfaces that are for no fit into a folder of their own, which goes with them."""
    name, trajectories = request.fit, list(request.trajectories or ())
    scratch = ScratchFolder()
    count = max(1, len(trajectories))
    surfaces = SurfaceStaging(scratch.path / "surfaces", {}, count, False, job.log_about(repr(name)))
    state.pending.drop(name)
    state.pending.put(name, PendingFit(request, surfaces, None, None, scratch))
    return messages.OpenResult(states={trajectory: () for trajectory in trajectories or [""]})


def take_surface(state: State, job: Job, request: messages.Surface) -> messages.SurfaceResult:
    """Keep the surface of a state until all are there."""
    pending = state.pending.get(request.fit)
    number = pending.trajectory_number(request.trajectory, request.METHOD)
    with callers_fault():
        surface = Surface(request.state, request.points, request.normals, request.faces, request.atoms)
        pending.surfaces.put(number, surface)
    if pending.preview is not None and pending.preview.starts_with(surface, request.trajectory):
        pending.preview.show_sent_state(surface, pending.request.config, job.cancelled)
    return messages.SurfaceResult(points=len(surface.points))


def fit(state: State, job: Job, request: messages.Fit) -> messages.FitResult:
    """Fit the surfaces that were sent."""
    name = request.fit
    pending = _opened_fit(state, name)
    series = [pending.surfaces.series(k) for k in range(max(1, len(pending.trajectories)))]
    if empty := [member for member, surfaces in zip(pending.trajectories, series, strict=False) if not surfaces]:
        raise RequestError("bad-request", f"there are no surfaces of {', '.join(empty)}: send them before `fit`")
    training = None
    if pending.request.config.preset == "paper":
        training = TrainingCheckpoint(
            pending.surfaces.folder / TRAINING,
            pending.request.resume,
            job.log_about(f"fit {name!r}"),
        )

    def progress(status: FitStatus) -> None:
        state.statuses[name] = status
        job.progress(messages.Progress(fit=name, status=status))

    try:
        _begin_preview(pending, series[0], job)
        fitted = _run(pending, series, job, progress, training)
        progress(FitStatus("saving", 1.0))
        # From here on, the new fit takes the place of an older one, on disk too.
        job.commit()
        state.fitted.put(name, fitted)
        state.unkept[name] = pending.surfaces
        path = keep(state, job, name)
        if pending.preview is not None:
            pending.preview.show_finished(fitted, job.cancelled)
    except Cancelled:
        if training is not None and training.step is not None:
            job.log(f"fit {name!r}: checkpoint at step {training.step}; dsr_resume {name} goes on from it")
        raise
    finally:
        # The surfaces of an unfinished fit stay in its folder; in memory they would only take space.
        state.pending.drop(name)
        state.settle(name)
    return messages.FitResult(report=messages.FitReport(whole={**fitted.report, "path": path}))


def detach(state: State, job: Job, request: messages.Detach) -> messages.DetachResult:
    """Leave a fit whose surfaces are there to a process of its own."""
    name = request.fit
    pending = _opened_fit(state, name)
    for number, member in enumerate(pending.trajectories or [name]):
        if not pending.surfaces.states(number):
            raise RequestError("bad-request", f"there are no surfaces of {member}: send them before `detach`")
    if not pending.surfaces.whole:
        raise RequestError(
            "bad-request",
            f"the surfaces of {name!r} could not all be written to {pending.surfaces.folder}, where a "
            "detached fit finds them: make room there, or fit without detach=1",
        )
    if "SLURM_JOB_ID" in os.environ:
        job.log("this backend is a job of Slurm, with whose end a detached fit ends, too")
    # That process is to have them.
    pending.surfaces.close()
    opened = dataclasses.replace(pending.request, preview=None, detached=True)
    try:
        status = detached_registry.start_detached(fits_folder(), name, opened)
    except OSError as exc:
        raise RequestError("internal", f"fit {name!r} can't be started on its own: {exc}") from exc
    state.pending.drop(name)
    state.settle(name)
    return messages.DetachResult(pid=status.pid, host=status.host)


METHODS = {
    messages.Open: open_fit,
    messages.Surface: take_surface,
    messages.Fit: fit,
    messages.Detach: detach,
}


def _opened_fit(state: State, name: str) -> PendingFit:
    """Return the surfaces of a fit. Raises RequestError."""
    pending = state.pending.get(name)
    if pending.scratch is not None:
        raise RequestError("bad-request", f"{name!r} was opened with scratch: its surfaces are for no fit")
    return pending


def _ensure_other_letters(folder: Path, name: str) -> None:
    """Raise RequestError for a name that differs in case only from a kept one: elsewhere they are one file."""
    try:
        files = [path.name for path in folder.iterdir()]
    except OSError:
        return
    names = {file.removesuffix(suffix) for file in files for suffix in SUFFIXES if file.endswith(suffix)}
    alike = sorted(saved for saved in names if saved.casefold() == name.casefold())
    if alike and name not in names:
        raise RequestError(
            "bad-request", f"fit {name!r}: {folder} has {alike[0]!r}, which differs in case only; give another name"
        )


def _warn_unless_writable(job: Job, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK) else "not writable"
    except OSError as exc:
        reason = str(exc)
    if reason:
        job.log(f"the finished fit can't be kept in {folder} ({reason}): set DSR_HOME, or dsr_save it yourself")


def _family(state: State, name: str, preset: str) -> Family:
    """Return the family that a new trajectory starts from. Raises RequestError."""
    family = state.get(name)
    if not isinstance(family, Family):
        raise RequestError("bad-request", f"fit {name!r} is of one trajectory and no family: fit several together")
    if family.report.get("preset") != preset:
        raise RequestError(
            "bad-request",
            f"family {name!r} has preset {family.report.get('preset')} and this fit {preset}: "
            f"fit with preset={family.report.get('preset')}",
        )
    return family


def _preview(job: Job, request: messages.Open, options: messages.PreviewOptions) -> Preview:
    def show(mesh: Mesh, final: bool) -> None:
        job.event(
            messages.Preview(
                fit=request.fit,
                time=options.time,
                final=final,
                points=mesh.points,
                normals=mesh.normals,
                faces=mesh.faces,
                nearest=nearest_of(mesh),
            )
        )

    return Preview(
        options.time,
        options.resolution,
        options.triangles,
        request.trajectories[0] if request.trajectories else None,
        request.radii,
        show,
        job.log_about(f"fit {request.fit!r}"),
    )


def _begin_preview(pending: PendingFit, surfaces: Sequence[Surface], job: Job) -> None:
    """Show the first preview where its surface was there from before."""
    preview = pending.preview
    if preview is None or preview.started:
        return
    for surface in surfaces:
        if preview.starts_with(surface, preview.trajectory):
            preview.show_state(surface, pending.request.config, job.cancelled)


def _run(
    pending: PendingFit,
    series: Sequence[Sequence[Surface]],
    job: Job,
    progress: Progress,
    training: TrainingCheckpoint | None,
) -> Field | Family:
    """Fit a trajectory, a family, or a new trajectory of a family."""
    config = pending.request.config
    fitted: Field | Family
    with callers_fault():
        if pending.trajectories:
            named = dict(zip(pending.trajectories, series, strict=True))
            fitted = run.fit_family(named, config, progress, job.cancelled, training)
        elif pending.family is not None:
            frozen = pending.request.frozen
            fitted = run.fit_member(pending.family, series[0], config, progress, job.cancelled, frozen, training)
        else:
            fitted = run.fit_trajectory(series[0], config, progress, job.cancelled, training)
    fitted.report["source"] = pending.request.source
    return fitted


def keep(state: State, job: Job, name: str) -> str | None:
    """Write a finished fit to the folder of fits, remove its surfaces there, and return its path.

    None where that failed, which costs no fit: it stays among those that are not kept.
    """
    path = fits_folder() / f"{name}{FIT}"
    try:
        data = dsr_file.to_bytes(state.get(name))
        with atomic_write.naming_errors(path, len(data)):
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write.write(path, data)
    except (OSError, dsr_file.CheckpointError) as exc:
        job.log(f"fit {name!r} could not be kept: {exc}; it is in memory, dsr_save it")
        return None
    state.unkept.pop(name).remove()
    return str(path)
