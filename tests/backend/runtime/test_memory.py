"""Memory that a process may still allocate."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT

SCRIPT = """
from dsr_backend.runtime import memory
memory.set_limit(1.0)
before = memory.free()
block = bytearray(2**28)
print(before, memory.free(), memory.exhausted())
try:
    bytearray(2**30)
except MemoryError:
    print("ended")
"""


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="this system does not say how much memory is free")
def test_what_is_allocated_leaves_less_below_the_limit():
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'backend'}"},
    )
    figures, ended = process.stdout.splitlines()
    before, after = (int(word) for word in figures.split()[:2])
    assert before < 2**30 and before - after == pytest.approx(2**28, rel=0.05)
    assert figures.endswith("the backend, which may take 1 GB (--max-memory),") and ended == "ended"
