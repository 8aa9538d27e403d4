"""Commands that wait for a fit: each runs in its turn, whatever becomes of the one before it and of the fit."""

from __future__ import annotations

import pytest
from pymol import CmdException

from pymol_dsr.fits.fit import Activity, Fit, Phase
from pymol_dsr.fits.jobs import Jobs
from pymol_dsr.runtime.settings import Settings
from pymol_dsr.scene.command_queues import CommandQueues
from support.waiting import wait_for


@pytest.fixture
def jobs():
    jobs = Jobs(Settings())
    jobs.fits["a"] = Fit("a", phase=Phase.READY)
    jobs.claim(jobs.fits["a"], Activity.MOVIE)
    return jobs


def failing(error):
    def call():
        raise error

    return call


def all_done(queues, name="a"):
    wait_for(lambda: not queues.must_wait(name))


@pytest.mark.parametrize(
    ("error", "report"),
    [
        (CmdException("no such state"), " Error: dsr_movie: no such state"),
        (RuntimeError("a fault of ours"), "RuntimeError: a fault of ours"),
    ],
)
def test_a_command_that_fails_does_not_hold_up_those_after_it(cmd, jobs, capfd, error, report):
    queues, called = CommandQueues(jobs), list[str]()
    queues.add("a", "dsr_movie", failing(error), cmd)
    queues.add("a", "dsr_color", lambda: called.append("dsr_color"), cmd)
    assert queues.must_wait("a") and not called
    jobs.release(jobs.fits["a"])
    all_done(queues)
    assert called == ["dsr_color"]
    assert report in "".join(capfd.readouterr())


def test_a_fit_that_a_command_loads_anew_is_waited_for_by_those_after_it(cmd, jobs, capfd):
    queues, called = CommandQueues(jobs), list[str]()

    def load():
        jobs.fits["a"] = Fit("a", phase=Phase.READY)

    queues.add("a", "dsr_movie", load, cmd)
    queues.add("a", "dsr_color", lambda: called.append("dsr_color"), cmd)
    jobs.release(jobs.fits["a"])
    all_done(queues)
    assert called == ["dsr_color"] and "not run" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("phase", "ending"),
    [(Phase.CANCELLED, "was cancelled"), (Phase.FAILED, "has failed"), (None, "is not there any more")],
)
def test_commands_of_a_fit_that_does_not_come_to_its_end_are_named_and_not_run(cmd, jobs, capfd, phase, ending):
    queues, called, fit = CommandQueues(jobs), list[str](), jobs.fits["a"]
    for verb in ("movie", "color"):
        queues.add("a", f"dsr_{verb}", lambda: called.append("called"), cmd)
    if phase is None:
        del jobs.fits["a"]
    else:
        # The one that it was to replace has its name again.
        fit.phase, jobs.fits["a"] = phase, Fit("a", phase=Phase.READY)
    jobs.release(fit)
    line = f" dsr_movie, dsr_color: not run, since the fit a {ending}\n"
    printed: list[str] = []

    def has_line():
        printed.append(capfd.readouterr().out)
        return line in "".join(printed)

    wait_for(has_line, lambda: printed)
    assert not called and not queues.must_wait("a")


def test_a_command_whose_fit_has_left_meanwhile_holds_up_no_other(cmd, jobs):
    queues = CommandQueues(jobs)
    queues.add("gone", "dsr_movie", lambda: None, cmd)
    all_done(queues, "gone")
