"""Evenly spaced numbers."""

from __future__ import annotations

import itertools

import pytest

from pymol_dsr.shared.spacing import evenly_spaced


@pytest.mark.parametrize("limit", [2, 3, 5, 40])
@pytest.mark.parametrize("numbers", [range(2), range(7), range(1, 100), range(8, 500)])
def test_so_many_are_chosen_distinct_and_with_both_ends(numbers, limit):
    chosen = evenly_spaced(numbers, limit)
    assert len(chosen) == min(limit, len(numbers)) and (chosen[0], chosen[-1]) == (numbers[0], numbers[-1])
    gaps = [after - before for before, after in itertools.pairwise(chosen)]
    assert min(gaps) > 0 and max(gaps) - min(gaps) <= 1


def test_few_numbers_are_all_chosen():
    assert evenly_spaced(range(4, 7), 3) == evenly_spaced(range(4, 7), 100) == [4, 5, 6]
    assert evenly_spaced(range(0), 3) == []


def test_one_is_the_first():
    assert evenly_spaced(range(3, 9), 1) == [3]


def test_numbers_halfway_are_rounded_to_even_ones():
    # Widths, back-tests and evaluations of old fits are repeated to the bit by it.
    assert evenly_spaced(range(6), 3) == [0, 2, 5] and evenly_spaced(range(1, 7), 3) == [1, 4, 6]
