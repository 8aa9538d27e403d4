"""The texts of a safetensors file, from its first bytes."""

import io
import json

import numpy as np
import pytest
from safetensors.numpy import save

from pymol_dsr.shared.safetensors_header import MAX_HEADER, read_texts


def file_of(header: bytes, length: int | None = None) -> io.BytesIO:
    return io.BytesIO((len(header) if length is None else length).to_bytes(8, "little") + header)


@pytest.mark.parametrize("texts", [{"format": "dsr potential 1", "meta": "{}"}, {}])
def test_texts_are_read_before_any_tensor(texts):
    content = save({"x": np.zeros(3, np.float32)}, texts)
    assert read_texts(io.BytesIO(content)) == texts


@pytest.mark.parametrize(
    "file, message",
    [
        (io.BytesIO(b""), "Expecting value"),
        (file_of(b"{}", MAX_HEADER + 1), "takes 8388609 bytes, and 8388608 is the most"),
        (file_of(b'{"a": '), "Expecting value"),
        (file_of(b"\xff\xff"), "utf-8"),
        (file_of(b"[" * 100_000), "nested too deep"),
        (file_of(b"[]"), "no object with texts"),
        (file_of(json.dumps({"__metadata__": {"format": 1}}).encode()), "no object with texts"),
    ],
)
def test_a_damaged_header_is_refused(file, message):
    with pytest.raises(ValueError, match=message):
        read_texts(file)
