"""Colours from values: scales, their ranges, palettes."""

from __future__ import annotations

import numpy as np
import pytest

from pymol_dsr.scene import palettes
from pymol_dsr.scene.color_bar import with_lines
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
    assert palettes.value_range(values, None, None, False) == (0.0, 100.0), "from 2 to 98, out to round numbers"
    assert palettes.value_range(values, 10.0, None, False) == (10.0, 100.0)
    assert palettes.value_range(values, None, None, True) == (-100.0, 100.0)
    assert palettes.value_range(values, None, 0.3, True) == (-0.3, 0.3)
    assert palettes.value_range(values, -1.0, 3.0, True) == (-1.0, 3.0)
    assert palettes.value_range([np.full(9, 7.0)], None, None, False) == (7.0, 8.0), "all alike"
    with pytest.raises(SceneError, match="minimum 3 and maximum 3: the maximum must be the larger one"):
        palettes.value_range(values, 3.0, 3.0, False)
    with pytest.raises(SceneError, match="minimum 3 and maximum 2: the maximum must be the larger one"):
        palettes.check_limits(3.0, 2.0)
    for limits in ((2.0, 3.0), (3.0, None), (None, -3.0), (None, None)):
        palettes.check_limits(*limits)


@pytest.mark.parametrize(
    ("low", "high", "numbers"),
    [
        (0.043, 2.913, [0, 1, 2, 3]),
        (-0.27, 0.27, [-0.4, -0.2, 0, 0.2, 0.4]),
        (41, 58, [40, 45, 50, 55, 60]),
        (1e-4, 7.3e-4, [0, 2.5e-4, 5e-4, 7.5e-4]),
        (-3000, -900, [-3000, -2000, -1000, 0]),
        (1, 49, [0, 25, 50]),
        (5, 6, [5, 5.25, 5.5, 5.75, 6]),
    ],
)
def test_three_to_five_round_numbers_reach_over_a_range(low, high, numbers):
    ends = palettes.out_to_round_numbers(low, high)
    assert ends == (pytest.approx(numbers[0]), pytest.approx(numbers[-1]))
    assert palettes.round_numbers(*ends) == pytest.approx(numbers, abs=1e-12)
    assert palettes.out_to_round_numbers(*ends) == ends


def test_a_bar_has_a_line_at_each_round_number_that_its_ends_do_not_name():
    black_to_white = palettes.ColorScale.between(0.0, 3.0, np.array([(0, 0, 0), (1, 1, 1)], np.float32))
    bar = with_lines(black_to_white)
    assert (bar.levels[0], bar.levels[-1]) == (0, 3) and (np.diff(bar.levels) >= 0).all()
    for number, ink in ((1, 1.0), (2, 0.0)):
        inside = (abs(bar.levels - number) < 0.02) & (abs(bar.levels - number) > 0)
        # The colours of the scale up to the line, and the ink between.
        assert bar.colors[inside][:, 0] == pytest.approx([number / 3, ink, ink, number / 3], abs=0.01)


def test_the_dark_end_is_seen_on_black(cmd):
    first, *later = (palettes.luminance(rgb) for rgb in palettes.palette("viridis", cmd))
    assert (first + 0.05) / 0.05 > 2.5 and sorted(later) == later and first < later[0]


def test_palettes(cmd):
    assert len(palettes.palette("viridis", cmd)) == 13
    colors = palettes.palette("blue_white_red", cmd)
    np.testing.assert_allclose(colors[[0, 10, 20]], [(0, 0, 1), (1, 1, 1), (1, 0, 0)], atol=0.02)
    np.testing.assert_allclose(palettes.palette("white_0x0000ff", cmd), [(1, 1, 1), (0, 0, 1)], atol=1e-6)
    for name in palettes.SIGNED.values():
        np.testing.assert_allclose(palettes.palette(name, cmd)[10], (1, 1, 1), atol=0.02)
    with pytest.raises(SceneError, match="palette blue_white_rde: PyMOL has no colour rde; write viridis"):
        palettes.palette("blue_white_rde", cmd)
    with pytest.raises(SceneError, match="palette red: it takes two colours or more"):
        palettes.palette("red", cmd)
