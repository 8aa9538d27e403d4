"""Two small surfaces, and surfaces files of both formats that hold them, written without a check."""

import json

import numpy as np
from dsr_backend.surfaces.surface import Surface
from safetensors.numpy import save_file

from pymol_dsr.shared.surfaces_format import FORMATS, NPZ, SAFETENSORS, TYPE_NAMES

POINTS = np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]], np.float32)


NORMALS = POINTS / np.float32(3**0.5)


FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)


def surface(state=1.0, **change):
    values = {
        "points": POINTS,
        "normals": NORMALS,
        "faces": FACES,
        "atoms": np.zeros((5, 3)) + state,
        **change,
    }
    return Surface(state, **values)


def larger(state):
    """Another count of points and faces than `surface`, so that the counts in the file matter."""
    return Surface(
        state,
        np.concatenate([POINTS, POINTS * 2]),
        np.concatenate([NORMALS, NORMALS]),
        np.concatenate([FACES, FACES + 4]),
        np.full((5, 3), state),
    )


def arrays(**change):
    """The arrays of a good file of two states; a change to None leaves the array out."""
    values = {
        "states": np.array([1.0, 2.5]),
        "point_counts": np.array([4, 8]),
        "face_counts": np.array([4, 8]),
        "points": np.concatenate([POINTS] * 3),
        "normals": np.concatenate([NORMALS] * 3),
        "faces": np.concatenate([FACES, FACES, FACES + 4]),
        "atoms": np.zeros((2, 5, 3), np.float32),
        **change,
    }
    return {name: value for name, value in values.items() if value is not None}


def texts(ending, **change):
    """The texts of a good file; a change to None leaves the text out."""
    values = {"format": FORMATS[ending], "meta": '{"object": "adk"}', **change}
    return {name: value for name, value in values.items() if value is not None}


def npz_arrays(**change):
    """All arrays of a good `.npz` file: the texts are arrays of one string."""
    values = {**{name: np.array(text) for name, text in texts(NPZ).items()}, **arrays(), **change}
    return {name: value for name, value in values.items() if value is not None}


def save(path, values, texts):
    """Write a file of either format by its library, unchecked."""
    if path.suffix == SAFETENSORS:
        save_file({name: np.ascontiguousarray(value) for name, value in values.items()}, path, texts)
    else:
        np.savez(path, **{name: np.array(text) for name, text in texts.items()}, **values)


def raw(path, header, body=b"", length=None):
    """Write a file with this header, as JSON or bytes, and this length in front of it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + body)


def header(**change):
    """The header of a good file of two states, and the bytes of its tensors."""
    entries, end = {}, 0
    for name, value in arrays().items():
        type_name = TYPE_NAMES[value.dtype.str]
        entries[name] = {"dtype": type_name, "shape": list(value.shape), "data_offsets": [end, end + value.nbytes]}
        end += value.nbytes
    body = b"".join(value.tobytes() for value in arrays().values())
    return {"__metadata__": texts(SAFETENSORS), **entries, **change}, body
