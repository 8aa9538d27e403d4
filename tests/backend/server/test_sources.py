"""The source job of the server: a molecule and its states in, generated states, progress and frames out."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from dsr_backend.runtime.errors import Cancelled, RequestError
from dsr_backend.server.job import Job
from dsr_backend.server.methods import sources
from dsr_backend.sources.contract import Generated

from pymol_dsr.shared import messages
from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.source_options import GenerateOptions
from pymol_dsr.shared.values import ValueFault
from support.wire import Wire

WATER = Molecule(
    names=("O", "H1", "H2"),
    residue_names=("HOH",) * 3,
    residue_numbers=("52A",) * 3,
    chains=("W",) * 3,
    elements=("O", "H", "H"),
    bonds=np.array([[0, 1], [0, 2]], np.int32),
    hetatm=np.ones(3, bool),
)
STATES = np.arange(4 * 3 * 3, dtype=np.float32).reshape(4, 3, 3)
TIMES = np.array([1.0, 2.0, 4.0, 5.0])


def request(**options) -> messages.Generate:
    return messages.Generate(
        source="water_next",
        options=GenerateOptions(**options),
        **messages.SourceRequest.contents(WATER, [(STATES, TIMES), (STATES[:2], TIMES[:2])]),
    )


def call(wire: Wire, message: messages.Generate):
    values, arrays = message.encode()
    values, arrays = wire.call("generate", arrays, **values)
    return messages.parse_result(messages.SourceResult, values, arrays, {"A": 3})


def test_a_molecule_comes_out_of_its_message_as_it_went_in():
    values, arrays = request(task="fill").encode()
    decoded = messages.parse_request("generate", values, arrays)
    assert isinstance(decoded, messages.Generate)
    molecule = decoded.molecule()
    for column in ("names", "residue_names", "residue_numbers", "chains", "elements"):
        assert getattr(molecule, column) == getattr(WATER, column)
    assert (molecule.bonds == WATER.bonds).all() and (molecule.hetatm == WATER.hetatm).all()
    (first, times), (second, _) = decoded.trajectories()
    assert (first == STATES).all() and (times == TIMES).all() and (second == STATES[:2]).all()


def test_held_states_follow_the_last_one_in_each_replica():
    result = call(Wire(), request(task="continue", method="hold", frames=3, replicas=2))
    assert result.times.tolist() == [6.0, 7.0, 8.0, 6.0, 7.0, 8.0]
    assert (result.coordinates == STATES[-1]).all()
    assert result.kind == "continue" and result.title(5) == "continue: hold, 6 of 6"
    assert result.provenance["method"] == "hold"
    assert result.provenance["options"]["frames"] == 3


def test_held_states_between_two_are_those_of_the_nearer_one():
    result = call(Wire(), request(task="fill", method="hold", frames=3))
    assert result.times.tolist() == [1.25, 1.5, 1.75, 2.5, 3.0, 3.5, 4.25, 4.5, 4.75]
    assert (result.coordinates[0] == STATES[0]).all() and (result.coordinates[2] == STATES[1]).all()


@pytest.mark.parametrize(
    "change, fault",
    [
        ({"lengths": (4, 3)}, "lengths"),
        ({"times": np.array([1.0, 1.0, 2.0, 3.0, 1.0, 2.0])}, "rise"),
        ({"bonds": np.array([[0, 3]], np.int32)}, "bonds"),
        ({"texts": ("O",)}, "texts"),
    ],
)
def test_contents_that_contradict_each_other_are_refused(change, fault):
    values, arrays = replace(request(task="fill"), **change).encode()
    assert fault in Wire().refused("generate", arrays, **values)


def test_a_title_is_needed_for_each_state():
    with pytest.raises(ValueFault, match="1 titles for 2 states"):
        messages.SourceResult(
            kind="sample",
            method="hold",
            titles=("one",),
            coordinates=np.zeros((2, 3, 3), np.float32),
            times=np.zeros(2),
        ).check_together()


def test_states_are_sent_while_they_are_made_and_none_twice(monkeypatch):
    monkeypatch.setattr(sources, "FRAMES_SECONDS", 0.0)
    wire = Wire()

    def source(trajectories, report, check):
        for number in range(3):
            report((number + 1) / 3, "generating", f"state {number + 1}")
            report.frames(STATES[number : number + 1])
        return Generated(STATES[:3], TIMES[:3], "test", notes=("a line",), model={"temperature": 300})

    continuation = request(task="continue")
    result = sources.run_source(wire.job("generate", {}), continuation, "continue", {"seed": 5}, source)
    frames = [event for event in wire.events if isinstance(event, messages.SourceFrames)]
    assert [event.first for event in frames] == [0, 1, 2]
    assert (np.concatenate([event.coordinates for event in frames]) == result.coordinates).all()
    progress = [event for event in wire.events if isinstance(event, messages.SourceProgress)]
    assert progress[0].source == "water_next" and progress[0].status.text == "state 1"
    assert result.provenance["temperature"] == 300 and result.provenance["seed"] == 5


def test_a_source_ends_when_it_is_cancelled_and_says_what_it_refuses():
    wire = Wire()
    job = wire.job("generate", {})
    job.cancel()

    def checks(trajectories, report, check):
        check()
        return Generated(STATES, TIMES, "test")

    with pytest.raises(Cancelled):
        sources.run_source(job, request(task="fill"), "fill", {}, checks)

    def refuses(trajectories, report, check):
        raise ValueFault("they are no time series; dsr_sample takes them")

    with pytest.raises(RequestError, match="dsr_sample"):
        sources.run_source(wire.job("generate", {}), request(task="fill"), "fill", {}, refuses)


def test_errors_of_a_training_that_come_between_two_events_go_with_the_next_one():
    events: list[Any] = []
    listener: Any = SimpleNamespace(send_event=events.append)
    report = sources.JobReport(Job(1, "learn", {}, {}, listener), "net")
    report(0.0, "learning")
    report.errors(2.0, 1.5, 1.6)
    report.gap(0.3)
    # Too soon after the one before to be sent.
    report(0.1, "learning")
    report(0.2, "calibrating")
    assert [event.status.phase for event in events] == ["learning", "calibrating"]
    assert (events[-1].status.errors, events[-1].status.gap) == ((2.0, 1.5, 1.6), 0.3)
    report(1.0, "writing")
    assert (events[-1].status.errors, events[-1].status.gap) == ((), None)
