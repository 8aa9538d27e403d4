"""What a fitted surface measures at one time: areas, volumes, how fast it moves, and the pocket between atoms."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError, cKDTree

from ..fields.base import Field, FieldAtTime
from ..geometry.lattice import Lattice
from ..runtime.errors import Cancelled
from . import mesh
from .mesh import extract_mesh
from .vertex_motion import normal_velocity

# Cells along the edge of a block: a block is looked at once, and its cells only where they may count.
BLOCK = 4
# f is a distance but for the fit's errors, so across a block it may change by this much more than its size says.
SLACK = 1.5
# Cells that are looked at together.
CHUNK = 2**18

Near = Callable[[NDArray[np.float32], float], NDArray[np.bool_]]
Share = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Measures:
    """A surface at one time.

    area Å²; volume Å³; speed: mean of |normal velocity| over the area, Å per state; atom_area f4[A] Å²: of the surface
    nearest to each atom's sphere, and atom_speed f4[A], its speed (0 without any), both empty where no atoms are
    known; selection_area, selection_volume and pocket_volume: None where not asked for; expected_error Å.
    """

    time: float
    area: float
    volume: float
    speed: float
    atom_area: NDArray[np.float32]
    atom_speed: NDArray[np.float32]
    selection_area: float | None
    selection_volume: float | None
    pocket_volume: float | None
    expected_error: float
    extrapolated: bool
    seconds: float


def measure_surface(
    field: Field,
    time: float,
    *,
    selection: NDArray[np.bool_] | None = None,
    pocket: NDArray[np.bool_] | None = None,
    resolution: float = 0.5,
    radii: NDArray[np.float32] | None = None,
    smooth: float | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Measures:
    """Measure the surface at `time`, on a mesh and on cells of `resolution` Å.

    selection bool[A]: atoms whose share of the area and of the volume inside is measured, that of which their spheres
    are the nearest. pocket bool[A]: atoms that line a pocket; its volume is the space outside the surface within the
    convex hull of their centres at that time. radii f4[A] in Å (none: all alike); smooth as in `mesher.mesh`. Raises
    ValueError for what cannot be measured, and Cancelled.
    """
    started = clock.perf_counter()
    mesh = extract_mesh(field, time, resolution=resolution, smooth=smooth, radii=radii, cancelled=cancelled)
    for name, mask in (("selection", selection), ("pocket", pocket)):
        if mask is not None:
            _check(name, mask, len(mesh.atoms))
    if cancelled():
        raise Cancelled("cancelled while measuring")
    areas = _vertex_areas(mesh.points, mesh.faces)
    moving = areas * np.abs(normal_velocity(field, time, mesh.points, smooth))
    count = len(mesh.atoms)
    atom_area = np.bincount(mesh.nearest, areas if count else None, count)
    atom_speed = np.bincount(mesh.nearest, moving if count else None, count) / np.maximum(atom_area, 1e-12)
    part = field.at(time, smooth)
    return Measures(
        time=float(time),
        area=mesh.area,
        volume=mesh.volume,
        speed=float(moving.sum() / areas.sum()) if len(areas) else 0.0,
        atom_area=atom_area.astype(np.float32),
        atom_speed=atom_speed.astype(np.float32),
        selection_area=None if selection is None else float(atom_area[selection].sum()),
        selection_volume=None
        if selection is None
        else _nearest_volume(part, mesh.atoms, selection, radii, resolution, cancelled),
        pocket_volume=None if pocket is None else _pocket_volume(part, mesh.atoms[pocket], resolution, cancelled),
        expected_error=mesh.expected_error,
        extrapolated=mesh.extrapolated,
        seconds=clock.perf_counter() - started,
    )


def _check(name: str, mask: NDArray[np.bool_], count: int) -> None:
    if not count:
        raise ValueError(f"{name}: this fit has no atoms; fit surfaces that come with theirs")
    if mask.shape != (count,):
        raise ValueError(f"{name} has shape {list(mask.shape)}, the fit has {count} atoms")
    if not mask.any():
        raise ValueError(f"{name}: it holds none of the fit's {count} atoms")


def _vertex_areas(points: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float64]:
    """Area f8[N] in Å² of each vertex: a third of that of its triangles."""
    a, b, c = (points[faces[:, k]].astype(np.float64) for k in range(3))
    thirds = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6.0
    return np.asarray(np.bincount(faces.ravel(), np.repeat(thirds, 3), len(points)), np.float64)


def _nearest_volume(
    part: FieldAtTime,
    atoms: NDArray[np.float32],
    selection: NDArray[np.bool_],
    radii: NDArray[np.float32] | None,
    resolution: float,
    cancelled: Callable[[], bool],
) -> float:
    """Å³ inside the surface where the nearest sphere is of a selected atom."""
    every, chosen = cKDTree(atoms), cKDTree(atoms[selection])
    # Of two spheres that are as near, one's centre may be this much farther.
    spread = 0.0 if radii is None else float(np.ptp(radii))

    def near(x: NDArray[np.float32], reach: float) -> NDArray[np.bool_]:
        return np.asarray(chosen.query(x)[0] <= every.query(x)[0] + 2.0 * reach + spread)

    def share(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return selection[mesh.nearest_atoms(torch.from_numpy(x), atoms, radii)[0].numpy()].astype(np.float32)

    return _volume(part, part.box, resolution, -1.0, near, share, cancelled)


def _pocket_volume(
    part: FieldAtTime, lining: NDArray[np.float32], resolution: float, cancelled: Callable[[], bool]
) -> float:
    """Å³ outside the surface within the convex hull of the atoms f4[K,3] Å."""
    try:
        hull = ConvexHull(lining.astype(np.float64))
    except (QhullError, ValueError) as error:
        raise ValueError(
            f"pocket: {len(lining)} {'atom encloses' if len(lining) == 1 else 'atoms enclose'} no space at state "
            f"{part.time:g}; choose at least 4 that do not lie in a plane"
        ) from error
    planes = hull.equations.astype(np.float32)

    def depth(x: NDArray[np.float32]) -> NDArray[np.float32]:
        # Positive within; facet by facet, as a hull of many atoms has hundreds.
        inside = np.full(len(x), np.inf, np.float32)
        for plane in planes:
            np.minimum(inside, -(x @ plane[:3] + plane[3]), out=inside)
        return inside

    def near(x: NDArray[np.float32], reach: float) -> NDArray[np.bool_]:
        return depth(x) > -reach

    def share(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip(0.5 + depth(x) / resolution, 0.0, 1.0)

    return _volume(part, np.stack([lining.min(0), lining.max(0)]), resolution, 1.0, near, share, cancelled)


def _volume(
    part: FieldAtTime,
    box: NDArray[np.float32],
    resolution: float,
    sign: float,
    near: Near,
    share: Share,
    cancelled: Callable[[], bool],
) -> float:
    """Å³ in the box f4[2,3] where f has that sign, each cell of `resolution` Å counting as much as its `share` says.

    near(x, reach): whether anything within `reach` Å of x may have a share. Cells that the surface cuts count by how
    far it is from their middle.
    """
    blocks = Lattice.around(box[0], box[1], BLOCK * resolution)
    # Half the diagonal of a block.
    reach = 0.5 * 3.0**0.5 * blocks.spacing
    steps = (np.arange(BLOCK, dtype=np.float32) - 0.5 * (BLOCK - 1)) * np.float32(resolution)
    offsets = torch.as_tensor(np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3))
    offsets = offsets.to(part.device)
    total = 0.0
    for start in range(0, blocks.size, CHUNK):
        if cancelled():
            raise Cancelled("cancelled while measuring")
        middles = blocks.nodes(torch.arange(start, min(start + CHUNK, blocks.size), device=part.device))
        middles = middles[torch.as_tensor(near(middles.cpu().numpy(), reach), device=part.device)]
        middles = middles[sign * part.distance(middles) > -SLACK * reach]
        for some in middles.split(CHUNK // len(offsets)):
            if cancelled():
                raise Cancelled("cancelled while measuring")
            cells = (some[:, None] + offsets).reshape(-1, 3)
            filled = (0.5 + sign * part.distance(cells) / resolution).clamp(0.0, 1.0)
            counts = filled > 0.0
            shares = share(cells[counts].cpu().numpy())
            total += float(shares.astype(np.float64) @ filled[counts].cpu().numpy())
    return total * resolution**3
