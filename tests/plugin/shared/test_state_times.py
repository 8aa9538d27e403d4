"""Times of states from a user's file: each rises, or the error names the file and the line."""

from __future__ import annotations

import pytest

from pymol_dsr.shared.state_times import inner_states, read_times
from pymol_dsr.shared.values import ValueFault


def test_times_come_from_a_file_with_comments(tmp_path):
    file = tmp_path / "times.txt"
    file.write_text("0 1.5, 2 # ns\n# end\n7\n")
    assert read_times(file) == (0.0, 1.5, 2.0, 7.0)
    for text, message in (
        ("0\nx\n", f"times {file}, line 2: 'x' is not a number; give one time for each state"),
        ("0 2\n1\n", f"times {file}, line 2: 1 comes after 2; times must rise from state to state"),
        ("0 inf\n", f"times {file}, line 1: inf is not finite"),
        ("0\nnan\n", f"times {file}, line 2: nan is not a number; give one time for each state"),
        ("0 1e300\n", f"times {file}, line 1: 1e300 must lie within ±1e+30; give the times in another unit"),
        ("5 4 3\n", f"times {file}, line 1: 4 comes after 5; times must rise from state to state"),
        (
            "0 5e-324 1e-323\n",
            "the times of states 1 and 2 are 4.94066e-324 apart; of these times, from 0 to 9.88131e-324, neighbours "
            "must be at least 1e-30 apart",
        ),
        (
            "0 1e-12 1\n",
            "the times of states 1 and 2 are 1e-12 apart; of these times, from 0 to 1, neighbours must be at least "
            "1e-09 apart",
        ),
        ("3\n", "times must be of two states at least, got 1"),
    ):
        file.write_text(text)
        with pytest.raises(ValueFault) as error:
            read_times(file)
        assert str(error.value) == message


def test_a_binary_file_holds_no_times(tmp_path):
    file = tmp_path / "times.dcd"
    file.write_bytes(bytes(range(256)))
    with pytest.raises(ValueFault) as error:
        read_times(file)
    assert str(error.value) == f"times {file}: it is no text file; give one number for each state"


@pytest.mark.parametrize(
    ("states", "places"),
    [
        ([1.0, 3.0, 4.5, 7.0, 8.0], [1, 2]),
        ([1.0, 7.0], [0, 1]),
        ([8.0, 9.0], [0, 1]),
    ],
)
def test_speeds_count_inside_the_fitted_range_where_there_are_any(states, places):
    assert inner_states(states, (1.0, 7.0)) == places
