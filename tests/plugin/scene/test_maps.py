"""Maps in MRC format."""

from __future__ import annotations

import numpy as np

from pymol_dsr.scene.maps import Lattice


def test_an_mrc_header_says_what_the_grid_is():
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    data = Lattice(values, (1.25, -2, 3), 0.5).to_mrc()
    words, floats = np.frombuffer(data[:1024], "<i4"), np.frombuffer(data[:1024], "<f4")
    assert words[:4].tolist() == [2, 3, 4, 2]
    assert floats[10:13].tolist() == [1, 1.5, 2] and floats[49:52].tolist() == [1.25, -2, 3]
    # The first axis runs fastest in the file.
    assert np.frombuffer(data[1024:], "<f4")[:2].tolist() == [values[0, 0, 0], values[1, 0, 0]]
