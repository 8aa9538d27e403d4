"""Maps whose values are known everywhere."""

from __future__ import annotations

import numpy as np

from pymol_dsr.scene.maps import Lattice


def linear(x, y, z):
    """Compute the value of the map `put_map` loads."""
    return 0.5 + x - 2 * y + 3 * z


def put_map(cmd, name, origin=(-3.0, -4.0, -5.0), spacing=0.75, shape=(11, 13, 16)):
    """Load a map object of linear values."""
    axes = [origin[axis] + spacing * np.arange(shape[axis]) for axis in range(3)]
    values = linear(*np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    cmd.set("normalize_ccp4_maps", 0)
    cmd.load_raw(Lattice(values, origin, spacing).to_mrc(), "mrc", name, 1, zoom=0)
