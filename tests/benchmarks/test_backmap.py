"""The benchmark of back-mapping: its two tables, on a peptide in PyMOL."""

from __future__ import annotations

import sys
from functools import partial

from support.paths import ROOT
from support.scene import build_peptide

sys.path.insert(0, str(ROOT / "benchmarks"))

import backmap
import trajectories
from dsr_backend.geometry import metrics


def test_a_state_is_built_from_each_route_and_scored(tmp_path, monkeypatch):
    monkeypatch.setattr(trajectories, "load", lambda cmd, name, data, cache: build_peptide(cmd, name, count=12))
    monkeypatch.setattr(backmap, "TARGET", 4)
    monkeypatch.setattr(backmap, "DONORS", (1, 8))
    monkeypatch.setattr(backmap, "REPEATS", 1)
    # The distances of both surfaces are not in the tables.
    monkeypatch.setattr(metrics, "sample", partial(metrics.sample, count=1000))
    page = tmp_path / "results.md"
    monkeypatch.setattr(sys, "argv", ["backmap.py", "--out", str(page)])
    backmap.main()
    rows = [line.strip("| ").split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")]
    single = {row[0]: row[1:] for row in rows if len(row) == 5 and row[0] not in ("given", "---")}
    routes = ("Cα", "N, Cα, C", "N, Cα, C, O")
    assert set(single) == {
        "the next true state",
        *(f"{route}, atoms of state 8" for route in routes),
        *(f"{route}, atoms of state 1{relaxed}" for route in routes for relaxed in ("", ", not relaxed")),
    }
    ious = {label: float(row[2]) for label, row in single.items()}
    assert all(0.5 < iou < 0.999 for iou in ious.values()), ious
    # More of the true state is given: the atoms are nearer to it.
    errors = {label: float(row[0]) for label, row in single.items()}
    assert errors["N, Cα, C, O, atoms of state 1"] <= errors["Cα, atoms of state 1"] + 0.05
    # Seconds are of the processor: a fast machine rounds them to 0.00.
    assert single["the next true state"][3] == "–" and float(single["Cα, atoms of state 1"][3]) >= 0.0
    # Every tenth state from 11 on is state 11 alone here: its mean is its worst.
    spread = {row[0]: row[1:] for row in rows if len(row) == 4 and row[0] not in ("given", "---")}
    assert set(spread) == {
        f"{route}, atoms of {donors}" for route in ("Cα", "N, Cα, C, O") for donors in ("state 1", "states 1 to 10")
    }
    for row in spread.values():
        mean, worst = row[2].split(", ")
        assert mean == worst and 0.5 < float(worst) <= 1.0
    assert "1 states along the path (11, 21, …)" in page.read_text()
