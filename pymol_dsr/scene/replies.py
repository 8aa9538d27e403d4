"""The backend's results about one time of a field, as the scene shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..shared.mesh import Mesh
from ..shared.messages import GridResult, MeshResult, Preview
from .maps import Lattice
from .palettes import GREY, Colors, one_color

Reply: TypeAlias = MeshResult | GridResult


def mesh_of(reply: MeshResult | Preview) -> Mesh:
    """Return the triangles of a reply."""
    return Mesh(reply.points, reply.normals, reply.faces)


def lattice_of(reply: GridResult) -> Lattice:
    """Return the signed distances of a reply."""
    return Lattice(reply.values, reply.origin, reply.spacing)


def vertex_colors(reply: MeshResult | Preview, atom_colors: Colors | None, rgb: Sequence[float] = GREY) -> Colors:
    """Return colours f4[N,3] of the vertices from those of the atoms f4[A,3], or `rgb` where none are known."""
    if atom_colors is None or reply.nearest is None:
        return one_color(len(reply.points), rgb)
    return atom_colors[reply.nearest]


def center(reply: Reply) -> NDArray[np.float64]:
    """Return the middle f8[3] of the atoms, the vertices or the lattice (Å)."""
    if isinstance(reply, GridResult):
        return np.asarray(np.array(reply.origin) + 0.5 * reply.spacing * np.array(reply.values.shape))
    for positions in (reply.atoms, reply.points):
        if positions is not None and len(positions):
            return np.asarray(positions.mean(axis=0), np.float64)
    return np.zeros(3)
