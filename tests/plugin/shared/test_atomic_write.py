"""The rule by which files are written: drafts that nobody can guess, links, a disk that is full for real."""

from __future__ import annotations

import errno
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pymol_dsr.shared import atomic_write
from pymol_dsr.shared.paths import file_to_write
from support.small_disk import SmallDisk

WRITERS = [atomic_write.write, atomic_write.replace]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("write", WRITERS)
def test_neither_a_link_nor_a_file_named_as_drafts_were_is_touched(
    write: Callable[[Path, bytes], None], tmp_path: Path
) -> None:
    target, linked_file = tmp_path / "a.dsr", tmp_path / "mine.txt"
    linked_file.write_text("mine")
    for name in ("a.dsr.part", f"a.dsr.{os.getpid()}.part", f".a.dsr.{os.getpid()}.part"):
        (tmp_path / name).symlink_to(linked_file)
    (tmp_path / "b.part").write_text("mine, too")
    before = names(tmp_path)
    write(target, b"whole")
    assert target.read_bytes() == b"whole" and linked_file.read_text() == "mine"
    assert names(tmp_path) == sorted([*before, "a.dsr"])


@pytest.mark.parametrize("write", WRITERS)
def test_a_draft_whose_name_was_guessed_is_not_followed(
    write: Callable[[Path, bytes], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda size: "0" * 2 * size)
    linked_file = tmp_path / "mine.txt"
    linked_file.write_text("mine")
    (tmp_path / f".dsr-{'0' * 16}.part").symlink_to(linked_file)
    with pytest.raises(atomic_write.WriteError, match=r"a\.dsr \(5 bytes\) can't be written: File exists"):
        write(tmp_path / "a.dsr", b"whole")
    assert linked_file.read_text() == "mine"


def test_a_link_of_the_files_name_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    target, linked_file = tmp_path / "a.csv", tmp_path / "other.csv"
    linked_file.write_text("other")
    target.symlink_to(linked_file)
    atomic_write.replace(target, b"table")
    assert not target.is_symlink() and target.read_bytes() == b"table" and linked_file.read_text() == "other"


def test_an_error_of_the_block_leaves_the_file_and_no_draft(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    target.write_text("before")

    def write_half() -> None:
        with atomic_write.replace_when_whole(target) as stream:
            stream.write(b"half")
            raise ValueError("no rows")

    with pytest.raises(ValueError, match="no rows"):
        write_half()
    assert target.read_text() == "before" and names(tmp_path) == ["a.csv"]


def test_files_may_be_read_by_those_whom_the_user_lets(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        for number, write in enumerate(WRITERS):
            write(tmp_path / str(number), b"")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}


@pytest.mark.parametrize("writer", ["write", "replace"])
def test_a_full_disk_says_path_and_bytes_and_keeps_the_file(
    writer: str, on_small_disk: SmallDisk, tmp_path: Path
) -> None:
    script = f"""
import sys
from pathlib import Path
from pymol_dsr.shared import atomic_write
path = Path(sys.argv[1], "a.dsr")
atomic_write.{writer}(path, b"x" * 200_000)
try:
    atomic_write.{writer}(path, b"y" * 2_000_000)
except OSError as error:
    print(error)
print(path.read_bytes() == b"x" * 200_000, sorted(each.name for each in path.parent.iterdir()))
"""
    printed = subprocess.run(
        [*on_small_disk(tmp_path, 1024), sys.executable, "-c", script, tmp_path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    refused = re.escape(f"{tmp_path / 'a.dsr'} (2000000 bytes) can't be written: {os.strerror(errno.ENOSPC)}; ")
    assert re.fullmatch(rf"{refused}[1-9]\d+ bytes are free there", printed[0])
    assert printed[1:] == ["True ['a.dsr']"]


def test_drafts_of_killed_processes_are_removed_by_the_next_that_writes_there(tmp_path: Path) -> None:
    script = f"""
import os, sys
from pymol_dsr.shared import atomic_write
with atomic_write.replace_when_whole({str(tmp_path / "a.dsr")!r}) as stream:
    stream.write(b"half")
    stream.flush()
    print(flush=True)
    sys.stdin.read()
"""
    writer = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    try:
        writer.stdout.readline()
        [draft] = tmp_path.iterdir()
        hour_ago = time.time() - 3600
        os.utime(draft, (hour_ago, hour_ago))
        file_to_write(str(tmp_path / "b.dsr"), (".dsr",))
        assert draft.exists(), "its process lives"
    finally:
        writer.kill()
        writer.communicate()
    file_to_write(str(tmp_path / "b.dsr"), (".dsr",))
    assert not draft.exists()
    young = tmp_path / ".dsr-0123.part"
    young.touch()
    file_to_write(str(tmp_path / "b.dsr"), (".dsr",))
    assert young.exists(), "its process may be about to lock it"
