"""PyMOL's surface of one object, state after state, in a process of its own.

It runs with the same Python and PyMOL as the window, so that a long or crashing surface leaves the window alone and
the user's scene stays untouched. Requests come on stdin as frames (shared/frames.py), each is answered on stdout:

- ``session`` {object, settings, route} with the arrays session u1 (see object_session.py) and atoms i4[A] (indices from
  0 of the atoms to keep);
- ``surface`` with atoms f4[A,3], answered with points f4[N,3], normals f4[N,3] and faces i4[M,3];
- ``smooth`` with atoms f4[S,A,3], answered with atoms f4[S,A,3].
"""

from __future__ import annotations

import gc
import io
import sys
import time
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import pymol2
from numpy.typing import NDArray

from ..shared import frames
from ..shared.frames import Arrays, Header
from ..shared.mesh import Mesh
from .coordinates import put_coordinates
from .object_session import read_json_session
from .source import Coordinates

# Where PyMOL's cache keeps a surface, and the shortest list that is one.
CACHED_SURFACE, LEAST_ITEMS = 3, 5
# A normal shorter than this was left empty by PyMOL; the others have length 1.
LEAST_NORMAL = 0.5
# Å; widths of the cells that PyMOL sorts points into. It would take up to 100 along the longest side, and their lists
# a quarter of a surface's time (AdK). Wider ones decide otherwise between near points (IoU 0.9998 with the surface of
# PyMOL's own cells), so molecules with a side shorter than SMALL (Å), which take no time, keep PyMOL's.
CELL_WIDTH, PYMOL_CELLS = 1.25, 100
SMALL = 30.0
# Å from an atom to PyMOL's farthest points around it: its radius and that of the solvent.
POINT_REACH = 3.5


class SurfaceScene:
    """The scene of the worker's own PyMOL, which shows one object as a surface."""

    def __init__(self) -> None:
        self._pymol = pymol2.PyMOL()
        self._pymol.start()
        self._cmd = self._pymol.cmd
        self._cmd.feedback("disable", "all", "everything")
        self._object = self._route = ""
        self._chooses_cells = True

    def open(
        self, name: str, session: bytes, atoms: NDArray[np.int32], settings: Mapping[str, str], route: str
    ) -> None:
        """Set the scene up: the object `name` of a PyMOL session, with the atoms i4[A] (indices from 0) only.

        settings: those of the object, by name; with hash_max among them, that holds for every surface. route: how
        triangles are read from PyMOL, `cache` or `idtf`.
        """
        cmd = self._cmd
        self._object, self._route = name, route
        self._chooses_cells = "hash_max" not in settings
        cmd.set_session(read_json_session(session), partial=1, quiet=1)
        for key, value in settings.items():
            cmd.set(key, value)
            # One of its own, which came with the session, would hide it.
            cmd.unset(key, name)
        # create() would lose the settings of the object, so the atoms that are not wanted go instead.
        cmd.select_list("_dsr", name, [int(index) + 1 for index in atoms], mode="index")
        cmd.remove(f"{name} and not _dsr")
        cmd.delete("_dsr")
        cmd.flag("exfoliate", name, "clear")
        cmd.set_object_ttt(name, np.eye(4).ravel().tolist())
        cmd.set("matrix_mode", 0)
        cmd.set("matrix_mode", 0, name)
        cmd.set("state", 1)
        cmd.set("state", 1, name)
        cmd.set("all_states", 0, name)
        cmd.set("cache_mode", 2)
        cmd.set("geometry_export_mode", 1)
        cmd.set("transparency", 0, name)
        cmd.enable(name)
        cmd.show_as("surface", name)
        # One colour: the text route writes a material per colour.
        cmd.color("white", name)

    def surface(self, atoms: Coordinates) -> tuple[Mesh, str]:
        """Compute the surface of atoms f4[A,3]; also returns the route it came by."""
        put_coordinates(self._object, 1, atoms, self._cmd)
        if self._chooses_cells:
            self._cmd.set("hash_max", cells_along(atoms))
        if self._route == "cache":
            self._pymol._cache = []
            self._pymol._cache_memory = 0
            # Prints nothing for surfaces, so it is the cheapest way to have one built.
            self._cmd.get_vrml(1)
            mesh = mesh_from_cache(self._pymol._cache)
            if mesh is not None:
                return with_unit_normals(mesh), "cache"
        return with_unit_normals(mesh_from_idtf(self._cmd.get_idtf()[1])), "idtf"

    def smooth(self, coordinates: Coordinates) -> Coordinates:
        """Apply PyMOL's own `smooth` with its defaults to atoms f4[S,A,3] of S states."""
        cmd = self._cmd
        for state, atoms in enumerate(coordinates, 1):
            cmd.create("_smooth", self._object, 1, state)
            put_coordinates("_smooth", state, atoms, cmd)
        cmd.smooth("_smooth")
        positions: list[tuple[float, float, float]] = []
        for state in range(1, len(coordinates) + 1):
            cmd.iterate_state(state, "_smooth", "positions.append((x, y, z))", space={"positions": positions})
        cmd.delete("_smooth")
        return np.array(positions, np.float32).reshape(coordinates.shape)


def cells_along(atoms: Coordinates) -> int:
    """Return the most cells along the longest side of a surface around atoms f4[A,3] (Å), for `hash_max`."""
    side = float(np.ptp(atoms, axis=0).max())
    if side < SMALL:
        return PYMOL_CELLS
    return min(round((side + 2.0 * POINT_REACH) / CELL_WIDTH), PYMOL_CELLS)


def mesh_from_cache(cache: list[Any]) -> Mesh | None:
    """Take the last surface out of PyMOL's cache; None where this PyMOL keeps it differently."""
    if not cache or len(cache[-1]) <= CACHED_SURFACE:
        return None
    surface = cache[-1][CACHED_SURFACE]
    if surface is None or len(surface) < LEAST_ITEMS:
        return None
    point_count, points, normals, face_count, corners = surface[:LEAST_ITEMS]
    if not face_count:
        return None
    # The lists may be longer than what they hold, and a point may belong to no triangle.
    faces = np.array(corners[: 3 * face_count], np.int32).reshape(-1, 3)
    used = np.bincount(faces.ravel(), minlength=point_count) > 0
    return Mesh(
        np.array(points[: 3 * point_count], np.float32).reshape(-1, 3)[used],
        np.array(normals[: 3 * point_count], np.float32).reshape(-1, 3)[used],
        (np.cumsum(used) - 1)[faces].astype(np.int32),
    )


def mesh_from_idtf(text: str) -> Mesh:
    """Read the triangles of PyMOL's IDTF export; a point with several normals gets their mean."""
    points = _idtf_block(text, "MODEL_POSITION_LIST", np.float32)
    normals = _idtf_block(text, "MODEL_NORMAL_LIST", np.float32)
    faces = _idtf_block(text, "MESH_FACE_POSITION_LIST", np.int32)
    faces_of_normals = _idtf_block(text, "MESH_FACE_NORMAL_LIST", np.int32)
    mean = np.zeros_like(points)
    np.add.at(mean, faces.ravel(), normals[faces_of_normals.ravel()])
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    return Mesh(points, mean, faces)


def with_unit_normals(mesh: Mesh) -> Mesh:
    """Give all normals length 1; one that PyMOL left empty is computed from the faces around its point."""
    points, faces, normals = mesh.points, mesh.faces, mesh.normals.astype(np.float64)
    length = np.linalg.norm(normals, axis=1)
    if (length < LEAST_NORMAL).any():
        corners = points[faces].astype(np.float64)
        face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        sums = np.zeros_like(normals)
        np.add.at(sums, faces.ravel(), np.repeat(face_normals, 3, axis=0))
        normals = np.where(length[:, None] < LEAST_NORMAL, sums, normals)
        length = np.linalg.norm(normals, axis=1)
    return Mesh(points, (normals / np.maximum(length, 1e-30)[:, None]).astype(np.float32), faces)


def _idtf_block(text: str, block: str, dtype: type[Any]) -> NDArray[Any]:
    """Read the numbers of a block as [n,3]."""
    start = text.find(block + " {")
    if start < 0:
        return np.zeros((0, 3), dtype)
    start = text.index("{", start) + 1
    return np.array(text[start : text.index("}", start)].split(), dtype).reshape(-1, 3)


def answer(scene: SurfaceScene, request: Header, arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
    """Carry a request out; returns the result and the arrays of the reply."""
    if request["method"] == "session":
        params = request["params"]
        scene.open(params["object"], arrays["session"].tobytes(), arrays["atoms"], params["settings"], params["route"])
        return {}, {}
    if request["method"] == "smooth":
        return {}, {"atoms": scene.smooth(arrays["atoms"])}
    start = time.perf_counter()
    mesh, route = scene.surface(arrays["atoms"])
    return {"route": route, "seconds": round(time.perf_counter() - start, 4)}, mesh.to_arrays()


def run(requests: io.BufferedReader, replies: BinaryIO) -> int:
    """Answer requests until their stream ends; returns the exit status."""
    scene = SurfaceScene()
    # PyMOL's own objects stay, and PyMOL's long lists make Python look through them again and again.
    gc.freeze()
    # cache_mode 2 makes some PyMOLs report a TypeError per surface through here; the surface is whole.
    sys.excepthook = lambda *_: None
    while (frame := frames.read_frame(requests)) is not None:
        request, arrays = frame
        reply: dict[str, Any] = {"kind": "reply", "id": request["id"]}
        try:
            reply["result"], out = answer(scene, request, arrays)
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            reply, out = {"kind": "error", "id": request["id"], "code": "internal", "message": message}, {}
        frames.write_frame(replies, reply, out)
    return 0
