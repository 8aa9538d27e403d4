"""The limits of the `.dsr` format, each at its last value and the next one, and its digest."""

import hashlib
import json
import math
import struct

import numpy as np
import pytest
import torch
from dsr_backend.results import dsr_format
from dsr_backend.results.dsr_format import (
    RANGES,
    CheckpointError,
    check_number,
    check_tensor,
    check_values,
    check_whole,
    digest,
    read_json,
    read_metadata,
)

LIMITS = {
    "sigma": (0.1, 100.0),
    "smooth": (0.0, 1e7),
    "smooth_beyond": (0.0, 1e7),
    "smooth_atoms": (0.0, 1e7),
    "smooth_pose": (0.0, 1e7),
    "period": (1e-9, 1e7),
    "breaks": (1, 1e7),
    "times": (-1e15, 1e15),
    "forecasts.rank": (0, 1000),
    "forecasts.window": (0, 1e7),
    "forecasts.damping": (0.0, 1e7),
    "forecasts.leads": (1e-9, 1e7),
    "forecasts.errors": (0.0, 1e7),
    "frame.centre": (-1e6, 1e6),
    "extent": (-1e6, 1e6),
    "lattice.origin": (-1e6, 1e6),
    "frame.scale": (1e-9, 1e7),
    "scale": (1e-9, 1e7),
    "lattice.spacing": (1e-3, 1e3),
    # A lattice has two nodes along an axis, and 2²⁸ in all, so that the others have two each.
    "lattice.shape": (2, 2**26),
    "factor": (1, 1024),
    "clearance": (0.0, 1e5),
    "reach": (0.0, 1e6),
    "lift": (-100.0, 100.0),
    "spatial_width": (0.0, 10.0),
    "report.area": (0.0, 1e12),
    "motion.states": (-1e7, 1e7),
    "motion.rotations": (-1.001, 1.001),
    "motion.translations": (-2e6, 2e6),
    "motion.reference": (-1e6, 1e6),
    "motion.atoms": (-1e6, 1e6),
}
TENSORS = [name for name in LIMITS if name.startswith("motion.")]


def test_every_number_of_the_format_has_its_limits_here():
    assert RANGES.keys() == LIMITS.keys()


@pytest.mark.parametrize("name", LIMITS)
def test_a_number_is_taken_up_to_its_limits(name):
    for limit, beyond in zip(LIMITS[name], (-math.inf, math.inf), strict=True):
        assert check_number(name, limit) == limit and type(check_number(name, limit)) is float
        values = torch.tensor([limit], dtype=torch.float64)
        check_values("some", values, name)
        refused = math.nextafter(limit, beyond)
        with pytest.raises(CheckpointError, match=rf"^{name} is .*, not within"):
            check_number(name, refused)
        with pytest.raises(CheckpointError, match=r"^some has values that are not within"):
            check_values("some", torch.tensor([limit, refused], dtype=torch.float64), name)


@pytest.mark.parametrize("value", ["1", None, True, [1.0], math.nan, math.inf])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(CheckpointError, match=r"^sigma is .*, not within 0\.1 and 100$"):
        check_number("sigma", value)


def test_whole_numbers():
    assert check_whole("factor", 4) == 4
    for value in (4.0, "4", None):
        with pytest.raises(CheckpointError, match=r"^factor is .*, not a whole number$"):
            check_whole("factor", value)
    for value in (0, 1025, True):
        with pytest.raises(CheckpointError, match=r"^factor is .*, not within 1 and 1024$"):
            check_whole("factor", value)


def test_tensors_without_a_range_of_their_own_are_within_ten_million():
    check_values("some", torch.tensor([-1e7, 1e7]), "")
    check_values("some", torch.zeros(0), "sigma")
    for value in (1.1e7, -1.1e7, torch.nan):
        with pytest.raises(CheckpointError, match=r"^some has values that are not within -1e\+07 and 1e\+07, or that"):
            check_values("some", torch.tensor([0.0, value]), "")


def test_a_tensor_has_its_type_and_shape_and_only_fractions_have_ranges():
    tensors = {"a": torch.zeros(2, 3), "b": torch.full((2,), 10**9)}
    assert check_tensor(tensors, "a", torch.float32, (2, 3)) is tensors["a"]
    assert check_tensor(tensors, "b", torch.int64, (2,)) is tensors["b"]
    for dtype, shape in ((torch.float64, (2, 3)), (torch.float32, (3, 2)), (torch.float32, (2, 3, 1))):
        with pytest.raises(CheckpointError, match=r"^a is torch.float32 \[2, 3\], the rest of the file wants"):
            check_tensor(tensors, "a", dtype, shape)
    with pytest.raises(CheckpointError, match=r"^a has values that are not within 0.1 and 100"):
        check_tensor(tensors, "a", torch.float32, (2, 3), "sigma")


# The header


def nested(depth):
    return "[" * depth + "]" * depth


def test_json_has_sixty_four_levels_at_most():
    assert read_json(nested(64)) is not None
    assert read_json('{"a":' * 63 + "{}" + "}" * 63) is not None
    for text in (nested(65), '{"a":' * 64 + "{}" + "}" * 64, '{"a": [' * 32 + "[0]" + "]}" * 32):
        with pytest.raises(CheckpointError, match=r"^this is no .dsr file: its JSON is nested more than 64 deep$"):
            read_json(text)


@pytest.mark.parametrize("text", [b"\xff", "{", "1e999", "9" * 21, nested(100_000)])
def test_json_that_frames_would_refuse_is_refused(text):
    with pytest.raises(CheckpointError, match=r"^this is no .dsr file: "):
        read_json(text)


def test_reports_may_say_that_a_number_is_none():
    assert math.isnan(read_json('{"loss": NaN}')["loss"]) and read_json(b'"\xc3\x85"') == "Å"


def file_of(header, announced=None):
    return struct.pack("<Q", len(header) if announced is None else announced) + header


def test_the_texts_of_a_header():
    header = b'{"__metadata__": {"field": "{}", "format": "dsr 2"}}'
    assert read_metadata(file_of(header) + b"data") == {"field": "{}", "format": "dsr 2"}
    assert read_metadata(file_of(header), "format") == {"field": "{}", "format": "dsr 2"}
    with pytest.raises(
        CheckpointError, match=r"^this safetensors file holds no other: it was not written by pymol-dsr$"
    ):
        read_metadata(file_of(header), "other")
    with pytest.raises(
        CheckpointError, match=rf"is cut: its header takes {len(header) + 1} bytes, and the file {len(header) + 8}$"
    ):
        read_metadata(file_of(header, len(header) + 1))


def test_seven_bytes_have_no_header_and_eight_an_empty_one():
    with pytest.raises(CheckpointError, match=r"^7 bytes are no .dsr file$"):
        read_metadata(bytes(7))
    with pytest.raises(CheckpointError, match=r"^this is no .dsr file: Expecting value"):
        read_metadata(bytes(8))


def test_a_header_has_eight_mebibytes_at_most():
    start, end = b'{"__metadata__": {"field": "', b'"}}'
    limit = 8 * 2**20
    fitting = start + b"x" * (limit - len(start) - len(end)) + end
    assert len(read_metadata(file_of(fitting))["field"]) == limit - len(start) - len(end)
    with pytest.raises(CheckpointError, match=r"^this is no .dsr file: it does not begin like one$"):
        read_metadata(file_of(fitting + b" "))


# The digest


def test_the_digest_is_the_sha_256_of_all_texts_and_tensors():
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    tensors = {"b": torch.tensor([1, 2], dtype=torch.uint8), "a": torch.tensor(values)}
    metadata = {"version": "1", "digest": "whatever", "field": "Å"}
    sha = hashlib.sha256(json.dumps({"field": "Å", "version": "1"}).encode())
    sha.update(b"a torch.float32 [2, 3]" + values.tobytes() + b"b torch.uint8 [2]" + bytes([1, 2]))
    assert digest(tensors, metadata) == sha.hexdigest()
    # A view of other memory is the same tensor.
    assert digest({**tensors, "a": torch.tensor(values.T.copy()).T}, metadata) == sha.hexdigest()


def test_what_the_format_calls_its_parts():
    assert dsr_format.FORMAT == "dsr 3" and dsr_format.READ_FORMATS == ("dsr 1", "dsr 2", "dsr 3")
    assert dsr_format.SHARED_NETWORKS == {"fast": "decoder.", "paper": "network."}
