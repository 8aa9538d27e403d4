"""Colours from values: scales, their ranges, palettes."""

from __future__ import annotations

import numpy as np
import pytest

from pymol_dsr.scene import palettes
from pymol_dsr.scene.objects import SceneError
from pymol_dsr.scene.palettes import GREY, ColorScale


def test_scales_are_straight_between_their_colours():
    scale = ColorScale.between(-1.0, 1.0, np.array([(0, 0, 1), (1, 1, 1), (1, 0, 0)], np.float32))
    painted = scale.paint(np.array([-5, -1, -0.5, 0, 0.25, 1, 9, np.nan], np.float32))
    blue, white, red = (0, 0, 1), (1, 1, 1), (1, 0, 0)
    expected = [blue, blue, (0.5, 0.5, 1), white, (1, 0.75, 0.75), red, red, GREY]
    np.testing.assert_allclose(painted, expected, atol=1e-6)
    assert painted.dtype == np.float32


def test_ranges_leave_odd_vertices_out():
    values = [np.append(np.linspace(0, 100, 1001), [1e6, np.nan]).astype(np.float32), np.zeros(0, np.float32)]
    low, high = palettes.value_range(values, None, None, False)
    assert low == pytest.approx(2.0, abs=0.1) and high == pytest.approx(98.0, abs=0.3)
    assert palettes.value_range(values, 10.0, None, False) == (10.0, pytest.approx(high))
    assert palettes.value_range(values, None, None, True) == (pytest.approx(-high), pytest.approx(high))
    assert palettes.value_range(values, None, 0.3, True) == (-0.3, 0.3)
    assert palettes.value_range(values, -1.0, 3.0, True) == (-1.0, 3.0)
    assert palettes.value_range([np.full(9, 7.0)], None, None, False) == (7.0, 8.0), "all alike"
    with pytest.raises(SceneError, match="minimum 3 and maximum 3: the maximum must be the larger one"):
        palettes.value_range(values, 3.0, 3.0, False)


def test_palettes(cmd):
    assert len(palettes.palette("viridis", cmd)) == 17
    colors = palettes.palette("blue_white_red", cmd)
    np.testing.assert_allclose(colors[[0, 10, 20]], [(0, 0, 1), (1, 1, 1), (1, 0, 0)], atol=0.02)
    np.testing.assert_allclose(palettes.palette("white_0x0000ff", cmd), [(1, 1, 1), (0, 0, 1)], atol=1e-6)
    for name in palettes.SIGNED.values():
        np.testing.assert_allclose(palettes.palette(name, cmd)[10], (1, 1, 1), atol=0.02)
    with pytest.raises(SceneError, match="palette blue_white_rde: PyMOL has no colour rde; write viridis"):
        palettes.palette("blue_white_rde", cmd)
    with pytest.raises(SceneError, match="palette red: it takes two colours or more"):
        palettes.palette("red", cmd)
