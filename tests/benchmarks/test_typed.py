"""The benchmark of typed commands, with three states."""

from __future__ import annotations

import sys

import pytest

from support.paths import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import typed


@pytest.mark.slow
def test_both_ways_are_timed_and_written(tmp_path):
    page = tmp_path / "performance.md"
    typed.main(["--runs", "1", "--fitted", "1-3:2", "--shown", "1-3", "--write", str(page)])
    rows = [line.strip("| ").split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")]
    surfaces, fit, movie, both, ratio = map(float, rows[2])
    assert surfaces > 0.0 and both == pytest.approx(fit + movie, abs=0.11)
    assert ratio == pytest.approx(both / surfaces, rel=0.1)
