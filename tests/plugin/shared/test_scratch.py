"""Temporary folders: gone when they are closed, and those of killed processes when the next one begins."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from pymol_dsr.shared.scratch import LOCK, ScratchFolder

HOLDER = """
import sys
from pymol_dsr.shared.scratch import ScratchFolder
with ScratchFolder() as folder:
    (folder / "large").write_bytes(b"x" * 1000)
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, also of child processes."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def make_old(folder: Path) -> None:
    hour_ago = time.time() - 3600
    os.utime(folder / LOCK, (hour_ago, hour_ago))


def test_a_folder_is_gone_when_it_is_closed(temporary: Path) -> None:
    with ScratchFolder() as folder:
        (folder / "a").write_text("x")
        assert folder.parent == temporary and folder.name.startswith("dsr-")
    assert os.listdir(temporary) == []


def test_the_folder_of_a_killed_process_is_removed_by_the_next_one(temporary: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        folder = Path(holder.stdout.readline().strip())
        make_old(folder)
        ScratchFolder().close()
        assert (folder / "large").exists(), "its process lives"
    finally:
        holder.kill()
        holder.communicate()
    ScratchFolder().close()
    assert not folder.exists() and os.listdir(temporary) == []


def test_what_is_nobodys_scratch_folder_is_left_alone(temporary: Path) -> None:
    own_folder, linked = temporary / "dsr-mine", temporary / "elsewhere"
    for folder in (own_folder, linked):
        folder.mkdir()
        (folder / "result.csv").write_text("mine")
    (linked / LOCK).touch()
    make_old(linked)
    (temporary / "dsr-link").symlink_to(linked)
    young = temporary / "dsr-young"
    young.mkdir()
    (young / LOCK).touch()
    ScratchFolder().close()
    assert sorted(os.listdir(temporary)) == ["dsr-link", "dsr-mine", "dsr-young", "elsewhere"]
    assert (linked / "result.csv").exists() and (own_folder / "result.csv").exists()
