"""The texts in the header of a safetensors file, which are there before any tensor is read."""

from __future__ import annotations

from typing import BinaryIO

from .frames import parse_json

MAX_HEADER = 8 * 2**20
"""Bytes of the header of a safetensors file."""


def read_texts(stream: BinaryIO) -> dict[str, str]:
    """Return the texts of a safetensors file by their keys. Raises ValueError where its header is damaged."""
    length = int.from_bytes(stream.read(8), "little")
    if length > MAX_HEADER:
        raise ValueError(f"its header takes {length} bytes, and {MAX_HEADER} is the most")
    try:
        header = parse_json(stream.read(length).decode())
    except RecursionError as error:
        raise ValueError("its header is nested too deep") from error
    texts = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ValueError("its header is no object with texts")
    return texts
