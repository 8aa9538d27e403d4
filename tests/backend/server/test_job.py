"""A job: which of its progress is sent, and until when it can be cancelled."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from dsr_backend.runtime.errors import Cancelled
from dsr_backend.server import job
from dsr_backend.server.job import Job

from pymol_dsr.shared import messages


class Events(list[tuple[float, str]]):
    """A clock that a test turns, and the time and phase of each event that a job sends."""

    now = 0.0

    def send_event(self, event: messages.Event) -> None:
        assert isinstance(event, messages.Progress)
        self.append((self.now, event.status.phase))


def progress(phase: str) -> messages.Progress:
    return messages.Progress(fit="one", status=messages.FitStatus(phase, 0.5))


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    events = Events()
    monkeypatch.setattr(job, "time", SimpleNamespace(monotonic=lambda: events.now))
    return events


def test_progress_is_sent_at_most_five_times_a_second(events: Events) -> None:
    fit = Job(1, "fit", {}, {}, events)
    for tick in range(65):
        events.now = tick / 64
        fit.progress(progress("fit"))
    assert [time * 64 for time, _ in events] == [0, 13, 26, 39, 52]


def test_a_change_of_phase_is_always_sent(events: Events) -> None:
    fit = Job(1, "fit", {}, {}, events)
    for phase in ("sampling", "fit", "fit", "saving"):
        fit.progress(progress(phase))
    assert [phase for _, phase in events] == ["sampling", "fit", "saving"]


def test_a_job_that_has_begun_to_write_its_result_is_not_cancelled_any_more(events: Events) -> None:
    fit = Job(1, "fit", {}, {}, events)
    fit.commit()
    assert not fit.cancel() and not fit.cancelled()
    fit.check()


def test_a_job_that_was_cancelled_does_not_begin_to_write_its_result(events: Events) -> None:
    fit = Job(1, "fit", {}, {}, events)
    assert fit.cancel() and fit.cancelled()
    with pytest.raises(Cancelled, match="fit was cancelled"):
        fit.commit()
    assert fit.cancel()
