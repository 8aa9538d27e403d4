"""Commands that wait for a fit: each runs in its turn, whatever becomes of the one before it and of the fit."""

from __future__ import annotations

import pytest
from pymol import CmdException

from pymol_dsr.commands import command
from pymol_dsr.commands.film import dsr_film
from pymol_dsr.commands.still import dsr_still
from pymol_dsr.fits.fit import Activity, Fit, Phase
from pymol_dsr.fits.jobs import Jobs
from pymol_dsr.runtime.settings import Settings
from pymol_dsr.scene.command_queues import CommandQueues
from pymol_dsr.session import session_of
from support.session import ready
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


def test_a_film_waits_for_the_movie_that_is_loaded_or_waits_itself(cmd, jobs):
    queues = CommandQueues(jobs)
    assert queues.fit_of_movie() == "a"
    jobs.fits["b"] = Fit("b", phase=Phase.FIT, activity=Activity.FIT)
    jobs.release(jobs.fits["a"])
    queues.add("b", "dsr_color", lambda: None, cmd)
    assert queues.fit_of_movie() == ""
    queues.add("b", "dsr_movie", lambda: None, cmd)
    assert queues.fit_of_movie() == "b"
    jobs.release(jobs.fits["b"])
    all_done(queues, "b")
    assert queues.fit_of_movie() == ""


def test_typed_pictures_of_a_movie_that_is_being_loaded_wait_for_it(plugin, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(command, "is_typed", lambda quiet, _self: True)
    jobs, fit = session_of(plugin).jobs, ready(plugin, "fit", "")
    jobs.claim(fit, Activity.MOVIE)
    assert dsr_film(str(tmp_path / "a.jpg"), quiet=0, _self=plugin) is None
    assert dsr_still("fit", str(tmp_path / "a.jpg"), quiet=0, _self=plugin) is None
    assert " dsr_film: waits for fit\n dsr_still: waits for fit\n" in capfd.readouterr().out
    jobs.release(fit)
    wait_for(lambda: not session_of(plugin).queues.must_wait("fit"))
    output = capfd.readouterr().out
    assert "Error: dsr_film: filename" in output
    assert "Error: dsr_still: filename" in output
