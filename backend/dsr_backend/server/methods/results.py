"""Methods about a fitted field: mesh, paint, grid, measure, compare, export."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared import messages
from pymol_dsr.shared.options import MeshOptions

from ...fields.base import Field
from ...fields.select import provenance_of
from ...geometry import metrics
from ...results import measure as measures
from ...results import vertex_motion
from ...results.export import gltf, write
from ...results.export.gltf import AnimationFrame
from ...results.mesh import Mesh, distance_grid, extract_mesh
from ...runtime.errors import RequestError
from ..job import Job
from ..replies import callers_fault
from .state import State

ARequest = TypeVar("ARequest", bound="messages.FieldRequest[Any]")


def mesh(state: State, job: Job, request: messages.Mesh) -> messages.MeshResult:
    """Mesh the surface at one time."""
    field = state.field(request.fit, request.field)
    extracted = _extract(job, field, request.time, request.mesh, request.radii)
    result = messages.MeshResult(
        time=extracted.time,
        area=extracted.area,
        volume=extracted.volume,
        islands_dropped=extracted.islands_dropped,
        expected_error=extracted.expected_error,
        extrapolated=extracted.extrapolated,
        seconds=extracted.seconds,
        points=extracted.points,
        normals=extracted.normals,
        faces=extracted.faces,
        nearest=nearest_of(extracted),
        atoms=extracted.atoms if len(extracted.atoms) else None,
    )
    if request.blend and len(extracted.atoms):
        with callers_fault():
            indices, weights = vertex_motion.atom_weights(extracted.points, extracted.atoms, request.radii)
        result = dataclasses.replace(result, neighbor_indices=indices, weights=weights)
    if request.motion:
        velocity = vertex_motion.normal_velocity(field, extracted.time, extracted.points, request.mesh.smooth)
        result = dataclasses.replace(result, velocity=velocity, rmsf=vertex_motion.rmsf(field))
    return result


def paint(state: State, job: Job, request: messages.Paint) -> messages.PaintResult:
    """Return velocities at points of a surface, or fluctuations of the atoms for no points at all."""
    field = state.field(request.fit, request.field)
    if not len(request.points):
        return messages.PaintResult(rmsf=vertex_motion.rmsf(field))
    points = np.asarray(request.points, np.float32)
    velocity = vertex_motion.normal_velocity(field, _time(job, request.time), points, request.smooth)
    return messages.PaintResult(velocity=velocity)


def grid(state: State, job: Job, request: messages.Grid) -> messages.GridResult:
    """Return signed distances on a lattice around the surface."""
    field = state.field(request.fit, request.field)
    with callers_fault():
        grid = distance_grid(field, request.time, request.resolution, cancelled=job.cancelled)
    return messages.GridResult(
        origin=tuple(float(coordinate) for coordinate in grid.origin),
        spacing=grid.spacing,
        shape=grid.values.shape,
        extrapolated=grid.extrapolated,
        expected_error=grid.expected_error,
        values=grid.values,
    )


def measure(state: State, job: Job, request: messages.Measure) -> messages.MeasureResult:
    """Measure the surface at one time."""
    field = state.field(request.fit, request.field)
    with callers_fault():
        measured = measures.measure_surface(
            field,
            request.time,
            selection=_mask(request.selection),
            pocket=_mask(request.pocket),
            resolution=request.resolution,
            radii=request.radii,
            smooth=request.smooth,
            cancelled=job.cancelled,
        )
    return messages.MeasureResult(
        time=measured.time,
        area=measured.area,
        volume=measured.volume,
        speed=measured.speed,
        selection_area=measured.selection_area,
        selection_volume=measured.selection_volume,
        pocket_volume=measured.pocket_volume,
        expected_error=measured.expected_error,
        extrapolated=measured.extrapolated,
        seconds=measured.seconds,
        atom_area=measured.atom_area,
        atom_speed=measured.atom_speed,
    )


def compare(state: State, job: Job, request: messages.Compare) -> messages.CompareResult:
    """Compare the field, or a mesh that was sent, with a true surface."""
    field = state.field(request.fit, request.field)
    with callers_fault():
        if request.points is not None and request.normals is not None and request.faces is not None:
            compared = request.points, request.normals, request.faces
        else:
            extracted = _extract(job, field, _time(job, request.time), MeshOptions(), None)
            compared = extracted.points, extracted.normals, extracted.faces
        truth = request.truth_points, request.truth_normals, request.truth_faces
        scores = metrics.GroundTruth(*truth, field.frame).score(*compared)
    return messages.CompareResult(
        iou=scores.iou, chamfer_l1=scores.chamfer_l1, chamfer_sq=scores.chamfer_sq, nc=scores.nc
    )


def export(state: State, job: Job, request: messages.Export) -> messages.FileResult:
    """Write meshes as the content of a file."""
    field = state.field(request.fit, request.field)
    frames = []
    for time in [_time(job, request.time)] if request.times is None else request.times:
        extracted = _extract(job, field, time, request.mesh, request.radii)
        colors = None if request.colors is None else _per_vertex(request.colors, extracted)
        frames.append(AnimationFrame(time, extracted.points, extracted.normals, extracted.faces, colors))
    with callers_fault():
        provenance = provenance_of(state.get(request.fit), request.field.trajectory)
        if request.times is not None:
            data = gltf.animated_glb(frames, request.fps, request.matrix, provenance)
        else:
            [frame] = frames
            data = write.to_bytes(
                frame.points,
                frame.normals,
                frame.faces,
                request.format,
                frame.colors,
                request.binary,
                request.matrix,
                provenance,
            )
    return messages.FileResult(file=np.frombuffer(data, np.uint8))


METHODS = {
    messages.Mesh: mesh,
    messages.Paint: paint,
    messages.Grid: grid,
    messages.Measure: measure,
    messages.Compare: compare,
    messages.Export: export,
}


def nearest_of(extracted: Mesh) -> NDArray[np.int32] | None:
    """Return the nearest atom of each point; None where no atoms are known."""
    return extracted.nearest if len(extracted.atoms) else None


def _extract(job: Job, field: Field, time: float, options: MeshOptions, radii: NDArray[np.float32] | None) -> Mesh:
    with callers_fault():
        return extract_mesh(
            field,
            time,
            level=options.level,
            resolution=options.resolution,
            triangles=options.triangles,
            smooth=options.smooth,
            radii=radii,
            cancelled=job.cancelled,
        )


def _time(job: Job, time: float | None) -> float:
    """Return the time of a request that may go without. Raises RequestError."""
    if time is None:
        raise RequestError("bad-request", f"{job.method} needs time as a finite number, got None")
    return time


def _mask(mask: NDArray[np.uint8] | None) -> NDArray[np.bool_] | None:
    return None if mask is None else mask != 0


def _per_vertex(colors: NDArray[np.float32], mesh: Mesh) -> NDArray[np.float32]:
    """Return colours f4[N,3] of the mesh's points from colours f4[A,3] of the atoms. Raises RequestError."""
    if not len(mesh.atoms):
        raise RequestError("bad-request", "colors were sent, but this fit has no atoms: export without colours")
    if len(colors) != len(mesh.atoms):
        raise RequestError(
            "bad-request",
            f"colors have shape {list(colors.shape)}, but the fit has {len(mesh.atoms)} atoms: send one row per atom",
        )
    return np.asarray(colors[mesh.nearest])
