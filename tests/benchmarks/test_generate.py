"""The benchmark of trajectory sources: its parts on a small chain, from their JSON to the page."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from support.molecules import backbone_molecule, bent_helix
from support.paths import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import generate
import generate_report
import trajectories
from dsr_backend.sources.generator import training

RESIDUES = 12


def bending(stop, count, noise=0.0):
    """A helix that bends from 0 to `stop` radians, f8[count,A,3]."""
    shake = noise * np.random.default_rng(0).normal(size=(count, 3 * RESIDUES, 3))
    return np.stack([bent_helix(RESIDUES, angle) for angle in np.linspace(0.0, stop, count)]) + shake


@pytest.fixture
def chains(monkeypatch):
    """Stand-ins of AdK's two paths: the same motion at two speeds."""
    pair = tuple(generate.Protein(backbone_molecule(RESIDUES), bending(1.5, count)) for count in (101, 61))
    monkeypatch.setattr(generate, "adk", lambda: pair)
    monkeypatch.setattr(generate, "ORIGINS", (40,))
    monkeypatch.setattr(generate, "AHEAD", 20)


def results(tmp_path, *names):
    """Rows of each part, and the page that they become."""
    page = tmp_path / "results.md"
    page.write_text("# Results\n")
    folder = tmp_path / "parts"
    generate.main(["--parts", *names, "--data", str(tmp_path), "--folder", str(folder), "--write", str(page)])
    rows = {name: json.loads((folder / f"{name}.json").read_text()) for name in names if name != "none"}
    return rows, page.read_text()


def test_continuing_a_steady_motion(chains, tmp_path):
    rows, page = results(tmp_path, "continue")
    errors = {row["method"]: row for row in rows["continue"]}
    assert {"hold", "straight", "damped", "trend", "dmd", "ar", "analog"} <= set(errors)
    assert sum(name.startswith("auto: ") for name in errors) >= 1
    # Held, the chain stays behind; a path that is known shows where it goes.
    assert errors["hold"]["+10"] < errors["hold"]["+20"]
    assert errors["analog"]["+20"] < 0.7 * errors["hold"]["+20"]
    assert all(row["s"] >= 0.0 and 0.0 <= row["broken"] <= 100.0 and "+40" not in row for row in errors.values())
    assert f"| 40 | hold | no | {errors['hold']['+10']:.2f} | {errors['hold']['+20']:.2f} | – |" in page


def test_filling_in_between_known_states(chains, tmp_path):
    rows, page = results(tmp_path, "fill")
    errors = {(row["known"], row["method"]): row for row in rows["fill"]}
    assert {known for known, _ in errors} == {"every 5th", "every 20th", "every 50th", "ends"}
    assert errors["every 5th", "straight"]["mean"] < errors["ends", "straight"]["mean"]
    assert errors["ends", "analog"]["mean"] < 0.3 * errors["ends", "hold"]["mean"]
    assert ("every 5th", "elastic") not in errors and ("ends", "elastic") in errors
    row = errors["ends", "hold"]
    assert f"| ends | hold | {row['mean']:.2f} | {row['max']:.2f} |" in page


@pytest.fixture
def peptide_file(tmp_path, monkeypatch):
    """Five runs of a chain that shakes and forgets within some states, as the file of ten alanines has them."""
    rng = np.random.default_rng(0)
    series = rng.normal(size=(5, 200, 1))
    for step in range(1, 200):
        series[:, step] = 0.9 * series[:, step - 1] + np.sqrt(1 - 0.81) * series[:, step]
    states = np.stack([bent_helix(10, 0.3 * value) for value in series.ravel()]) + 0.02 * rng.normal(size=(1000, 30, 3))
    np.savez(tmp_path / "ala10_backbone_1ps.npz", ncac=(1000 * states).astype(np.int32), seed=np.repeat(range(5), 200))
    for name, value in {"PEPTIDE_STARTS": 3, "PEPTIDE_AHEAD": 24, "PEPTIDE_KNOWN": 31, "PEPTIDE_DRAWN": 2}.items():
        monkeypatch.setattr(generate, name, value)


def test_methods_that_draw_are_scored_on_an_unseen_run(chains, peptide_file, tmp_path):
    rows, page = results(tmp_path, "peptide", "fluctuations")
    scores = {row["method"]: row for row in rows["peptide"]}
    assert list(scores) == ["hold", "bootstrap", "ar", "analog", "ou", "gaussian"]
    assert all(0.0 <= row[key] <= 1.0 for row in scores.values() for key in ("late JS", "transition JS"))
    # A state that is held takes no steps, and a draw of the training runs takes those of strangers.
    assert scores["hold"]["step"] < 1e-6 and 0.01 < scores["ou"]["step"] < scores["bootstrap"]["step"]
    assert len(scores["ou"]["autocorrelation"]) == 4
    cases = {(row["case"].split(",")[0], row["method"]): row for row in rows["fluctuations"]}
    assert set(cases) == {(case, path) for case in ("AdK", "Ala10") for path in ("straight", "bridge")}
    # Straight lines have too small steps; a bridge has those of the known runs.
    true = cases["Ala10", "bridge"]["true"]
    assert cases["Ala10", "straight"]["step"] < 0.7 * true < cases["Ala10", "bridge"]["step"] < 1.5 * true
    assert page.index("Filling in with fluctuations") < page.index("Ala10, an unseen run")


def test_data_that_is_not_there_leaves_a_part_out_and_the_page_whole(tmp_path, capsys):
    page = tmp_path / "results.md"
    generate.main(["--parts", "peptide", "--data", str(tmp_path), "--folder", str(tmp_path), "--write", str(page)])
    assert "peptide: left out: " in capsys.readouterr().out and not (tmp_path / "peptide.json").exists()
    assert "## Trajectory sources" in page.read_text() and "Ala10" not in page.read_text()


def test_a_part_that_runs_again_leaves_the_others_on_the_page(chains, tmp_path):
    _, page = results(tmp_path, "fill")
    (tmp_path / "parts" / "fill.json").unlink()
    page_path = tmp_path / "results.md"
    generate.main(["--parts", "none", "--folder", str(tmp_path / "parts"), "--write", str(page_path)])
    assert page_path.read_text() == page and "| ends | hold |" in page


@pytest.mark.system
def test_the_net_is_trained_scored_and_goes_on_where_a_run_was_ended(peptide_file, tmp_path, monkeypatch):
    monkeypatch.setattr(generate_report, "NET_DRAWN", 2)
    monkeypatch.setattr(generate, "NET_DRAWN", 2)
    monkeypatch.setattr(generate, "NET_PIECES", 2)
    monkeypatch.setattr(training, "MEASURED", (1, 4))
    folder, page = tmp_path / "parts", tmp_path / "results.md"
    words = ["--parts", "net", "--data", str(tmp_path), "--folder", str(folder), "--write", str(page)]
    generate.main([*words, "--seconds", "0.5"])
    [row] = json.loads((folder / "net.json").read_text())
    assert row["steps"] > 0 and row["training s"] > 0 and row["chart"] in ("rigid", "internal")
    assert f"| net | {row['late JS']:.3f} | {row['transition JS']:.3f} |" in page.read_text()
    # A second run takes the net and its states as they are.
    (folder / "net-states-1.npz").unlink()
    generate.main(words)
    assert json.loads((folder / "net.json").read_text())[0]["CRPS 5"] == pytest.approx(row["CRPS 5"])


def test_equilibrium_states_are_drawn_from_the_first_half(tmp_path, monkeypatch):
    """The file is one of ours, every other trajectory is not to be had."""

    def find(name, data, cache):
        if name == "trpcage":
            return tuple(trajectories.OURS / file for file in ("trpcage_300k.pdb", "trpcage_300k.xtc"))
        raise trajectories.NotHadError(f"{name}: not here")

    monkeypatch.setattr(trajectories, "find", find)
    rows, page = results(tmp_path, "equilibrium")
    scores = {row["method"].split(":")[0]: row for row in rows["equilibrium"]}
    assert list(scores) == ["bootstrap", "gaussian", "ou", "auto"]
    assert all(0.0 <= row["JS"] <= 1.0 and row["trajectory"] == "trpcage" for row in scores.values())
    assert scores["ou"]["step"] < scores["gaussian"]["step"], "one has memory, the other has none"
    assert page.count("| trpcage |") == 4
