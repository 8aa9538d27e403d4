"""The benchmark of occupancies: its table, on balls and on a peptide in PyMOL."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from support.paths import ROOT
from support.scene import build_peptide
from support.shapes import ball

sys.path.insert(0, str(ROOT / "benchmarks"))

import occupancy
import trajectories
from dsr_backend.fitting import run
from dsr_backend.results import dsr_file

from pymol_dsr.shared.options import FitOptions


def cells(lines):
    """Title, volume and IoU of each row of the table."""
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][2:]
    return {title: (float(volume), iou) for title, volume, iou in rows}


def test_the_surface_of_half_the_states_beats_a_ball_that_shrank():
    balls = [ball(state, radius, subdivisions=3) for state, radius in enumerate((5.0, 6.0, 7.0), 1)]
    table = cells(occupancy.compare(balls, ball(0, 4.0, subdivisions=3), threads=1))
    volumes = [4 / 3 * np.pi * radius**3 for radius in (5.0, 6.0, 7.0)]
    assert table["a state, mean of 3"] == (pytest.approx(np.mean(volumes), rel=0.02), "–")
    half, half_iou = table["surface of 50 %"]
    mean, mean_iou = table["surface of the mean atoms"]
    assert half == pytest.approx(volumes[1], rel=0.03) and mean == pytest.approx(4 / 3 * np.pi * 4**3, rel=0.02)
    # The IoU of two balls is the smaller volume over the larger one.
    assert float(half_iou) == pytest.approx(np.mean([volumes[0] / volumes[1], 1.0, volumes[1] / volumes[2]]), abs=0.02)
    assert float(mean_iou) < 0.5


def test_a_trajectory_becomes_the_part_of_the_page(tmp_path, monkeypatch, capsys):
    page, fit = tmp_path / "results.md", tmp_path / "balls.dsr"
    page.write_text("# Results\n")
    dsr_file.save(run.fit_trajectory([ball(state, 4.0 + state) for state in (1, 2)], FitOptions(preset="preview")), fit)
    monkeypatch.setattr(trajectories, "load", lambda cmd, name, data, cache: build_peptide(cmd, name))
    monkeypatch.setattr(occupancy, "RESULTS", page)
    monkeypatch.setattr(occupancy, "TIMES", 3)
    monkeypatch.setattr(sys, "argv", ["occupancy.py", "--every", "2", "--fit", str(fit), "--write"])
    occupancy.main()
    lines = page.read_text().splitlines()
    assert "The occupancy of 3 states (" in page.read_text()
    table = cells(lines)
    assert list(table) == ["a state, mean of 3", "surface of 50 %", "surface of the mean atoms"]
    assert table["surface of 50 %"][0] == pytest.approx(table["a state, mean of 3"][0], rel=0.1)
    assert 0.7 < float(table["surface of 50 %"][1]) <= 1.0
    assert any(line.startswith("The occupancy of 3 times of the fit balls.dsr at 0.8 Å took ") for line in lines)
    assert capsys.readouterr().out.strip() in page.read_text()
