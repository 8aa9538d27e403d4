"""Evaluations without a backend: the atoms of the baselines, tables, files and plots."""

from __future__ import annotations

import csv
import math
import sys

import numpy as np
import pytest

from pymol_dsr.analysis import baselines, evaluation
from pymol_dsr.analysis.evaluation import StateScores
from pymol_dsr.shared import superpose
from pymol_dsr.shared.scoring import group_of
from support.scene import build_peptide, coordinates


def test_states_that_an_evaluation_needs():
    fitted = [1, 3, 5, 9]
    assert baselines.fitted_neighbors(7, fitted) == (5, 9)
    assert baselines.needed_states([2, 8, 11], fitted, ["hold"]) == [1, 2, 3, 5, 8, 9, 11]
    assert baselines.needed_states([2], fitted, ["smooth"]) == [1, 2, 3, 5, 9]


def turned(angle, axis=(2.0, -1.0, 3.0)):
    """Rotation f8[3,3] by `angle` radians (Rodrigues)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


@pytest.fixture
def atoms():
    return np.random.default_rng(3).normal(0, 5, (40, 3)) * [1, 2, 3] + [10, -20, 30]


def test_rmsd_is_that_of_pymols_own_superposition(cmd):
    build_peptide(cmd)
    for state in (2, 6):
        rmsd = superpose.rmsd(coordinates(cmd, "pep", state), coordinates(cmd, "pep", 1))
        # intra_rms superposes without moving anything.
        assert rmsd == pytest.approx(cmd.intra_rms("pep", 1)[state - 1], abs=1e-4)
    assert rmsd > 0.2


def test_rmsd_knows_no_rigid_motion_and_no_mirror(atoms):
    assert superpose.rmsd(atoms @ turned(2.5).T + [7, 8, 9], atoms) < 1e-6
    assert superpose.rmsd(atoms * [-1, 1, 1], atoms) > 1.0
    # Any three atoms lie in a plane.
    assert superpose.rmsd(atoms[:3] @ turned(1.0).T, atoms[:3]) < 1e-6
    assert superpose.rmsd(atoms[:1] + 5, atoms[:1]) == 0.0


@pytest.mark.parametrize("angle", [0.0, 1e-5, 1.0, 3.0, math.pi])
@pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
def test_a_rigid_motion_is_done_for_its_share(atoms, angle, fraction):
    centre = atoms.mean(axis=0)
    after = (atoms - centre) @ turned(angle).T + centre + [4, 0, -8]
    interpolated = baselines.interpolate(atoms, after, fraction)
    assert superpose.rmsd(interpolated, atoms) < 1e-4
    assert np.allclose(interpolated.mean(axis=0), centre + fraction * np.array([4, 0, -8]), atol=1e-4)
    if angle < math.pi:
        expected = (atoms - centre) @ turned(fraction * angle).T + centre + fraction * np.array([4, 0, -8])
        assert np.allclose(interpolated, expected, atol=1e-3)
    if fraction == 1.0:
        assert np.allclose(interpolated, after, atol=1e-3)


def test_what_is_not_rigid_goes_in_straight_lines(atoms):
    rng = np.random.default_rng(4)
    after = atoms + rng.normal(0, 0.5, atoms.shape)
    turn = turned(2.0)
    interpolated = baselines.interpolate(atoms, after @ turn.T, 0.5)
    assert superpose.rmsd(interpolated, 0.5 * (atoms + after)) < 0.05
    assert np.allclose(baselines.interpolate(atoms, after @ turn.T, 0.0), atoms, atol=1e-4)
    assert np.allclose(baselines.interpolate(atoms, after @ turn.T, 1.0), after @ turn.T, atol=1e-3)


def rows():
    nan = float("nan")
    scores = [
        StateScores(1, "training", "field", 0.98, 0.003, 1e-5, 0.97, nan),
        StateScores(3, "training", "field", 0.96, 0.005, 3e-5, 0.99, 0.4),
    ]
    for method, iou in (("field", 0.93), ("hold nearest", 0.90), ("atoms linear", 0.92)):
        scores.append(StateScores(2, "between", method, iou, 0.009, 4e-4, 0.94, 0.6))
    scores.append(StateScores(4, "future 1-10", "field", 0.88, 0.02, 1e-3, nan, 0.5))
    return sorted(scores, key=lambda r: r.state)


def test_the_table_has_means_deviations_and_the_rmsd_of_each_group():
    head, training, field, hold, linear, future = evaluation.score_table(rows())
    assert "RMSD" in head
    assert "0.9700 ± 0.0100" in training and "0.9800 ± 0.0100" in training and training.endswith("0.40 ± 0.00")
    assert field.endswith("0.60 ± 0.00") and "0.60" not in linear and "0.60" not in hold
    assert "nan" in future


def test_groups_are_in_order_of_time_far_into_the_future():
    states = (8, 5, 112, 17, 103, 3, 9)
    scores = [StateScores(n, group_of(n, [3, 4, 7]), "field", 0.9, 0.1, 0.01, 0.9, 0.5) for n in states]
    groups = [line.split("  ")[0].strip().removesuffix(" field") for line in evaluation.score_table(scores)[1:]]
    assert groups == ["training", "between", "future 1-10", "future 91-100", "future 101-110"]


def test_the_file_has_a_line_for_each_state_and_method(tmp_path):
    path = tmp_path / "t.csv"
    evaluation.write_scores(str(path), rows())
    with open(path, newline="") as stream:
        table = list(csv.DictReader(stream))
    assert list(table[0]) == ["state", "group", "method", "iou", "chamfer_l1", "chamfer_sq", "nc", "rmsd"]
    assert len(table) == len(rows()) and math.isnan(float(table[0]["rmsd"])) and float(table[1]["rmsd"]) == 0.6


@pytest.mark.system
def test_the_plot_takes_metrics_that_are_not_defined(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    path = tmp_path / "t.png"
    assert evaluation.write_score_plot(str(path), rows(), (1, 3), "a fit")
    assert path.read_bytes().startswith(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert not evaluation.write_score_plot(str(tmp_path / "none.png"), rows(), (1, 3), "a fit")
    assert not (tmp_path / "none.png").exists()
