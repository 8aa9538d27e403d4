"""Occupancies over the wire: of fits, of families, and of surfaces that are sent for it."""

from __future__ import annotations

import numpy as np
import pytest

from pymol_dsr.backend import reply_checks
from pymol_dsr.shared.atomic_write import is_unlocked
from pymol_dsr.shared.ensemble_options import LandscapeOptions, OccupancyOptions
from pymol_dsr.shared.messages import (
    EnsembleSeries,
    Landscape,
    LandscapeResult,
    Macrostate,
    Occupancy,
    Progress,
    parse_result,
)
from pymol_dsr.shared.scratch import LOCK
from pymol_dsr.shared.values import ValueFault
from support.formula_field import balls
from support.shapes import ball, cloud
from support.wire import Wire


def sent(wire, trajectories=None, name="ens"):
    wire.call("open", fit=name, scratch=True, trajectories=trajectories)
    shell = cloud(30, 3.0)
    for number, trajectory in enumerate(trajectories or [None]):
        series = [ball(k, 4.0 + k + number, atoms=shell, subdivisions=3) for k in (1, 2)]
        wire.send(name, series, **({"trajectory": trajectory} if trajectory else {}))


def parsed(result, arrays):
    return parse_result(Occupancy.RESULT, result, arrays, {})


def test_surfaces_that_were_sent_are_an_ensemble_and_go_with_the_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    wire = Wire()
    sent(wire)
    [folder] = tmp_path.iterdir()
    assert folder.name.startswith("dsr-")
    assert not is_unlocked(folder / LOCK), "where this process is killed, the next one removes the folder"
    assert "its surfaces are for no fit" in wire.refused("fit", fit="ens")
    result = parsed(*wire.call("occupancy", series=[{"fit": "ens"}], levels=[10, 90], resolution=0.6, grid=True))
    volumes = [surface.volume for surface in result.surfaces]
    assert volumes == pytest.approx([4 / 3 * np.pi * radius**3 for radius in (6, 5)], rel=0.015)
    assert result.spread == pytest.approx(0.5, abs=0.02) and result.rmsd == 0.0
    assert result.values.max() == pytest.approx(1.0) and result.values.min() == 0.0
    assert result.rmsd_superposed == pytest.approx(0.0, abs=1e-6)
    # Each level's triangles are its own.
    first = result.surfaces[0]
    assert np.linalg.norm(result.points[: first.points], axis=1) == pytest.approx(6.0, abs=0.1)
    assert result.faces[: first.faces].max() < first.points <= result.faces[first.faces :].min()
    assert not list(tmp_path.iterdir()) and "ens" not in wire.worker.state.pending
    assert [event.fit for event in wire.events if isinstance(event, Progress)][:1] == ["ens"]


def test_replicas_are_pooled_with_their_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    wire = Wire()
    sent(wire, ["a", "b"])
    series = [{"fit": "ens", "trajectory": name} for name in ("a", "b")]
    # Radii 5 and 6, then 6 and 7: only the last one counts.
    result = parsed(*wire.call("occupancy", series=series, weights=[0, 0, 0, 2], levels=[50]))
    assert result.states == 4 and result.values is None
    assert result.surfaces[0].volume == pytest.approx(4 / 3 * np.pi * 7**3, rel=0.015)


def test_times_of_a_field(tmp_path, monkeypatch):
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    wire = Wire()
    wire.worker.state.fitted.put("one", balls(((0.0, 0.0, 0.0), 5.0)))
    result = parsed(*wire.call("occupancy", series=[{"fit": "one"}], levels=[50]))
    assert result.states == 2 and result.volume == pytest.approx(4 / 3 * np.pi * 125, rel=0.015)
    assert parsed(*wire.call("occupancy", series=[{"fit": "one", "times": [1.5]}], levels=[50])).states == 1


def test_refusals(tmp_path, monkeypatch):
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    wire = Wire()
    assert "one series of states at least" in wire.refused("occupancy", series=[])
    sent(wire, ["a", "b"])
    words = "occupancy needs trajectory as one of a, b, got 'c'"
    assert words in wire.refused("occupancy", series=[{"fit": "ens", "trajectory": "c"}])
    assert "weights: 1 are given for 2 states" in wire.refused(
        "occupancy", series=[{"fit": "ens", "trajectory": "a"}], weights=[1]
    )
    # A failed one leaves nothing behind.
    assert "ens" not in wire.worker.state.pending
    wire.call("open", fit="other")
    assert "is under way" in wire.refused("occupancy", series=[{"fit": "other"}])
    wire.worker.state.pending.close()


def test_a_result_that_mixes_levels_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    wire = Wire()
    sent(wire)
    result, arrays = wire.call("occupancy", series=[{"fit": "ens"}], levels=[10, 90], resolution=1.0)
    forged = {**arrays, "faces": arrays["faces"].copy()}
    forged["faces"][0, 0] = len(arrays["points"]) - 1
    with pytest.raises(ValueFault, match="corners of another level"):
        parsed(result, forged)
    with pytest.raises(ValueFault, match="points are"):
        parsed({**result, "surfaces": result["surfaces"][:1]}, arrays)


def test_an_answer_that_was_not_asked_for_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    wire = Wire()
    sent(wire)
    series = (EnsembleSeries("ens"),)
    options = OccupancyOptions(levels=(50.0,), resolution=1.0)
    request = Occupancy(series=series, options=options)
    result, arrays = wire.call("occupancy", **request.encode()[0])
    assert reply_checks.check(request, result, arrays, None).states == 2
    for wrong_result, message in (
        (Occupancy(series=series, options=OccupancyOptions(levels=(10.0,), resolution=1.0)), "levels are"),
        (Occupancy(series=series, options=OccupancyOptions(levels=(50.0,))), "spacing is 1 Å"),
        (Occupancy(series=series, options=options, grid=True), "the array values is missing"),
    ):
        with pytest.raises(ValueFault, match=message):
            reply_checks.check(wrong_result, result, arrays, None)


def test_the_landscape_of_an_ensemble_and_its_reference():
    pytest.importorskip("deeptime", reason="extra simulate")
    rng = np.random.default_rng(0)
    chain = 3.8 * np.arange(8)[:, None] * [1.0, 0.0, 0.0]
    # A breathing chain, as N, CA, C and O of its residues.
    breath = 1.0 + 0.1 * np.sin(0.3 * np.arange(120))
    calpha = breath[:, None, None] * chain + 0.1 * rng.normal(size=(120, 8, 3))
    states = (calpha[:, :, None] + np.array([[-1.2, 0.8, 0], [0, 0, 0], [1.2, 0.8, 0], [1.2, 2.0, 0]])).astype("f4")
    request = Landscape(
        lengths=(60, 40),
        reference_lengths=(20,),
        options=LandscapeOptions(states=2, lag=2),
        coordinates=states[:100],
        reference=states[100:],
        follows=np.array([0, *[1] * 7], np.uint8),
    )
    params, arrays = request.encode()
    result = reply_checks.check(request, *Wire().call("landscape", arrays, **params), None)
    assert result.reference_axes is not None and result.helix is not None
    assert result.kind == "TICA" and result.axes.shape == (100, 2) and result.reference_axes.shape == (20, 2)
    assert [row.method for row in result.rows] == ["ensemble", "bootstrap", "hold"] and result.js is not None
    # A score that does not apply is left out.
    assert "transition_js" not in result.rows[0].scores and "rmsf" in result.rows[0].scores
    assert result.helix.shape == (8,) == result.rmsf.shape
    assert "lengths are [1], and 100 states came" in Wire().refused("landscape", arrays, **{**params, "lengths": [1]})


def test_a_forged_landscape_is_refused():
    def forged(**wrong):
        values = {
            "kind": "PCA",
            "lag": 1,
            "macrostates": (Macrostate(1.0, 0),),
            "axes": np.zeros((2, 2)),
            "edges": np.zeros((2, 3)),
            "free_energy": np.zeros((2, 2)),
            "macrostate": np.zeros(2, np.int32),
            "timescales": np.zeros((0, 3)),
            "rmsd": np.zeros(2, np.float32),
            "rmsf": np.zeros(4, np.float32),
        }
        result = LandscapeResult(**{**values, **wrong})
        return parse_result(LandscapeResult, *result.encode(), {})

    assert forged().kind == "PCA"
    for wrong, message in (
        ({"edges": np.zeros((2, 9))}, "edges are 9, of 2 bins"),
        ({"macrostate": np.array([0, 7], np.int32)}, "numbers up to 7, of 1"),
        ({"macrostates": (Macrostate(1.0, 5),)}, "past the 2 states"),
        ({"lags": (1, 2)}, "timescales are 0 rows, of 2 lags"),
        ({"rmsd": np.zeros(3, np.float32)}, "rmsd"),
    ):
        with pytest.raises(ValueFault, match=message):
            forged(**wrong)
