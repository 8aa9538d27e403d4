"""The benchmark of learned potentials: from short runs of ten alanines to its page."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from support.paths import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import cg
from dsr_backend.sources.potential import calibrate


@pytest.fixture
def short(monkeypatch):
    """A few steps of a few replicas, where the benchmark takes minutes."""
    for name, value in {"REPLICAS": 4, "SETTLE": 5, "STEPS": 40, "SAMPLED": 10}.items():
        monkeypatch.setattr(cg, name, value)
    for name, value in {"REPLICAS": 4, "SETTLE": 20}.items():
        monkeypatch.setattr(calibrate, name, value)


@pytest.fixture
def data(tmp_path):
    """The first forty frames of each of the five runs."""
    path = tmp_path / "ala10.npz"
    with np.load(ROOT / "benchmarks" / "data" / "ala10_350k.npz") as full:
        first = np.concatenate([np.flatnonzero(full["run"] == run)[:40] for run in range(1, 6)])
        np.savez(path, ca=full["ca"][first], forces=full["forces"][first], run=full["run"][first])
    return path


def test_each_seed_is_measured_once_and_written(short, data, tmp_path):
    folder, page = tmp_path / "cg", tmp_path / "results.md"
    measure = ["measure", str(data), "--folder", str(folder), "--seeds", "0", "1", "--seconds", "0.1"]
    cg.main(measure)
    names = ["data.json", "forces-0.json", "forces-1.json", "frames-0.json", "frames-1.json"]
    assert sorted(path.name for path in folder.glob("*.json")) == names
    description = json.loads((folder / "data.json").read_text())
    assert description["frames"] == 200 and len(description["floor"]) == 10
    assert all(0.0 <= value <= 1.0 for value in (*description["floor"], description["unseen"], description["helix"]))
    first = json.loads((folder / "forces-0.json").read_text())
    assert {"prior", "matched", "calibrated"} <= set(first)
    assert not {"prior", "matched"} & set(json.loads((folder / "frames-0.json").read_text()))
    assert 0.0 <= first["calibrated"]["js"] <= 1.0 and first["calibrated"]["steps"] == 45
    assert first["error"][1] <= first["error"][0], "the best network is no worse than the priors"
    # A seed that is there is not measured again.
    before = [(folder / name).stat().st_mtime_ns for name in names[1:]]
    cg.main(measure)
    assert [(folder / name).stat().st_mtime_ns for name in names[1:]] == before

    # The replicas of the first seed stay whole; another call adds steps to those of the one before.
    for steps in (10, 15):
        cg.main(["stability", "--folder", str(folder), "--steps", str(steps)])
        record = json.loads((folder / "stable-0.json").read_text())
        assert record["steps"] == steps and record["flown_apart"] == 0 and 3.5 < record["longest"] < 5.5

    cg.main(["write", "--folder", str(folder), "--out", str(page)])
    rows = [line.strip("| ").split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")][2:]
    assert [(row[0], row[1]) for row in rows] == [
        ("priors alone", "1"),
        ("forces, not calibrated", "1"),
        ("forces, calibrated", "2"),
        ("frames alone, calibrated", "2"),
    ]
    assert rows[2][-1].endswith(" of 8") and "200 states of five simulations" in page.read_text()


@pytest.mark.parametrize("verb", [["stability"], ["pace", "ala10.npz"]])
def test_what_needs_a_measured_potential_says_so(verb, tmp_path):
    with pytest.raises(SystemExit, match=r"forces-0.dsrm is missing: run `measure` with seed 0"):
        cg.main([*verb, "--folder", str(tmp_path)])


@pytest.mark.slow
def test_samples_a_second_are_counted_beside_all_atoms(short, data, tmp_path, monkeypatch):
    pytest.importorskip("openmm")
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    folder, page = tmp_path / "cg", tmp_path / "results.md"
    cg.main(["measure", str(data), "--folder", str(folder), "--seeds", "0", "--seconds", "0.1", "--kinds", "forces"])
    cg.main(["pace", str(data), "--folder", str(folder), "--ns", "0.01", "--replicas", "2", "3", "--model-ns", "0.01"])
    figures = json.loads((folder / "pace.json").read_text())
    assert [row["replicas"] for row in figures["runs"]] == [2, 3]
    assert all(row["samples"] > 0 and row["seconds"] > 0 for row in figures["runs"]) and figures["seconds"] > 0
    before, after = figures["force_noise"]
    assert after < before, "the map to beads takes off noise"
    cg.main(["write", "--folder", str(folder), "--out", str(page)])
    rows = [line.strip("| ").split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[-3:]] == ["all atoms", "the potential, 2 replicas", "the potential, 3 replicas"]
    rates = [float(row[4]) for row in rows[-3:]]
    assert float(rows[-1][5]) == pytest.approx(rates[2] / rates[0], rel=0.2)


@pytest.mark.slow
def test_one_potential_of_three_proteins_is_written_beside_their_own(short, data, tmp_path, monkeypatch):
    for name, value in {"TOGETHER_REPLICAS": 2, "TOGETHER_SETTLE": 5, "TOGETHER_STEPS": 20}.items():
        monkeypatch.setattr(cg, name, value)
    folder, page = tmp_path / "cg", tmp_path / "results.md"
    cg.main(["measure", str(data), "--folder", str(folder), "--seeds", "0", "--seconds", "0.1"])
    together = ["together", str(data), "--folder", str(folder), "--seeds", "0", "1", "--seconds", "0.1"]
    cg.main(together)
    names = sorted(path.name for path in folder.iterdir())
    cg.main(together)
    assert sorted(path.name for path in folder.iterdir()) == names, "a seed is learned once"
    cg.main(["write", "--folder", str(folder), "--out", str(page)])
    rows = [line.strip("| ").split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")][-3:]
    assert [row[:2] for row in rows] == [["trpcage", "170"], ["villin", "160"], ["ala10", "200"]]
    for seed in (0, 1):
        values = json.loads((folder / f"together-{seed}.json").read_text())
        assert all(0.0 <= row[kind] <= 1.0 for row in values.values() for kind in ("own", "joint"))
    for cell in rows[1][2:]:
        mean, worst = map(float, cell.split(", "))
        assert mean <= worst


def test_divergence_is_none_of_an_ensemble_from_itself_and_one_bit_of_strangers(data):
    beads, forces, runs = cg.read(data)
    assert beads.shape == forces.shape == (200, 10, 3) and set(runs.tolist()) == {1, 2, 3, 4, 5}
    assert cg.divergence(beads, beads) == 0.0
    line = np.zeros_like(beads)
    line[..., 0] = 3.8 * np.arange(10)
    assert cg.divergence(beads, line) == pytest.approx(1.0)


def test_relaxation_of_a_series_that_forgets():
    """The autocorrelation time of x ← a x + noise is (1 + a) / (1 − a) samples."""
    rng = np.random.default_rng(0)
    series = np.zeros((20000, 4))
    for k in range(1, len(series)):
        series[k] = 0.8 * series[k - 1] + rng.normal(size=4)
    assert cg.relaxation(series) == pytest.approx(9.0, rel=0.15)


@pytest.mark.slow
def test_runs_of_all_atoms_become_beads_and_forces(tmp_path, monkeypatch):
    pytest.importorskip("openmm")
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    monkeypatch.setattr(cg, "RUNS", 2)
    cg.main(["make", str(tmp_path / "ala10.npz"), "--ns", "0.01"])
    beads, forces, runs = cg.read(tmp_path / "ala10.npz")
    assert beads.shape == forces.shape and beads.shape[1:] == (10, 3) and set(runs.tolist()) == {1, 2}
    steps = np.linalg.norm(np.diff(beads, axis=1), axis=2)
    assert steps.min() > 3.5 and steps.max() < 4.2, "neighbours are 3.8 Å apart"
