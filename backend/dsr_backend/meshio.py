"""Meshes as files that other programs read: PLY, OBJ and npz, in Å."""

import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

FORMATS = ("ply", "obj", "npz")

_RIGID_TOLERANCE = 1e-3


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

    format: `ply` (text by default, which is the kind that PyMOL loads; little-endian with `binary`), `obj`
    (colours as three more numbers of a vertex, as MeshLab and Blender read them) or `npz` (arrays points f4,
    normals f4, faces i4 and, with colours, colors u1).

    Raises ValueError naming the argument for malformed arrays, an unknown format or a matrix that is not
    rigid.
    """
    points, normals = _vectors("points", points), _vectors("normals", normals)
    faces = _faces(faces, len(points))
    if len(normals) != len(points):
        raise ValueError(f"a mesh needs one normal per point, got {len(normals)} for {len(points)} points")
    channels = None if colors is None else _colors(colors, len(points))
    if matrix is not None:
        rotation, shift = _rigid(matrix)
        points, normals = points @ rotation.T + shift, normals @ rotation.T
    if binary and format != "ply":
        raise ValueError(f"only ply has a binary kind, {format!r} has not")
    if format == "ply":
        return _ply(points, normals, faces, channels, binary)
    if format == "obj":
        return _obj(points, normals, faces, channels)
    if format == "npz":
        return _npz(points, normals, faces, channels)
    raise ValueError(f"unknown mesh format {format!r}, expected one of {', '.join(FORMATS)}")


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
