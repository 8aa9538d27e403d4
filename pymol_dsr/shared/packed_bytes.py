"""Bytes as a text of ASCII characters, seven bits each, for the pickles of session files.

PyMOL's pickles write a byte above 127 as two, so that bytes would take half as much again.
"""

from __future__ import annotations

import zlib

import numpy as np

# Seven bytes make eight characters; so many of them are converted at once.
BYTES, CHARACTERS = 7, 8
CHUNK = 1 << 16


def pack(data: bytes) -> str:
    """Return the deflated bytes as a text of characters 0 to 127."""
    packed = zlib.compress(data, 1)
    return "".join(_pack(packed[start : start + BYTES * CHUNK]) for start in range(0, len(packed), BYTES * CHUNK))


def unpack(text: str, most: int) -> bytes:
    """Return the bytes of `pack`. Raises ValueError for another text, and for more than `most` bytes."""
    if not text.isascii():
        raise ValueError("it is no ASCII")
    step = CHARACTERS * CHUNK
    inflater = zlib.decompressobj()
    pieces, count = [], 0
    try:
        for start in range(0, len(text), step):
            pieces.append(inflater.decompress(_unpack(text[start : start + step]), most + 1 - count))
            count += len(pieces[-1])
            if count > most or inflater.unconsumed_tail:
                raise ValueError(f"it has more than {most} bytes")
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not inflater.eof:
        raise ValueError("its end is missing")
    return b"".join(pieces)


def _pack(data: bytes) -> str:
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    rows = np.pad(bits, (0, -len(bits) % BYTES)).reshape(-1, BYTES)
    # A row of eight bits is a character, the first of them 0.
    return np.packbits(np.pad(rows, ((0, 0), (1, 0)))).tobytes().decode("ascii")


def _unpack(text: str) -> bytes:
    bits = np.unpackbits(np.frombuffer(text.encode("ascii"), np.uint8)).reshape(-1, CHARACTERS)[:, 1:].ravel()
    return np.packbits(bits[: len(bits) // 8 * 8]).tobytes()
