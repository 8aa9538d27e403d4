"""Meshes as files that other programs read: PLY, OBJ, STL, GLB and npz, in Å."""

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import __version__

FORMATS = ("ply", "obj", "stl", "glb", "npz")
FPS = 30.0
"""Frames per second of an animated GLB where none is named, as PyMOL plays movies."""

_RIGID_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Frame:
    """The mesh at one time, as for `to_bytes`: points [N,3] Å, normals [N,3], faces [M,3], colors [N,3] or None."""

    time: float
    points: ArrayLike
    normals: ArrayLike
    faces: ArrayLike
    colors: ArrayLike | None = None


@dataclass(frozen=True)
class _Mesh:
    """A checked mesh, moved to where it belongs. colors are sRGB."""

    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    faces: NDArray[np.int32]
    colors: NDArray[np.uint8] | None


def to_bytes(
    points: ArrayLike,
    normals: ArrayLike,
    faces: ArrayLike,
    format: str,
    colors: ArrayLike | None = None,
    binary: bool = False,
    matrix: ArrayLike | None = None,
) -> bytes:
    """A mesh as the content of a file.

    points: [N,3], Å. normals: [N,3]. faces: [M,3] integers from 0. colors: [N,3] or None, red, green and blue
    from 0 to 1. matrix: [4,4] or None, a rigid motion in the column convention (`matrix @ (x, y, z, 1)`, as
    PyMOL's `get_object_matrix` gives it row by row), applied to the points, its rotation also to the normals.

    format:

    - `ply`: text by default, which is the kind that PyMOL loads; little-endian with `binary`.
    - `obj`: colours as three more numbers of a vertex, as MeshLab and Blender read them.
    - `stl`: binary; triangles with the normal of each, for printing. STL has no colours and no normals of vertices.
    - `glb`: glTF 2.0. One unit is 1 Å, as in the other formats, and `asset.extras` says so: the metres that glTF means
      would make a protein too small for the clipping planes of its viewers.
    - `npz`: arrays points f4, normals f4, faces i4 and, with colours, colors u1.

    Raises ValueError naming the argument for malformed arrays, an unknown format or a matrix that is not
    rigid.
    """
    mesh = _checked(points, normals, faces, colors, matrix)
    if format not in FORMATS:
        raise ValueError(f"unknown mesh format {format!r}, expected one of {', '.join(FORMATS)}")
    if binary and format != "ply":
        raise ValueError(f"binary chooses between the two kinds of ply, and {format!r} has one kind")
    if format == "ply":
        return _ply(mesh.points, mesh.normals, mesh.faces, mesh.colors, binary)
    if format == "obj":
        return _obj(mesh.points, mesh.normals, mesh.faces, mesh.colors)
    if format == "stl":
        return _stl(mesh.points, mesh.faces)
    if format == "glb":
        return _glb(mesh)
    return _npz(mesh.points, mesh.normals, mesh.faces, mesh.colors)


def animated_glb(frames: Sequence[Frame], fps: float = FPS, matrix: ArrayLike | None = None) -> bytes:
    """Meshes at several times as the content of one GLB that plays them, in the order given.

    Every frame is a mesh of its own, since triangles come and go, and is shown for 1/fps seconds: its node is scaled to
    nothing at all other times, which is how glTF 2.0 hides a mesh. The nodes lie at the middle of the whole movie, so
    that what is scaled to nothing stays inside it. The extras of each node have its time.

    Raises ValueError as `to_bytes` does, and for no frames or an fps that is not above 0.
    """
    if not frames:
        raise ValueError("an animation needs at least one frame, got none")
    if not 0.0 < fps < float("inf"):
        raise ValueError(f"fps must be above 0, got {fps}")
    meshes = [_checked(frame.points, frame.normals, frame.faces, frame.colors, matrix) for frame in frames]
    corners = [corner for mesh in meshes if len(mesh.points) for corner in (mesh.points.min(0), mesh.points.max(0))]
    middle = 0.5 * (np.min(corners, axis=0) + np.max(corners, axis=0)) if corners else np.zeros(3)
    file = _Glb()
    channels: list[dict[str, Any]] = []
    samplers: list[dict[str, Any]] = []
    children = []
    for number, (frame, mesh) in enumerate(zip(frames, meshes, strict=True)):
        node = file.node(f"time {frame.time:g}", mesh, -middle)
        node["extras"] = {"time": frame.time}
        children.append(file.add("nodes", node))
        if len(frames) == 1:
            continue
        if number:
            node["scale"] = [0.0, 0.0, 0.0]
        last = number == len(frames) - 1
        keys = [number, number + 1] if not number else [0, number, number + 1]
        shown = [1.0, 0.0] if not number else [0.0, 1.0, 1.0 if last else 0.0]
        scales = np.repeat(np.array(shown, "<f4")[:, None], 3, axis=1)
        samplers.append(
            {
                "input": file.array(np.array(keys, "<f4") / np.float32(fps), bounds=True),
                "output": file.array(scales),
                "interpolation": "STEP",
            }
        )
        channels.append({"sampler": number, "target": {"node": children[-1], "path": "scale"}})
    root = {"name": "surface", "translation": middle.tolist(), "children": children}
    file.document["scenes"] = [{"nodes": [file.add("nodes", root)]}]
    if channels:
        file.document["animations"] = [{"name": "movie", "channels": channels, "samplers": samplers}]
    return file.content()


def write(
    path: str | os.PathLike[str],
    points: ArrayLike,
    normals: ArrayLike,
    faces: ArrayLike,
    colors: ArrayLike | None = None,
    binary: bool = False,
    matrix: ArrayLike | None = None,
) -> None:
    """Write a mesh to a file whose suffix names the format; see `to_bytes`.

    Raises ValueError as `to_bytes` does, before the file is touched, and OSError when writing fails.
    """
    target = Path(path)
    content = to_bytes(points, normals, faces, target.suffix.lower().removeprefix("."), colors, binary, matrix)
    target.write_bytes(content)


def _ply(
    points: NDArray[np.float64],
    normals: NDArray[np.float64],
    faces: NDArray[np.int32],
    colors: NDArray[np.uint8] | None,
    binary: bool,
) -> bytes:
    fields = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    if colors is not None:
        fields += [(name, "u1") for name in ("red", "green", "blue")]
    header = [
        "ply",
        f"format {'binary_little_endian' if binary else 'ascii'} 1.0",
        "comment unit: angstrom",
        f"element vertex {len(points)}",
        *(f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in fields),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header",
        "",
    ]
    start = "\n".join(header).encode("ascii")
    if not binary:
        columns = [points, normals] if colors is None else [points, normals, colors]
        row = "%.5f %.5f %.5f %.5f %.5f %.5f" + (" %d %d %d" if colors is not None else "")
        return start + _rows(row, *columns) + _rows("3 %d %d %d", faces)
    vertices = np.empty(len(points), dtype=fields)
    for column, name in enumerate(("x", "y", "z")):
        vertices[name], vertices["n" + name] = points[:, column], normals[:, column]
    if colors is not None:
        for column, name in enumerate(("red", "green", "blue")):
            vertices[name] = colors[:, column]
    polygons = np.empty(len(faces), dtype=[("count", "u1"), ("indices", "<i4", 3)])
    polygons["count"], polygons["indices"] = 3, faces
    return start + vertices.tobytes() + polygons.tobytes()


def _obj(
    points: NDArray[np.float64],
    normals: NDArray[np.float64],
    faces: NDArray[np.int32],
    colors: NDArray[np.uint8] | None,
) -> bytes:
    if colors is None:
        vertices = _rows("v %.5f %.5f %.5f", points)
    else:
        vertices = _rows("v %.5f %.5f %.5f %.4f %.4f %.4f", points, colors / 255.0)
    corners = np.repeat(faces + 1, 2, axis=1)
    return (
        b"# unit: angstrom\n"
        + vertices
        + _rows("vn %.5f %.5f %.5f", normals)
        + _rows("f %d//%d %d//%d %d//%d", corners)
    )


def _npz(
    points: NDArray[np.float64],
    normals: NDArray[np.float64],
    faces: NDArray[np.int32],
    colors: NDArray[np.uint8] | None,
) -> bytes:
    arrays = {"points": points.astype("<f4"), "normals": normals.astype("<f4"), "faces": faces.astype("<i4")}
    if colors is not None:
        arrays["colors"] = colors
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _stl(points: NDArray[np.float64], faces: NDArray[np.int32]) -> bytes:
    corners = points[faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    triangles = np.zeros(len(faces), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attributes", "<u2")])
    triangles["normal"] = np.divide(flat, length, out=np.zeros_like(flat), where=length > 0)
    triangles["corners"] = corners
    # A header that begins with "solid" would be taken for a text file.
    header = b"binary STL, unit: angstrom".ljust(80)
    return header + np.uint32(len(faces)).astype("<u4").tobytes() + triangles.tobytes()


def _glb(mesh: _Mesh) -> bytes:
    file = _Glb()
    file.document["scenes"] = [{"nodes": [file.add("nodes", file.node("surface", mesh, np.zeros(3)))]}]
    return file.content()


class _Glb:
    """A binary glTF 2.0 file under construction."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {
            "asset": {
                "version": "2.0",
                "generator": f"pymol-dsr {__version__}",
                "extras": {"unit": "angstrom", "metres_per_unit": 1e-10},
            },
            "scene": 0,
        }
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        """Enter something into one of the document's lists; its index there."""
        entries: list[dict[str, Any]] = self.document.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def node(self, name: str, mesh: _Mesh, shift: NDArray[np.float64]) -> dict[str, Any]:
        """A node with the mesh, moved by `shift`; without one where the mesh is empty, which glTF does not know."""
        node: dict[str, Any] = {"name": name}
        if len(mesh.faces):
            attributes = {
                "POSITION": self.array((mesh.points + shift).astype("<f4"), target=34962, bounds=True),
                "NORMAL": self.array(_unit(mesh.normals).astype("<f4"), target=34962),
            }
            if mesh.colors is not None:
                attributes["COLOR_0"] = self.array(_linear(mesh.colors).astype("<f4"), target=34962)
            if "materials" not in self.document:
                # glTF's own default is bare metal, which is black where there is nothing to mirror.
                matte = {"metallicFactor": 0.0, "roughnessFactor": 0.6}
                self.add("materials", {"name": "surface", "pbrMetallicRoughness": matte})
            corners = self.array(mesh.faces.astype("<u4").ravel(), target=34963)
            primitive = {"attributes": attributes, "indices": corners, "material": 0}
            node["mesh"] = self.add("meshes", {"name": name, "primitives": [primitive]})
        return node

    def array(self, values: NDArray[Any], target: int | None = None, bounds: bool = False) -> int:
        """Append an array, f4[N], f4[N,3] or u4[N]; the index of its accessor. target: what a GPU uses it for."""
        view: dict[str, Any] = {"buffer": 0, "byteOffset": self._size, "byteLength": values.nbytes}
        if target is not None:
            view["target"] = target
        accessor: dict[str, Any] = {
            "bufferView": self.add("bufferViews", view),
            "componentType": 5126 if values.dtype.kind == "f" else 5125,
            "count": len(values),
            "type": "VEC3" if values.ndim == 2 else "SCALAR",
        }
        if bounds:
            for key, bound in (("min", values.min(axis=0)), ("max", values.max(axis=0))):
                accessor[key] = np.atleast_1d(bound).tolist()
        self._chunks.append(values.tobytes())
        self._size += values.nbytes
        return self.add("accessors", accessor)

    def content(self) -> bytes:
        if self._chunks:
            self.document["buffers"] = [{"byteLength": self._size}]
        text = json.dumps(self.document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        total = 20 + len(text) + (8 + self._size if self._chunks else 0)
        if total >= 2**32:
            raise ValueError(
                f"a GLB holds less than 4.3 GB and this one needs {total / 1e9:.1f}: fewer times or triangles"
            )
        head = [b"glTF", _u4(2), _u4(total), _u4(len(text)), b"JSON", text]
        body = [_u4(self._size), b"BIN\0", *self._chunks] if self._chunks else []
        return b"".join(head + body)


def _u4(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _unit(normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normals of length 1, as glTF wants all of them; +z for one without a direction."""
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0, normals / np.where(length > 0, length, 1.0), (0.0, 0.0, 1.0))


def _linear(colors: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The light of colours as screens and PyMOL number them (sRGB), from 0 to 1: glTF counts light."""
    value = colors / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _checked(
    points: ArrayLike, normals: ArrayLike, faces: ArrayLike, colors: ArrayLike | None, matrix: ArrayLike | None
) -> _Mesh:
    points, normals = _vectors("points", points), _vectors("normals", normals)
    faces = _faces(faces, len(points))
    if len(normals) != len(points):
        raise ValueError(f"a mesh needs one normal per point, got {len(normals)} for {len(points)} points")
    channels = None if colors is None else _colors(colors, len(points))
    if matrix is not None:
        rotation, shift = _rigid(matrix)
        points, normals = points @ rotation.T + shift, normals @ rotation.T
    return _Mesh(points, normals, faces, channels)


def _rows(row: str, *columns: NDArray[np.generic]) -> bytes:
    """Text lines, one per row of the columns side by side.

    One format string for all rows is several times faster than np.savetxt, which formats row by row.
    """
    values = np.concatenate(columns, axis=1)
    return ((row + "\n") * len(values) % tuple(values.ravel().tolist())).encode("ascii")


def _vectors(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 3:
        raise ValueError(f"{name} must have shape [N, 3], got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; row {int(np.argmin(np.isfinite(array).all(axis=1)))} is not")
    return array


def _faces(values: ArrayLike, point_count: int) -> NDArray[np.int32]:
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != 3 or array.dtype.kind not in "iu":
        raise ValueError(f"faces must be integers of shape [M, 3], got {array.dtype} {list(array.shape)}")
    if array.size and (array.min() < 0 or array.max() >= point_count):
        raise ValueError(f"faces must index {point_count} points, got indices {array.min()} to {array.max()}")
    return array.astype(np.int32)


def _colors(values: ArrayLike, point_count: int) -> NDArray[np.uint8]:
    array = _vectors("colors", values)
    if len(array) != point_count:
        raise ValueError(f"a mesh needs one colour per point, got {len(array)} for {point_count} points")
    if array.size and (array.min() < 0 or array.max() > 1):
        raise ValueError(f"colors must lie from 0 to 1, got {array.min():g} to {array.max():g}")
    channels: NDArray[np.uint8] = np.rint(array * 255).astype(np.uint8)
    return channels


def _rigid(matrix: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation [3,3] and shift [3] of a rigid motion [4,4]."""
    array = np.asarray(matrix, dtype=np.float64)
    if array.shape != (4, 4):
        raise ValueError(f"matrix must have shape [4, 4], got {list(array.shape)}")
    rotation = array[:3, :3]
    rigid = (
        np.isfinite(array).all()
        and np.allclose(array[3], (0, 0, 0, 1), atol=_RIGID_TOLERANCE)
        and np.allclose(rotation @ rotation.T, np.eye(3), atol=_RIGID_TOLERANCE)
        and np.linalg.det(rotation) > 0
    )
    if not rigid:
        raise ValueError(f"matrix must be a rotation and a shift with last row 0 0 0 1, got {array.tolist()}")
    return rotation, array[:3, 3]
