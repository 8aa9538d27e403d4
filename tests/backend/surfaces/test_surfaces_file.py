"""Values of surfaces, and surfaces files of both formats: whole, malformed and hostile."""

import io
import json
import os
import re
import zipfile
from typing import Any

import numpy as np
import pytest
from dsr_backend.surfaces.surface import Surface, SurfacesError
from dsr_backend.surfaces.surfaces_file import SurfaceFile, read_surfaces_file, write_surfaces_file
from safetensors.numpy import save_file

from pymol_dsr.shared.surfaces_format import FORMATS, NPZ, SAFETENSORS
from support.surface_arrays import (
    FACES,
    NORMALS,
    POINTS,
    arrays,
    header,
    larger,
    npz_arrays,
    raw,
    save,
    surface,
    texts,
)


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.safetensors"
    write_surfaces_file(path, [surface(1), larger(2.5)], {"object": "adk"})
    return path


def refused(path, message):
    """Check that opening the file fails with one line that names the file."""
    with pytest.raises(SurfacesError, match=re.escape(message)) as caught:
        read_surfaces_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# Surface


def test_a_surface_is_brought_to_the_wire_types():
    wide: Any = np.zeros((2, 3))
    converted = Surface(3, POINTS.tolist(), NORMALS.astype(np.float64), FACES.astype(np.int64), wide)
    assert (converted.state, type(converted.state)) == (3.0, float)
    assert converted.points.dtype == converted.normals.dtype == converted.atoms.dtype == np.float32
    assert converted.faces.dtype == np.int32
    assert surface(atoms=None).atoms is None


def test_nearly_unit_normals_are_mended_and_unit_ones_untouched():
    mended = surface(normals=NORMALS * np.float32(1.005))
    np.testing.assert_allclose(np.linalg.norm(mended.normals, axis=1), 1, atol=2e-7)
    # Unit to float32 rounding, as PyMOL's are; dividing by their length once more would change some last
    # bits.
    random = np.random.default_rng(0).normal(size=(1000, 3))
    unit = (random / np.linalg.norm(random, axis=1, keepdims=True)).astype(np.float32)
    np.testing.assert_array_equal(surface(points=unit, normals=unit).normals, unit)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"points": POINTS[:, :2]}, r"state 7: points must have shape \[N, 3\], got \[4, 2\]"),
        (
            {"points": POINTS * np.float32("nan")},
            r"state 7: points must be finite, row 0 is \[nan, nan, nan\]",
        ),
        ({"points": np.where(POINTS > 0, 1e39, 0.0)}, r"state 7: points must be finite, row 0 is \[inf"),
        ({"normals": NORMALS[:3]}, "state 7: 3 normals for 4 points"),
        ({"normals": NORMALS[0]}, r"state 7: normals must have shape \[N, 3\], got \[3\]"),
        ({"normals": NORMALS * 2}, "state 7: normals must have length 1, row 0 has 2"),
        ({"normals": NORMALS * 0}, "state 7: normals must have length 1, row 0 has 0"),
        ({"faces": FACES[:3]}, "state 7: a surface has at least 4 faces, got 3"),
        ({"faces": FACES + 1}, "state 7: faces must index 4 points, got indices 1 to 4"),
        ({"faces": FACES - 1}, "state 7: faces must index 4 points, got indices -1 to 2"),
        ({"faces": FACES * 1.0}, r"state 7: faces must be integers of shape \[M, 3\], got float64 \[4, 3\]"),
        ({"faces": np.full((4, 3), 2**40)}, f"state 7: faces must index 4 points, got indices {2**40}"),
        ({"atoms": np.zeros(3)}, r"state 7: atoms must have shape \[N, 3\], got \[3\]"),
        ({"atoms": np.full((5, 3), np.inf)}, r"state 7: atoms must be finite, row 0 is \[inf, inf, inf\]"),
    ],
)
def test_a_malformed_surface_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        surface(7, **change)


@pytest.mark.parametrize("state", [float("nan"), float("inf")])
def test_a_state_is_a_number(state):
    with pytest.raises(ValueError, match=f"a state must be a finite number, got {state}"):
        surface(state)


# Files of both formats


def check_same(surfaces, expected):
    for actual, reference in zip(surfaces, expected, strict=True):
        for name in ("points", "normals", "faces", "atoms"):
            np.testing.assert_array_equal(getattr(actual, name), getattr(reference, name))
            assert getattr(actual, name).dtype == getattr(reference, name).dtype
            # torch.from_numpy warns of arrays that it may not write to.
            assert getattr(actual, name).flags.writeable


def test_written_and_read_again_is_the_same(good):
    surfaces, meta = read_surfaces_file(good)
    assert meta == {"object": "adk"}
    assert [s.state for s in surfaces] == [1.0, 2.5]
    check_same(surfaces, [surface(1), larger(2.5)])


def test_the_file_holds_what_the_format_promises(good):
    data = good.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "dsr-surfaces 2", "meta": '{"object": "adk"}'}
    assert {name: (entry["dtype"], entry["shape"]) for name, entry in header.items()} == {
        "states": ("F64", [2]),
        "point_counts": ("I64", [2]),
        "face_counts": ("I64", [2]),
        "points": ("F32", [12, 3]),
        "normals": ("F32", [12, 3]),
        "faces": ("I32", [12, 3]),
        "atoms": ("F32", [2, 5, 3]),
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_npz_files_that_numpy_wrote_are_read(tmp_path, compressed):
    path = tmp_path / "old.npz"
    (np.savez_compressed if compressed else np.savez)(path, **npz_arrays(atoms=np.full((2, 5, 3), 7, np.float32)))
    surfaces, meta = read_surfaces_file(path)
    atoms = np.full((5, 3), 7)
    check_same(
        surfaces,
        [
            surface(1, atoms=atoms),
            Surface(
                2.5, larger(2).points * 0 + np.concatenate([POINTS] * 2), larger(2).normals, larger(2).faces, atoms
            ),
        ],
    )
    assert meta == {"object": "adk"}


@pytest.mark.parametrize("ending", [SAFETENSORS, NPZ])
def test_chosen_states_are_read_alone(tmp_path, ending):
    path = tmp_path / f"file{ending}"
    save(path, arrays(), texts(ending))
    file = SurfaceFile(path, [2.5])
    assert (file.states, len(file), file.meta) == ([2.5], 1, {"object": "adk"})
    assert (file[0].state, len(file[0].points)) == (2.5, 8)
    assert [s.state for s in SurfaceFile(path)[1:]] == [2.5]


@pytest.mark.parametrize("ending", [SAFETENSORS, NPZ])
@pytest.mark.parametrize("atoms", [None, np.zeros((2, 0, 3), np.float32)])
def test_atoms_may_be_missing(tmp_path, ending, atoms):
    path = tmp_path / f"bare{ending}"
    save(path, arrays(atoms=atoms), texts(ending))
    surfaces, _ = read_surfaces_file(path)
    assert [s.atoms for s in surfaces] == [None, None]
    second_file = tmp_path / "again.safetensors"
    write_surfaces_file(second_file, surfaces, {})
    assert [s.atoms for s in read_surfaces_file(second_file)[0]] == [None, None]


@pytest.mark.parametrize("ending", [SAFETENSORS, NPZ])
def test_the_content_decides_the_format_not_the_name(tmp_path, ending):
    path, renamed = tmp_path / f"a{ending}", tmp_path / "a.dat"
    save(path, arrays(), texts(ending))
    path.rename(renamed)
    assert len(read_surfaces_file(renamed)[0]) == 2


@pytest.mark.parametrize(
    "surfaces, message",
    [
        ([], "there are no surfaces"),
        ([surface(2), surface(1)], "states must rise, got 1 after 2"),
        ([surface(1), surface(1)], "states must rise, got 1 after 1"),
        ([surface(1), surface(2, atoms=np.zeros((4, 3)))], "state 2 has 4 atoms, state 1 has 5"),
        ([surface(1), surface(2, atoms=None)], "state 2 has 0 atoms, state 1 has 5"),
    ],
)
def test_a_malformed_series_is_not_written(good, surfaces, message):
    before = good.read_bytes()
    with pytest.raises(ValueError, match=message):
        write_surfaces_file(good, surfaces, {})
    assert good.read_bytes() == before


def test_files_are_written_in_the_new_format_only(tmp_path):
    with pytest.raises(ValueError, match=r"x.npz: a surfaces file is written as .safetensors"):
        write_surfaces_file(tmp_path / "x.npz", [surface()], {})


def test_a_failed_write_leaves_the_old_file(good, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    before = good.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_surfaces_file(good, [surface()], {})
    assert good.read_bytes() == before
    assert list(good.parent.iterdir()) == [good]


# Malformed files


@pytest.mark.parametrize("ending", [SAFETENSORS, NPZ])
@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": None}, "there is no text 'format'; is this a surfaces file?"),
        ({"format": "dsr-surfaces 3"}, "format is 'dsr-surfaces 3', this version reads 'dsr-surfaces "),
        ({"meta": None}, "there is no text 'meta'"),
        ({"meta": "{"}, "meta is not JSON"),
        ({"meta": ""}, "meta is not JSON"),
        ({"meta": "[" * 100_000}, "meta is not JSON"),
        ({"meta": "[1]"}, "meta must be a JSON object, got '[1]'"),
    ],
)
def test_malformed_texts_are_refused(tmp_path, ending, change, message):
    path = tmp_path / f"bad{ending}"
    save(path, arrays(), texts(ending, **change))
    refused(path, message)


@pytest.mark.parametrize("ending", [SAFETENSORS, NPZ])
@pytest.mark.parametrize(
    "change, message",
    [
        ({"states": None}, "there is no tensor 'states'"),
        ({"states": np.array([1, 2])}, "states has dtype <i8, expected <f8"),
        ({"states": np.array([1.0, np.nan])}, "a state must be a finite number, got nan"),
        ({"states": np.array([2.0, 1.0])}, "states must rise, got 1 after 2"),
        ({"states": np.array([1.0])}, "point_counts has shape [2], expected [1]"),
        ({"states": np.zeros(0)}, "there are no surfaces"),
        ({"point_counts": np.array([4, 4])}, "points has shape [12, 3], expected [8, 3]"),
        ({"point_counts": np.array([-4, 16])}, "point_counts has a negative count, -4"),
        ({"point_counts": np.array([2**62, 2**62])}, f"points has shape [12, 3], expected [{2**63}, 3]"),
        ({"point_counts": np.array([8, 4])}, "state 2.5: faces must index 4 points, got indices 0 to 7"),
        ({"face_counts": np.array([4, 4])}, "faces has shape [12, 3], expected [8, 3]"),
        ({"face_counts": np.array([0, 12])}, "state 1: a surface has at least 4 faces, got 0"),
        ({"point_counts": np.array([0, 12])}, "state 1: faces must index 0 points, got indices 0 to 3"),
        ({"points": np.zeros((12, 3))}, "points has dtype <f8, expected <f4"),
        ({"points": np.zeros((12, 3), "<u2")}, "points has dtype "),
        ({"normals": np.zeros((11, 3), "<f4")}, "normals has shape [11, 3], expected [12, 3]"),
        ({"normals": np.zeros((12, 3), "<f4")}, "state 1: normals must have length 1, row 0 has 0"),
        ({"points": np.full((12, 3), np.nan, "<f4")}, "state 1: points must be finite, row 0 is [nan, nan, nan]"),
        ({"atoms": np.zeros((5, 3), "<f4")}, "atoms has shape [5, 3], expected [2, any, 3]"),
        ({"atoms": np.zeros((3, 5, 3), "<f4")}, "atoms has shape [3, 5, 3], expected [2, any, 3]"),
        ({"atoms": np.zeros((2, 5, 3), "<i4")}, "atoms has dtype <i4, expected <f4"),
    ],
)
def test_malformed_tensors_are_refused(tmp_path, ending, change, message):
    path = tmp_path / f"bad{ending}"
    save(path, arrays(**change), texts(ending))
    refused(path, message)


@pytest.mark.parametrize("content", [b"", b"solid stl", b"ATOM      1  N   GLY", bytes(18)])
@pytest.mark.parametrize("ending", [SAFETENSORS, NPZ])
def test_another_kind_of_file_is_refused(tmp_path, ending, content):
    path = tmp_path / f"other{ending}"
    path.write_bytes(content)
    refused(path, path.name)


def test_a_missing_file_is_an_oserror(tmp_path):
    for ending in (SAFETENSORS, NPZ):
        with pytest.raises(FileNotFoundError):
            read_surfaces_file(tmp_path / f"none{ending}")


@pytest.mark.parametrize("ending", [SAFETENSORS, NPZ])
@pytest.mark.parametrize("name", ["points", "atoms"])
def test_a_file_that_shrinks_after_it_was_opened_is_an_error(tmp_path, ending, name):
    path = tmp_path / f"cut{ending}"
    save(path, arrays(), texts(ending))
    file = SurfaceFile(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(SurfacesError, match="the file has changed"):
        file[1]


@pytest.mark.parametrize("kind", ["safetensors", "npz", "compressed"])
def test_damaged_bytes_are_an_error_or_harmless(tmp_path, kind):
    """Truncated anywhere it is refused; with bytes changed it is refused or still a valid series."""
    path = tmp_path / "damaged"
    if kind == "safetensors":
        save_file(arrays(), path, texts(SAFETENSORS))
    else:
        with open(path, "wb") as stream:
            (np.savez if kind == "npz" else np.savez_compressed)(stream, **npz_arrays())
    original = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for length in rng.integers(0, len(original), 100):
        path.write_bytes(original[:length])
        with pytest.raises(SurfacesError):
            read_surfaces_file(path)
    count = 0
    for _ in range(400):
        damaged = original.copy()
        for offset in rng.integers(0, len(original), rng.integers(1, 4)):
            damaged[offset] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            surfaces, _ = read_surfaces_file(path)
        except SurfacesError:
            count += 1
        else:
            assert sum(len(s.faces) for s in surfaces) == 12
    assert count > 200


# Hostile safetensors files


@pytest.mark.parametrize(
    "change",
    [
        {"points": {"dtype": "F32", "shape": [10**13, 3], "data_offsets": [48, 192]}},
        {"points": {"dtype": "F32", "shape": [2**63, 2**63], "data_offsets": [48, 192]}},
        {"points": {"dtype": "F32", "shape": [10**13, 3], "data_offsets": [48, 48 + 12 * 10**13]}},
        {"points": {"dtype": "F32", "shape": [12, 3], "data_offsets": [192, 48]}},
        {"points": {"dtype": "F32", "shape": [12, 3], "data_offsets": [0, 144]}},
        {"points": {"dtype": "O", "shape": [12, 3], "data_offsets": [48, 192]}},
        {"points": 7},
        {"__metadata__": {"format": 7}},
        {"__metadata__": []},
    ],
)
def test_entries_that_do_not_fit_the_file_are_refused(tmp_path, change):
    path = tmp_path / "hostile.safetensors"
    raw(path, *header())
    assert len(read_surfaces_file(path)[0]) == 2
    raw(path, *header(**change))
    refused(path, "hostile.safetensors is not a whole .safetensors file: ")


@pytest.mark.parametrize("length", [2**23 + 1, 2**40, 2**63])
def test_a_header_too_long_is_refused_before_it_is_read(tmp_path, length):
    path = tmp_path / "hostile.safetensors"
    raw(path, b"{" + b" " * 100, length=length)
    refused(path, "hostile.safetensors is no surfaces file: it begins with ")


def test_a_tensor_more_and_a_header_of_rubbish(tmp_path):
    path = tmp_path / "more.safetensors"
    save_file({**arrays(), "../../etc/passwd": np.zeros(3)}, path, texts(SAFETENSORS))
    assert len(read_surfaces_file(path)[0]) == 2
    for text in (b"", b"{", b"[]", b"[" * 10_000, b"\xff" * 10):
        raw(path, text)
        refused(path, "more.safetensors is not a whole .safetensors file: ")


# Hostile .npz files


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": np.array([FORMATS[NPZ]])}, "format has dtype <U14 and shape [1], expected one string"),
        ({"format": np.array(1)}, "format has dtype <i8 and shape [], expected one string"),
        ({"points": np.zeros((12, 3), ">f4")}, "points has dtype >f4, expected <f4"),
        ({"points": np.zeros((12, 3), "<f4", order="F")}, "points is in Fortran order, expected C order"),
        ({"points": np.full((12, 3), None)}, "points has dtype |O, expected <f4"),
        ({"points": np.zeros(12, [("x", "<f4")])}, "points has a header that numpy does not write"),
        ({"meta": np.array({"object": "adk"}, dtype=object)}, "meta has dtype |O and shape []"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path, change, message):
    path = tmp_path / "bad.npz"
    np.savez(path, **npz_arrays(**change))
    refused(path, message)


def archive(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)


def npy_header(text):
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "points is not an .npy array of version 1.0, it begins b''"),
        (b"PK\x03\x04junkjunk", "points is not an .npy array of version 1.0"),
        (npy(np.concatenate([POINTS] * 3))[:-1], "points has 143 bytes, its shape needs 144"),
        (npy(np.concatenate([POINTS] * 3)) + b"\0", "points has 145 bytes, its shape needs 144"),
        (npy(POINTS)[:40], "points has a header that numpy does not write"),
        (
            npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (12, 3, 99999999999), }"),
            "points has 0 bytes, its shape needs 14399999999856",
        ),
        (
            npy_header("{'descr': __import__('os').abort(), 'fortran_order': False, 'shape': (12, 3), }"),
            "points has a header that numpy does not write",
        ),
    ],
)
def test_hostile_arrays_are_refused(tmp_path, content, message):
    path = tmp_path / "hostile.npz"
    archive(path, {name: npy(value) for name, value in npz_arrays().items()} | {"points": content})
    refused(path, message)


def test_a_size_that_the_archive_does_not_have_is_refused_without_allocating_it(tmp_path):
    path = tmp_path / "hostile.npz"
    huge = 10**13
    header = npy_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({huge}, 3), }}")
    members = {name: npy(value) for name, value in npz_arrays(point_counts=np.array([huge - 4, 4])).items()}
    archive(path, members | {"points": header})
    refused(path, f"points has 0 bytes, its shape needs {huge * 12}")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_foreign_compression_is_refused(tmp_path, method):
    path = tmp_path / "foreign.npz"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("format.npy", npy(np.array(FORMATS[NPZ])))
    refused(path, "compressed in a way that numpy does not write")


@pytest.mark.parametrize("content", [b"PK\x05\x06", b"PK\x05\x06" + bytes(18)])
def test_an_archive_of_nothing_is_refused(tmp_path, content):
    path = tmp_path / "empty.npz"
    path.write_bytes(content)
    refused(path, path.name)
