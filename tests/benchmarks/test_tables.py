"""The benchmark's tables: which states, what the baselines predict, and how results become Markdown."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from dsr_backend.geometry.triangle_mesh import TriangleMesh
from dsr_backend.geometry.unit_cube import UnitCube
from scipy.spatial.transform import Rotation

from support.paths import ROOT
from support.shapes import ball

sys.path.insert(0, str(ROOT / "benchmarks"))

import report
import rows
import tables
import trajectories
from rows import BETWEEN, FITTED, LATER, NEXT, ROWS


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_no_row_is_scored_between_or_after_at_states_it_was_fitted_to(row):
    assert set(row.groups[FITTED]) <= set(row.training)
    for group in {BETWEEN, NEXT, LATER} & set(row.groups):
        assert not set(row.groups[group]) & set(row.training)
    assert all(row.training[0] < state < row.training[-1] for state in row.groups[BETWEEN])
    last = max(state for group in row.groups.values() for state in group)
    assert last <= trajectories.TRAJECTORIES[row.trajectory].states


def test_the_papers_protocol():
    dims, froda = ROWS["dims"], ROWS["froda"]
    assert dims.training == tuple(range(1, 80, 2))
    assert (dims.groups[NEXT], dims.groups[LATER]) == (tuple(range(81, 91)), tuple(range(91, 101)))
    assert froda.training == tuple(range(1, 119, 3))
    assert (froda.groups[NEXT], froda.groups[LATER]) == (tuple(range(121, 131)), tuple(range(131, 141)))


def test_wide_gaps_are_scored_at_their_quarters():
    assert ROWS["dims26"].training == (1, 27, 53, 79)
    assert ROWS["dims12"].groups[BETWEEN][:3] == (4, 7, 10)
    assert ROWS["dims78"].groups[BETWEEN] == (21, 40, 59)


def test_some_are_evenly_spread_and_hold_both_ends():
    assert rows.spread_states(range(1, 101), 4) == (1, 34, 67, 100)
    assert rows.spread_states((3, 5), 4) == (3, 5)


def test_the_earlier_of_two_equally_near_states_is_held():
    assert rows.nearest(4, (1, 3, 5)) == 3
    assert rows.nearest(6, (1, 3, 7)) == 7


# Atoms of the baselines -------------------------------------------------------------------------------------


def tumbling(states, turn):
    """A rigid molecule of 30 atoms that turns by `turn` degrees a state about an axis through its centre."""
    atoms = 5.0 * np.random.default_rng(0).normal(size=(30, 3))
    atoms -= atoms.mean(0)
    return {s: atoms @ Rotation.from_rotvec([0, 0, turn * s], degrees=True).as_matrix().T for s in states}


def pair(training, *between):
    return replace(ROWS["dims78"], training=training, groups={BETWEEN: between})


def test_superposed_atoms_of_a_rigid_molecule_are_exact_and_straight_ones_shrink():
    atoms, row = tumbling((1, 2, 4), 30.0), pair((1, 4), 2)
    assert rows.superposed_atoms(row, atoms, 2) == pytest.approx(atoms[2], abs=1e-4)
    straight = rows.straight_atoms(row, atoms, 2)
    assert np.linalg.norm(straight[:, :2]) < 0.8 * np.linalg.norm(atoms[2][:, :2])


def test_atoms_ahead_go_on_at_the_last_speed_without_the_turn_before():
    drift = np.random.default_rng(1).normal(size=(30, 3))
    drift -= drift.mean(0)
    atoms = tumbling((1,), 0.0)[1]
    first, last = atoms, atoms + 1e-3 * drift
    turned = first @ Rotation.from_rotvec([0, 1.0, 0]).as_matrix().T
    ahead = rows.atoms_ahead(pair((1, 3), 2), {1: turned, 3: last}, 7)
    assert ahead - last == pytest.approx(2e-3 * drift, abs=2e-3)
    assert not np.allclose(ahead, last, atol=1e-4)


def test_atoms_ahead_take_their_speed_from_the_last_eight_fitted_states():
    resting = tumbling((1,), 0.0)[1]
    # At rest until the last eight, then growing by 1 % a state.
    training = tuple(range(1, 40, 2))
    atoms = {state: (1.0 + 0.01 * max(0, state - 25)) * resting for state in training}
    assert rows.atoms_ahead(pair(training, 2), atoms, 49) == pytest.approx(1.24 * resting, abs=1e-6)


def test_step_rmsd_leaves_the_turn_out_and_counts_what_moves():
    atoms = tumbling((1, 2, 3), 40.0)
    assert rows.step_rmsd(atoms, np.arange(30)) == pytest.approx(0.0, abs=1e-6)
    wider = {1: atoms[1], 2: 1.1 * atoms[1]}
    expected = 0.1 * np.sqrt((atoms[1] ** 2).sum(1).mean())
    assert rows.step_rmsd(wider, np.arange(30)) == pytest.approx(expected)


def test_smoothing_is_pymols_over_the_fitted_states(cmd):
    cmd.fragment("gly", "dims")
    count = cmd.count_atoms("dims")
    base = np.random.default_rng(2).normal(size=(count, 3))
    base -= base.mean(0)
    # A breathing molecule: PyMOL's window of five averages the sizes of five fitted states.
    size = dict(zip(range(1, 16, 2), (1.0, 1.2, 0.9, 1.3, 1.0, 1.1, 0.8, 1.2), strict=True))
    atoms = {state: factor * base for state, factor in size.items()}
    smoothed = rows.smoothed_atoms(cmd, pair(tuple(size), 8), atoms)[8]
    sizes = list(size.values())
    expected = 0.5 * (np.mean(sizes[1:6]) + np.mean(sizes[2:7]))
    assert smoothed == pytest.approx(expected * base, abs=1e-3)
    assert cmd.get_names() == ["dims"]


# Blended grids ----------------------------------------------------------------------------------------------


def test_the_blend_of_two_spheres_is_the_sphere_between():
    small, large = (ball(1, radius) for radius in (6.0, 10.0))
    frame = UnitCube.of([small.points, large.points])
    first_mesh, second_mesh = (TriangleMesh(s.points, s.faces, torch.device("cpu")) for s in (small, large))
    points, normals, faces = rows.blended(first_mesh, second_mesh, 0.25, frame)
    radius = np.linalg.norm(points, axis=1)
    assert radius == pytest.approx(np.full(len(points), 7.0), abs=0.1)
    assert np.abs((points * normals).sum(1) / radius).min() > 0.99
    corners = points[faces]
    outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((outward * corners.mean(1)).sum(1) > 0).mean() > 0.99


def test_the_blend_of_bodies_apart_may_be_empty():
    left_ball, right_ball = (ball(1, 4.0, (x, 0.0, 0.0)) for x in (-12.0, 12.0))
    frame = UnitCube.of([left_ball.points, right_ball.points])
    first_mesh, second_mesh = (TriangleMesh(s.points, s.faces, torch.device("cpu")) for s in (left_ball, right_ball))
    assert [len(array) for array in rows.blended(first_mesh, second_mesh, 0.5, frame)] == [0, 0, 0]


# Where the data come from -----------------------------------------------------------------------------------


def test_our_trajectories_are_in_the_repository_and_what_they_are_said_to_be(cmd, tmp_path):
    for name, trajectory in trajectories.TRAJECTORIES.items():
        if trajectory.licence.startswith("ours"):
            trajectories.load(cmd, name, None, tmp_path)
            assert (cmd.count_states(name), cmd.count_atoms(name)) == (trajectory.states, trajectory.atoms)


def test_a_given_folder_comes_before_fetching(tmp_path):
    data_folder = tmp_path / "given"
    data_folder.mkdir()
    for file in trajectories.TRAJECTORIES["froda"].files:
        (data_folder / file).touch()
    assert trajectories.find("froda", data_folder, tmp_path)[0] == data_folder / "adk_froda001.pdb"


def test_another_trajectory_under_the_same_name_is_refused(cmd, tmp_path):
    for own_file, file in zip(
        ("trpcage_300k.pdb", "trpcage_300k.xtc"), ("gpcr_5ht1b.pdb", "gpcr_5ht1b.xtc"), strict=True
    ):
        (tmp_path / file).write_bytes((trajectories.OURS / own_file).read_bytes())
    with pytest.raises(trajectories.NotHadError, match="170 states of 304 atoms, 250 of 4988"):
        trajectories.load(cmd, "gpcr", tmp_path, tmp_path)


def test_without_the_network_the_message_says_what_to_do(tmp_path, monkeypatch):
    nowhere = ("https://localhost:1/top.pdb", "https://localhost:1/path.dcd")
    froda = replace(trajectories.TRAJECTORIES["froda"], sources=nowhere)
    monkeypatch.setitem(trajectories.TRAJECTORIES, "froda", froda)
    with pytest.raises(trajectories.NotHadError, match=r"adk_froda001\.pdb and adk_froda001\.dcd .* --data"):
        trajectories.find("froda", None, tmp_path)
    assert not list(tmp_path.glob("*.pdb"))


# Tables -----------------------------------------------------------------------------------------------------


def score(iou, chamfer=0.01, nc=0.9):
    return {"iou": iou, "chamfer_l1": chamfer, "chamfer_sq": chamfer**2, "nc": nc}


def put(folder, row, method, scores, training=None, **values):
    conditions = {"training": list(training or ROWS[row].training), "groups": {}, "seconds": None, "resolution": 0.5}
    machine = {"name": "A machine", "device": "cpu", "threads": 2, "torch": "2.13"}
    record = {"asked": conditions, "scores": scores, "hardware": machine, "code": "abc", **values}
    (folder / row).mkdir(exist_ok=True)
    (folder / row / f"{method}.json").write_text(json.dumps(record))


@pytest.fixture
def results(tmp_path):
    row_facts = {"atoms": 3341, "step_rmsd": 0.4, "pymol_seconds": 0.5, "fitted": "40: every second of 80"}
    baselines = {
        BETWEEN: {rows.HOLD: {"2": score(0.90), "4": score(0.92)}, rows.SUPERPOSED: {"2": score(0.94, 0.005)}},
        NEXT: {rows.HOLD_LAST: {"81": score(0.5)}},
    }
    fast = {
        FITTED: {"`fast`": {"1": score(0.98, nc=0.97), "3": score(0.99, nc=0.98)}},
        BETWEEN: {"`fast`": {"2": score(0.93, nc=0.95)}},
        NEXT: {"`fast`": {"81": score(float(0), float("inf"), 0.0)}},
    }
    put(tmp_path, "dims", "baselines", baselines, about=row_facts)
    put(tmp_path, "dims", "fast", fast, fit_seconds=12.3, mesh_seconds=0.2)
    return tmp_path


def written(folder):
    report.write(folder, folder / "results.md", {})
    return (folder / "results.md").read_text().splitlines()


def test_means_deviations_and_the_best_in_bold(results):
    text = written(results)
    held = next(line for line in text if line.startswith(f"| dims | between | {rows.HOLD}"))
    assert "| 2 | 0.9100 ± 0.0100 | 0.01000 ± 0.00000 |" in held
    linear = next(line for line in text if line.startswith(f"| dims | between | {rows.SUPERPOSED}"))
    assert "| **0.9400 ± 0.0000** | **0.00500 ± 0.00000** | **0.000025 ± 0.000000** | 0.9000 ± 0.0000 |" in linear
    fast = next(line for line in text if line.startswith("| dims | between | `fast`"))
    assert "| 0.9300 ± 0.0000 |" in fast and "| **0.9500 ± 0.0000** | 12 |" in fast


def test_the_papers_figures_stand_beside_ours_only_for_the_same_states(results):
    text = written(results)
    assert any("| fitted | the paper, as printed |  | 0.9316 ± 0.0070 |" in line for line in text)
    put(results, "dims", "baselines", {}, training=[1, 3], about=report.Results(results).about("dims"))
    assert not any("the paper, as printed" in line for line in written(results))


def test_the_page_opens_with_the_cases_in_which_fast_is_the_best(results):
    lead = next(line for line in written(results) if line.startswith("Between the fitted states"))
    assert "has the best mean IoU in 0 of 1 cases and the best mean NC in 1 of 1. After the last fitted state" in lead
    assert "has the best mean IoU in 0 of 1 cases and the best mean NC in 0 of 1. A case is" in lead
    assert any("the best NC in 1 of 1 rows." in line for line in written(results))


def test_where_fast_loses_is_listed_with_the_winner(results):
    text = written(results)
    start = text.index("## Cases where `fast` is not the best")
    losses = [line for line in text[start:] if line.startswith("| dims")]
    assert f"| dims | between | IoU | 0.9300 | 0.9400 | {rows.SUPERPOSED} |" in losses
    assert not any("| between | NC |" in line or "| fitted |" in line for line in losses)
    assert "| dims | future 1–10 | IoU | 0.0000 | 0.8467 | the paper, as printed |" in losses


def test_no_mesh_at_all_is_infinitely_far(results):
    line = next(line for line in written(results) if line.startswith("| dims | future 1–10 | `fast`"))
    assert "| 0.0000 ± 0.0000 | ∞ | ∞ | 0.0000 ± 0.0000 |" in line


def test_figures_of_different_sources_are_pointed_out(results):
    assert not any("same sources" in line for line in written(results))
    put(results, "dims", "paper", {}, code="def", fit_seconds=1.0, mesh_seconds=1.0)
    assert any("same sources" in line for line in written(results))


# The whole --------------------------------------------------------------------------------------------------


def test_a_row_from_trajectory_to_table_and_again_from_what_is_kept(tmp_path, monkeypatch, capsys):
    groups = {FITTED: (3,), BETWEEN: (4,), NEXT: (11,)}
    monkeypatch.setattr(rows, "quick", lambda row: replace(row, training=(1, 3, 5, 7, 9), groups=groups))
    arguments = ["--quick", "--rows", "trpcage", "--methods", "baselines", "fast", "--device", "cpu"]
    arguments += ["--folder", str(tmp_path)]
    tables.main(arguments)
    text = (tmp_path / "quick" / "results.md").read_text()
    for method in ("`fast`", rows.HOLD, rows.SUPERPOSED, rows.TYPE_3, rows.STRAIGHT, rows.SMOOTHED, rows.BLENDED):
        assert f"| trpcage | between | {method} | 1 |" in text
    for method in ("`fast`", rows.HOLD_LAST, rows.AHEAD):
        assert f"| trpcage | future 1–10 | {method} | 1 |" in text
    fitted = json.loads((tmp_path / "quick" / "trpcage" / "fast.json").read_text())["scores"][FITTED]["`fast`"]
    assert fitted["3"]["iou"] > 0.96
    capsys.readouterr()
    tables.main(arguments)
    assert capsys.readouterr().out.count("trpcage, fast: from ") == 1
