"""The surfaces file: what dsr_surfaces writes and `dsr-backend fit` reads on a machine without PyMOL.

A `.npz` without pickles: format, states f8[S], point_counts i8[S], face_counts i8[S], points f4[sum N,3],
normals f4[sum N,3] (outward, unit), faces i4[sum M,3] (indices within the state), atoms f4[S,A,3], meta (JSON
text).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .extract import Source, Surface

FORMAT = "dsr-surfaces 1"


def check_path(path: str) -> str:
    """The path with ~ and variables expanded; ValueError unless it ends in .npz in a folder that can be
    written.
    """
    full = os.path.expandvars(os.path.expanduser(path))
    if not full.lower().endswith(".npz"):
        raise ValueError(f"{path}: a surfaces file ends in .npz")
    folder = os.path.dirname(os.path.abspath(full))
    if not os.path.isdir(folder):
        raise ValueError(f"{path}: the folder {folder} does not exist")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{path}: the folder {folder} can't be written to")
    return full


def write(path: str, source: Source, surfaces: Sequence[Surface]) -> None:
    """Write `surfaces` of `source`, by rising state; a file that stood there is replaced by a whole one only.

    Raises ValueError for a bad path (see check_path), OSError when writing fails.
    """
    path = check_path(path)
    ordered = sorted(surfaces, key=lambda s: s.state)
    meta: dict[str, Any] = {
        "object": source.object,
        "selection": source.selection,
        "pymol": source.pymol,
        "settings": source.settings,
        "source": source.to_json(),
    }
    # Not a temporary file of Python's making: those are for their owner alone.
    draft = f"{path}.{os.getpid()}.part"
    try:
        with open(draft, "wb") as stream:
            np.savez(
                stream,
                format=np.array(FORMAT),
                states=np.array([s.state for s in ordered], "<f8"),
                point_counts=np.array([len(s.points) for s in ordered], "<i8"),
                face_counts=np.array([len(s.faces) for s in ordered], "<i8"),
                points=np.concatenate([s.points for s in ordered]),
                normals=np.concatenate([s.normals for s in ordered]),
                faces=np.concatenate([s.faces for s in ordered]),
                atoms=np.stack([s.atoms for s in ordered]),
                meta=np.array(json.dumps(meta)),
            )
        os.replace(draft, path)
    finally:
        if os.path.exists(draft):
            os.unlink(draft)
