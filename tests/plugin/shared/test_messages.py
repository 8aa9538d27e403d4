"""Messages as dataclasses: what a frame holds of them, and what is refused."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from pymol_dsr.shared import messages
from pymol_dsr.shared.messages import reports
from pymol_dsr.shared.messages.base import Array
from pymol_dsr.shared.messages.reports import parse_atom_indices
from pymol_dsr.shared.options import FieldOptions, FitOptions, MeshOptions
from pymol_dsr.shared.values import ValueFault

POINTS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")
FACES = np.array([[0, 1, 2]], "<i4")
REPORT = {"states": [1, 2.5], "device": "cpu", "path": None, "held_out_iou": 0.25, "lift": -0.5, "unheard of": {"a": 1}}


def test_a_request_leaves_out_what_has_its_default() -> None:
    field = FieldOptions(trajectory="a", towards="b", share=0.25)
    request = messages.Mesh(fit="f", field=field, time=2.0, mesh=MeshOptions(resolution=1.0), blend=True)
    values, arrays = request.encode()
    assert values == {
        "fit": "f", "time": 2.0, "trajectory": "a", "towards": "b", "share": 0.25, "resolution": 1.0, "blend": True,
    }  # fmt: skip
    assert arrays == {}
    assert messages.parse_request("mesh", values, arrays).encode() == (values, arrays)


def test_arrays_are_sent_in_the_type_of_the_schema() -> None:
    values, arrays = messages.Paint(fit="f", time=1.0, points=POINTS.astype(np.float64)).encode()
    assert values == {"fit": "f", "time": 1.0} and arrays["points"].dtype.str == "<f4"


def test_options_that_an_older_backend_may_not_know_are_sent_where_they_are_given() -> None:
    values, _ = messages.Open(fit="f", config=FitOptions(seed=3)).encode()
    assert values == {
        "fit": "f", "config": {"preset": "fast", "seed": 3, "device": "auto", "align": True, "loop": False},
    }  # fmt: skip
    values, _ = messages.Open(fit="f", config=FitOptions(times=(0.0, 1.0))).encode()
    assert isinstance(values["config"], dict) and values["config"]["times"] == [0.0, 1.0]


@pytest.mark.parametrize("kind", messages.REQUESTS.values())
def test_every_request_says_its_method_its_lane_and_its_result(kind: Any) -> None:
    assert messages.REQUESTS[kind.METHOD] is kind
    assert isinstance(kind.LANE, messages.Lane) and issubclass(kind.RESULT, messages.Result)


def test_a_result_has_letters_for_lengths() -> None:
    values = {"area": 1.0, "volume": 2, "extrapolated": False}
    arrays = {"points": POINTS, "normals": POINTS, "faces": FACES, "nearest": np.array([0, 1, 1], "<i4")}
    result = messages.parse_result(messages.MeshResult, values, arrays, {"A": 2})
    assert result.volume == 2.0 and isinstance(result.volume, float)
    with pytest.raises(ValueFault, match=r"nearest has indices from 0 to 1, of 1 that there are"):
        messages.parse_result(messages.MeshResult, values, arrays, {"A": 1})
    with pytest.raises(ValueFault, match=r"^normals is f4 \[2, 3\], not f4 \[3, 3\]$"):
        messages.parse_result(messages.MeshResult, values, {**arrays, "normals": POINTS[:2]}, {})
    with pytest.raises(ValueFault, match=r"^points is f8 \[3, 3\], not f4 \[N, 3\]$"):
        messages.parse_result(messages.MeshResult, values, {**arrays, "points": POINTS.astype("<f8")}, {})


def test_letters_get_their_number_from_the_first_array_that_fits() -> None:
    array = Array("some", "<f4", ("N", "N", 3))
    letters: dict[str, int] = {}
    for shape in ((2, 3, 3), (2, 2, 4), (2, 2), (2, 2, 3, 1)):
        assert not array.fits(np.zeros(shape, "<f4"), letters, True) and letters == {}
    assert array.fits(np.zeros((2, 2, 3), "<f4"), letters, True) and letters == {"N": 2}
    assert not array.fits(np.zeros((4, 4, 3), "<f4"), letters, True)
    assert array.noun(letters) == "f4 [2, 2, 3]" and array.noun({}) == "f4 [N, N, 3]"


@pytest.mark.parametrize(
    ("dtype", "exact", "inexact"),
    [("<f4", True, True), ("<f8", False, True), (">f4", False, True), ("<i4", False, False)],
)
def test_results_have_exactly_the_type_that_is_written_and_requests_one_of_its_kind(
    dtype: str, exact: bool, inexact: bool
) -> None:
    array = Array("some", "<f4", ("N",))
    assert array.fits(np.zeros(2, dtype), {}, True) is exact
    assert array.fits(np.zeros(2, dtype), {}, False) is inexact


@pytest.mark.parametrize("bad", [10.0, -10.0, np.inf, np.nan])
def test_values_are_within_their_limit(bad: float) -> None:
    array = Array("some", "<f4", ("N",), limit=10.0)
    array.check_values("some", np.array([9.5, -9.5], "<f4"), {})
    array.check_values("some", np.zeros(0, "<f4"), {})
    with pytest.raises(ValueFault, match=f"^some has the value {bad:g} in it$"):
        array.check_values("some", np.array([1.0, bad, 2.0], "<f4"), {})


def test_values_that_may_lack_are_not_infinite() -> None:
    array = Array("some", "<f4", ("N",), finite=False)
    array.check_values("some", np.array([1e30, np.nan], "<f4"), {})
    with pytest.raises(ValueFault, match=r"^some has infinite values in it$"):
        array.check_values("some", np.array([np.nan, -np.inf], "<f4"), {})
    Array("some", "<f4", ("N",)).check_values("some", np.array([np.inf], "<f4"), {})


def test_indices_are_below_the_number_of_what_they_index() -> None:
    array = Array("some", "<i4", ("N",), indexes="A")
    array.check_values("some", np.array([0, 4], "<i4"), {"A": 5})
    array.check_values("some", np.array([0, 4000], "<i4"), {})
    for values, letters, count in (([0, 5], {"A": 5}, "5"), ([-1, 0], {"A": 5}, "5"), ([-1, 0], {}, "None")):
        with pytest.raises(ValueFault, match=f"^some has indices from .* to .*, of {count} that there are$"):
            array.check_values("some", np.array(values, "<i4"), letters)


def test_events_are_known_by_name() -> None:
    parameters = {"fit": "f", "phase": "fit", "fraction": 0.5, "loss": None, "step": 3, "from a later version": 1}
    event = messages.parse_event("progress", parameters, {})
    assert isinstance(event, messages.Progress)
    assert event.fit == "f" and event.status == messages.FitStatus("fit", 0.5, step=3)
    preview = messages.parse_event(
        "preview", {"fit": "f", "time": 1}, {"points": POINTS, "normals": POINTS, "faces": FACES}
    )
    assert isinstance(preview, messages.Preview) and not preview.final and preview.nearest is None
    assert messages.parse_event("no such event", {}, {}) is None


def test_an_event_says_what_it_does_not_know_but_for_what_is_rare() -> None:
    values, arrays = messages.Progress(fit="f", status=messages.FitStatus("fit", 0.5, loss=float("nan"))).encode()
    unknown = {"step": None, "steps": None, "loss": None, "seconds_left": None}
    assert (values, arrays) == ({"fit": "f", "phase": "fit", "fraction": 0.5, **unknown}, {})
    assert (
        messages.Progress(fit="f", status=messages.FitStatus("fit", 0.5, checkpoint=2)).encode()[0]["checkpoint"] == 2
    )


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("progress", {"fit": None, "phase": "fit", "fraction": 0.5}, "fit is None, not a text"),
        ("progress", {"fit": "f", "phase": "rest", "fraction": 0.5}, "phase is 'rest', not one of surfaces, sampling"),
        ("progress", {"fit": "f", "phase": "fit", "fraction": "half"}, "fraction is 'half', not a finite number"),
        ("progress", {"fit": "f", "phase": "fit", "fraction": 0.5, "step": 1.5}, "step is 1.5, not a whole number"),
        ("log", {"text": {"a": 1}}, "text is {'a': 1}, not a text"),
        ("device", {"threads": True}, "threads is True, not a whole number"),
        ("preview", {"fit": "f", "time": 1}, "the array points is missing"),
    ],
)
def test_events_that_are_none_are_refused(name: str, params: Any, words: str) -> None:
    with pytest.raises(ValueFault) as caught:
        messages.parse_event(name, params, {})
    assert str(caught.value).startswith(words)


# Reports


def test_a_report_of_one_trajectory() -> None:
    report = messages.FitReport.from_json({**REPORT, "source": {"object": "pep", "atoms": "1-3+7"}})
    assert report.to_json()["unheard of"] == {"a": 1}
    assert list(report.members()) == list(report.sources()) == [""]
    member, source = report.members()[""], report.sources()[""]
    assert (member.states, member.held_out_iou, member.level_offset) == ((1.0, 2.5), 0.25, -0.5)
    assert source.object == "pep" and source.selection is None
    indices = source.atom_indices()
    assert indices is not None and indices.tolist() == [1, 2, 3, 7]
    assert messages.FitReport.from_json(REPORT).sources()[""].atom_indices() is None


def test_a_report_is_not_changed() -> None:
    for record in (messages.FitReport.from_json(REPORT), messages.FitReport.from_json(REPORT).members()[""]):
        with pytest.raises(FrozenInstanceError):
            record.device = "cuda"  # type: ignore[misc]


def test_a_report_of_a_family() -> None:
    sources = {"trajectories": {"one": {"object": "pep", "atoms": "1-2"}, "of no trajectory": 7}}
    report = messages.FitReport.from_json(
        {"trajectories": {"one": REPORT, "two": {**REPORT, "states": [3]}}, "source": sources}
    )
    assert {name: member.states for name, member in report.members().items()} == {"one": (1.0, 2.5), "two": (3.0,)}
    assert {name: source.object for name, source in report.sources().items()} == {"one": "pep"}


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ({}, "states None: it is not a list of numbers"),
        ({"states": []}, "there are 0, not 1 to 100000"),
        ({"states": [2, 1]}, "1 comes after 2, so they do not rise"),
        ({"states": [0, 1]}, "they are 0 to 1, not above 0"),
        ({"states": [1], "path": 7}, "path 7: it is not a text"),
        ({"trajectories": {}}, "trajectories: there are none"),
        ({"trajectories": {"../x": REPORT}}, "a trajectory can't be named '../x'"),
        ({"trajectories": {"a": "b"}}, "trajectories b: it is not an object"),
        ({"states": [1], "source": {"object": 1}}, "object 1: it is not a text"),
        ({"trajectories": {"a": REPORT}, "source": {"trajectories": []}}, None),
        ({"trajectories": {"a": REPORT}, "source": {"trajectories": [1]}}, "its trajectories are not an object"),
        ({"trajectories": {"a": REPORT}, "source": {"trajectories": {"a": "b"}}}, "that of a is not an object"),
    ],
)
def test_reports_that_are_none_are_refused(report: dict[str, Any], words: str | None) -> None:
    if words is None:
        messages.FitReport.from_json(report)
        return
    with pytest.raises(ValueFault) as caught:
        messages.FitReport.from_json(report)
    assert words in str(caught.value)


def test_a_report_has_a_hundred_thousand_states_up_to_a_thousand_million() -> None:
    states = [float(state) for state in range(1, 100_000)] + [1e9]
    assert len(messages.FitReport.from_json({"states": states}).members()[""].states) == 100_000
    with pytest.raises(ValueFault, match="there are 100001, not 1 to 100000"):
        messages.FitReport.from_json({"states": [0.5, *states]})
    assert messages.FitReport.from_json({"states": [1e-3]}).members()[""].states == (1e-3,)
    with pytest.raises(ValueFault, match=r"they are 1 to 1e\+09, not above 0 and at most 1000000000"):
        messages.FitReport.from_json({"states": [1, 1e9 + 1]})
    with pytest.raises(ValueFault, match="1 comes after 1, so they do not rise"):
        messages.FitReport.from_json({"states": [1, 1]})


def test_as_many_atoms_are_read_as_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MOST_ATOMS", 5)
    for text, indices in (("1-5", [1, 2, 3, 4, 5]), ("1-9:2", [1, 3, 5, 7, 9]), (" 7 + 1-2+4 ", [7, 1, 2, 4])):
        parsed = parse_atom_indices(text)
        assert parsed.tolist() == indices and parsed.dtype == np.int32
    for text in ("1-6", "1-11:2", "1-3+5-7"):
        with pytest.raises(ValueFault, match=r"^its atoms are more than 5$"):
            parse_atom_indices(text)
    with pytest.raises(ValueFault, match=r"'0-3'.*: they count from 1 and rise"):
        parse_atom_indices("0-3")
    assert parse_atom_indices("3-3").tolist() == [3]


def test_atoms_are_read_in_bounded_memory() -> None:
    np.testing.assert_array_equal(parse_atom_indices("1-9:2+20"), [1, 3, 5, 7, 9, 20])
    for text, words in (
        ("5-1", "they count from 1 and rise"),
        ("1-5:0", "they count from 1 and rise"),
        ("1-5+3", "named twice"),
        ("1-999999999", "more than 10000000"),
        ("../x", "not indices as 1-300"),
    ):
        with pytest.raises(ValueFault, match=words):
            parse_atom_indices(text)
