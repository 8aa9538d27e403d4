"""Frames: their exact bytes, the way there and back, and everything a broken or hostile peer can send."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymol_dsr.shared import frames
from pymol_dsr.shared.frames import (
    MAX_JSON,
    MAX_PAYLOAD,
    HeaderError,
    JunkError,
    ProtocolError,
    TooLargeError,
    TruncatedError,
    encode,
    read_frame,
    write_frame,
)
from pymol_dsr.shared.version import VERSION
from support.paths import ROOT

REQUEST = {"kind": "request", "id": 7, "method": "mesh", "params": {"time": 12.5}}
GOLDEN = (
    b"DSR1" + b"\x79\0\0\0" + b"\x0c\0\0\0\0\0\0\0"
    b'{"kind":"request","id":7,"method":"mesh","params":{"time":12.5},'
    b'"arrays":[{"name":"points","dtype":"<f4","shape":[1,3]}]}'
    b"\0\0\x80\x3f\0\0\0\x40\0\0\x40\xc0"
)


def stream_of(data: bytes) -> io.BufferedReader:
    return io.BufferedReader(cast(io.RawIOBase, io.BytesIO(data)))


def read(data: bytes, first: bool = False) -> Any:
    return read_frame(stream_of(data), first)


def raw(header: Any, payload: bytes = b"", announced: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<4sIQ", b"DSR1", len(text), len(payload) if announced is None else announced) + text + payload


def with_array(dtype: Any = "<f4", shape: Any = (1, 3), name: Any = "a", payload: bytes = bytes(12)) -> bytes:
    return raw({**REQUEST, "arrays": [{"name": name, "dtype": dtype, "shape": shape}]}, payload)


def test_backend_version_is_the_protocol_files() -> None:
    from dsr_backend import __version__

    assert __version__ == VERSION


def test_golden_bytes() -> None:
    assert (frames.PROTOCOL, frames.MAGIC) == (1, b"DSR1")
    stream = io.BytesIO()
    write_frame(stream, REQUEST, {"points": np.array([[1, 2, -3]], "<f4")})
    assert stream.getvalue() == GOLDEN
    header, arrays = read(GOLDEN)
    assert {key: header[key] for key in REQUEST} == REQUEST
    np.testing.assert_array_equal(arrays["points"], np.array([[1, 2, -3]], "<f4"))
    arrays["points"][:] = 0


@pytest.mark.parametrize("dtype", frames.DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (5,), (2, 3), (2, 1, 3, 4)])
def test_arrays_survive(dtype: str, shape: tuple[int, ...]) -> None:
    sent = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    _, arrays = read(b"".join(encode(REQUEST, {"a": sent, "b": sent.T})))
    for name, expected in (("a", sent), ("b", sent.T)):
        assert arrays[name].dtype == np.dtype(dtype)
        np.testing.assert_array_equal(arrays[name], expected, strict=True)


def test_frames_follow_each_other_and_end() -> None:
    reply = {"kind": "reply", "id": 7, "result": {"text": "Å", "none": None}}
    stream = stream_of(GOLDEN + b"".join(encode(reply)))
    first, second = read_frame(stream), read_frame(stream)
    assert first is not None and first[0]["method"] == "mesh"
    assert second is not None and second[0]["result"] == reply["result"]
    assert read_frame(stream) is None


MALFORMED = {
    "junk": (b"Segmentation fault\n", JunkError, "got 'Segmentation fault'; something else writes"),
    "binary junk": (b"\x00\x01\x02\x03", JunkError, "got '00 01 02 03'"),
    "junk after part of the magic": (b"DSX1" + bytes(20), JunkError, "'DSX1'"),
    "end in the head": (GOLDEN[:9], TruncatedError, "9 of 16 bytes of its head"),
    "end in the JSON": (GOLDEN[:30], TruncatedError, "14 of 121 bytes of its JSON header"),
    "end in an array": (GOLDEN[:-5], TruncatedError, "7 of 12 bytes of array 'points'"),
    "JSON length": (
        struct.pack("<4sIQ", b"DSR1", MAX_JSON + 1, 0),
        TooLargeError,
        f"{MAX_JSON + 1} bytes of JSON",
    ),
    "payload length": (
        raw(REQUEST, announced=MAX_PAYLOAD + 1),
        TooLargeError,
        f"{MAX_PAYLOAD + 1} bytes of arrays",
    ),
    "payload not described": (
        raw(REQUEST, bytes(4)),
        HeaderError,
        "described as 0 bytes, but 4 bytes are announced",
    ),
    "payload too short": (with_array(payload=bytes(11)), HeaderError, "described as 12 bytes, but 11"),
    "no JSON": (raw(b"{nope"), HeaderError, "no valid JSON"),
    "not UTF-8": (raw(b'{"kind": "\xff"}'), HeaderError, "no valid JSON"),
    "deep JSON": (raw(b"[" * 100_000), HeaderError, "no valid JSON"),
    "NaN": (raw(b'{"kind": "reply", "id": 1, "result": {"a": NaN}}'), HeaderError, "NaN is no finite number"),
    "infinite": (
        raw(b'{"kind": "reply", "id": 1, "result": {"a": 1e999}}'),
        HeaderError,
        "1e999 is no finite",
    ),
    "long integer": (raw(b'{"id": ' + b"9" * 5000 + b"}"), HeaderError, "an integer of 5000 digits"),
    "no object": (raw([1]), HeaderError, "[1], not a JSON object"),
    "kind": (raw({"kind": "order"}), HeaderError, "'order', not one of request, reply"),
    "kind of a strange type": (raw({"kind": [1]}), HeaderError, "[1], not one of"),
    "field missing": (
        raw({"kind": "reply", "id": 1}),
        HeaderError,
        "'result' of a reply is None, not of type dict",
    ),
    "boolean id": (raw({**REQUEST, "id": True}), HeaderError, "'id' of a request is True, not of type int"),
    "negative id": (raw({**REQUEST, "id": -1}), HeaderError, "-1, not within 0 and"),
    "id too large": (raw({**REQUEST, "id": 2**53}), HeaderError, f"{2**53}, not within"),
    "arrays no list": (raw({**REQUEST, "arrays": {}}), HeaderError, "`arrays` is {}, not a list"),
    "array no object": (raw({**REQUEST, "arrays": [3]}), HeaderError, "described by 3"),
    "many arrays": (raw({**REQUEST, "arrays": [{}] * 65}), TooLargeError, "65 arrays, more than 64"),
    "name": (with_array(name=3), HeaderError, "named 3"),
    "name twice": (
        raw({**REQUEST, "arrays": [{"name": "a", "dtype": "|u1", "shape": [0]}] * 2}),
        HeaderError,
        "named 'a': names are text, each used once",
    ),
    "object dtype": (with_array(dtype="|O"), HeaderError, "dtype '|O', not one of <f4"),
    "structured dtype": (with_array(dtype=[["a", "<f4"]]), HeaderError, "not one of <f4"),
    "big-endian dtype": (with_array(dtype=">f4"), HeaderError, "'>f4', not one of <f4"),
    "shape no list": (with_array(shape=3), HeaderError, "shape 3, not a list of lengths"),
    "negative length": (with_array(shape=[-1, -3]), HeaderError, "shape [-1, -3], not a list"),
    "boolean length": (with_array(shape=[True, 3]), HeaderError, "shape [True, 3], not a list"),
    "fractional length": (with_array(shape=[1.0, 3]), HeaderError, "shape [1.0, 3], not a list"),
    "five dimensions": (with_array(shape=[1, 1, 1, 1, 3]), TooLargeError, "5 dimensions, more than 4"),
    "product wraps at 64 bits": (
        with_array(shape=[2**32, 2**30 * 4 + 3]),
        TooLargeError,
        "more than 1073741824 bytes",
    ),
    "product wraps to the payload": (
        with_array(shape=[2**62, 4], payload=b""),
        TooLargeError,
        "more than 1073741824",
    ),
    "empty but overflowing": (
        with_array(shape=[0, 2**40, 2**40], payload=b""),
        TooLargeError,
        "more than 1073741824",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_frames_are_refused(case: str) -> None:
    data, error, words = MALFORMED[case]
    with pytest.raises(error) as caught:
        read(data)
    assert type(caught.value) is error
    assert words in str(caught.value)


def test_a_banner_is_shown_with_the_remedy() -> None:
    with pytest.raises(JunkError) as caught:
        read(b"\x1b[1mWelcome to gpu01\r\n\tLast login: Monday\n" + b"x" * 5000, first=True)
    text = str(caught.value)
    assert "Welcome to gpu01 Last login: Monday" in text
    assert "silence the shell profile, or use `ssh -T`" in text
    assert len(text) < 400


def test_huge_lengths_allocate_nothing() -> None:
    hostile = [data for data, error, _ in MALFORMED.values() if error is TooLargeError]
    hostile += [struct.pack("<4sIQ", b"DSR1", 2**32 - 1, 2**64 - 1)]
    tracemalloc.start()
    try:
        for data in hostile:
            with pytest.raises(TooLargeError):
                read(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    ("header", "arrays", "words"),
    [
        ({**REQUEST, "params": {"a": float("nan")}}, {}, "can't be written as JSON"),
        ({**REQUEST, "params": {"a": np.float32(1)}}, {}, "can't be written as JSON"),
        (
            {**REQUEST, "params": {"a": "x" * MAX_JSON}},
            {},
            f"more than {MAX_JSON}: send long lists as arrays",
        ),
        ({**REQUEST, "method": 3}, {}, "'method' of a request is 3"),
        (REQUEST, {"a": np.zeros(3, bool)}, "dtype '|b1', not one of <f4"),
        (REQUEST, {"a": np.zeros(3, object)}, "dtype '|O'"),
        (REQUEST, {str(i): np.zeros(1, "<f4") for i in range(65)}, "65 arrays, more than 64"),
    ],
)
def test_what_would_be_refused_is_not_sent(header: Any, arrays: Any, words: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        encode(header, arrays)
    assert words in str(caught.value)


def test_arrays_that_are_too_large_together_are_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_PAYLOAD", 1000)
    with pytest.raises(TooLargeError, match="1600 bytes, more than the 1000 of one frame"):
        encode(REQUEST, {"a": np.zeros(100), "b": np.zeros(100)})


# The last values that are taken


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"name": str(number), "dtype": "|u1", "shape": [0]} for number in range(count)]


def test_sixty_four_arrays_are_taken() -> None:
    assert len(read(raw({**REQUEST, "arrays": numbered(64)}))[1]) == 64
    with pytest.raises(TooLargeError, match="65 arrays, more than 64"):
        read(raw({**REQUEST, "arrays": numbered(65)}))


def test_a_header_has_a_mebibyte_at_most() -> None:
    assert MAX_JSON == 2**20
    text = json.dumps(REQUEST).encode()
    assert read(raw(text.ljust(MAX_JSON)))[0]["id"] == 7
    with pytest.raises(TooLargeError, match="1048577 bytes of JSON, more than 1048576"):
        read(raw(text.ljust(MAX_JSON + 1)))
    room = MAX_JSON - len(b"".join(encode({**REQUEST, "params": {"a": ""}}))) + 16
    assert encode({**REQUEST, "params": {"a": "x" * room}})
    with pytest.raises(TooLargeError, match="the JSON header has 1048577 bytes, more than 1048576"):
        encode({**REQUEST, "params": {"a": "x" * (room + 1)}})


def test_the_arrays_of_a_frame_have_a_gibibyte_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_PAYLOAD == 2**30
    monkeypatch.setattr(frames, "MAX_PAYLOAD", 16)
    for count in (15, 16):
        data = b"".join(encode(REQUEST, {"a": np.zeros(count, np.uint8)}))
        assert read(data)[1]["a"].shape == (count,)
    for shape in ([17], [0, 17], [17, 0, 1]):
        with pytest.raises(TooLargeError, match="of 1 bytes each, more than 16 bytes: send fewer or coarser data"):
            read(with_array("|u1", shape, payload=b""))
    with pytest.raises(TooLargeError, match="announces 17 bytes of arrays, more than 16"):
        read(raw(REQUEST, announced=17))
    with pytest.raises(TooLargeError, match="have 18 bytes, more than the 16 of one frame"):
        encode(REQUEST, {"a": np.zeros(9, np.uint8), "b": np.zeros(9, np.uint8)})


@pytest.mark.parametrize("number", [0, 1, 2**53 - 1])
def test_ids_are_below_two_to_the_fifty_third(number: int) -> None:
    assert read(raw({**REQUEST, "id": number}))[0]["id"] == number


@pytest.mark.parametrize(("number", "accepted"), [(10**20 - 1, True), (-(10**19) + 1, True), (10**20, False)])
def test_whole_numbers_have_twenty_digits(number: int, accepted: bool) -> None:
    data = raw({**REQUEST, "params": {"a": number}})
    if accepted:
        assert read(data)[0]["params"] == {"a": number}
        return
    with pytest.raises(HeaderError, match="an integer of 21 digits, more than 20"):
        read(data)


def test_json_may_say_that_numbers_are_none_where_that_is_asked_for() -> None:
    assert str(frames.parse_json("[NaN, -Infinity, 1.5]", nan=True)) == "[nan, -inf, 1.5]"
    for text in ("NaN", "1e400", "-Infinity", "1" * 30 + "e400"):
        with pytest.raises(ValueError, match=f"^{text[:20]} is no finite number; absent values are null$"):
            frames.parse_json(text)
    with pytest.raises(ValueError, match="1e400 is no finite number"):
        frames.parse_json("1e400", nan=True)


def test_junk_is_shown_by_its_first_eighty_characters() -> None:
    with pytest.raises(JunkError, match=f"got '{'y' * 80}'; something else"):
        read(b"y" * 81)
    # Two hundred bytes are shown; a space stands for each that is not printed.
    with pytest.raises(JunkError, match="got 'x ~ y z'; something else"):
        read(b"x\x1f~\x7fy\xff" + b"\t" * 193 + b"z" + b"unseen")
    with pytest.raises(JunkError, match="got '00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f'; something"):
        read(bytes(range(32)))


def test_a_frame_may_come_in_pieces() -> None:
    """A pipe hands out what there is: a head byte by byte, an array by and by."""

    class Dripping(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self.left = data

        def readable(self) -> bool:
            return True

        def readinto(self, target: Any) -> int:
            size = min(len(target), 5, len(self.left))
            target[:size], self.left = self.left[:size], self.left[size:]
            return size

    stream: Any = io.BufferedReader(Dripping(GOLDEN * 2), 8)
    for _ in range(2):
        frame = read_frame(stream)
        assert frame is not None
        np.testing.assert_array_equal(frame[1]["points"], np.array([[1, 2, -3]], "<f4"))
    assert read_frame(stream) is None


def only_protocol_errors(data: bytes) -> None:
    tracemalloc.start()
    try:
        read(data)
    except ProtocolError as exc:
        assert len(str(exc)) < 1000
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    # One JSON header and its values at most: no payload that is not there.
    assert peak < 8 * MAX_JSON


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_random_bytes(data: bytes) -> None:
    only_protocol_errors(data)
    only_protocol_errors(b"DSR1" + data)
    only_protocol_errors(struct.pack("<4sIQ", b"DSR1", len(data), 0) + data)


@given(st.lists(st.tuples(st.integers(0, len(GOLDEN) - 1), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=500, deadline=None)
def test_damaged_frames(damage: list[tuple[int, int]]) -> None:
    data = bytearray(GOLDEN)
    for offset, value in damage:
        data[offset] = value
    only_protocol_errors(bytes(data))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=10,
)
ODD_ARRAY = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b", 1, None]) | JSON,
        "dtype": st.sampled_from([*frames.DTYPES, "|O"]) | JSON,
    },
    optional={"shape": st.lists(st.integers(-1, 2**40), max_size=5) | JSON},
)


@pytest.mark.system
@given(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["request", "reply", "error", "event"]) | JSON,
            "id": st.integers(0, 9) | JSON,
            "method": st.just("m") | JSON,
            "params": st.just({}) | JSON,
            "arrays": st.lists(ODD_ARRAY, max_size=3) | JSON,
        }
    ),
    st.binary(max_size=40),
)
@settings(max_examples=300, deadline=None)
def test_odd_headers(header: dict[str, Any], payload: bytes) -> None:
    only_protocol_errors(raw(header, payload))


@given(st.binary(max_size=64))
@settings(max_examples=100, deadline=None)
def test_bytes_survive(data: bytes) -> None:
    _, arrays = read(b"".join(encode(REQUEST, {"file": np.frombuffer(data, np.uint8)})))
    assert arrays["file"].tobytes() == data


@pytest.mark.parametrize("room", ["shared/frames", "shared/codec", "backend/process", "backend/client"])
def test_plugin_rooms_parse_in_python_3_9(room: str) -> None:
    import ast

    ast.parse((ROOT / f"pymol_dsr/{room}.py").read_text(encoding="utf-8"), feature_version=(3, 9))
