"""Everything that comes from outside, mutated: only the named errors, in bounded time and memory.

`DSR_FUZZ=40 pytest -s tests/system/test_fuzz.py` takes 40 times as many examples, others each time, and
prints their counts.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any, cast

import hypothesis
import numpy as np
import pytest
from dsr_backend.results import dsr_file, dsr_format
from dsr_backend.results.dsr_file import CheckpointError
from dsr_backend.surfaces.staging import SurfaceStaging
from dsr_backend.surfaces.surface import SurfacesError
from dsr_backend.surfaces.surfaces_file import read_surfaces_file, write_surfaces_file
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from pymol_dsr.backend import reply_checks
from pymol_dsr.backend.process import LaunchError
from pymol_dsr.fits import pse
from pymol_dsr.fits.jobs import Jobs
from pymol_dsr.fits.pse import FitReference, PseReferences
from pymol_dsr.runtime import settings
from pymol_dsr.runtime.settings import Settings, SettingsError
from pymol_dsr.scene import value_table
from pymol_dsr.scene.objects import SceneError
from pymol_dsr.shared import frames, messages, states, text
from pymol_dsr.shared.messages.reports import parse_atom_indices
from pymol_dsr.shared.states import StatesError
from pymol_dsr.shared.text import AnswerError
from pymol_dsr.shared.values import ValueFault
from support.paths import ROOT, SUPPORT
from support.waiting import PATIENCE

torch = pytest.importorskip("torch")
import safetensors.torch  # noqa: E402
from safetensors import SafetensorError  # noqa: E402

from support.dsr_parts import corrected, family, file_parts, forged, old  # noqa: E402
from support.shapes import ball, cloud, fit  # noqa: E402

TIMES = int(os.environ.get("DSR_FUZZ", "1"))
# Seconds of the CPU for one input. The limit is wide, as a busy machine counts waits for its memory as work; work
# without a bound takes minutes.
SECONDS = 20.0
counts: Counter[str] = Counter()


def fuzzed(examples: int) -> Any:
    return hypothesis.settings(
        max_examples=examples * TIMES,
        derandomize=TIMES == 1,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def named_errors(label: str, *errors: type[Exception], megabytes: float = 100.0) -> Any:
    """Within, only these errors; in SECONDS and so much of Python's and numpy's memory (not looked at: 0)."""
    if megabytes:
        tracemalloc.start()
    start = time.process_time()
    try:
        yield
        counts[f"{label}: taken"] += 1
    except errors:
        counts[f"{label}: refused"] += 1
    finally:
        peak = tracemalloc.get_traced_memory()[1] if megabytes else -1
        tracemalloc.stop()
    assert time.process_time() - start < SECONDS, "it took too long"
    assert peak < megabytes * 1e6, f"it took {peak} bytes"


@pytest.fixture(scope="module", autouse=True)
def _counted():
    yield
    if TIMES > 1:
        print("\n" + "\n".join(f"{name} {count}" for name, count in sorted(counts.items())))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["../../etc/passwd", "\x1b[2J", "1-999999999", 2**31, 2**63, -1, 1e308, "<f4", "|O"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=10,
)
cuts = st.none() | st.integers(0, 10**6)
flips = st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 255)), max_size=8)


def mutated(data: bytes, flips: list[tuple[int, int]], cut: int | None) -> bytes:
    out = bytearray(data)
    for offset, value in flips:
        out[offset % len(out)] = value
    return bytes(out if cut is None else out[: cut % len(out)])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where values stand in JSON."""
    paths = [path] if path else []
    for key, child in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        paths += places(child, (*path, key))
    return paths


def with_value(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """JSON with another value in one place; ... takes it away."""
    value = copy.deepcopy(value)
    container = value
    for key in path[:-1]:
        container = container[key]
    if new is ...:
        del container[path[-1]]
    else:
        container[path[-1]] = new
    return value


# Frames

WHOLE = {"kind": "reply", "id": 3, "result": {"time": 1.5, "names": ["a", {"b": None}]}}
FRAME = b"".join(frames.encode(WHOLE, {"points": np.zeros((4, 3), "<f4"), "faces": np.zeros((2, 3), "<i4")}))
MANY = {"points": np.zeros((400, 3), "<f4") + 0.5, "faces": np.arange(1200, dtype="<i4").reshape(400, 3)}
PACKED = b"".join(frames.encode(WHOLE, MANY, packed=True))
PACKED_HEADER, PACKED_BYTES = (
    json.loads(PACKED[16 : 16 + struct.unpack("<I", PACKED[4:8])[0]]),
    PACKED[16 + struct.unpack("<I", PACKED[4:8])[0] :],
)
HEADER = json.loads(FRAME[16 : 16 + struct.unpack("<I", FRAME[4:8])[0]])


def read_all(data: bytes) -> None:
    # A frame may announce as much as one may have, and end.
    with named_errors("frames", frames.ProtocolError, megabytes=1100):
        stream = io.BufferedReader(cast(Any, io.BytesIO(data)))
        while (frame := frames.read_frame(stream)) is not None:
            header, arrays = frame
            assert header["kind"] in ("request", "reply", "error", "event")
            assert all(array.dtype.str in frames.DTYPES for array in arrays.values())


def frame_of(text: bytes, payload: bytes, announced: int | None = None) -> bytes:
    return struct.pack("<4sIQ", b"DSR1", len(text), len(payload) if announced is None else announced) + text + payload


@fuzzed(60)
@given(data=st.binary(max_size=300), magic=st.booleans())
@example(data=struct.pack("<IQ", 2**32 - 1, 2**64 - 1), magic=True)
def test_bytes_are_a_frame_or_refused(data: bytes, magic: bool) -> None:
    read_all(b"DSR1" + data if magic else data)


@fuzzed(60)
@given(frame=st.sampled_from([FRAME, PACKED]), flips=flips, cut=cuts, times=st.integers(1, 3))
def test_damaged_frames_are_read_or_refused(frame: bytes, flips: Any, cut: int | None, times: int) -> None:
    read_all(mutated(frame * times, flips, cut))


@fuzzed(60)
@given(path=st.sampled_from(places(PACKED_HEADER["arrays"])), value=json_values, flips=flips)
@example(path=(0, "shape"), value=[2**20, 3], flips=[])
@example(path=(0, "shape"), value=[0, 3], flips=[])
@example(path=(1, "packed"), value=1, flips=[])
@example(path=(0, "dtype"), value="<f8", flips=[])
@example(path=(0, "differences"), value="yes", flips=[])
def test_packed_arrays_are_read_or_refused(path: Any, value: Any, flips: Any) -> None:
    header = {**PACKED_HEADER, "arrays": with_value(PACKED_HEADER["arrays"], path, value)}
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    read_all(frame_of(text, mutated(PACKED_BYTES, flips, None)))


def test_a_packed_bomb_stops_at_its_shape() -> None:
    packer = zlib.compressobj(9)
    data = packer.compress(bytes(2**26)) + packer.flush()
    array = {"name": "faces", "dtype": "<i4", "shape": [1000, 3], "packed": len(data), "differences": False}
    text = json.dumps({"kind": "reply", "id": 1, "result": {}, "arrays": [array]}).encode()
    with named_errors("frames", frames.ProtocolError, megabytes=2):
        frames.read_frame(io.BufferedReader(io.BytesIO(frame_of(text, data))))


@fuzzed(80)
@given(path=st.sampled_from(places(HEADER)), value=json_values, payload=st.integers(0, 200))
@example(path=("arrays", 0, "shape"), value=[2**33, 2**33], payload=72)
@example(path=("arrays", 0, "shape"), value=[0, 2**63], payload=24)
@example(path=("arrays", 0, "dtype"), value="|O", payload=72)
@example(path=("arrays", 1, "name"), value="points", payload=72)
@example(path=("arrays",), value=[{"name": str(n), "dtype": "|u1", "shape": [0]} for n in range(10_000)], payload=0)
def test_headers_with_other_values_are_read_or_refused(path: Any, value: Any, payload: int) -> None:
    text = json.dumps(with_value(HEADER, path, value)).encode("utf-8", "surrogatepass")
    read_all(frame_of(text, bytes(payload)))


@pytest.mark.parametrize(
    "text",
    [
        b'{"kind":"reply","id":1,"result":' + b"[" * 400_000 + b"]" * 400_000 + b"}",
        b'{"kind":"reply","id":1,"result":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b'{"kind":"error","kind":"reply","id":1,"id":2,"result":{},"result":{"a":1}}',
        b'{"kind":"reply","id":1,"result":{"a":NaN}}',
        b'{"kind":"reply","id":1,"result":{"a":' + b"9" * 500_000 + b"}}",
        b'{"kind":"reply","id":1,"result":{"a":1e' + b"9" * 500_000 + b"}}",
        b'{"kind":"reply","id":1,"result":{}}' + b" " * 1_000_000,
        b'{"kind":"reply","id":1,"result":{"a":"' + b"\\ud800" * 100_000 + b'"}}',
    ],
    ids=[
        "deep lists",
        "deep objects",
        "keys twice",
        "NaN",
        "long integer",
        "long exponent",
        "blanks",
        "half characters",
    ],
)
def test_json_that_costs_much_is_read_or_refused(text: bytes) -> None:
    read_all(frame_of(text, b""))


POINTS = np.zeros((3, 3), np.float32)
# A request of each method whose answer is held against it.
ASKED: dict[str, messages.Request[Any]] = {
    request.METHOD: request
    for request in (
        messages.Mesh(fit="a", time=1.0),
        messages.Grid(fit="a", time=1.0),
        messages.Paint(fit="a", time=1.0, points=POINTS),
        messages.Measure(fit="a", time=1.0),
        messages.Compare(fit="a", truth_points=POINTS, truth_normals=POINTS, truth_faces=np.zeros((0, 3), np.int32)),
        messages.Save(fit="a"),
        messages.Open(fit="a"),
        messages.Fit(fit="a"),
        messages.Load(fit="a"),
        messages.Interrupted(),
        messages.Detached(),
        messages.Status(),
    )
}


@fuzzed(90)
@given(
    method=st.sampled_from(sorted(ASKED)),
    result=st.dictionaries(
        st.sampled_from(["report", "states", "area", "volume", "spacing", "origin", "extrapolated", "time", "fits"]),
        json_values,
    ),
    arrays=st.dictionaries(
        st.sampled_from(["points", "normals", "faces", "nearest", "values", "area", "speed", "velocity", "file"]),
        st.sampled_from(
            [np.zeros((0, 3), "<f4"), np.full((3, 3), np.nan, "<f4"), np.full((3, 3), 9, "<i4"), np.ones(3)]
        ),
    ),
    atoms=st.none() | st.just(3),
)
@example(
    method="load", result={"report": {"states": [1, 2], "trajectories": None, "source": []}}, arrays={}, atoms=None
)
@example(
    method="load", result={"report": {"trajectories": {"a": {"states": [1]}}, "source": ["x"]}}, arrays={}, atoms=None
)
def test_answers_are_taken_or_refused(method: str, result: Any, arrays: Any, atoms: int | None) -> None:
    with named_errors("answers", AnswerError, ValueFault):
        reply_checks.check(ASKED[method], text.strip_control_characters(result), arrays, atoms)


@fuzzed(60)
@given(value=json_values)
def test_texts_are_harmless_or_refused(value: Any) -> None:
    with named_errors("texts", AnswerError):
        assert text.one_line(json.dumps(text.strip_control_characters(value), ensure_ascii=False)).isprintable()


# Fits as files


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """A small file of each kind."""
    from dsr_backend.fields.paper import Network, PaperField
    from dsr_backend.geometry.unit_cube import UnitCube
    from dsr_backend.motion.motion import Motion

    atoms = cloud(20)
    fast = corrected(fit([ball(s, 6.0, atoms=atoms + 0.1 * s, subdivisions=3) for s in (1, 2, 3)]))
    torch.manual_seed(0)
    network = Network(width=16, layers=4, latent=3, radius=0.6).requires_grad_(False)
    motion = Motion.from_states(np.array([1.0, 2.0]), np.stack([atoms, atoms + 0.1]).astype(np.float32), align=False)
    extent = np.array([[-9, -9, -9], [9, 9, 9]], np.float32)
    fields = [
        PaperField(network, torch.randn(3), 0.1, motion, UnitCube(np.zeros(3), 0.09), extent, 3.0, {"preset": "paper"})
        for _ in range(2)
    ]
    data = dsr_file.to_bytes(fast)
    return {
        "fast": data,
        "dsr 1": old(data),
        "paper": dsr_file.to_bytes(fields[0]),
        "family": dsr_file.to_bytes(family(("one", fields[0]), ("two", fields[1]))),
    }


kinds = st.sampled_from(["fast", "dsr 1", "paper", "family"])


def load(data: bytes) -> None:
    with named_errors("fits", CheckpointError):
        try:
            dsr_file.from_bytes(data, "cpu")
        except CheckpointError as error:
            assert len(str(error)) < 1000
            assert "its digest is" not in str(error), "it is refused before its parts are looked at"
            raise


def redigested(data: bytes) -> bytes:
    """The file with the digest that its tensors have; as it is where safetensors itself refuses it."""
    try:
        tensors, metadata = file_parts(data)
        # Metadata that are no texts are refused by the reader, too.
        metadata["digest"] = dsr_format.digest(tensors, metadata)
    except (SafetensorError, struct.error, LookupError, TypeError, ValueError, AttributeError):
        return data
    return safetensors.torch.save(tensors, metadata)


@pytest.mark.parametrize("kind", ["fast", "dsr 1", "paper", "family"])
def test_damage_with_its_own_digest_gets_past_the_digest(files: Any, kind: str) -> None:
    """The other tests of fits lean on this one."""
    tensors, metadata = file_parts(files[kind])
    name = next(name for name in sorted(tensors) if name.endswith("motion.states"))
    tensors[name] = tensors[name].flip(0)
    damaged = safetensors.torch.save(tensors, metadata)
    with pytest.raises(CheckpointError, match="its digest is"):
        dsr_file.from_bytes(damaged, "cpu")
    with pytest.raises(CheckpointError, match=r"its \d states do not rise"):
        dsr_file.from_bytes(redigested(damaged), "cpu")


@fuzzed(80)
@given(kind=kinds, flips=flips, cut=cuts, header=st.booleans())
def test_damaged_fits_are_read_or_refused(files: Any, kind: str, flips: Any, cut: int | None, header: bool) -> None:
    data = files[kind]
    length = int.from_bytes(data[:8], "little") + 8
    damaged = mutated(data[:length], flips, None) + data[length:] if header else mutated(data, flips, None)
    load(redigested(damaged if cut is None else damaged[: cut % len(data)]))


@fuzzed(120)
@given(kind=kinds, pick=st.integers(0, 10**6), value=json_values | st.just(...))
def test_fits_with_other_headers_are_read_or_refused(files: Any, kind: str, pick: int, value: Any) -> None:
    """Offsets that overlap or lie outside, shapes whose product overflows, types that are none."""
    data = files[kind]
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    paths = places(header)
    text = json.dumps(with_value(header, paths[pick % len(paths)], value)).encode("utf-8", "surrogatepass")
    load(redigested(struct.pack("<Q", len(text)) + text + data[8 + length :]))


@fuzzed(120)
@given(kind=kinds, pick=st.integers(0, 10**6), value=json_values | st.just(...))
def test_fits_that_say_something_else_are_read_or_refused(files: Any, kind: str, pick: int, value: Any) -> None:
    def change(tensors: Any, description: Any) -> None:
        paths = places(description)
        changed = with_value(description, paths[pick % len(paths)], value)
        description.clear()
        description.update(changed)

    load(forged(files[kind], change))


TENSORS = [
    torch.zeros(0),
    torch.zeros((2, 0)),
    torch.zeros(()),
    torch.full((3, 3), float("nan")),
    torch.zeros((1, 1, 1, 1), dtype=torch.uint8),
    torch.zeros(5, dtype=torch.float64),
    torch.zeros(1000, dtype=torch.uint8),
    torch.zeros((40, 40), dtype=torch.bool),
    torch.zeros(4, dtype=torch.bfloat16),
]


@fuzzed(90)
@given(kind=kinds, pick=st.integers(0, 10**6), replacement=st.none() | st.sampled_from(TENSORS), flips=flips, cut=cuts)
def test_fits_with_other_tensors_are_read_or_refused(
    files: Any, kind: str, pick: int, replacement: Any, flips: Any, cut: int | None
) -> None:
    """Among them coded streams, whose bytes are flipped and cut."""

    def change(tensors: Any, description: Any) -> None:
        name = sorted(tensors)[pick % len(tensors)]
        if replacement is not None:
            tensors[name] = replacement
        elif tensors[name].dtype == torch.uint8 and tensors[name].dim() == 1 and len(tensors[name]):
            damaged = mutated(tensors[name].numpy().tobytes(), flips, cut)
            tensors[name] = torch.frombuffer(bytearray(damaged or b"\0"), dtype=torch.uint8)
        else:
            del tensors[name]

    load(forged(files[kind], change))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("factor",), float("inf")),
        (("lattice", "shape", 0), 1e308),
        (("lattice", "origin", 2), -1e308),
        (("extent", 0, 1), float("nan")),
        (("frame", "scale"), 0.0),
        (("clearance",), float("inf")),
        (("sigma",), float("nan")),
        (("smooth",), -1.0),
        (("forecasts", 1, "rank"), 5),
        (("forecasts", 0, "leads"), [1.0]),
        (("report", "area"), None),
        ("motion.reference", float("nan")),
        ("motion.rotations", 1e30),
        ("decoder.layers.2.weight", float("inf")),
        ("fine_coefficients", float("nan")),
    ],
    ids=str,
)
def test_numbers_that_no_fit_has_are_refused(files: Any, path: Any, value: Any) -> None:
    """They would go on as indices and sizes of lattices."""

    def change(tensors: Any, description: Any) -> None:
        if isinstance(path, str):
            tensors[path] = tensors[path].clone()
            tensors[path].view(-1)[0] = value
        else:
            changed = with_value(description, path, value)
            description.clear()
            description.update(changed)

    with pytest.raises(CheckpointError):
        dsr_file.from_bytes(forged(files["fast"], change), "cpu")


def altered(files: Any, kind: str, path: tuple[Any, ...], value: Any) -> bytes:
    """The file, digest included, with another number in one place of its JSON or first in one of its tensors."""

    def change(tensors: Any, description: Any) -> None:
        if path[0] in tensors:
            tensors[path[0]] = tensors[path[0]].clone()
            tensors[path[0]].view(-1)[0] = value
        else:
            changed = with_value(description, path, value)
            description.clear()
            description.update(changed)

    return forged(files[kind], change)


# One number of each of the table's.
PLACES: dict[str, tuple[Any, ...]] = {
    **{name: (name,) for name in ("sigma", "smooth", "smooth_beyond", "smooth_atoms", "smooth_pose", "period")},
    **{name: (name,) for name in ("factor", "clearance", "reach", "lift", "spatial_width", "scale", "motion.states")},
    **{f"motion.{name}": (f"motion.{name}",) for name in ("rotations", "translations", "reference", "atoms")},
    **{f"forecasts.{name}": ("forecasts", 1, name) for name in ("rank", "window", "damping")},
    **{f"forecasts.{name}": ("forecasts", 1, name, 0) for name in ("leads", "errors")},
    "times": ("times", 0),
    "breaks": ("breaks", 0),
    "frame.centre": ("frame", "centre", 2),
    "frame.scale": ("frame", "scale"),
    "extent": ("extent", 0, 1),
    "lattice.origin": ("lattice", "origin", 0),
    "lattice.spacing": ("lattice", "spacing"),
    "lattice.shape": ("lattice", "shape", 1),
    "report.area": ("report", "area"),
}


@pytest.fixture(scope="module")
def with_all(files: Any) -> dict[str, bytes]:
    """Files whose JSON has all numbers that there may be."""

    def change(tensors: Any, description: Any) -> None:
        forecast = {"rank": 1, "window": 3, "damping": 1.5, "leads": [1.0, 2.0], "errors": [0.25, 0.5]}
        held = {"rank": 0, "window": 0, "damping": 0.0, "leads": [], "errors": []}
        description.update(times=[1.0, 2.0, 4.0], period=None, forecasts=[held, forecast])
        # A forecast takes two states of its run.
        description["breaks"] = [1] if len(tensors["motion.states"]) == 3 else []
        if description["breaks"]:
            tensors["motion.reference"] = torch.stack([tensors["motion.reference"]] * 2)

    return {kind: forged(files[kind], change) for kind in ("fast", "dsr 1", "paper")}


def test_the_table_is_of_all_numbers(with_all: Any) -> None:
    assert PLACES.keys() == dsr_format.RANGES.keys()
    for data in with_all.values():
        dsr_file.from_bytes(data, "cpu")


@pytest.mark.parametrize("name", PLACES)
def test_each_number_is_held_against_its_range(with_all: Any, name: str) -> None:
    """Just past either end, and far past, and as what no number is; in files of each format and kind."""
    least, greatest = dsr_format.RANGES[name]
    beyond: list[Any] = [least - max(1e-3 * abs(least), 1e-12), greatest + 1e-3 * abs(greatest), -1e30, 1e30]
    beyond += [float("nan"), float("inf"), -float("inf")]
    if not name.startswith("motion."):
        beyond += [int("9" * 401), -int("9" * 30), True, "1", [1], {}]
    kind = "paper" if name == "scale" else "dsr 1" if name == "motion.atoms" else "fast"
    for value in beyond:
        with pytest.raises(CheckpointError):
            dsr_file.from_bytes(altered(with_all, kind, PLACES[name], value), "cpu")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("sigma",), 0.0, "sigma is 0.0, not within 0.1 and 100"),
        (("reach",), -1e300, "reach is -1e[+]300, not within 0 and"),
        (("motion.translations",), 9e6, "motion.translations has values that are not within"),
        (("motion.rotations",), 1e6, "motion.rotations has values that are not within"),
        (("motion.rotations",), 0.9, "motion.rotations has matrices that do not turn only"),
        (("factor",), 2.0, "factor is 2.0, not a whole number"),
        (("breaks", 0), 1.0, "breaks is 1.0, not a whole number"),
        (("breaks", 0), 3, r"cuts at \(3,\) do not go with 3 states"),
        (("breaks",), [2, 1], r"cuts at \(2, 1\) do not go with 3 states"),
        (("period",), 9.0, r"cuts at \(1,\) in a loop do not go with 3 states"),
        (("extent", 0, 0), 100.0, "a box from .* is none"),
        (("forecasts", 1, "rank"), 4, "a forecast of rank 4, window 3"),
        (("forecasts", 1, "window"), 1, "a forecast of rank 1, window 1"),
        (("forecasts", 1, "damping"), 1e6, "a forecast of rank 1, window 3, damping 1000000.0"),
        (("forecasts", 1, "leads", 1), 1.0, "leads, not all rising"),
        (("report", "source"), int("9" * 401), "an integer of 401 digits"),
        (("report", "source"), json.loads("[" * 900 + "]" * 900), "nested more than 64 deep"),
        (("version of nobody",), int("9" * 401), "an integer of 401 digits"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_numbers_that_go_wrong_later_are_refused(with_all: Any, path: Any, value: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        dsr_file.from_bytes(altered(with_all, "fast", path, value), "cpu")


def test_mirrors_are_no_rotations(files: Any) -> None:
    def change(tensors: Any, description: Any) -> None:
        tensors["motion.rotations"] = -tensors["motion.rotations"]

    with pytest.raises(CheckpointError, match="they stretch, skew or mirror"):
        dsr_file.from_bytes(forged(files["fast"], change), "cpu")


def test_atoms_far_apart_are_refused(files: Any) -> None:
    """The map to material coordinates would take a lattice of 10¹⁶ nodes."""

    def change(tensors: Any, description: Any) -> None:
        for name in ("motion.atoms", "motion.reference"):
            tensors[name] = tensors[name].clone()
            tensors[name].view(-1, 3)[0] = 4e5

    with pytest.raises(CheckpointError, match="its atoms take a box of 4000"):
        dsr_file.from_bytes(forged(files["dsr 1"], change), "cpu")


def test_a_report_may_have_a_loss_that_is_no_number(files: Any) -> None:
    """A fit that had no time to train says so."""
    read = dsr_file.from_bytes(altered(files, "fast", ("report", "loss"), float("nan")), "cpu")
    assert np.isnan(read.report["loss"])


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_thousand_forged_fits_end_in_an_error_with_a_name_or_as_a_mesh(files: Any, tmp_path: Path) -> None:
    """With right digests. Each takes less than 5 s of CPU time, and all together less than 1 GiB more than before."""
    for kind, data in files.items():
        (tmp_path / f"{kind}.dsr").write_bytes(data)
    result = subprocess.run(
        [sys.executable, str(SUPPORT / "forged_fits.py"), str(tmp_path), str(10_000 * TIMES), "1"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "backend", ROOT / "tests")))},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    outcome_counts = json.loads(result.stdout)
    print("\n" + "\n".join(f"{name} {count}" for name, count in sorted(outcome_counts["counts"].items())))
    assert not outcome_counts["faults"] and sum(outcome_counts["counts"].values()) == 10_000 * TIMES


def bombs(files: dict[str, bytes]) -> dict[str, bytes]:
    """Small fits that ask for much."""

    def of(change: Any) -> bytes:
        return forged(files["fast"], change)

    def stream(tensors: Any, description: Any) -> None:
        # Honest about its size, and only zeros.
        packed = zlib.compress(bytes(2**27), 1)
        tensors["motion.atoms"] = torch.frombuffer(bytearray(packed), dtype=torch.uint8)

    def claims(tensors: Any, description: Any) -> None:
        description["coded"]["static"]["shape"] = [2**20, 2**20]

    def lattice(tensors: Any, description: Any) -> None:
        description["lattice"]["shape"] = [2**20, 2**20, 2**20]

    def name(tensors: Any, description: Any) -> None:
        tensors["../../../tmp/owned"] = torch.zeros(3)

    text = json.dumps(
        {"__metadata__": {"field": "{}"}, "a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}
    )
    header = text.encode() + b" " * (7 * 2**20)
    return {
        "a stream that unpacks to more": of(stream),
        "a shape of 4 TB": of(claims),
        "a lattice of 10^18 nodes": of(lattice),
        "a tensor named as a path": of(name),
        "a huge header": struct.pack("<Q", len(header)) + header + bytes(4),
        "a header longer than the file": struct.pack("<Q", 2**63) + bytes(100),
        "overlapping tensors": redigested(files["fast"].replace(b'"data_offsets":[0,', b'"data_offsets":[1,', 1)),
    }


CHILD = """
import resource, sys
from pathlib import Path
from dsr_backend.results.dsr_file import CheckpointError, from_bytes
from dsr_backend.surfaces.surface import SurfacesError
from dsr_backend.surfaces.surfaces_file import read_surfaces_file
resource.setrlimit(resource.RLIMIT_DATA, (2**30 + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,) * 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        from_bytes(path.read_bytes(), "cpu") if path.suffix == ".dsr" else read_surfaces_file(path)
        print(path.name, "taken")
    except (CheckpointError, SurfacesError) as error:
        print(path.name, "refused:", str(error)[:150])
print("MB", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def npy(dtype: str, shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def archive(path: Path, arrays: dict[str, Any], **raw: tuple[bytes, int]) -> None:
    """A surfaces file; raw: in the place of an array its header and a count of zeros after it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zip_file:
        for name, value in arrays.items():
            if name not in raw:
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.asarray(value))
                zip_file.writestr(f"{name}.npy", buffer.getvalue())
        for name, (head, zeros) in raw.items():
            with zip_file.open(f"{name}.npy", "w", force_zip64=True) as stream:
                stream.write(head)
                for _ in range(zeros // 2**20):
                    stream.write(bytes(2**20))


def test_bombs_are_refused_in_little_memory(files: Any, tmp_path: Path) -> None:
    folder = tmp_path / "bombs"
    folder.mkdir()
    for name, data in bombs(files).items():
        (folder / f"{name}.dsr").write_bytes(data)
    from support.surface_arrays import header as surfaces_header
    from support.surface_arrays import npz_arrays, raw, texts

    size = 12 * 2**24
    archive(folder / "a text of 200 MB.npz", npz_arrays(), meta=(npy(f"<U{size // 4}", ()), size))
    raw(folder / "a header of 200 MB.safetensors", surfaces_header()[0], length=200 * 2**20)
    padded = {**texts(".safetensors"), "more": " " * 2**23}
    raw(folder / "a header of 8 MB.safetensors", *surfaces_header(__metadata__=padded))
    claimed = npz_arrays(point_counts=np.array([4, size // 12 - 4]))
    archive(folder / "zeros, 200 MB.npz", claimed, points=(npy("<f4", (size // 12, 3)), size))
    result = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'backend'}"},
    )
    assert result.returncode == 0, result.stderr
    *lines, last = result.stdout.splitlines()
    assert len(lines) == 11
    # Nobody reads a tensor that no one asks for, and no name is a path.
    assert [line for line in lines if " refused: " not in line] == ["a tensor named as a path.dsr taken"]
    assert int(last.split()[1]) < 100, result.stdout


# Surfaces files


def read_surfaces(path: Path) -> None:
    with named_errors("surfaces", SurfacesError, OSError):
        read_surfaces_file(path)


@pytest.fixture(scope="module")
def surfaces_file(tmp_path_factory: Any) -> Path:
    from support.surface_arrays import larger, surface

    path = tmp_path_factory.mktemp("surfaces") / "good.safetensors"
    write_surfaces_file(path, [surface(1), larger(2.5)], {"object": "adk"})
    return path


@fuzzed(120)
@given(kind=st.sampled_from(["safetensors", "npz", "compressed"]), flips=flips, cut=cuts)
def test_damaged_surfaces_are_read_or_refused(surfaces_file: Path, kind: str, flips: Any, cut: int | None) -> None:
    from support.surface_arrays import npz_arrays

    good = surfaces_file
    if kind != "safetensors":
        good = surfaces_file.with_name(f"{kind}.npz")
        if not good.exists():
            (np.savez if kind == "npz" else np.savez_compressed)(good, **npz_arrays())
    path = surfaces_file.with_name("damaged")
    path.write_bytes(mutated(good.read_bytes(), flips, cut))
    read_surfaces(path)


SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 12, 13, 10**9, 2**62, 2**64]), max_size=4)


@fuzzed(90)
@given(
    name=st.sampled_from(["states", "point_counts", "points", "faces", "atoms", "__metadata__"]),
    dtype=st.sampled_from(["F64", "F32", "I64", "I32", "U8", "BOOL", "F4", "x"]),
    shape=SHAPES,
    value=st.none() | json_values,
)
@example(name="__metadata__", dtype="F32", shape=[], value={"format": "dsr-surfaces 2", "meta": "[" * 100_000})
def test_other_headers_are_surfaces_or_refused(
    surfaces_file: Path, name: str, dtype: str, shape: list[int], value: Any
) -> None:
    from support.surface_arrays import header, raw

    entries, body = header()
    entry = {**entries[name], "dtype": dtype, "shape": shape} if value is None and name != "__metadata__" else value
    path = surfaces_file.with_name("other.safetensors")
    raw(path, {**entries, name: entry}, body)
    read_surfaces(path)


VALUES = [
    np.zeros((0, 3), "<f4"),
    np.full((12, 3), np.nan, "<f4"),
    np.full((12, 3), 2**31 - 1, "<i4"),
    np.full((12, 3), -1, "<i4"),
    np.array([2**62, 2**62]),
    np.array([-1, 13]),
    np.array([10**18, 12]),
    np.array([np.inf, 1.0]),
    np.array([[print, {}]], dtype=object),
    np.array("x" * 1000),
    np.zeros((2, 2**20, 3), "<f4"),
    np.array([1, 2], dtype=">i8"),
    np.array([(1, 2.0)], dtype=[("a", "<i4"), ("b", "<f4")]),
    np.asfortranarray(np.zeros((12, 3), "<f4")),
]


@fuzzed(90)
@given(
    changes=st.dictionaries(
        st.sampled_from(
            ["format", "states", "point_counts", "face_counts", "points", "normals", "faces", "atoms", "meta"]
        ),
        st.none() | st.sampled_from(VALUES) | st.text(max_size=30).map(np.array),
        min_size=1,
        max_size=3,
    )
)
@example(changes={"point_counts": VALUES[4]})
@example(changes={"meta": np.array("[" * 100_000)})
@example(changes={"points": VALUES[8]})
def test_other_arrays_are_surfaces_or_refused(surfaces_file: Path, changes: Any) -> None:
    from support.surface_arrays import npz_arrays

    path = surfaces_file.with_name("other.npz")
    np.savez(path, **npz_arrays(**changes))
    read_surfaces(path)


def test_a_pickled_object_is_never_loaded(surfaces_file: Path, tmp_path: Path) -> None:
    from support.surface_arrays import npz_arrays

    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "owned",)

    for name in npz_arrays():
        path = tmp_path / "trap.npz"
        np.savez(path, **npz_arrays(**{name: np.array([Trap()], dtype=object)}))
        with pytest.raises(SurfacesError):
            read_surfaces_file(path)
    assert not (tmp_path / "owned").exists()


# Staged surfaces


@fuzzed(40)
@given(
    description=st.none() | st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()),
    flips=flips,
    cut=cuts,
    name=st.sampled_from([f"0/{stem}.{end}" for stem in ("1.0", "2.5", "x", ".") for end in ("npz", "safetensors")]),
)
@example(description=b"[" * 100_000, flips=[], cut=None, name="0/1.0.safetensors")
def test_a_folder_of_surfaces_is_taken_up_or_begun_anew(
    surfaces_file: Path, description: bytes | None, flips: Any, cut: int | None, name: str
) -> None:
    folder = surfaces_file.parent / "staged.surfaces"
    warnings: list[str] = []
    with named_errors("staging"):
        surface = read_surfaces_file(surfaces_file)[0][0]
        staged = SurfaceStaging(folder, {"a": 1}, 1, False, warnings.append)
        staged.put(0, surface)
        staged.close()
        (folder / name).write_bytes(mutated((folder / "0/1.0.safetensors").read_bytes(), flips, cut))
        if description is not None:
            (folder / "about.json").write_bytes(description)
        staged = SurfaceStaging(folder, {"a": 1}, 1, True, warnings.append)
        assert set(staged.states(0)) <= {1.0}
        assert all(surface.state == 1.0 for surface in staged.series(0))
        staged.remove()
    assert not folder.exists()


# Texts of the user

grammar = st.text(st.sampled_from("0123456789+-:. ,٣²½\n\tal"), max_size=40) | st.text(max_size=40)
numbers = st.sampled_from(["1", "300", "999999999", "1000000000", "9999999999", "0", "0.5", "1.00000000000000001", "٣"])


@fuzzed(90)
@given(
    text=grammar
    | st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=4).map(
        lambda items: "+".join(f"{a}-{b}:{c}..{d}" for a, b, c, d in items)
    ),
    fractional=st.booleans(),
)
@example(text="1-300:1..10", fractional=False)
@example(text="1-1000000000:1..1", fractional=False)
@example(text="1-1000000000:1..1000000000", fractional=False)
@example(text="1-2:0.00000000000000001", fractional=True)
@example(text="1+" * 300_000 + "1", fractional=False)
@example(text="1-99999+" * 50 + "1", fractional=False)
@example(text="9" * 1_000_000, fractional=False)
@example(text="٣-٥", fractional=False)
def test_states_are_read_or_refused(text: str, fractional: bool) -> None:
    """The backend's copy is the same, byte for byte."""
    # The trace would take longer than the work; how many numbers there are says how much they take.
    with named_errors("states", StatesError, megabytes=0):
        try:
            parsed = states.parse(text, fractional=fractional)
        except StatesError as error:
            assert len(str(error)) < 500
            raise
        assert 0 < len(parsed) <= states.MAX_STATES and len(set(parsed)) == len(parsed)


@fuzzed(100)
@given(text=grammar)
@example(text="1-999999999")
@example(text="+".join(["1-9999999"] * 100))
def test_atoms_are_read_or_refused(text: str) -> None:
    with named_errors("atoms", ValueFault):
        parse_atom_indices(text)


@fuzzed(120)
@given(
    content=st.binary(max_size=200)
    | st.lists(st.text(max_size=12), max_size=6).map(lambda rows: "\n".join(["state,index,value", *rows]).encode())
    | st.lists(st.tuples(st.floats(), st.floats(), st.floats()), max_size=6).map(
        lambda rows: "\n".join(["state,index,value", *(f"{a},{b},{c}" for a, b, c in rows)]).encode()
    )
)
@example(content=b"state,index,value\n1,1,\xff\n")
@example(content=b"state,index,value\n1,1," + b"1" * 200_000 + b"\n")
@example(content=b'state,index,value\n"1,1,1\n' + b"2,2,2\n" * 50_000)
@example(content=b"state,index,value\n1,1,\x00\n")
@example(content=b"state,index,value\r1,1,1\r")
def test_values_are_read_or_refused(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "values.csv"
    path.write_bytes(content)
    with named_errors("values", SceneError):
        value_table.read_values(str(path))


STORED = {
    "format": pse.FORMAT,
    "fits": {"a": {"path": "/a.dsr", "sha256": "0" * 64}},
    "movies": {"m": {"fit": "a", "objects": ["m"], "command": "dsr_movie a"}},
}


def test_input_that_nobody_changed_is_taken(files: Any, surfaces_file: Path) -> None:
    """So the tests around refuse for what was changed."""
    for frame in (FRAME, PACKED):
        header, arrays = frames.read_frame(io.BufferedReader(cast(io.RawIOBase, io.BytesIO(frame)))) or ({}, {})
        assert header["kind"] == "reply" and list(arrays) == ["points", "faces"]
    for kind, data in files.items():
        assert dsr_file.from_bytes(redigested(data), "cpu").report, kind
    assert [surface.state for surface in read_surfaces_file(surfaces_file)[0]] == [1.0, 2.5]
    assert list(pse.read_references(STORED)[0]) == ["a"]


@fuzzed(120)
@given(path=st.sampled_from(places(STORED)), value=json_values)
def test_what_a_session_says_is_read_or_refused(path: Any, value: Any) -> None:
    fits: dict[str, FitReference] = {}
    with named_errors("pse", ValueError):
        fits = pse.read_references(with_value(STORED, path, value))[0]
    references = PseReferences(Jobs(Settings()), lambda _self: None)
    for name, reference in fits.items():
        assert isinstance(name, str) and isinstance(references.fault(reference), str)


@fuzzed(90)
@given(
    key=st.sampled_from(list(settings.KEYS)) | st.text(max_size=8),
    value=st.text(max_size=30) | st.sampled_from(["²", "٣", "~nobody/x", "~\0", "'", "a\0b", "cuda:٣", "cpu\n", "\\"]),
)
@example(key="workers", value="²")
@example(key="folder", value="~\0")
@example(key="backend", value="a\0b")
@example(key="backend", value="~\0")
@example(key="device", value="cuda:٣")
@example(key="device", value="cpu\n")
def test_settings_are_taken_or_refused(key: str, value: str) -> None:
    values = Settings()
    with named_errors("settings", SettingsError, LaunchError):
        values.put(key, value)
        setting = values.get(key)
        assert key != "workers" or 0 <= int(setting) <= 64
        assert key != "device" or setting.isascii()
