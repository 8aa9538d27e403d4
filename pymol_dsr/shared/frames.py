"""Frames between the plugin and the backend.

A frame is ``b"DSR1"``, u32 JSON length, u64 payload length (little-endian), the JSON header, then the raw
bytes of the arrays that the header's ``arrays`` list describes, one after another, C-contiguous.

What a hostile or broken peer can send, and the defence:

1. junk before a frame (a login banner): refused at its first byte, with a sample of it;
2. lengths beyond the caps: refused before anything is allocated;
3. a shape whose product overflows, or does not equal the payload: Python integers, checked before allocation;
4. dtypes that run code or hold pointers (object, structured): only `DTYPES` are taken, nothing is unpickled;
5. JSON that is deep, not UTF-8, not finite (NaN, 1e999), or has very long integers: `HeaderError`;
6. fields of the wrong type, negative or boolean ids and dimensions, arrays of one name: `HeaderError`;
7. a stream that ends within a frame: `TruncatedError`;
8. packed arrays that unpack to more or less than their shape: sizes are held against each other before, and
   unpacking stops at the shape's size.

For slow lines, `encode` packs large arrays of positions, normals and indices: whole numbers (of 1/1024 Å, or of 1/1024
in normals), their differences along the first axis where those are smaller, small ones of either sign as small codes,
their bytes in four planes, lowest first, deflated. Indices stay exact, positions within 0.0005 Å.

Not checked: duplicate JSON keys (the last one counts), unknown JSON keys (ignored), values inside arrays and
params.
"""

from __future__ import annotations

import io
import json
import math
import reprlib
import struct
import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .codec import LEAST_PACKED, MAX_RATIO, pack, unpack, whole_numbers

PROTOCOL = 1
MAGIC = b"DSR1"
MAX_JSON = 1 << 20
MAX_PAYLOAD = 1 << 30
MAX_ARRAYS = 64
MAX_DIMENSIONS = 4
DTYPES = ("<f4", "<f8", "<i4", "<i8", "|u1")


# Bytes that the packed arrays of one frame may unpack to: a surface of five million points.
MAX_UNPACKED = 1 << 28


Header = dict[str, Any]
Arrays = dict[str, NDArray[Any]]

_HEAD = struct.Struct("<4sIQ")
_FIELDS: dict[str, dict[str, type[Any]]] = {
    "request": {"id": int, "method": str, "params": dict},
    "reply": {"id": int, "result": dict},
    "error": {"id": int, "code": str, "message": str},
    "event": {"event": str, "params": dict},
}
_MAX_ID = 1 << 53  # integers that every JSON reader keeps exactly


class ProtocolError(Exception):
    """The peer broke the protocol, or was about to be sent something that would.

    The connection can't go on.
    """


class JunkError(ProtocolError):
    """Bytes that are no frame stand where a frame should begin."""


class TooLargeError(ProtocolError):
    """A frame, or a part of it, is beyond the caps."""


class TruncatedError(ProtocolError):
    """The stream ended within a frame."""


class HeaderError(ProtocolError):
    """The JSON header is malformed or does not fit the payload."""


def encode(header: Header, arrays: Arrays | None = None, packed: bool = False) -> list[memoryview]:
    """Return the buffers of one frame, to be written in order.

    `packed` says that the line is slow and the peer can unpack. Arrays are not copied: leave them alone until written.
    """
    arrays = arrays or {}
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    described: list[dict[str, Any]] = [
        {"name": name, "dtype": array.dtype.str, "shape": list(array.shape)} for name, array in contiguous.items()
    ]
    if packed:
        left = MAX_UNPACKED
        for entry in described:
            array = contiguous[entry["name"]]
            integers = whole_numbers(entry["name"], array) if LEAST_PACKED <= array.size <= left // 4 else None
            if integers is not None:
                left -= array.nbytes
                data, packing = pack(integers)
                contiguous[entry["name"]] = np.frombuffer(data, np.uint8)
                entry.update(packing, packed=len(data))
    full = dict(header, arrays=described)
    _check_fields(full)
    payload = sum(size for *_, size in _layout(described))
    if payload > MAX_PAYLOAD:
        raise TooLargeError(
            f"the arrays of this message have {payload} bytes, more than the {MAX_PAYLOAD} of one frame: "
            "send fewer or coarser data"
        )
    try:
        text = json.dumps(full, separators=(",", ":"), allow_nan=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as exc:
        raise HeaderError(
            f"the header can't be written as JSON ({exc}): use plain finite numbers, text, lists"
        ) from exc
    if len(text) > MAX_JSON:
        raise TooLargeError(f"the JSON header has {len(text)} bytes, more than {MAX_JSON}: send long lists as arrays")
    buffers: list[memoryview] = [memoryview(_HEAD.pack(MAGIC, len(text), payload) + text)]
    buffers += [array.reshape(-1).view(np.uint8).data for array in contiguous.values() if array.size]
    return buffers


def write_frame(stream: BinaryIO, header: Header, arrays: Arrays | None = None) -> None:
    """Write one frame to a buffered binary stream and flush it."""
    for buffer in encode(header, arrays):
        stream.write(buffer)
    stream.flush()


def read_frame(stream: io.BufferedReader, first: bool = False) -> tuple[Header, Arrays] | None:
    """Return the next frame as (header, arrays by name), or None where the stream ends between frames.

    `first` says that nothing was read from this stream before, which changes only the remedy named for junk.
    """
    start = stream.peek(1)
    if not start:
        return None
    # A banner may be shorter than a frame's head and be followed by silence: judge what is there already.
    if not MAGIC.startswith(start[:4]):
        raise _junk(start, first)
    head = _exactly(stream, _HEAD.size, "its head")
    magic, json_bytes, payload = _HEAD.unpack(head)
    if magic != MAGIC:
        raise _junk(head, first)
    if json_bytes > MAX_JSON:
        raise TooLargeError(
            f"a frame announces {json_bytes} bytes of JSON, more than {MAX_JSON}: the stream is damaged, start anew"
        )
    if payload > MAX_PAYLOAD:
        raise TooLargeError(
            f"a frame announces {payload} bytes of arrays, more than {MAX_PAYLOAD}: the stream is damaged, start anew"
        )
    header = _parse(_exactly(stream, json_bytes, "its JSON header"))
    layout = _layout(header.get("arrays", []))
    described = sum(size for *_, size in layout)
    if described != payload:
        raise HeaderError(
            f"the arrays of a frame are described as {described} bytes, but {payload} bytes are announced: "
            "the stream is damaged, start anew"
        )
    arrays: Arrays = {}
    for entry, (name, dtype, shape, size) in zip(header.get("arrays", []), layout):  # noqa: B905 (Python 3.8)
        if "packed" in entry:
            data = _exactly(stream, size, f"array {name!r}")
            try:
                arrays[name] = unpack(data, entry, dtype, shape)
            except (ValueError, zlib.error) as exc:
                raise HeaderError(f"array {name!r} of a frame can't be unpacked: {exc}") from exc
            continue
        array = np.empty(shape, np.dtype(dtype))
        if size:
            _fill(stream, array.reshape(-1).view(np.uint8).data, f"array {name!r}")
        arrays[name] = array
    return header, arrays


def _junk(data: bytes, first: bool) -> JunkError:
    sample = "".join(chr(byte) if 32 <= byte < 127 else " " for byte in data[:200])
    sample = " ".join(sample.split())[:80] or data[:16].hex(" ")
    if first:
        remedy = (
            "something prints before the backend starts (a login banner, or the command is not `dsr-backend "
            "serve`): "
            "silence the shell profile, or use `ssh -T`"
        )
    else:
        remedy = "something else writes into the stream, or it is damaged: start the backend anew"
    return JunkError(f"expected a frame beginning with {MAGIC.decode()!r}, got {sample!r}; {remedy}")


def _exactly(stream: io.BufferedReader, count: int, section: str) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise _truncated(len(data), count, section)
    return data


def _fill(stream: io.BufferedReader, target: memoryview, section: str) -> None:
    filled = 0
    while filled < len(target):
        count = stream.readinto(target[filled:])
        if not count:
            raise _truncated(filled, len(target), section)
        filled += count


def _truncated(received: int, expected: int, section: str) -> TruncatedError:
    return TruncatedError(
        f"the stream ended within a frame: {received} of {expected} bytes of {section}; the peer is gone"
    )


def _parse(data: bytes) -> Header:
    try:
        header = parse_json(data.decode("utf-8"))
    except (ValueError, RecursionError) as exc:
        raise HeaderError(f"a frame's header is no valid JSON: {exc}") from exc
    _check_fields(header)
    return dict(header)


def parse_json(text: str, nan: bool = False) -> Any:
    """Return the JSON value of a text whose numbers are finite and have at most 20 digits where they are whole.

    nan: also takes NaN and infinities that are written as such. Raises ValueError, and RecursionError where the text
    is too deep.
    """
    return json.loads(text, parse_constant=float if nan else _finite, parse_float=_finite, parse_int=_small_integer)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number; absent values are null")
    return value


def _small_integer(text: str) -> int:
    # Python turns long decimal integers into numbers in quadratic time.
    if len(text) > 20:
        raise ValueError(f"an integer of {len(text)} digits, more than 20")
    return int(text)


def _check_fields(header: Any) -> None:
    if not isinstance(header, dict):
        raise HeaderError(f"a frame's header is {reprlib.repr(header)}, not a JSON object")
    kind = header.get("kind")
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise HeaderError(f"a frame's kind is {reprlib.repr(kind)}, not one of {', '.join(_FIELDS)}")
    for name, expected_type in _FIELDS[kind].items():
        value: Any = header.get(name)
        if not isinstance(value, expected_type) or isinstance(value, bool):
            raise HeaderError(
                f"field {name!r} of a {kind} is {reprlib.repr(value)}, not of type {expected_type.__name__}"
            )
        if expected_type is int and not 0 <= value < _MAX_ID:
            raise HeaderError(f"field {name!r} of a {kind} is {reprlib.repr(value)}, not within 0 and {_MAX_ID}")


def _layout(described: Any) -> list[tuple[str, str, tuple[int, ...], int]]:
    """Name, dtype, shape and bytes in the frame of each array that a header describes, all checked."""
    if not isinstance(described, list):
        raise HeaderError(f"`arrays` is {reprlib.repr(described)}, not a list")
    if len(described) > MAX_ARRAYS:
        raise TooLargeError(f"a frame describes {len(described)} arrays, more than {MAX_ARRAYS}")
    layout = []
    names = set()
    unpacked = 0
    for entry in described:
        if not isinstance(entry, dict):
            raise HeaderError(f"an array is described by {reprlib.repr(entry)}, not by name, dtype and shape")
        name, dtype, shape = entry.get("name"), entry.get("dtype"), entry.get("shape")
        if not isinstance(name, str) or name in names:
            raise HeaderError(f"an array is named {reprlib.repr(name)}: names are text, each used once")
        names.add(name)
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise HeaderError(
                f"array {reprlib.repr(name)} has dtype {reprlib.repr(dtype)}, not one of "
                f"{', '.join(DTYPES)}: convert it"
            )
        if not isinstance(shape, list) or not all(
            isinstance(length, int) and not isinstance(length, bool) and length >= 0 for length in shape
        ):
            raise HeaderError(f"array {reprlib.repr(name)} has shape {reprlib.repr(shape)}, not a list of lengths")
        if len(shape) > MAX_DIMENSIONS:
            raise TooLargeError(f"array {reprlib.repr(name)} has {len(shape)} dimensions, more than {MAX_DIMENSIONS}")
        itemsize = int(dtype[2:])
        # Zeros count as one here: numpy refuses an empty array whose other lengths overflow.
        if math.prod(max(length, 1) for length in shape) * itemsize > MAX_PAYLOAD:
            raise TooLargeError(
                f"array {reprlib.repr(name)} has shape {reprlib.repr(shape)} of {itemsize} bytes each, "
                f"more than {MAX_PAYLOAD} bytes: send fewer or coarser data"
            )
        size = math.prod(shape) * itemsize
        if "packed" in entry:
            unpacked += size
            size = _packed_size(entry, size)
        layout.append((name, dtype, tuple(shape), size))
    if unpacked > MAX_UNPACKED:
        raise TooLargeError(f"the packed arrays of a frame unpack to {unpacked} bytes, more than {MAX_UNPACKED}")
    return layout


def _packed_size(entry: dict[str, Any], size: int) -> int:
    """Return the bytes that a packed array of `size` bytes has in the frame."""
    packed, name = entry["packed"], reprlib.repr(entry["name"])
    if not isinstance(packed, int) or isinstance(packed, bool) or not 0 < packed <= MAX_PAYLOAD:
        raise HeaderError(f"array {name} is packed in {reprlib.repr(packed)} bytes: that is no length")
    if entry["dtype"] not in ("<f4", "<i4") or not entry["shape"] or not isinstance(entry.get("differences"), bool):
        raise HeaderError(f"array {name} of {entry['dtype']} is packed in a way that is not known")
    if not 0 < size <= MAX_RATIO * packed:
        raise HeaderError(f"array {name} of {packed} packed bytes can't have {size} when unpacked")
    return packed
