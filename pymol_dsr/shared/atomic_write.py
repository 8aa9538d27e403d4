"""The rule by which a file that must not be lost is written.

A draft in the same folder, to the disk, read back and compared; the file that was there becomes `NAME.previous`, the
draft takes its name, the folder goes to the disk. At every moment one of the two names holds a whole file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replace_when_whole(path: str) -> Iterator[str]:
    """Name of a draft beside `path` to write to: at the end of the block it takes the name `path`.

    After an error in the block the draft is removed, and a file named `path` stays as it was.
    """
    # Not a temporary file of Python's making: those are for their owner alone.
    draft = f"{path}.{os.getpid()}.part"
    try:
        yield draft
        os.replace(draft, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)


def write(path: Path, data: bytes) -> None:
    """Write `data` to `path`; a file already there is kept as `NAME.previous`.

    Raises OSError with path and bytes when it cannot be written, and leaves the file that was there.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            with open(draft, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if draft.read_bytes() != data:
                raise OSError(f"{draft} reads back other bytes than were written")
            if path.exists():
                _keep(path, previous_of(path))
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as error:
        raise OSError(error.errno, f"{path} ({len(data)} bytes) can't be written: {error.strerror or error}") from error


def previous_of(path: Path) -> Path:
    """Where the file that was there before is kept."""
    return path.with_name(path.name + ".previous")


def _keep(path: Path, previous: Path) -> None:
    # A second name for the same file, so that there is no moment without a file of the first name; under a name of its
    # own at first, so that there is none without the one before it either.
    second = previous.with_name(f".{previous.name}.{os.getpid()}.part")
    second.unlink(missing_ok=True)
    try:
        os.link(path, second)
    except OSError:
        # Some file systems have no links.
        os.replace(path, previous)
    else:
        try:
            os.replace(second, previous)
        finally:
            second.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Let the names in the folder reach the disk."""
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
