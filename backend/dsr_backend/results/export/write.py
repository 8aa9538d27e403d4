"""Meshes as the content of files for other programs: PLY, OBJ, STL, GLB and NPZ, in Å."""

from __future__ import annotations

from numpy.typing import ArrayLike

from pymol_dsr.shared.options import FORMATS
from pymol_dsr.shared.values import JsonObject

from .checks import checked_mesh
from .gltf import glb_bytes
from .npz import npz_bytes
from .obj import obj_bytes
from .ply import ply_bytes
from .stl import stl_bytes

_WRITERS = {"obj": obj_bytes, "stl": stl_bytes, "npz": npz_bytes}


def to_bytes(
    points: ArrayLike,
    normals: ArrayLike,
    faces: ArrayLike,
    format: str,
    colors: ArrayLike | None = None,
    binary: bool = False,
    matrix: ArrayLike | None = None,
    provenance: JsonObject | None = None,
) -> bytes:
    """Return a mesh as the content of a file.

    points: [N,3], Å. normals: [N,3]. faces: [M,3] integers from 0. colors: [N,3] or None, red, green and blue
    from 0 to 1. matrix: [4,4] or None, a rigid motion in the column convention (`matrix @ (x, y, z, 1)`, as
    PyMOL's `get_object_matrix` gives it row by row), applied to the points, its rotation also to the normals.

    format:

    - `ply`: text by default, which is the kind that PyMOL loads; little-endian with `binary`.
    - `obj`: the colour of a vertex as three more numbers, as MeshLab and Blender read them.
    - `stl`: binary; triangles with the normal of each, for printing. STL has no colours and no vertex normals.
    - `glb`: glTF 2.0. One unit is 1 Å, as in the other formats, and `asset.extras` says so: the metres that glTF
      specifies would make a protein too small for the clipping planes of its viewers. `provenance`, the origin of
      states that were generated, stands there, too; other formats have no place for it.
    - `npz`: arrays points f4, normals f4, faces i4 and, with colours, colors u1.

    Raises ValueError, naming the argument, for malformed arrays, an unknown format or a matrix that is not rigid.
    """
    mesh = checked_mesh(points, normals, faces, colors, matrix)
    if format not in FORMATS:
        raise ValueError(f"unknown mesh format {format!r}, expected one of {', '.join(FORMATS)}")
    if format == "ply":
        return ply_bytes(mesh, binary)
    if binary:
        raise ValueError(f"binary chooses between the two kinds of ply, and {format!r} has one kind")
    if format == "glb":
        return glb_bytes(mesh, provenance)
    return _WRITERS[format](mesh)
