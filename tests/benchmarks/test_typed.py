"""The benchmark of typed commands."""

from __future__ import annotations

import argparse
import sys

import pytest

from support.paths import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import typed


def test_a_run_is_written_with_its_ratio():
    options = argparse.Namespace(fitted="1-79:2", shown="1-79")
    rows = typed.lines([{"surfaces": 36.0, "fit": 18.0, "movie": 3.6, "first": 1.94}], options)
    assert rows[-1] == "| 36.0 | 18.0 | 3.6 | 21.6 | 0.60 | 1.9 |"


@pytest.mark.slow
def test_both_ways_are_timed(tmp_path):
    page = tmp_path / "performance.md"
    typed.main(["--runs", "1", "--fitted", "1-3:2", "--shown", "1-3", "--write", str(page)])
    rows = [line.strip("| ").split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")]
    assert len(rows) == 3 and len(rows[2]) == 6 and min(map(float, rows[2])) > 0.0
