"""The window, under Xvfb: a fit and its preview, live surfaces, movie, quality. The steps are in gui_script.py."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from support.paths import ROOT

pytestmark = [pytest.mark.gui, pytest.mark.timeout(600)]


def run_in_window(name, display, tmp_path):
    """Report of a script of tests/support on a PyMOL with a window."""
    (tmp_path / ".pymolrc.py").write_text("import pymol_dsr\n")
    env = dict(
        os.environ,
        DISPLAY=display,
        HOME=str(tmp_path),
        DSR_HOME=str(tmp_path / "dsr"),
        DSR_GUI_OUT=str(tmp_path),
        DSR_DATA=str(ROOT / "benchmarks/data"),
        LIBGL_ALWAYS_SOFTWARE="1",
        OMP_NUM_THREADS="1",
        QT_API="pyqt5",
        PYTHONPATH=os.pathsep.join(
            [str(ROOT), str(ROOT / "backend"), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
        ),
    )
    script = str(ROOT / "tests/support" / name)
    with open(tmp_path / "output.txt", "w") as output:
        subprocess.run(
            [sys.executable, "-m", "pymol", "-W", "640", "-H", "480", script],
            cwd=tmp_path,
            env=env,
            timeout=500,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    path = tmp_path / "report.json"
    assert path.exists(), (tmp_path / "output.txt").read_text()[-3000:]
    report = json.loads(path.read_text())
    assert not report["error"], report["error"] + report.get("log", "")
    return report


def test_a_user_at_the_window(display, tmp_path):
    pytest.importorskip("PyQt5")
    pytest.importorskip("torch")
    report = run_in_window("gui_script.py", display, tmp_path)
    assert report["steps"] == [
        "panel",
        "cancel",
        "fit",
        "play",
        "rename",
        "movie",
        "quality",
        "measures",
        "ensembles",
        "reload",
        "kept",
        "typed",
        "family",
        "morph",
    ]
    notes = report["told"]
    # Long before the fit: nothing but surfaces were made by then, or are being sampled.
    assert notes["phase at preview"] in ("surfaces", "fit"), notes
    # The picture: the preview covers what PyMOL's own surface covers.
    assert notes["preview covers"] > 0.93, notes
    assert 0.05 < notes["early preview"] < 0.9, notes
    assert 0.05 < notes["live covers"] < 0.9, notes
    # Forty times were dragged past in eight turns: some were shown, and most were not waited for.
    assert 2 <= notes["dragged"] <= 20, notes
    # A window that waited for one of these would answer in no turn of the event loop until it was done.
    assert set(report["turns"]) == {"fit", "movie", "film", "quality", "measures"}
    assert min(report["turns"].values()) > 2, report["turns"]
    assert report["typed_returns_at_once"]
    assert "Error: dsr_fit: a comma ends an argument" in report["log"]
    waiting = [f" dsr_{verb}: waits for chained" for verb in ("movie", "color", "levels")]
    assert [line for line in report["log"].splitlines() if "waits for chained" in line] == waiting
    assert "dsr_measure: not run, since the fit stopped was cancelled" in report["log"]
    assert "result was not ready" not in report["log"]
    assert "typed_atoms holds the atoms at these times" in report["log"]
    for name in ("panel", "fitted", "live", "movie", "quality", "measures", "ensembles", "family", "morph"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000, name


def test_the_first_start_shows_the_example(display, tmp_path):
    """Nothing is loaded: one click, and a surface moves. Without a backend, another one installs it."""
    pytest.importorskip("PyQt5")
    pytest.importorskip("torch")
    report = run_in_window("first_start_script.py", display, tmp_path)
    assert report["steps"] == ["missing", "offered", "moving"]
    assert report["states"] == {"trpcage": 20, "trpcage_dsr": 77, "trpcage_dsr_atoms": 77}


def test_the_page_simulate(display, tmp_path):
    """A peptide is timed, simulated and cancelled; then its landscape, its surface, and more states like its own."""
    for package in ("PyQt5", "torch", "openmm", "pdbfixer", "deeptime"):
        pytest.importorskip(package)
    report = run_in_window("simulate_script.py", display, tmp_path)
    assert report["steps"] == [
        "packages",
        "estimate",
        "simulated",
        "landscape",
        "surface",
        "sample",
        "learned",
        "refused",
    ]
    assert report["width"] <= 375 and not report["clipped"]
    assert (tmp_path / "simulate.png").stat().st_size > 10_000


@pytest.mark.parametrize("scale", ["1", "2"])
def test_no_page_scrolls_sideways_or_clips_a_text(display, tmp_path, monkeypatch, scale):
    """Docked, 340 and 375 points wide, in a low window; at 100 %, and at 200 % on a dark desktop."""
    pytest.importorskip("PyQt5")
    monkeypatch.setenv("QT_SCALE_FACTOR", scale)
    report = run_in_window("pages_script.py", display, tmp_path)
    assert report["sideways"] == [] and report["clipped"] == [] and report["squeezed"] == []
    assert len(report["widths"]) == 8 * (2 if scale == "1" else 1)
    assert all(width <= 376 for width, _, _ in report["widths"].values()), report["widths"]


def test_the_menu_of_pymol_exports_our_movies(display, tmp_path):
    """File ▸ Export Movie As ▸ PNG Images… and `mpng` write pictures that move."""
    pytest.importorskip("PyQt5")
    image = pytest.importorskip("PIL.Image")
    report = run_in_window("export_script.py", display, tmp_path)
    for stem in ("menu", "typed"):
        pictures = [np.array(image.open(path).convert("RGB")) for path in report["pictures"][stem]]
        assert len(pictures) == 4
        red = [(picture[:, :, 0] > 100) & (picture[:, :, 2] < 90) for picture in pictures]
        centers = [np.nonzero(mask)[1].mean() for mask in red]
        assert all(after > before + 10 for before, after in itertools.pairwise(centers)), "it moves to the right"
        areas = [mask.sum() for mask in red]
        assert areas == sorted(areas) and areas[-1] > 4 * areas[0], "it grows"
