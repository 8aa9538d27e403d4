"""Names and types in surfaces files (docs/file-formats.md), for their writers and readers."""

from __future__ import annotations

import os

SAFETENSORS, NPZ = ".safetensors", ".npz"
FORMATS = {SAFETENSORS: "dsr-surfaces 2", NPZ: "dsr-surfaces 1"}
"""Format by the ending of the file's name."""
DTYPES = {
    "states": "<f8",
    "point_counts": "<i8",
    "face_counts": "<i8",
    "points": "<f4",
    "normals": "<f4",
    "faces": "<i4",
    "atoms": "<f4",
}
"""numpy's type of each tensor, in the order in which a file holds them."""
TYPE_NAMES = {"<f8": "F64", "<i8": "I64", "<f4": "F32", "<i4": "I32"}
"""Names of numpy's types in a safetensors header."""


def suffix_of(path: str | os.PathLike[str]) -> str:
    """Return the ending of a path, in lower case and with its dot."""
    return os.path.splitext(os.fspath(path))[1].lower()


def is_surfaces_path(path: str | os.PathLike[str]) -> bool:
    """Whether the ending of a path is that of a surfaces file."""
    return suffix_of(path) in FORMATS
