"""Packing of arrays: every byte against a packer in plain Python, and each kind of stream that is refused."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zlib
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymol_dsr.shared import codec, frames
from pymol_dsr.shared.codec import MAX_RATIO, pack, pack_planes, unpack, unpack_planes, whole_numbers
from pymol_dsr.shared.frames import HeaderError, TooLargeError, encode, read_frame

LEAST, MOST = -(2**31), 2**31 - 1
SURFACE = {"kind": "request", "id": 1, "method": "surface", "params": {"fit": "pep", "state": 1.0}}


def i4(*values: Any) -> Any:
    return np.array(values, "<i4")


def f4(*values: Any) -> Any:
    return np.array(values, "<f4")


def planes_of(values: list[int]) -> bytes:
    """The unpacked stream by its rule: n ≥ 0 becomes 2n and n < 0 becomes −2n − 1, then byte 0 of each, byte 1, …"""
    folded = [2 * n if n >= 0 else -2 * n - 1 for n in values]
    return bytes(n >> 8 * plane & 255 for plane in range(4) for n in folded)


# Whole numbers


def test_positions_normals_and_atoms_become_the_nearest_multiples_of_a_1024th() -> None:
    values = f4(1.0, -1.0, 0.75, 1.4 / 1024, 1.6 / 1024, -1.6 / 1024, 12.34567)
    for name in ("points", "normals", "atoms"):
        integers = whole_numbers(name, values)
        assert integers is not None and integers.dtype == np.int32
        assert integers.tolist() == [1024, -1024, 768, 1, 2, -2, 12642]


def test_indices_are_whole_numbers_as_they_are() -> None:
    assert_same(whole_numbers("faces", i4(LEAST, 0, MOST)), i4(LEAST, 0, MOST))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("values", f4(1.0)),
        ("points", np.array([1.0], "<f8")),
        ("points", np.array([1.0], ">f4")),
        ("points", np.array([1], "<i8")),
        ("points", np.array([1], "<u4")),
        ("points", np.array([1], "|u1")),
        ("points", f4(0.0, np.nan)),
        ("points", f4(0.0, -np.inf)),
        ("points", f4(0.0, 2.0**20)),
        ("points", f4(0.0, -(2.0**20))),
    ],
)
def test_other_arrays_have_no_whole_numbers(name: str, array: Any) -> None:
    assert whole_numbers(name, array) is None


def test_the_largest_positions_that_have_whole_numbers() -> None:
    below = float(np.nextafter(np.float32(2.0**20), np.float32(0)))
    integers = whole_numbers("points", f4(below, -below))
    assert integers is not None and integers.tolist() == [2**30 - 64, 64 - 2**30]


# Packed bytes


@pytest.mark.parametrize(
    ("values", "differences", "packed"),
    [
        # The first row stays, the others are differences to the row before.
        ([7, 8, 9, 11], True, [7, 1, 1, 2]),
        ([-5, -6, -6], True, [-5, -1, 0]),
        # Differences that are not smaller in all are not taken.
        ([5, -5, 5], False, [5, -5, 5]),
        ([0, 0], False, [0, 0]),
        ([3], False, [3]),
        # Differences beyond 32 bits wrap; the sums that are compared do not.
        ([LEAST, LEAST], True, [LEAST, 0]),
        ([LEAST, MOST, LEAST], True, [LEAST, -1, 1]),
        ([70_000, 70_300], True, [70_000, 300]),
    ],
)
def test_the_packed_stream_is_that_of_the_rule(values: list[int], differences: bool, packed: list[int]) -> None:
    data, entry = pack(i4(*values))
    assert entry == {"differences": differences}
    assert zlib.decompress(data) == planes_of(packed)


def test_differences_are_along_the_first_axis() -> None:
    data, entry = pack(i4([100, -100, 7], [101, -102, 7], [104, -102, 6]))
    assert entry == {"differences": True}
    assert zlib.decompress(data) == planes_of([100, -100, 7, 1, -2, 0, 3, 0, -1])
    assert_same(unpack(data, entry, "<i4", (3, 3)), i4([100, -100, 7], [101, -102, 7], [104, -102, 6]))


def assert_same(actual: Any, expected: Any) -> None:
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected, strict=True)


@settings(deadline=None)
@given(
    st.lists(st.integers(LEAST, MOST) | st.integers(-3, 3), min_size=1, max_size=40),
    st.sampled_from([1, 2, 3]),
)
def test_any_whole_numbers_come_back(values: list[int], columns: int) -> None:
    integers = i4(*values * columns).reshape(-1, columns)
    data, entry = pack(integers)
    assert_same(unpack(data, entry, "<i4", integers.shape), integers)
    assert_same(unpack_planes(pack_planes(integers), integers.shape), integers)
    assert zlib.decompress(pack_planes(integers)) == planes_of(integers.reshape(-1).tolist())


def test_an_array_in_columns_packs_as_the_same_array_in_rows() -> None:
    rows = i4([1, 2, 3], [400, 500, 600])
    assert pack_planes(np.asfortranarray(rows)) == pack_planes(rows)


def test_steps_become_positions_again() -> None:
    data, entry = pack(i4(1024, -1024, 768, 1))
    unpacked = unpack(data, entry, "<f4", (4,))
    assert_same(unpacked, f4(1.0, -1.0, 0.75, 2.0**-10))


def test_noise_packs_better_than_by_a_search_for_repetitions() -> None:
    noise = np.random.default_rng(0).normal(0, 20, 20_000).astype("<i4")
    assert len(pack_planes(noise)) < len(zlib.compress(planes_of(noise.tolist())))


# Streams that are refused


@pytest.mark.parametrize("extra", [-4, -1, 1, 4, 5_000_000])
def test_a_stream_of_another_size_is_refused_and_not_unpacked_further(extra: int) -> None:
    data = zlib.compress(bytes(24_000 + extra))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"its {len(data)} bytes do not unpack to the 24000 of its shape"):
            unpack_planes(data, (2000, 3))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "do not unpack to the 16 of its shape"),
        (lambda data: data + b"\0", "do not unpack to the 16 of its shape"),
        (lambda data: b"", "its 0 bytes do not unpack"),
        (lambda data: b"no stream", "its 9 bytes are no deflate stream: Error -3"),
    ],
)
def test_a_stream_that_is_cut_goes_on_or_is_none_is_refused(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unpack_planes(change(pack_planes(i4(1, 2, 3, 4))), (4,))


def test_a_stream_with_all_its_bytes_but_without_its_end_is_refused() -> None:
    packer = zlib.compressobj()
    unended = packer.compress(bytes(16)) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert zlib.decompressobj().decompress(unended) == bytes(16)
    with pytest.raises(ValueError, match="do not unpack to the 16 of its shape"):
        unpack_planes(unended, (4,))


def test_no_stream_of_deflate_unpacks_to_more_than_the_limit_of_frames() -> None:
    # Two bits, one for the length and one for the distance, stand for 258 bytes at most.
    assert MAX_RATIO == 258 * 8 / 2


# In frames


def wire(arrays: dict[str, Any]) -> bytes:
    return b"".join(bytes(chunk) for chunk in encode(SURFACE, arrays, packed=True))


def read(data: bytes) -> Any:
    frame = read_frame(io.BufferedReader(cast(io.RawIOBase, io.BytesIO(data))))
    assert frame is not None
    return frame[1]


def described(data: bytes) -> dict[str, Any]:
    """The entries of a frame's arrays by name."""
    length = struct.unpack("<I", data[4:8])[0]
    return {entry["name"]: entry for entry in json.loads(data[16 : 16 + length])["arrays"]}


def raw(payload: bytes, **entry: Any) -> bytes:
    """A frame with one array, described as told."""
    description = {"name": "points", "dtype": "<f4", "differences": False, **entry}
    text = json.dumps({**SURFACE, "arrays": [description]}).encode()
    return struct.pack("<4sIQ", b"DSR1", len(text), len(payload)) + text + payload


def test_what_has_no_steps_goes_as_it_is() -> None:
    arrays = {
        "points": np.full((1000, 3), np.nan, "<f4"),
        "normals": np.full((1000, 3), 3e7, "<f4"),
        "atoms": np.zeros((3, 3), "<f4"),
        "values": np.random.default_rng(0).random((1000, 3)).astype("<f4"),
        "file": np.zeros(5000, np.uint8),
        "faces": np.array([[MOST, LEAST, 0]] * 1000, "<i4"),
    }
    data = wire(arrays)
    assert data.count(b'"packed"') == 1, "only indices, which are exact whatever they are"
    for name, array in read(data).items():
        np.testing.assert_array_equal(array, arrays[name])


@pytest.mark.parametrize(("size", "packed"), [(1023, False), (1024, True)])
def test_short_arrays_are_not_packed(size: int, packed: bool) -> None:
    data = wire({"faces": np.zeros(size, "<i4")})
    assert ("packed" in described(data)["faces"]) is packed
    assert_same(read(data)["faces"], np.zeros(size, "<i4"))


def test_arrays_are_packed_in_order_until_the_limit_of_one_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_UNPACKED", 4 * (2000 + 1500))
    arrays = {name: np.arange(size, dtype="<i4") for name, size in (("a", 2000), ("b", 1501), ("c", 1500))}
    data = wire(arrays)
    assert {name for name, entry in described(data).items() if "packed" in entry} == {"a", "c"}
    unpacked = read(data)
    for name, array in arrays.items():
        assert_same(unpacked[name], array)


def test_frames_of_a_fast_line_are_not_packed() -> None:
    data = b"".join(bytes(chunk) for chunk in encode(SURFACE, {"faces": np.zeros(5000, "<i4")}))
    assert described(data)["faces"] == {"name": "faces", "dtype": "<i4", "shape": [5000]}


@pytest.mark.parametrize(
    ("entry", "payload", "error", "message"),
    [
        ({"shape": [2000, 3], "packed": 3}, b"abc", HeaderError, "3 packed bytes can't have 24000 when unpacked"),
        ({"shape": [2000, 3], "packed": True}, b"a", HeaderError, "packed in True bytes"),
        ({"shape": [2000, 3], "packed": -1}, b"", HeaderError, "packed in -1 bytes"),
        ({"shape": [2000, 3], "packed": 0}, b"", HeaderError, "packed in 0 bytes"),
        ({"shape": [2000, 3], "packed": 1.5}, b"", HeaderError, "packed in 1.5 bytes"),
        ({"shape": [2000, 3], "packed": (1 << 30) + 1}, b"", HeaderError, "packed in 1073741825 bytes"),
        ({"shape": [0, 3], "packed": 8}, b"12345678", HeaderError, "can't have 0 when unpacked"),
        ({"shape": [2000, 3], "packed": 100}, bytes(100), HeaderError, "can't be unpacked: its 100 bytes are no"),
        ({"shape": [2000, 3], "packed": 100, "differences": 1}, bytes(100), HeaderError, "in a way that is not known"),
        ({"dtype": "<f8", "shape": [2000, 3], "packed": 100}, bytes(100), HeaderError, "in a way that is not known"),
        ({"shape": [], "packed": 100}, bytes(100), HeaderError, "in a way that is not known"),
        # 4 · 258 · 10 bytes may come from 10; four more may not.
        ({"shape": [2580], "packed": 10}, bytes(10), HeaderError, "can't be unpacked: its 10 bytes are no"),
        ({"shape": [2581], "packed": 10}, bytes(10), HeaderError, "10 packed bytes can't have 10324 when unpacked"),
        ({"shape": [3 << 25], "packed": 1 << 20}, bytes(1 << 20), TooLargeError, "to 402653184 bytes, more than"),
        # As much as all arrays of a frame may unpack to, and four bytes more.
        ({"shape": [1 << 26], "packed": 1 << 18}, bytes(9), HeaderError, "but 9 bytes are announced"),
        ({"shape": [(1 << 26) + 1], "packed": 1 << 19}, bytes(9), TooLargeError, "to 268435460 bytes, more than"),
    ],
)
def test_hostile_packed_arrays_are_refused(entry: Any, payload: bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read(raw(payload, **entry))


@pytest.mark.parametrize("size", [24_000 - 4, 24_000 + 4, 10_000_000])
def test_a_stream_that_is_not_as_long_as_its_shape_is_refused_by_frames(size: int) -> None:
    data = zlib.compress(bytes(size))
    with pytest.raises(HeaderError, match="do not unpack to the 24000 of its shape"):
        read(raw(data, shape=[2000, 3], packed=len(data)))


def test_a_step_is_exact_where_positions_are() -> None:
    """A fit keeps its atoms in these steps: a power of two, below the thousandth of an ångström that files have."""
    assert codec.STEP == 1 / 1024
