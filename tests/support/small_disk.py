"""A disk that is full for real after a few hundred KiB, which one process alone sees."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SmallDisk = Callable[[Path, int], list[str | Path]]


@pytest.fixture(scope="session")
def on_small_disk() -> SmallDisk:
    """The start of a command line: of a folder and a number of KiB, on a disk of that size at the folder."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare, by which a process gets a disk of its own")

    def command(folder: Path, kilobytes: int) -> list[str | Path]:
        mount = f'mount -t tmpfs -o size={kilobytes}k none "$0" && exec "$@"'
        return ["unshare", "-rm", "sh", "-c", mount, folder]

    if subprocess.run([*command(Path("/mnt"), 4), "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this user may mount no disk")
    return command
