"""Plots over states: their panels, the ranges of their axes, and the pictures that matplotlib draws."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from pymol_dsr.shared import plots
from pymol_dsr.shared.plots import Curve


@dataclass(frozen=True)
class Score:
    """Scores as either package has them."""

    state: float
    group: str
    method: str
    iou: float = 0.9
    chamfer_l1: float = 0.01
    chamfer_sq: float = 1e-4
    nc: float = 0.95
    rmsd: float | None = None


SCORES = [
    Score(4, "future 1-10", "field", iou=0.88, nc=math.nan, rmsd=0.5),
    Score(1, "training", "field", iou=0.98, rmsd=math.nan),
    Score(2, "between", "field", iou=0.93, rmsd=0.6),
    Score(2, "between", "hold nearest", iou=0.90, rmsd=0.6),
    Score(3, "training", "field", iou=0.96, rmsd=0.4),
]


def test_an_axis_does_not_make_a_change_of_a_fluctuation():
    low, high = plots.value_limits([28900.0, 28990.0], from_zero=False)
    assert high - low >= 0.1 * 28900 and low < 28900 and high > 28990
    assert plots.value_limits([100.0, math.nan, 400.0], from_zero=True) == (0.0, 432.0)
    assert plots.value_limits([0.0, 0.0], from_zero=True) == (0.0, 1.0)


def test_residues_are_named_at_round_numbers():
    numbers = [str(number) for number in range(1, 215)]
    assert [numbers[k] for k in plots.named_places(numbers, 12)] == [str(n) for n in range(20, 215, 20)]
    assert 6 <= len(plots.named_places([f"{number}A" for number in range(30)], 12)) <= 12


def test_measures_have_a_panel_each_with_the_fitted_states_marked():
    columns = {"pocket_volume": [40.0, 80.0, 120.0], "volume": [1.0, 2.0, 3.0], "expected_error": [0.0, 0.0, 0.0]}
    volume, pocket = plots.measure_panels([1.0, 1.5, 2.0], columns, [1.0, 2.0, 3.0])
    assert (volume.title, pocket.title) == ("volume (Å³)", "volume of the pocket (Å³)")
    assert (volume.filled, pocket.filled) == (False, True) and pocket.limits == (0.0, pytest.approx(129.6))
    line, marks = pocket.curves
    assert line == Curve("", [1.0, 1.5, 2.0], [40.0, 80.0, 120.0], "#9467bd", "-", marks=False)
    assert (marks.label, list(marks.states), list(marks.values), marks.line) == ("fitted states", [1, 2], [40, 120], "")


def test_fitted_states_have_a_line_apart_from_other_states():
    """Their surfaces have more detail, and so a larger area: one line would jump between the two."""
    states = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0]
    [area] = plots.measure_panels(states, {"area": [9.0, 7.0, 9.0, 9.0, 9.0, 9.0, 6.0]}, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert area.curves == [
        Curve("fitted states", [1.0, 2.0, 3.0, 4.0, 5.0], [9.0] * 5, plots.BLUE, "-", marks=True),
        Curve("other states", [1.5, 6.0], [7.0, 6.0], plots.BLUE, "--", marks=False),
    ]
    [single] = plots.measure_panels([1.5], {"area": [7.0]}, [1.0, 2.0])
    assert [curve.marks for curve in single.curves] == [True], "a line of one state can't be seen"
    [beside_fitted] = plots.measure_panels(states[:-1], {"area": [9.0] * 6}, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert [curve.marks for curve in beside_fitted.curves] == [True, True], "nor one beside the line of fitted states"


def test_no_list_of_fitted_states_is_searched_for_each_state():
    """With thousands of states, the window would stand still."""

    class Unsearched(list[float]):
        def __contains__(self, state: object) -> bool:
            raise AssertionError(f"searched for {state}")

    states = [float(state) for state in range(1, 8)]
    [area] = plots.measure_panels(states, {"area": states}, Unsearched(states[:5]))
    assert [len(curve.states) for curve in area.curves] == [5, 2]


def test_scores_have_a_curve_for_each_method_and_the_fitted_states_apart():
    iou, *_, steps = plots.score_panels(SCORES)
    assert [(curve.label, curve.states, curve.values) for curve in iou.curves] == [
        ("field, other states", [2, 4], [0.93, 0.88]),
        ("hold nearest", [2], [0.90]),
        ("field, fitted states", [1, 3], [0.98, 0.96]),
    ]
    assert iou.curves[-1].line == ""
    [curve] = steps.curves
    assert (curve.states, curve.values) == ([2, 3, 4], [0.6, 0.4, 0.5])
    unknown = [Score(1, "training", "field")]
    assert [panel.title for panel in plots.score_panels(unknown)] == [q.title for q in plots.METRICS.values()]


def test_the_most_moving_residues_stand_out():
    chart = plots.speed_chart(["1", "2", "3", "4"], {0: 0.1, 1: 0.9, 3: 0.2}, [1], one_chain=True)
    assert chart.axis == "residue" and list(chart.names) == [0, 1, 2, 3]
    assert [(bars.label, list(bars.places), list(bars.heights)) for bars in chart.bars] == [
        ("", [0, 3], [0.1, 0.2]),
        ("the 1 most moving", [1], [0.9]),
    ]


def test_a_picture_shows_the_panels_and_the_chart(monkeypatch):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    save = Figure.savefig

    def watched(self, *args, **kwargs):
        drawn.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", watched)
    columns = {"volume": [1.0, 2.0], "area": [1.0, 2.0], "speed": [1.0, 2.0]}
    panels = plots.measure_panels([1.0, 2.0], columns, [1.0])
    chart = plots.speed_chart(["1", "2"], {0: 0.1, 1: 0.9}, [1], one_chain=False)
    picture = plots.render(panels, fitted_range=(1.0, 2.0), title="pep_dsr", chart=chart)
    assert picture.startswith(b"\x89PNG")
    titles = [axes.get_title(loc="left") for axes in drawn[0].axes]
    assert titles == [*(panel.title for panel in panels), "mean speed of the surface by residue (Å per state)"]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["fitted range", "fitted states"]
    line, marks = drawn[0].axes[0].lines
    assert np.array_equal(line.get_ydata(), [1.0, 2.0]) and np.array_equal(marks.get_xdata(), [1.0])
    bare = plots.render(plots.measure_panels([1.0], {"volume": [1.0]}, []), fitted_range=None, format="svg")
    assert b"<svg" in bare and not drawn[1].legends
