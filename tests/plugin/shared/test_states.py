"""The states grammar: what it takes, what it refuses and how it says so."""

from __future__ import annotations

import itertools
import math
import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymol_dsr.shared import states
from pymol_dsr.shared.states import StatesError, parse


@pytest.mark.parametrize(
    "text, expected",
    [
        ("1-5", [1, 2, 3, 4, 5]),
        ("1-9:2", [1, 3, 5, 7, 9]),
        ("1-8:3", [1, 4, 7]),
        ("1+5+9", [1, 5, 9]),
        ("1-3+6-10:2", [1, 2, 3, 6, 8, 10]),
        (" 7 ", [7]),
        ("9+1", [9, 1]),
    ],
)
def test_whole_states(text, expected):
    values = parse(text)
    assert values == expected
    assert all(type(v) is int for v in values)


@pytest.mark.parametrize(
    "text, expected",
    [
        # The line says 1, 1.3, 1.6, 2.2, 2.8, 3.7, 4.9, 6.4 at these states; with 8.2, 33 would be past the end.
        ("1-31:1..10", [1, 2, 3, 5, 7, 10, 14, 19, 25]),
        ("1-20:5..1", [1, 6, 10, 13, 15, 17, 19, 20]),
        ("11-15:2..2", [11, 13, 15]),
        ("3-4:1..5", [3, 4]),
        ("7-7:1..5", [7]),
        ("1-4:1..2+9", [1, 2, 3, 9]),
    ],
)
def test_an_interval_that_grows_or_shrinks(text, expected):
    values = parse(text)
    assert values == expected and all(type(v) is int for v in values)


def test_the_steps_of_a_growing_interval_go_from_the_first_to_the_last():
    values = parse("1-300:1..10")
    steps = [b - a for a, b in itertools.pairwise(values)]
    assert steps == sorted(steps) and (steps[0], steps[-1]) == (1, 10)
    assert (values[0], values[-1]) == (1, 300) and len(values) == 81
    assert parse("1-300:1..10") == values
    written = states.format(values)
    assert parse(written) == values and len(written) < 100


def test_a_growing_interval_may_start_between_states():
    assert parse("1.5-9.75:1..3", fractional=True) == [1.5, 2.5, 3.5, 4.5, 6.5, 8.5]


def test_all_needs_to_know_how_many():
    assert parse("all", last=4) == [1, 2, 3, 4]
    with pytest.raises(StatesError, match="not known"):
        parse("all")


def test_fractions_do_not_drift():
    values = parse("1-102:0.1", fractional=True)
    assert len(values) == 1011
    assert values[1:4] == [1.1, 1.2, 1.3]
    assert values[-1] == 102 and type(values[-1]) is int
    assert values[617] == 62.7


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "empty"),
        ("1,5", "comma"),
        ("a-b", "'a-b'"),
        ("1--5", "'1--5'"),
        ("1-5:", "'1-5:'"),
        ("1++2", "''"),
        ("-5", "'-5'"),
        ("0-5", "count from 1, and 0"),
        ("9-2", "from 9 to 2"),
        ("1-9:0", "step"),
        ("1-9:0..3", "the step of '1-9:0..3' is 0"),
        ("1-9:3..0", "the step of '1-9:3..0' is 0"),
        ("1-9:1..", "'1-9:1..'"),
        ("1-9:..3", "'1-9:..3'"),
        ("1-9:1..2..3", "'1-9:1..2..3'"),
        ("1..9", "'1..9'"),
        ("1-9:1.5..3", "not whole"),
        ("1.5-9:1..3", "not whole"),
        ("1-1000000000:1..2", "more than 100000 states are asked for"),
        ("1.5", "not whole"),
        ("1-9:0.5", "not whole"),
        ("1-5+4-8", "state 4 is given twice"),
        ("1-200000", "200000 states are asked for; 100000"),
        ("1-99999999999", "not a state"),
        ("1e3", "'1e3'"),
        ("1-5;quit", "'1-5;quit'"),
    ],
)
def test_refused_with_one_clear_line(text, message):
    with pytest.raises(StatesError) as error:
        parse(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_decimal_comma_is_refused_with_the_point_to_write():
    with pytest.raises(StatesError, match=r"1\+5\+9, and write fractions with a point, as in 1-9:0.5$"):
        parse("1-79:0,5", fractional=True)
    with pytest.raises(StatesError, match=r"join ranges with \+, as in 1\+5\+9$"):
        parse("1,5")


def test_no_more_states_are_read_than_may_be_asked_for():
    """Counted before they are read, as many as there are parts; then as many as the ranges have."""
    assert parse("1+2+3", most=3) == [1, 2, 3] and parse("1-3", most=3) == [1, 2, 3]
    assert parse("all", last=3, most=3) == [1, 2, 3] and parse("1-9:2..2", most=5) == [1, 3, 5, 7, 9]
    for text, message in (
        ("1+2+3+x", "4 states are asked for; 3 is the most at once"),
        ("1-4", "4 states are asked for; 3 is the most at once"),
        ("1+3-9:2", "5 states are asked for; 3 is the most at once"),
        ("1-9:2..2", "more than 3 states are asked for, which is the most at once"),
        ("1+2-9:2..2", "more than 3 states are asked for, which is the most at once"),
    ):
        with pytest.raises(StatesError, match=f": {message}$"):
            parse(text, most=3)
    with pytest.raises(StatesError, match=r"^states all: 4 states are asked for; 3 is the most at once$"):
        parse("all", last=4, most=3)


@pytest.mark.parametrize("last", [0, -3])
def test_all_of_nothing_is_refused(last):
    with pytest.raises(StatesError, match=f"^states all: pep has {last} states$"):
        parse("all", last=last, owner="pep")


def test_the_largest_state_number():
    assert parse("1000000000") == [10**9]
    with pytest.raises(StatesError, match="1000000001 is past 1000000000, the largest state number"):
        parse("1000000001")


def test_a_long_text_is_shown_by_its_start():
    for length, excerpt in ((80, "x" * 80), (81, "x" * 77 + "...")):
        with pytest.raises(StatesError, match=rf"^states {re.escape(excerpt)}: '{re.escape(excerpt)}' is not a state"):
            parse("x" * length)


def test_one_state_is_no_plural():
    with pytest.raises(StatesError, match=r"^states 2: the object has 1 state; 2 is past the end$"):
        parse("2", last=1)


@pytest.mark.parametrize(
    "text, fractional, message",
    [
        ("0.5", True, "states count from 1, and 0.5 is asked for"),
        ("2.05-1.5", True, "the range runs backwards, from 2.05 to 1.5; write 1.5-2.05"),
        ("1.25+1.25", True, "state 1.25 is given twice"),
        ("1-1.000", False, "'1-1.000' is not whole; fractions of states are for movies and exports"),
    ],
)
def test_fractions_are_named_as_they_are_written(text, fractional, message):
    with pytest.raises(StatesError) as error:
        parse(text, fractional=fractional)
    assert str(error.value) == f"states {text}: {message}"


def test_an_empty_list_has_no_text():
    with pytest.raises(StatesError, match="no states to write: the list is empty"):
        states.format([])


def test_steps_that_grow_in_fractions_are_refused():
    with pytest.raises(StatesError, match=r"grow in fractions; write whole ones, as in 1\.\.10"):
        parse("1-9:0.5..2", fractional=True)


def test_past_the_end_names_both_values_and_the_owner():
    with pytest.raises(StatesError) as error:
        parse("1-150", last=102, owner="the object m")
    assert str(error.value) == "states 1-150: the object m has 102 states; 150 is past the end"


def test_a_step_that_stops_short_of_the_end_is_within():
    assert parse("1-103:2", last=103) == parse("1-104:2", last=103)


@pytest.mark.parametrize(
    "values, text",
    [
        ([1, 2, 3, 4], "1-4"),
        ([1, 3, 5, 7], "1-7:2"),
        ([1, 5], "1+5"),
        ([1, 2, 3, 6, 8, 10], "1-3+6-10:2"),
        ([1, 1.25, 1.5, 1.75, 2], "1-2:0.25"),
        ([1, 1.1, 1.2, 1.3], "1-1.3:0.1"),
        ([5], "5"),
    ],
)
def test_written_short(values, text):
    assert states.format(values) == text


integers = st.integers(1, 10_000)
decimals = st.decimals(1, 10_000, places=3).map(float).map(lambda v: int(v) if v.is_integer() else v)


@settings(deadline=None)
@given(st.lists(st.one_of(integers, decimals), min_size=1, max_size=60, unique=True))
def test_round_trip_of_any_list(values):
    assert parse(states.format(values), fractional=True) == values


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(0, 300), st.sampled_from(["1", "2", "7", "0.25", "0.1", "0.333"]))
def test_round_trip_of_ranges(start, length, step):
    values = parse(f"{start}-{start + length}:{step}", fractional=True)
    assert parse(states.format(values), fractional=True) == values


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(0, 300), st.integers(1, 12), st.integers(1, 12))
def test_a_growing_interval_is_what_its_rule_says_and_goes_both_ways(start, length, first, last):
    expected, state = [], start
    while state <= start + length:
        expected.append(state)
        fraction = Fraction(state - start, length) if length else 0
        state += math.floor(first + fraction * (last - first) + Fraction(1, 2))
    values = parse(f"{start}-{start + length}:{first}..{last}")
    assert values == expected
    assert parse(states.format(values)) == values


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text):
    try:
        values = parse(text, last=50, fractional=True)
    except StatesError:
        return
    assert values and all(1 <= v <= 50 for v in values)
