"""Reads files that anybody may have named: only regular ones of bounded size, in chunks, each fault in one line."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator

CHUNK = 1 << 22
"""Bytes."""


class ReadError(OSError):
    """A file that can't be read: one line, which names it."""

    def __str__(self) -> str:
        return str(self.strerror)


def file_state(path: str, most: int) -> tuple[int, int]:
    """Time of the last change (ns) and bytes of a regular file, of which nothing is read.

    Raises ReadError, also for one larger than `most`.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise ReadError(error.errno, f"{path} is missing") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        # A pipe would be waited for, a device read without end.
        raise ReadError(None, f"{path} can't be read: it is no regular file")
    if status.st_size > most:
        raise ReadError(None, f"{path} has {status.st_size} bytes, and {most} is the most")
    return status.st_mtime_ns, status.st_size


def sha256_of(path: str, most: int) -> str:
    """Return the SHA-256 of a file, in the memory of one chunk. Raises ReadError."""
    digest = hashlib.sha256()
    for chunk in _chunks(path, most):
        digest.update(chunk)
    return digest.hexdigest()


def read_file(path: str, most: int) -> bytes:
    """Return the content of a file. Raises ReadError."""
    return b"".join(_chunks(path, most))


def _chunks(path: str, limit: int) -> Iterator[bytes]:
    (_, size), count = file_state(path, limit), 0
    try:
        with open(path, "rb") as stream:
            while chunk := stream.read(CHUNK):
                count += len(chunk)
                if count > size:
                    raise ReadError(None, f"{path} can't be read: it grows")
                yield chunk
    except ReadError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> ReadError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return ReadError(getattr(error, "errno", None), f"{path} can't be read: {reason}")
