"""PyMOL's surface of one object, state after state, in a process of its own.

Started by extract.py with the same Python and PyMOL as the window, so that a long or a crashing surface
leaves the window alone and nothing of the user's scene is touched. Frames (see protocol.py) on stdin and
stdout:

``session`` {object, settings, route} + arrays session u1 (PyMOL session of one state, JSON), atoms i4[A]
(indices from 0 of the atoms to keep), then ``surface`` {key} + atoms f4[A,3], each answered with
points f4[N,3], normals f4[N,3], faces i4[M,3], and ``smooth`` + atoms f4[S,A,3], answered with atoms f4[S,A,3].

What is bytes in a session is {"bytes": base64} in that JSON.
"""

from __future__ import annotations

import base64
import importlib
import importlib.util
import json
import os
import sys
import time
from types import ModuleType
from typing import Any

import numpy as np


def load_protocol() -> ModuleType:
    """The frames of the wire, from the folder `shared` beside this one, whatever name the package has in the parent."""
    folder = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "shared")
    spec = importlib.util.spec_from_file_location(
        "dsr_shared", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} can't be loaded")
    package = importlib.util.module_from_spec(spec)
    sys.modules["dsr_shared"] = package
    spec.loader.exec_module(package)
    return importlib.import_module("dsr_shared.frames")


def open_object(pymol: Any, params: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Set the scene up: one object with the kept atoms only, shown as a surface."""
    cmd = pymol.cmd
    name = params["object"]
    cmd.set_session(json.loads(arrays["session"].tobytes(), object_hook=_bytes), partial=1, quiet=1)
    for key, value in params["settings"].items():
        cmd.set(key, value)
    # create() would lose the settings of the object, so the atoms that are not wanted go instead.
    keep = [int(i) + 1 for i in arrays["atoms"]]
    cmd.select_list("_dsr", name, keep, mode="index")
    cmd.remove(f"{name} and not _dsr")
    cmd.delete("_dsr")
    cmd.flag("exfoliate", name, "clear")
    cmd.set_object_ttt(name, [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1])
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


def _bytes(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["bytes"]) if list(value) == ["bytes"] else value


def surface(pymol: Any, name: str, atoms: np.ndarray, route: str) -> tuple[dict[str, np.ndarray], str]:
    """atoms f4[A,3] -> {points f4[N,3], normals f4[N,3], faces i4[M,3]}, and the route they came by."""
    cmd = pymol.cmd
    put_coordinates(cmd, name, 1, atoms)
    if route == "cache":
        pymol._cache = []
        pymol._cache_memory = 0
        # Prints nothing for surfaces, so it is the cheapest way to have one built.
        cmd.get_vrml(1)
        mesh = from_cache(pymol._cache)
        if mesh is not None:
            return with_unit_normals(mesh), "cache"
    return with_unit_normals(from_idtf(cmd.get_idtf()[1])), "idtf"


def put_coordinates(cmd: Any, name: str, state: int, atoms: np.ndarray) -> None:
    """As extract.put_coordinates, which this process can't import."""
    positions = iter(atoms.tolist())
    cmd.alter_state(state, name, "(x, y, z) = next(positions)", space={"positions": positions, "next": next})


def smooth(pymol: Any, name: str, frames: np.ndarray) -> np.ndarray:
    """atoms f4[S,A,3] of S states -> the same after PyMOL's own `smooth` with its defaults."""
    cmd = pymol.cmd
    for state, atoms in enumerate(frames, 1):
        cmd.create("_smooth", name, 1, state)
        put_coordinates(cmd, "_smooth", state, atoms)
    cmd.smooth("_smooth")
    found: list[tuple[float, float, float]] = []
    for state in range(1, len(frames) + 1):
        cmd.iterate_state(state, "_smooth", "found.append((x, y, z))", space={"found": found})
    cmd.delete("_smooth")
    return np.array(found, np.float32).reshape(frames.shape)


def from_cache(cache: list[Any]) -> dict[str, np.ndarray] | None:
    """The last surface in PyMOL's cache, or None where this PyMOL keeps it differently."""
    if not cache or len(cache[-1]) < 4 or cache[-1][3] is None or len(cache[-1][3]) < 5:
        return None
    n, v, vn, nt, t = cache[-1][3][:5]
    if not nt:
        return None
    # The lists may be longer than what they hold.
    points = np.array(v[: 3 * n], np.float32).reshape(-1, 3)
    normals = np.array(vn[: 3 * n], np.float32).reshape(-1, 3)
    faces = np.array(t[: 3 * nt], np.int32).reshape(-1, 3)
    used, inverse = np.unique(faces, return_inverse=True)
    return {
        "points": points[used],
        "normals": normals[used],
        "faces": inverse.reshape(faces.shape).astype(np.int32),
    }


def with_unit_normals(mesh: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same mesh with normals of length 1; a normal that PyMOL left empty is made from the faces around
    it.
    """
    points, normals, faces = mesh["points"], mesh["normals"].astype(np.float64), mesh["faces"]
    length = np.linalg.norm(normals, axis=1)
    if (length < 0.5).any():
        corners = points[faces].astype(np.float64)
        flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        around = np.zeros_like(normals)
        np.add.at(around, faces.ravel(), np.repeat(flat, 3, axis=0))
        normals = np.where(length[:, None] < 0.5, around, normals)
        length = np.linalg.norm(normals, axis=1)
    return {**mesh, "normals": (normals / np.maximum(length, 1e-30)[:, None]).astype(np.float32)}


def from_idtf(text: str) -> dict[str, np.ndarray]:
    """The triangles in PyMOL's IDTF export, positions shared, normals averaged where a position has
    several.
    """
    points = _numbers(text, "MODEL_POSITION_LIST", np.float32)
    normals = _numbers(text, "MODEL_NORMAL_LIST", np.float32)
    faces = _numbers(text, "MESH_FACE_POSITION_LIST", np.int32)
    of_normals = _numbers(text, "MESH_FACE_NORMAL_LIST", np.int32)
    summed = np.zeros_like(points)
    np.add.at(summed, faces.ravel(), normals[of_normals.ravel()])
    summed /= np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)
    return {"points": points, "normals": summed, "faces": faces}


def _numbers(text: str, block: str, dtype: Any) -> np.ndarray:
    start = text.find(block + " {")
    if start < 0:
        return np.zeros((0, 3), dtype)
    start = text.index("{", start) + 1
    return np.array(text[start : text.index("}", start)].split(), dtype).reshape(-1, 3)


def main() -> int:
    """Answer requests until stdin ends."""
    # PyMOL and its file readers print to fd 1; only frames may go down the pipe.
    frames_in = os.fdopen(os.dup(0), "rb")
    frames_out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    protocol = load_protocol()

    import pymol2

    pymol = pymol2.PyMOL()
    pymol.start()
    pymol.cmd.feedback("disable", "all", "everything")
    # cache_mode 2 makes some PyMOLs report a TypeError per surface through here; the surface is whole.
    sys.excepthook = lambda *_: None
    name = route = ""
    while True:
        frame = protocol.read_frame(frames_in)
        if frame is None:
            return 0
        header, arrays = frame
        params = header["params"]
        answer: dict[str, Any] = {"kind": "reply", "id": header["id"], "result": {}}
        out: dict[str, np.ndarray] = {}
        try:
            if header["method"] == "session":
                name, route = params["object"], params["route"]
                open_object(pymol, params, arrays)
            elif header["method"] == "smooth":
                out = {"atoms": smooth(pymol, name, arrays["atoms"])}
            else:
                began = time.perf_counter()
                out, used = surface(pymol, name, arrays["atoms"], route)
                answer["result"] = {"route": used, "seconds": round(time.perf_counter() - began, 4)}
        except Exception as error:
            answer = {
                "kind": "error",
                "id": header["id"],
                "code": "internal",
                "message": f"{type(error).__name__}: {error}",
            }
            out = {}
        protocol.write_frame(frames_out, answer, out)


if __name__ == "__main__":
    # This folder holds modules with everyday names; they must not stand in for anyone's.
    sys.path.pop(0)
    sys.exit(main())
