"""The `.dsr` file: the same field again, and every damage refused before much is allocated."""

import json
import os
import struct
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from dsr_backend import checkpoint
from dsr_backend.checkpoint import CheckpointError, from_bytes, load, save, to_bytes
from dsr_backend.mesher import mesh
from dsr_backend.motion import Forecast
from shapes import QUICK, ball, fit, peptide
from test_mesher import SPHERE, balls


@pytest.fixture(scope="module")
def field():
    fitted = fit(peptide()[:3])
    # A forecast as a longer fit has one.
    fitted.motion.forecasts = (Forecast(), Forecast(2, 6, 1.5, (1.0, 2.0), (0.25, 1.0 / 3.0)))
    fitted.report["source"] = {"object": "pep", "atoms": "1-145"}
    return fitted


@pytest.fixture(scope="module")
def data(field):
    return to_bytes(field)


def parts(data):
    """Tensors and metadata of a file."""
    length = struct.unpack("<Q", data[:8])[0]
    return safetensors.torch.load(data), json.loads(data[8 : 8 + length])["__metadata__"]


def equal(one, other):
    """Whether two files say the same; the order of texts in the header is any."""
    tensors, metadata = parts(one)
    others, other_metadata = parts(other)
    return (
        metadata == other_metadata
        and tensors.keys() == others.keys()
        and all(torch.equal(value, others[name]) for name, value in tensors.items())
    )


def forged(data, change):
    """A whole file, digest included, whose tensors and JSON `change` has altered."""
    tensors, metadata = parts(data)
    about = json.loads(metadata["field"])
    change(tensors, about)
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    metadata["field"] = json.dumps(about)
    metadata["digest"] = checkpoint._digest(tensors, metadata)
    return safetensors.torch.save(tensors, metadata)


def same(one, other, times=(1.0, 1.5, 3.0, 4.0)):
    for time in times:
        a, b = mesh(one, time), mesh(other, time)
        for name in ("points", "normals", "faces", "nearest", "atoms"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        np.testing.assert_equal(
            (a.area, a.volume, a.expected_error, a.extrapolated),
            (b.area, b.volume, b.expected_error, b.extrapolated),
        )


# There and back


def test_a_field_comes_back_bit_for_bit(field, data):
    back = from_bytes(data)
    same(field, back)
    assert back.report == field.report
    assert (back.smooth, back.smooth_beyond) == (field.smooth, field.smooth_beyond)
    assert (back.motion.smooth, back.motion.sigma) == (field.motion.smooth, field.motion.sigma)
    assert back.motion.forecasts == field.motion.forecasts
    assert back.frame.scale == field.frame.scale and np.array_equal(back.frame.centre, field.frame.centre)
    assert back.clearance == field.clearance and np.array_equal(back.extent, field.extent)
    assert equal(to_bytes(back), data)


def test_the_caller_s_bytes_are_not_shared_with_the_field(data):
    """A field goes on when the message it came in is gone."""
    message = bytearray(data)
    back = from_bytes(bytes(message))
    before = mesh(back, 1.0).points
    message[:] = bytes(len(message))
    np.testing.assert_array_equal(mesh(back, 1.0).points, before)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("atoms", [True, False])
def test_few_states_with_and_without_atoms(count, atoms):
    surfaces = peptide()[:count] if atoms else [ball(t, 5.0 + t) for t in range(1, count + 1)]
    fitted = fit(surfaces)
    same(fitted, from_bytes(to_bytes(fitted)), (1.0, 1.5))


def test_many_states_in_few_modes():
    preset = replace(QUICK, max_values=1, decoder_steps=20, iterations=6)
    fitted = fit([ball(t, 5.0 + 0.05 * t, subdivisions=2) for t in range(1, 36)], preset=preset)
    assert len(fitted.fine.modes) == 32
    same(fitted, from_bytes(to_bytes(fitted)), (1.0, 17.5))


def test_only_what_can_be_written_is(field):
    with pytest.raises(TypeError, match="fields of kind 'formula' have no file format"):
        to_bytes(balls(SPHERE))


# Damage


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100, 5000, -100_000, -1000, -1])
def test_a_cut_file(data, size):
    cut = data[:size]
    assert len(cut) < len(data)
    with pytest.raises(CheckpointError):
        from_bytes(cut)


def test_a_longer_file(data):
    with pytest.raises(CheckpointError):
        from_bytes(data + b"\0")


def test_flipped_bytes_anywhere(data):
    """Length, header, metadata, every tensor: each byte is under the digest."""
    header = 8 + struct.unpack("<Q", data[:8])[0]
    rng = np.random.default_rng(0)
    places = [*range(10), *rng.integers(8, header, 60), *rng.integers(header, len(data), 30), len(data) - 1]
    for place in places:
        for flip in (0x01, 0x80):
            damaged = bytearray(data)
            damaged[place] ^= flip
            with pytest.raises(CheckpointError):
                from_bytes(bytes(damaged))


def test_changed_text_is_damage_too(data):
    """A digit of the smoothing is as much of the field as a tensor."""
    clearance = json.dumps({"clearance": 3.0})[1:-1].replace('"', '\\"')
    assert clearance.encode() in data
    with pytest.raises(CheckpointError, match="the file is damaged: its digest is"):
        from_bytes(data.replace(clearance.encode(), clearance.replace("3", "9").encode()))


@pytest.mark.parametrize(
    "foreign, message",
    [
        (b"", "0 bytes are no .dsr file"),
        (b"PK\x03\x04" + bytes(100), "this is no .dsr file"),
        (b"ply\nformat ascii 1.0\n" * 10, "this is no .dsr file"),
        (bytes(1000), "this is no .dsr file"),
        (struct.pack("<Q", 2) + b"[]", "holds no field"),
        (struct.pack("<Q", 2) + b"{}", "holds no field"),
        (struct.pack("<Q", 20) + b'{"__metadata__": {}}', "holds no field"),
        (struct.pack("<Q", 30) + b'{"__metadata__":{"field":[1]}}', "holds no field"),
        (struct.pack("<Q", 100_000) + b"[" * 100_000, "this is no .dsr file"),
        (struct.pack("<Q", 10_000) + b"9" * 10_000, "this is no .dsr file"),
        (safetensors.torch.save({"weight": torch.zeros(3)}), "holds no field"),
        (safetensors.torch.save({"weight": torch.zeros(3)}, {"format": "pt"}), "holds no field"),
    ],
)
def test_foreign_files(foreign, message):
    with pytest.raises(CheckpointError, match=message):
        from_bytes(foreign)


@pytest.mark.parametrize("length", [2**63, 2**40, 10**9])
def test_a_huge_header_is_refused_before_it_is_read(data, length):
    with pytest.raises(CheckpointError, match=f"its header would take {length} of {len(data)} bytes"):
        from_bytes(struct.pack("<Q", length) + data[8:])


def test_another_version_is_named(data):
    tensors, metadata = parts(data)
    metadata |= {"format": "dsr 2", "version": "7.5.0"}
    with pytest.raises(
        CheckpointError, match=r"format 'dsr 2', written by version '7\.5\.0'; version .* reads 'dsr 1'"
    ):
        from_bytes(safetensors.torch.save(tensors, metadata))


def test_a_device_that_is_not_there_is_no_fault_of_the_file(data):
    with pytest.raises(ValueError, match="device 'cuda:99'") as error:
        from_bytes(data, "cuda:99")
    assert not isinstance(error.value, CheckpointError)


# Forged: whole by its digest, but no field


def drop(*names):
    def change(tensors, about):
        for name in names:
            tensors.pop(name, None)
            about.pop(name, None)

    return change


def put(**values):
    def change(tensors, about):
        about.update(values)

    return change


def tensor(name, make):
    def change(tensors, about):
        tensors[name] = make(tensors[name])

    return change


def lattice(**values):
    def change(tensors, about):
        about["lattice"].update(values)

    return change


FORGED = [
    *(drop(name) for name in ("band", "static", "coarse_modes", "fine_coefficients", "motion.states")),
    *(drop(name) for name in ("motion.rotations", "motion.reference", "decoder.layers.2.bias", "lattice")),
    *(drop(name) for name in ("factor", "smooth", "sigma", "forecasts", "frame", "extent", "report", "clearance")),
    put(kind="paper"),
    put(factor=0),
    put(factor=-4),
    put(factor=3),
    put(factor="four"),
    put(lattice=[1, 2, 3]),
    put(forecasts=[]),
    put(forecasts=[{}, {}]),
    put(frame={"centre": [0, 0], "scale": 1}),
    put(frame={"centre": [0, 0, 0], "scale": -1}),
    put(extent=[[1, 2], [3]]),
    put(extent=[1, 2, 3]),
    put(report=5),
    put(smooth=None),
    lattice(shape=[2**20, 2**20, 2**20]),
    lattice(shape=[1, 1, 1]),
    lattice(shape=[10, 10]),
    lattice(shape=[-5, -5, 5]),
    lattice(shape=[1e400, 5, 5]),
    lattice(spacing=0.0),
    lattice(spacing=float("nan")),
    lattice(origin=[0.0, 0.0]),
    lattice(origin=[0.0, 0.0, float("inf")]),
    tensor("band", lambda t: t[:-1]),
    tensor("band", lambda t: t.float()),
    tensor("band", torch.zeros_like),
    tensor("static", lambda t: t[:-1]),
    tensor("static", lambda t: t[:, 0]),
    tensor("static", lambda t: t.half()),
    tensor("static", lambda t: torch.zeros(0, 10**9)),
    tensor("fine_modes", lambda t: t[:, :-1]),
    tensor("fine_modes", lambda t: t.float()),
    tensor("coarse_modes", lambda t: t[:, :-1]),
    tensor("coarse_coefficients", lambda t: t[:-1]),
    tensor("fine_coefficients", lambda t: t[:, :-1]),
    tensor("motion.states", lambda t: t[:0]),
    tensor("motion.states", lambda t: t.flip(0)),
    tensor("motion.states", lambda t: t * torch.nan),
    tensor("motion.states", lambda t: t.reshape(1, -1)),
    tensor("motion.atoms", lambda t: t[:, :-1]),
    tensor("motion.atoms", lambda t: t[0]),
    tensor("motion.reference", lambda t: t[:, :2]),
    tensor("motion.rotations", lambda t: t[:, :2]),
    tensor("motion.translations", lambda t: t.float()),
    tensor("decoder.layers.0.weight", lambda t: t[:, :-1]),
    tensor("decoder.layers.0.weight", lambda t: torch.zeros(10**9, 0)),
    tensor("decoder.layers.2.weight", lambda t: t[:-1]),
    tensor("decoder.layers.4.weight", lambda t: t[:, :-1]),
]


@pytest.mark.parametrize("change", FORGED)
def test_parts_that_do_not_fit_are_refused_before_much_is_allocated(data, change, monkeypatch):
    file = forged(data, change)
    decoder = checkpoint.Decoder

    def small_decoder(channels, hidden):
        assert 4 * hidden * (channels + hidden) < len(data)
        return decoder(channels, hidden)

    # What torch allocates is not traced.
    monkeypatch.setattr(checkpoint, "Decoder", small_decoder)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            from_bytes(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The parts themselves, some times over.
    assert peak < 20 * len(data)


def test_nothing_is_unpickled(data, tmp_path):
    """A torch file of the same tensors, which would run code when loaded, is no .dsr file."""
    torch.save(parts(data)[0], tmp_path / "evil.dsr")
    with pytest.raises(CheckpointError, match="this is no"):
        load(tmp_path / "evil.dsr")


# On disk


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pep.dsr"


def names(path):
    return sorted(entry.name for entry in path.parent.iterdir())


def test_saved_and_loaded(field, data, path):
    save(field, path)
    assert equal(path.read_bytes(), data) and names(path) == ["pep.dsr"]
    same(field, load(str(path)), (1.5,))
    assert "loaded_from" not in load(path).report


def test_a_file_is_readable_as_others_are(field, path):
    mask = os.umask(0o022)
    try:
        save(field, path)
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_file_before_is_kept(field, data, path):
    path.write_bytes(b"the one before")
    save(field, path)
    assert names(path) == ["pep.dsr", "pep.dsr.previous"]
    assert path.with_name("pep.dsr.previous").read_bytes() == b"the one before"
    first = path.read_bytes()
    save(field, path)
    assert path.with_name("pep.dsr.previous").read_bytes() == first


def test_without_links_the_file_before_is_kept_too(field, data, path, monkeypatch):
    def link(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", link)
    path.write_bytes(b"the one before")
    save(field, path)
    assert equal(path.read_bytes(), data)
    assert path.with_name("pep.dsr.previous").read_bytes() == b"the one before"


def test_a_damaged_file_falls_back_to_the_one_before_and_says_so(field, data, path):
    save(field, path)
    save(field, path)
    path.write_bytes(data[:-10])
    back = load(path)
    same(field, back, (1.5,))
    assert back.report["loaded_from"].startswith(f"{path}.previous, since {path} is damaged:")


def test_both_damaged_names_both(path):
    path.write_bytes(b"short")
    with pytest.raises(CheckpointError, match=r"pep\.dsr: 5 bytes are no \.dsr file$"):
        load(path)
    path.with_name("pep.dsr.previous").write_bytes(b"shorter")
    with pytest.raises(CheckpointError, match=r"pep\.dsr: 5 bytes .*pep\.dsr\.previous: 7 bytes"):
        load(path)


def test_a_file_that_is_not_there(path):
    with pytest.raises(FileNotFoundError):
        load(path)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_when_writing_fails_the_file_before_stays_and_no_draft_is_left(field, path, step, monkeypatch):
    save(field, path)
    before = path.read_bytes()

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fails)
    with pytest.raises(OSError, match="No space left"):
        save(field, path)
    assert path.read_bytes() == before
    assert [name for name in names(path) if name.endswith(".part")] == []


def test_what_reads_back_otherwise_is_not_taken(field, path, monkeypatch):
    save(field, path)
    before = path.read_bytes()
    monkeypatch.setattr(type(path), "read_bytes", lambda self: b"otherwise")
    with pytest.raises(OSError, match="reads back other bytes than were written"):
        save(field, path)
    monkeypatch.undo()
    assert path.read_bytes() == before and names(path) == ["pep.dsr"]


def test_a_folder_that_is_not_there(field, tmp_path):
    with pytest.raises(OSError):
        save(field, tmp_path / "no" / "pep.dsr")
