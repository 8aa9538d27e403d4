"""A bending peptide in PyMOL, and coordinates in and out of its scene."""

import numpy as np


def build_peptide(cmd, name="pep", count=6):
    cmd.fab("ACDEFGHIK", name, ss=1)
    start = coordinates(cmd, name, 1)
    for state in range(2, count + 1):
        cmd.create(name, name, 1, state)
        bend = 0.04 * (state - 1)
        moved = start.copy()
        moved[:, 0] += bend * (start[:, 2] - start[:, 2].mean()) ** 2 / 5
        put(cmd, name, state, moved)


def coordinates(cmd, selection, state) -> np.ndarray:
    """f8[A,3] by iterate_state, which works on every PyMOL."""
    xyz: list[tuple[float, float, float]] = []
    cmd.iterate_state(state, selection, "found.append((x, y, z))", space={"found": xyz})
    return np.array(xyz)


def put(cmd, selection, state, xyz) -> None:
    positions = iter(np.asarray(xyz).tolist())
    cmd.alter_state(state, selection, "(x, y, z) = next(positions)", space={"positions": positions, "next": next})


def idtf_points(cmd) -> np.ndarray:
    """Positions of all triangles the scene shows now, as PyMOL exports them, in the scene's frame."""
    cmd.set("geometry_export_mode", 1)
    text = cmd.get_idtf()[1]
    blocks = []
    at = text.find("MODEL_POSITION_LIST {")
    while at >= 0:
        start = text.index("{", at) + 1
        blocks.append(np.array(text[start : text.index("}", start)].split(), float).reshape(-1, 3))
        at = text.find("MODEL_POSITION_LIST {", start)
    return np.concatenate(blocks) if blocks else np.zeros((0, 3))


def timeline_rows(cmd):
    """Return the objects with a row in the timeline of PyMOL's movie, which have keys of their motion."""
    session = cmd.get_session(partial=0, binary=1, cache=0, compress=0, version=0)
    # The header of an object, in which the number of its frames precedes their views.
    headers = [entry[5][0] for entry in session["names"] if entry and entry[1] == 0 and isinstance(entry[5][0], list)]
    return [header[1] for header in headers if len(header) > 12 and header[12]]
