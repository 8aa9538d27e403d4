"""The benchmark of a GPU: it runs on a bare machine, keeps what it has, and its page says what failed."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from dsr_backend.surfaces import surfaces_file

from support.paths import ROOT
from support.shapes import ball, cloud

sys.path.insert(0, str(ROOT / "benchmarks"))

import gpu

# Refuses all packages that a bare machine lacks.
BARE = """
import sys
LACKING = {"pymol", "pymol2", "MDAnalysis", "skimage", "matplotlib", "filelock", "pykdtree", "PyQt5"}
class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in LACKING:
            raise ModuleNotFoundError(f"{name} is not on a bare machine")
sys.meta_path.insert(0, Bare())
import runpy
sys.argv = sys.argv[1:]
sys.path.insert(0, "benchmarks")
runpy.run_path(sys.argv[0], run_name="__main__")
"""
RESULTS = {
    "about": {"name": "Card", "device": "cuda:0", "torch": "2", "numpy": "2", "python": "3.12"},
    "parts": {
        "tests": {"summary": "18 passed in 20 s"},
        "presets": {"failed": "RuntimeError: no kernel"},
        "paper": {
            "fast_iou": 0.99,
            "tries": [{"seconds": 400.0, "fitted": {"iou": 0.98, "nc": 0.97}}],
            "reached": False,
            "ratio": 200.0,
        },
    },
}


def test_the_page_says_what_passed_and_what_failed(tmp_path):
    page = tmp_path / "performance.md"
    gpu.report(RESULTS, page)
    text = page.read_text()
    assert "### On Card (cuda:0, torch 2, numpy 2, Python 3.12)" in text and "Tests of the GPU: 18 passed" in text
    assert "does not reach the IoU of `fast` at the fitted states, 0.9900, in 400 s, 200 times" in text
    assert "- `presets` failed: RuntimeError: no kernel" in text
    gpu.report({**RESULTS, "parts": {}}, page)
    assert "18 passed" not in page.read_text()


def test_parts_that_fail_or_come_too_late_cost_no_other_part(tmp_path, monkeypatch):
    kit(tmp_path, monkeypatch)
    monkeypatch.setitem(gpu.PARTS, "tests", lambda bench: {"summary": "none"})
    monkeypatch.setitem(gpu.PARTS, "presets", lambda bench: 1 / 0)
    target = tmp_path / "gpu.json"
    with pytest.raises(SystemExit, match="1"):
        gpu.main(["--device", "cpu", "--parts", "presets", "tests", "--write", str(target)])
    results = json.loads(target.read_text())["parts"]
    assert (
        results["presets"]["failed"] == "ZeroDivisionError: division by zero" and results["tests"]["summary"] == "none"
    )
    gpu.main(["--device", "cpu", "--parts", "tests", "--seconds", "5", "--write", str(target)])
    assert json.loads(target.read_text())["parts"]["tests"]["left_out"] == "5 s were over"


def test_tests_that_fail_are_a_failed_part(tmp_path, monkeypatch):
    wrong = tmp_path / "tests" / "cuda" / "test_wrong.py"
    wrong.parent.mkdir(parents=True)
    (wrong.parent / "pytest.ini").write_text("[pytest]\nmarkers = gpu: of a GPU\n")
    wrong.write_text("import pytest\n\n@pytest.mark.gpu\ndef test_wrong():\n    assert False\n")
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    bench: Any = SimpleNamespace(quick=False, seconds_left=100.0)
    result = gpu.tests(bench)
    assert result["failed"].startswith("pytest ended with 1: 1 failed")


def kit(folder, monkeypatch=None):
    """Write surfaces of a growing ball as the kit has them, and let the benchmark read them."""
    path, states = folder / "surfaces" / "dims.safetensors", folder / "surfaces" / "dims.json"
    path.parent.mkdir()
    series = [ball(t, 5.0 + 0.2 * t, (0.5 * t, 0.0, 0.0), cloud(), subdivisions=3) for t in range(1, 12)]
    surfaces_file.write_surfaces_file(path, series, {})
    states.write_text(json.dumps({"training": [1, 3, 5, 7, 9, 11], "fitted": [1, 5, 9], "between": [2, 4, 8]}))
    if monkeypatch is not None:
        monkeypatch.setattr(gpu, "SURFACES", path)
        monkeypatch.setattr(gpu, "STATES", states)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_everything_runs_on_a_bare_machine(tmp_path):
    kit(tmp_path)
    for name in ("pymol_dsr", "backend", "benchmarks", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    # Not through the link: the benchmark looks for the surfaces beside itself.
    (tmp_path / "benchmarks").unlink()
    (tmp_path / "benchmarks").mkdir()
    for source in (ROOT / "benchmarks").glob("*.py"):
        (tmp_path / "benchmarks" / source.name).write_bytes(source.read_bytes())
    command = [sys.executable, "-c", BARE, "benchmarks/gpu.py", "--quick", "--device", "cpu", "--seconds", "1400"]
    environment = {**os.environ, "PYTHONPATH": ""}
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    results = json.loads((tmp_path / "gpu.json").read_text())
    assert list(results["parts"]) == list(gpu.PARTS)
    assert not {name: result["failed"] for name, result in results["parts"].items() if "failed" in result}
    fast = results["parts"]["presets"]["presets"]["fast"]
    assert set(fast["stages"]) == set(gpu.STAGES) and fast["scores"]["fitted"]["iou"] > 0.97
    assert results["parts"]["profile"]["fit"]["kernels"] and np.isfinite(results["parts"]["hashgrid"]["seconds"])
