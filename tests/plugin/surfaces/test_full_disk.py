"""A surfaces file on a disk that is full for real: the cause is named, and no process crashes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support.paths import ROOT


@pytest.mark.system
def test_a_full_disk_ends_the_making_of_surfaces_with_its_name(on_small_disk, tmp_path):
    folder = ROOT / "benchmarks" / "data"
    words = [folder / "trpcage_300k.pdb", folder / "trpcage_300k.xtc", "--states", "1-30", "-o", tmp_path / "x.npz"]
    process = subprocess.run(
        [*on_small_disk(tmp_path, 256), sys.executable, "-m", "dsr_backend", "surfaces", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "backend")]), "OMP_NUM_THREADS": "1"},
    )
    line = process.stderr.splitlines()[-1]
    assert line.startswith(f"dsr-backend: {tmp_path / 'x.npz'} can't be written: No space left on device; "), line
    # It is no fault of the input.
    assert process.returncode == 1
