"""The backend that all fits share: who waits for its start, and how far a fit was that lost it."""

from __future__ import annotations

import shlex
import threading
from typing import Any

import pytest

from pymol_dsr.fits.connection import Connection
from pymol_dsr.fits.fit import Cancelled, Fit, Phase
from pymol_dsr.fits.jobs import Jobs
from pymol_dsr.runtime.settings import Settings
from pymol_dsr.shared.messages import Status
from support.processes import QUEUED
from support.waiting import PATIENCE, wait_for


def connection_of(settings):
    return Connection(settings, lambda event: None, lambda name, trajectory: None)


def test_a_fit_is_cancelled_while_the_backend_starts_for_another():
    """The window starts it when it is opened, and a queue may hold it for long."""
    settings = Settings()
    settings.put("backend", shlex.join(QUEUED))
    connection = connection_of(settings)
    questions, ends = [], {}

    class Watched(threading.Event):
        def is_set(self):
            questions.append(self)
            return super().is_set()

    def start(fit):
        try:
            connection.backend(fit)
        except Cancelled as error:
            ends[fit.name] = str(error)

    first, second = Fit("first", stop=Watched()), Fit("second")
    threads = [threading.Thread(target=start, args=(fit,)) for fit in (first, second)]
    threads[0].start()
    wait_for(lambda: questions)
    threads[1].start()
    second.stop.set()
    threads[1].join(PATIENCE)
    assert ends == {"second": "second: cancelled while the backend started"} and threads[0].is_alive()
    first.stop.set()
    threads[0].join(PATIENCE)
    assert ends["first"] == "first: cancelled while the backend started"


def test_fits_are_stopped_while_another_one_is_entered():
    jobs = Jobs(Settings())

    class Entering(threading.Event):
        def set(self):
            jobs.fits["late"] = Fit("late")
            super().set()

    jobs.fits = {name: Fit(name, stop=Entering()) for name in ("first", "second")}
    jobs.close()
    assert all(jobs.fits[name].stop.is_set() for name in ("first", "second"))


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({}, "lost at 0 % of its surfaces; dsr_resume a goes on from the surfaces it had"),
        ({"phase": Phase.SURFACES, "fraction": 0.5}, "lost at 50 % of its surfaces"),
        ({"phase": Phase.FIT}, "lost at 0 % of its fit; dsr_resume a goes on from the surfaces it had"),
        ({"phase": Phase.FIT, "fraction": 0.25, "step": 7, "checkpoint": 5}, "lost at step 7; checkpoint at step 5"),
    ],
)
def test_a_fit_that_lost_its_backend_says_how_far_it_was(state, sentence):
    assert Fit("a", **state).lost().startswith(sentence)


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_a_request_is_cancelled_when_nobody_waits_for_it_any_more(fault):
    """Else a simulation whose object was deleted would go on for hours."""

    class Unanswered:
        done = cancelled = False

        def cancel(self):
            self.cancelled = True

    def tick():
        raise fault

    call: Any = Unanswered()
    with pytest.raises(fault):
        connection_of(Settings()).wait(Fit("a"), call, tick)
    assert call.cancelled


def test_a_stream_is_cancelled_though_each_answer_is_there_before_it_is_waited_for(monkeypatch):
    """As while a movie is loaded: the scene takes longer for a mesh than the backend."""

    class Answered:
        done = True

        def result(self):
            return "mesh"

        def cancel(self):
            pass

    class Quick:
        def submit(self, request):
            return Answered()

    fit, connection = Fit("a"), connection_of(Settings())
    monkeypatch.setattr(connection, "backend", Quick)
    answers: Any = connection.stream(fit, [Status() for _ in range(20)])
    assert [next(answers), next(answers)] == ["mesh", "mesh"]
    fit.stop.set()
    with pytest.raises(Cancelled, match="a: cancelled"):
        next(answers)
