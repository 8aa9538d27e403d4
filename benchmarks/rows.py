"""The benchmark's rows: which states are fitted, which are asked for, and what a user could do without a field.

Every prediction here is a mesh from PyMOL or from distance grids. PyMOL's are made once and kept as surfaces files, so
that scoring and fitting can go on elsewhere, where there is no PyMOL.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trajectories
from dsr_backend.geometry.triangle_mesh import TriangleMesh
from dsr_backend.geometry.unit_cube import UnitCube
from dsr_backend.runtime import device
from dsr_backend.surfaces import surfaces_file
from dsr_backend.surfaces.surface import Surface
from frames import PYMOL_CELLS
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pymol_dsr.shared.spacing import evenly_spaced
from pymol_dsr.shared.superpose import superpose

FITTED, BETWEEN, NEXT, LATER = "fitted", "between", "future 1–10", "future 11–20"
# States scored at the most; rows that the paper has none of get half.
MOST = 20
# PyMOL's default window is five states: with fewer it smooths nothing.
SMOOTHED_FROM = 5
# Fitted states that the straight line into the future goes along: on DIMS, more than these bring little more.
LINE = 8
# Nodes along an axis of the blended grids, over the metrics' [-1, 1]³; 95 cells are 19 times 5.
GRID_NODES, COARSE_STEP = 96, 5

HOLD = "nearest fitted state held"
HOLD_LAST = "last fitted state held"
BLENDED = "distance grids blended"
STRAIGHT = "atoms linear + PyMOL, not superposed"
SUPERPOSED = "atoms linear + PyMOL"
TYPE_3 = "atoms linear + PyMOL, `surface_type` 3"
SMOOTHED = "`smooth`, atoms linear + PyMOL"
AHEAD = "atoms straight on + PyMOL"
# The surfaces file of each way that PyMOL makes.
MADE = {SUPERPOSED: "superposed", TYPE_3: "type3", SMOOTHED: "smoothed", STRAIGHT: "straight", AHEAD: "line"}

Points = tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.integer]]


@dataclass(frozen=True)
class Row:
    """One fit of a trajectory's states, and the states that predictions are scored at, by group.

    groups: the states scored. noisy: thermal noise, so that the noisy rows' requirement holds.
    """

    name: str
    trajectory: str
    about: str
    training: tuple[int, ...]
    groups: dict[str, tuple[int, ...]]
    noisy: bool = False


def spread_states(states: Sequence[int], most_states: int) -> tuple[int, ...]:
    """At most `most` of the states, evenly spread."""
    return tuple(states[k] for k in evenly_spaced(range(len(states)), most_states))


def every_nth(name: str, step: int, last: int, most_states: int, noisy: bool = False) -> Row:
    """States 1, 1 + step, … up to `last` fitted; scored there, between them and in the 20 states after `last`.

    At most `most` states are scored of the fitted ones and of those between, and half of that in either ten after them.
    """
    trajectory = trajectories.TRAJECTORIES[name]
    training = tuple(range(1, last + 1, step))
    between = tuple(state for state in range(1, training[-1]) if state not in training)
    groups = {
        FITTED: training,
        BETWEEN: between,
        NEXT: tuple(range(last + 1, min(last + 10, trajectory.states) + 1)),
        LATER: tuple(range(last + 11, min(last + 20, trajectory.states) + 1)),
    }
    ordinal = {2: "second", 3: "third"}[step]
    ahead = (NEXT, LATER)
    scored = {
        k: spread_states(states, most_states // 2 if k in ahead else most_states)
        for k, states in groups.items()
        if states
    }
    return Row(name, name, f"every {ordinal} of {last}", training, scored, noisy)


def gaps(name: str, trajectory: str, training: Sequence[int]) -> Row:
    """Few states fitted; scored there and at a quarter, half and three quarters of every gap."""
    pairs = list(itertools.pairwise(training))
    between = tuple(a + round(fraction * (b - a)) for a, b in pairs for fraction in (0.25, 0.5, 0.75))
    listed = ", ".join(map(str, training)) if len(training) < 5 else f"{training[0]}, {training[1]}, …, {training[-1]}"
    return Row(name, trajectory, f"states {listed}", tuple(training), {FITTED: tuple(training), BETWEEN: between})


ROWS = {
    row.name: row
    for row in (
        every_nth("dims", 2, 80, MOST),
        every_nth("smooth", 2, 79, MOST),
        every_nth("froda", 3, 120, MOST),
        every_nth("rhodopsin", 2, 40, MOST // 2),
        every_nth("gpcr", 2, 80, MOST // 2, noisy=True),
        every_nth("trpcage", 2, 150, MOST // 2, noisy=True),
        every_nth("trpcage450", 2, 140, MOST // 2, noisy=True),
        every_nth("villin", 2, 140, MOST // 2, noisy=True),
        every_nth("villin450", 2, 140, MOST // 2, noisy=True),
        every_nth("trpzip2", 2, 80, MOST // 2, noisy=True),
        gaps("dims12", "dims", range(1, 80, 12)),
        gaps("dims26", "dims", range(1, 80, 26)),
        gaps("dims78", "dims", (1, 79)),
    )
}


def quick(row: Row) -> Row:
    """A small row of the same kind: to see that all works, not to read figures off."""
    if row.name not in trajectories.TRAJECTORIES:
        return replace(row, groups={group: spread_states(states, 2) for group, states in row.groups.items()})
    step = row.training[1] - row.training[0]
    return every_nth(row.name, step, 8 * step, 4, row.noisy)


def nearest(state: int, training: Sequence[int]) -> int:
    """The fitted state that is held at `state`: the nearest, the earlier of two."""
    return min(training, key=lambda fitted_state: (abs(fitted_state - state), fitted_state))


def neighbours(state: int, training: Sequence[int]) -> tuple[int, int, float]:
    """The fitted states before and after `state`, and how far it is between them, 0 to 1."""
    before = max(fitted_state for fitted_state in training if fitted_state < state)
    after = min(fitted_state for fitted_state in training if fitted_state > state)
    return before, after, (state - before) / (after - before)


# PyMOL's surfaces --------------------------------------------------------------------------------------------


def surfaces_path(folder: Path, name: str) -> Path:
    """Return the path of a surfaces file: a `.npz` of version 0.2 until there is a `.safetensors`."""
    path, old = folder / f"{name}.safetensors", folder / f"{name}.npz"
    return old if old.exists() and not path.exists() else path


def prepare(row: Row, folder: Path, data: Path | None, cache: Path) -> None:
    """PyMOL's surfaces of the row's states, and of the atoms that the baselines put between and after them.

    Written into `folder` as surfaces files; those that hold these states already stay. data, cache: as in
    `trajectories.load`.
    """
    between = row.groups[BETWEEN]
    ahead = [*row.groups.get(NEXT, ()), *row.groups.get(LATER, ())]
    states_by_name: dict[str, Sequence[int]] = dict.fromkeys(("straight", "superposed", "type3"), between)
    states_by_name["truth"] = sorted({*row.training, *between, *ahead})
    if len(row.training) >= SMOOTHED_FROM:
        states_by_name["smoothed"] = between
    if ahead:
        states_by_name["line"] = ahead
    note = folder / "made.json"
    recorded: dict[str, list[int]] = json.loads(note.read_text()) if note.exists() else {}
    missing = [name for name, states in states_by_name.items() if recorded.get(name) != list(states)]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    import pymol2

    from pymol_dsr.surfaces import extract
    from pymol_dsr.surfaces.workers import compute_surfaces_at

    session = pymol2.PyMOL()
    session.start()
    try:
        session.cmd.feedback("disable", "all", "everything")
        trajectories.load(session.cmd, row.trajectory, data, cache)
        source = extract.read_source(row.trajectory, f"1-{states_by_name['truth'][-1]}", _self=session.cmd)
        atoms = {state: xyz.astype(np.float64) for state, xyz in source.coordinates.items()}
        carbons: list[int] = []
        session.cmd.iterate(f"{row.trajectory} and name CA", "found.append(index)", space={"found": carbons})
        smooth = smoothed_atoms(session.cmd, row, atoms) if "smoothed" in missing else {}
    finally:
        session.stop()
    atoms_at: dict[str, Callable[[int], NDArray[np.float64]]] = {
        "truth": lambda state: atoms[state],
        "straight": lambda state: straight_atoms(row, atoms, state),
        "superposed": lambda state: superposed_atoms(row, atoms, state),
        "type3": lambda state: superposed_atoms(row, atoms, state),
        "smoothed": lambda state: smooth[state],
        "line": lambda state: atoms_ahead(row, atoms, state),
    }
    threads = device.limit_threads()
    for name in missing:
        settings = PYMOL_CELLS | ({"surface_type": "3"} if name == "type3" else {})
        configured = replace(source, settings={**source.settings, **settings})
        frames = [(float(state), atoms_at[name](state).astype(np.float32)) for state in states_by_name[name]]
        started = time.perf_counter()
        results = sorted(compute_surfaces_at(configured, frames, threads), key=lambda surface: surface.state)
        seconds = (time.perf_counter() - started) * min(threads, len(results)) / len(results)
        meta: dict[str, Any] = {"object": row.trajectory, "pymol_seconds": seconds}
        if name == "truth":
            meta |= {"atoms": len(source.atoms), "step_rmsd": step_rmsd(atoms, np.array(carbons) - 1)}
        surfaces_file.write_surfaces_file(
            folder / f"{name}.safetensors",
            [Surface(s.state, s.points, s.normals, s.faces, s.atoms) for s in results],
            meta,
        )
        recorded[name] = list(states_by_name[name])
        note.write_text(json.dumps(recorded))


def step_rmsd(atoms: dict[int, NDArray[np.float64]], chosen: NDArray[np.integer]) -> float:
    """Mean RMSD in Å between consecutive states f8[A,3] after superposition, over the chosen atoms i[N]."""
    results = []
    for state in sorted(atoms)[:-1]:
        present, following = atoms[state][chosen], atoms[state + 1][chosen]
        rotation, translation = superpose(following, present)
        results.append(np.sqrt(((following @ rotation.T + translation - present) ** 2).sum(1).mean()))
    return float(np.mean(results))


def straight_atoms(row: Row, atoms: dict[int, NDArray[np.float64]], state: int) -> NDArray[np.float64]:
    """Atoms f8[A,3] on straight lines, in the scene, between the fitted states before and after."""
    before, after, fraction = neighbours(state, row.training)
    return (1.0 - fraction) * atoms[before] + fraction * atoms[after]


def superposed_atoms(row: Row, atoms: dict[int, NDArray[np.float64]], state: int) -> NDArray[np.float64]:
    """The same after superposing the two fitted states; the molecule's own turn is then put back at its share."""
    before, after, fraction = neighbours(state, row.training)
    turns, superposed = _superposed([atoms[before], atoms[after]], atoms[before])
    mixed = (1.0 - fraction) * superposed[0] + fraction * superposed[1]
    return _turned_back(mixed, turns, fraction) + straight_atoms(row, atoms, state).mean(0)


def smoothed_atoms(cmd: Any, row: Row, atoms: dict[int, NDArray[np.float64]]) -> dict[int, NDArray[np.float64]]:
    """Atoms f8[A,3] at the states between, by what PyMOL offers: all fitted states superposed, `smooth` with its
    defaults, straight lines between; then turned as the molecule is there.
    """
    from pymol_dsr.surfaces import extract

    middle = atoms[row.training[len(row.training) // 2]]
    turns, superposed = _superposed([atoms[state] for state in row.training], middle)
    cmd.create("_fitted", row.trajectory, 1, 1)
    for number, xyz in enumerate(superposed, 1):
        cmd.load_coordset(xyz.tolist(), "_fitted", number)
    cmd.smooth("_fitted", pbc=0)
    smooth = extract.read_source("_fitted", _self=cmd).coordinates
    cmd.delete("_fitted")
    results = {}
    for state in row.groups[BETWEEN]:
        before, after, fraction = neighbours(state, row.training)
        pair = [row.training.index(before), row.training.index(after)]
        first, second = (smooth[k + 1].astype(np.float64) for k in pair)
        mixed = (1.0 - fraction) * first + fraction * second
        results[state] = _turned_back(mixed, turns[pair], fraction) + straight_atoms(row, atoms, state).mean(0)
    return results


def _superposed(
    states: Sequence[NDArray[np.float64]], fixed: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rotations f8[S,3,3] of states onto another one, and their atoms then, about the centre, f8[S,A,3]."""
    turns = np.stack([superpose(xyz, fixed)[0] for xyz in states])
    centred = np.stack([xyz - xyz.mean(0) for xyz in states])
    return turns, np.einsum("sai,sji->saj", centred, turns)


def _turned_back(superposed: NDArray[np.float64], turns: NDArray[np.float64], fraction: float) -> NDArray[np.float64]:
    """Superposed atoms f8[A,3] turned back into the scene, at a share of the way between two turns f8[2,3,3]."""
    rotation_vector = Rotation.from_matrix(turns[1] @ turns[0].T).as_rotvec()
    return superposed @ (Rotation.from_rotvec(fraction * rotation_vector).as_matrix() @ turns[0])


def atoms_ahead(row: Row, atoms: dict[int, NDArray[np.float64]], state: int) -> NDArray[np.float64]:
    """Atoms f8[A,3] that go straight on from the last fitted state, at the speed of the last few, superposed on it."""
    recent = np.array(row.training[-LINE:], np.float64)
    last = atoms[row.training[-1]]
    _, superposed = _superposed([atoms[int(fitted_state)] for fitted_state in recent], last)
    times = recent - recent.mean()
    speed = np.einsum("s,sai->ai", times, superposed) / (times @ times)
    return last + (state - recent[-1]) * speed


# Distance grids ----------------------------------------------------------------------------------------------


def blended(first: TriangleMesh, second: TriangleMesh, fraction: float, frame: UnitCube) -> Points:
    """Where a linear blend of two surfaces' signed distances is 0, on 96³ nodes over [-1, 1]³: points, normals, faces.

    The distances at the nodes are exact wherever the blend may be near 0, and interpolated from a coarser grid
    elsewhere, which leaves the blend's surface as it is.
    """
    # A bare machine with a GPU, which only reads surfaces, may lack it.
    from skimage.measure import marching_cubes

    spacing = 2.0 / (GRID_NODES - 1) / frame.scale
    low = frame.centre - 1.0 / frame.scale

    def blend(nodes: NDArray[np.integer]) -> torch.Tensor:
        x = torch.as_tensor(low + spacing * nodes, dtype=torch.float32)
        return (1.0 - fraction) * first.signed_distance(x) + fraction * second.signed_distance(x)

    coarse = np.stack(np.meshgrid(*[np.arange(0, GRID_NODES, COARSE_STEP)] * 3, indexing="ij"), 3)
    values = blend(coarse.reshape(-1, 3)).reshape(1, 1, *coarse.shape[:3])
    size = (GRID_NODES,) * 3
    fine = torch.nn.functional.interpolate(values, size=size, mode="trilinear", align_corners=True)[0, 0]
    near_zero = torch.nonzero(fine.abs() < COARSE_STEP * spacing)
    fine[tuple(near_zero.T)] = blend(near_zero.numpy())
    volume = fine.numpy()
    if not volume.min() < 0.0 < volume.max():
        return np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    points, faces, normals, _ = marching_cubes(volume, 0.0, gradient_direction="descent")
    return low + spacing * points, normals, faces
