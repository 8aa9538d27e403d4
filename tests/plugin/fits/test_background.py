"""Errors of work in the background: a line for the user, and a traceback for a fault of ours."""

from __future__ import annotations

import threading

import pytest
from pymol import CmdException

from pymol_dsr.fits.background import in_background
from pymol_dsr.fits.fit import Cancelled, JobError
from support.waiting import wait_for


@pytest.mark.parametrize(
    ("error", "line", "has_traceback"),
    [
        (CmdException("no such state"), " Error: dsr_movie: no such state", False),
        (JobError("there is no fit a"), " Error: dsr_movie: there is no fit a", False),
        (Cancelled("a: cancelled"), " dsr_movie: a: cancelled", False),
        (IndexError("a fault of ours"), " Error: dsr_movie: a fault of ours", True),
    ],
)
def test_an_error_is_one_line_and_has_a_traceback_where_it_is_no_expected_one(capsys, error, line, has_traceback):
    def fail():
        raise error

    in_background("dsr_movie", fail, (JobError,))
    wait_for(lambda: not any(thread.name == "dsr-dsr_movie" for thread in threading.enumerate()))
    output, errors = capsys.readouterr()
    assert output == f"{line}\n" and ("Traceback" in errors) == has_traceback
