"""Groups of states in an evaluation."""

from __future__ import annotations

import pytest

from pymol_dsr.shared import scoring

FITTED = [1.0, 3.0, 5.0, 9.0]


@pytest.mark.parametrize(
    ("group", "states"),
    [
        ("before", [0.5]),
        ("training", [1, 3, 5, 9]),
        ("between", [2, 7, 7.5]),
        ("future 1-10", [9.5, 10, 19]),
        ("future 11-20", [19.5, 20, 29]),
        ("future 21-30", [30]),
    ],
)
def test_groups_of_states(group, states):
    assert {scoring.group_of(state, FITTED) for state in states} == {group}


def test_the_nearest_fitted_state_is_the_earlier_of_two():
    assert [scoring.nearest_fitted(state, FITTED) for state in (2, 7, 8, 12)] == [1, 5, 9, 9]
