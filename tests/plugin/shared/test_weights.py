"""Weights of states in a text."""

import math

import pytest

from pymol_dsr.shared.values import ValueFault
from pymol_dsr.shared.weights import check_weights, numbers_in


def test_numbers_stand_between_spaces_commas_and_lines():
    assert numbers_in("# first\n1\n0 0.5, 2e1 # last\n") == (1.0, 0.0, 0.5, 20.0)
    assert numbers_in("") == ()
    with pytest.raises(ValueError, match="one"):
        numbers_in("one")


@pytest.mark.parametrize("weights", [(), (0.0, 0.0), (1.0, -1.0), (1.0, math.nan), (math.inf,)])
def test_weights_that_do_not_fit_are_named(weights):
    with pytest.raises(ValueFault, match="--weights w: they must be 0 or more, and not all 0"):
        check_weights(weights, "--weights w")
    check_weights((0.0, 1.0), "--weights w")
