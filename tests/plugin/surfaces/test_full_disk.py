"""A surfaces file on a disk that is full for real: the cause is named, and no process crashes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from support.paths import ROOT

# A disk of 256 KiB that only the child sees.
SMALL_DISK = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=256k none "$0" && exec "$@"']


@pytest.mark.system
@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*SMALL_DISK, "/mnt", "true"], check=False).returncode != 0,
    reason="this user may mount no disk",
)
def test_a_full_disk_ends_the_making_of_surfaces_with_its_name(tmp_path):
    folder = ROOT / "benchmarks" / "data"
    words = [folder / "trpcage_300k.pdb", folder / "trpcage_300k.xtc", "--states", "1-30", "-o", tmp_path / "x.npz"]
    process = subprocess.run(
        [*SMALL_DISK, tmp_path, sys.executable, "-m", "dsr_backend", "surfaces", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "backend")]), "OMP_NUM_THREADS": "1"},
    )
    line = process.stderr.splitlines()[-1]
    assert line.startswith(f"dsr-backend: {tmp_path / 'x.npz'} can't be written: No space left on device; "), line
    # It is no fault of the input.
    assert process.returncode == 1
