"""Fits as texts of ASCII characters."""

import numpy as np
import pytest

from pymol_dsr.shared import packed_bytes


@pytest.mark.parametrize("count", [0, 1, 6, 7, 8, 1000, 7 * packed_bytes.CHUNK, 7 * packed_bytes.CHUNK + 1])
def test_bytes_come_back_from_their_text(count):
    data = np.random.default_rng(count).integers(0, 256, count, np.uint8).tobytes()
    text = packed_bytes.pack(data)
    assert text.isascii() and packed_bytes.unpack(text, count) == data
    # Eight characters for seven bytes, which do not deflate.
    assert len(text) < 8 / 7 * (1.001 * count + 100)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("é", "ASCII"), ("", "end is missing"), ("abcdefgh", "header|check"), ("\0" * 9, "compression method")],
)
def test_another_text_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        packed_bytes.unpack(text, 1000)


@pytest.mark.parametrize("count", [1001, 10_000_000])
def test_a_text_that_inflates_to_more_than_is_asked_for_is_refused(count):
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        packed_bytes.unpack(packed_bytes.pack(bytes(count)), 1000)


def test_a_text_without_its_end_is_refused():
    text = packed_bytes.pack(bytes(10_000_000))
    with pytest.raises(ValueError, match="end is missing"):
        packed_bytes.unpack(text[:-16], 10_000_000)
