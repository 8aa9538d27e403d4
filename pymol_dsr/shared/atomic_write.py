"""The one rule by which files are written.

A draft of a random name in the same folder, which no link can lead elsewhere, goes to the disk and takes the name of
the file; then the folder goes to the disk. A file that must not be lost is read back and compared before, and the one
that was there becomes `NAME.previous`: at every moment one of the two names holds a whole file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:
    # On Windows, which removes no file that is open.
    fcntl = None  # type: ignore[assignment]

DRAFTS = ".dsr-*.part"
ABANDONED_SECONDS = 60.0
"""Seconds without a write after which a draft that no process has locked is nobody's."""
_FULL = (errno.ENOSPC, errno.EFBIG, *([errno.EDQUOT] if hasattr(errno, "EDQUOT") else []))


class WriteError(OSError):
    """A file that can't be written: one line with its path, its bytes, and on a full disk those that are free."""

    def __str__(self) -> str:
        return str(self.strerror)


@contextlib.contextmanager
def replace_when_whole(path: str | os.PathLike[str], size: int | None = None) -> Iterator[BinaryIO]:
    """Stream of a draft beside `path`: at the end of the block the draft takes the name `path`.

    After an error in the block the draft is removed, and a file named `path` stays as it was. size: bytes that will be
    written, for messages. Raises WriteError, also for an OSError of the block.
    """
    with naming_errors(path, size), _draft(Path(path).parent) as draft:
        with _created(draft) as stream:
            yield stream
            _flush(stream)
        os.replace(draft, path)
        _sync(Path(path).parent)


def replace(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`, whole or not at all; no file that was there is kept. Raises WriteError."""
    with replace_when_whole(path, len(data)) as stream:
        stream.write(data)


def write(path: Path, data: bytes) -> None:
    """Write `data` to `path`; a file already there is kept as `NAME.previous`.

    Raises WriteError, and leaves the file that was there.
    """
    with naming_errors(path, len(data)), _draft(path.parent) as draft:
        with _created(draft) as stream:
            stream.write(data)
            _flush(stream)
        if draft.read_bytes() != data:
            raise OSError(f"{draft} reads back other bytes than were written")
        if path.exists():
            _keep(path, previous_of(path))
        os.replace(draft, path)
        _sync(path.parent)


def previous_of(path: Path) -> Path:
    """Where the file that was there before is kept."""
    return path.with_name(path.name + ".previous")


def remove_abandoned(folder: Path) -> None:
    """Remove drafts in a folder whose writers were killed."""
    for draft in folder.glob(DRAFTS):
        with contextlib.suppress(OSError):
            # To either side of now: clocks are set back.
            if abs(time.time() - draft.lstat().st_mtime) > ABANDONED_SECONDS and is_unlocked(draft):
                draft.unlink()


@contextlib.contextmanager
def naming_errors(path: str | os.PathLike[str], size: int | None = None) -> Iterator[None]:
    """Make each OSError of the block a WriteError about `path`."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        of_size = "" if size is None else f" ({size} bytes)"
        reason = f"{error.strerror or error}"
        if error.errno in _FULL:
            with contextlib.suppress(OSError):
                reason += f"; {shutil.disk_usage(Path(path).parent).free} bytes are free there"
        raise WriteError(error.errno, f"{os.fspath(path)}{of_size} can't be written: {reason}") from error


@contextlib.contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """Name of a draft in the folder, which is removed at the end of the block where it is still there."""
    draft = folder / DRAFTS.replace("*", secrets.token_hex(8))
    try:
        yield draft
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)


@contextlib.contextmanager
def _created(draft: Path) -> Iterator[BinaryIO]:
    # Not a temporary file of Python's making: those are for their owner alone.
    with open(draft, "xb", opener=_open_new) as stream:
        lock(stream)
        yield stream


def _open_new(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _flush(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def lock(stream: BinaryIO) -> None:
    """Lock an open file until it is closed, or its process ends."""
    if fcntl is not None:
        # Some file systems have no locks; what is abandoned on them stays until somebody removes it.
        with contextlib.suppress(OSError):
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_unlocked(path: Path) -> bool:
    """Whether no process has locked a file. Raises OSError.

    On Windows always True: remove the file itself before all that it stands for, which fails while a process has it
    open.
    """
    if fcntl is None:
        return True
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(opened)
    return True


def _keep(path: Path, previous: Path) -> None:
    # A second name for the same file, so that there is no moment without a file of the first name; under a name of its
    # own at first, so that there is none without the one before it either.
    with _draft(path.parent) as second:
        try:
            os.link(path, second)
        except OSError:
            # Some file systems have no links.
            os.replace(path, previous)
        else:
            os.replace(second, previous)


def _sync(folder: Path) -> None:
    """Let the names in the folder reach the disk."""
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
