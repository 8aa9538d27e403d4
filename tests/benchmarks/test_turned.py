"""PyMOL's surfaces compared with each other, on a peptide in PyMOL."""

from __future__ import annotations

import sys
from functools import partial

from support.paths import ROOT
from support.scene import build_peptide

sys.path.insert(0, str(ROOT / "benchmarks"))

import trajectories
import turned
from dsr_backend.geometry import metrics


def test_a_shift_changes_less_than_a_turn_and_a_small_nudge_less_than_a_large_one(tmp_path, monkeypatch):
    monkeypatch.setattr(trajectories, "load", lambda cmd, name, data, cache: build_peptide(cmd, name, count=3))
    monkeypatch.setattr(turned, "STATES", (1, 3))
    monkeypatch.setattr(metrics, "sample", partial(metrics.sample, count=1000))
    page = tmp_path / "results.md"
    monkeypatch.setattr(sys, "argv", ["turned.py", "--out", str(page)])
    turned.main()
    rows = [line.strip("| ").split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")]
    scores = {row[0]: [tuple(map(float, cell.split(" / "))) for cell in row[1:]] for row in rows[2:]}
    (shifted, _), (usual, finer) = scores["shifted"], scores["turned"]
    assert all(after > before for after, before in zip(shifted, usual, strict=True))
    assert 0.9 < usual[0] < finer[0] < 1.0 and 0.9 < usual[1] < finer[1] < 1.0
    nudges = [scores[f"atoms nudged by {width:g} Å"][0][0] for width in turned.NUDGES]
    assert 1.0 > nudges[0] > nudges[1] > nudges[2] > 0.5
