"""The `.dsr` file: the same field again, and every damage refused before much is allocated."""

import copy
import json
import os
import re
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from dsr_backend.fields.base import Family
from dsr_backend.fields.fast import Correction, Decoder, FastField
from dsr_backend.fields.paper import Network, PaperField
from dsr_backend.fields.select import field_between
from dsr_backend.geometry.unit_cube import UnitCube
from dsr_backend.motion.forecast import Forecast
from dsr_backend.motion.motion import Motion
from dsr_backend.results import dsr_format
from dsr_backend.results.dsr_file import CheckpointError, from_bytes, load, save, to_bytes
from dsr_backend.results.mesh import extract_mesh

from support.dsr_parts import corrected, drop, family, file_parts, forged, old, put, refuse, tensor
from support.formula_field import SPHERE, balls
from support.shapes import QUICK, ball, fit, moved, peptide


@pytest.fixture(scope="module")
def field():
    fitted = fit(peptide()[:3])
    # A forecast as a longer fit has one.
    fitted.motion.forecasts = (Forecast(), Forecast(2, 6, 1.5, (1.0, 2.0), (0.25, 1.0 / 3.0)))
    fitted.report["source"] = {"object": "pep", "atoms": "1-145"}
    # Numbers that a fit of three states leaves alone.
    fitted.smooth = fitted.smooth_beyond = 1.25
    fitted.level_offset, fitted.spatial_width = 0.06, 0.35
    fitted.motion.poses = replace(fitted.motion.poses, width=0.75)
    return fitted


@pytest.fixture(scope="module")
def data(field):
    return to_bytes(field)


def network_of(field):
    """The network that a field of a family shares."""
    return field.network if isinstance(field, PaperField) else field.correction.decoder


def equal(first, second):
    """Whether two files say the same; the order of texts in the header is any."""
    tensors, metadata = file_parts(first)
    other_tensors, other_metadata = file_parts(second)
    return (
        metadata == other_metadata
        and tensors.keys() == other_tensors.keys()
        and all(torch.equal(value, other_tensors[name]) for name, value in tensors.items())
    )


def assert_same_field(expected, actual, times=(1.0, 1.5, 3.0, 4.0)):
    for time in times:
        a, b = extract_mesh(expected, time), extract_mesh(actual, time)
        for name in ("points", "normals", "faces", "nearest", "atoms"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        np.testing.assert_equal(
            (a.area, a.volume, a.expected_error, a.extrapolated),
            (b.area, b.volume, b.expected_error, b.extrapolated),
        )


# There and back


def test_a_field_comes_back_bit_for_bit(field, data):
    reloaded: Any = from_bytes(data)
    assert_same_field(field, reloaded)
    assert reloaded.report == field.report
    for name in ("smooth", "smooth_beyond", "level_offset", "spatial_width"):
        assert getattr(reloaded, name) == getattr(field, name) > 0.0
    for name in ("smooth", "sigma"):
        assert getattr(reloaded.motion, name) == getattr(field.motion, name)
    assert reloaded.motion.poses.width == field.motion.poses.width
    assert reloaded.motion.kernel.period == field.motion.kernel.period
    assert reloaded.motion.forecasts == field.motion.forecasts
    assert reloaded.frame.scale == field.frame.scale and np.array_equal(reloaded.frame.centre, field.frame.centre)
    assert reloaded.clearance == field.clearance and np.array_equal(reloaded.extent, field.extent)
    assert equal(to_bytes(reloaded), data)


def test_the_caller_s_bytes_are_not_shared_with_the_field(data):
    """A field goes on when the message it came in is gone."""
    message = bytearray(data)
    reloaded: Any = from_bytes(bytes(message))
    before = extract_mesh(reloaded, 1.0).points
    message[:] = bytes(len(message))
    np.testing.assert_array_equal(extract_mesh(reloaded, 1.0).points, before)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("atoms", [True, False])
def test_few_states_with_and_without_atoms(count, atoms):
    surfaces = peptide()[:count] if atoms else [ball(t, 5.0 + t) for t in range(1, count + 1)]
    fitted = fit(surfaces)
    assert_same_field(fitted, from_bytes(to_bytes(fitted)), (1.0, 1.5))


def test_a_loop_stays_one():
    fitted = fit(peptide()[:3], loop=True)
    assert fitted.motion.kernel.period == 3.0 and fitted.report["loop"]
    del fitted.report["loop"]
    assert from_bytes(to_bytes(fitted)).report["loop"], "files of earlier versions say it, too"
    assert_same_field(fitted, from_bytes(to_bytes(fitted)), (1.0, 3.5, 7.2))


def test_cuts_are_kept_and_files_without_them_say_nothing_of_them(data):
    assert '"breaks"' not in file_parts(data)[1]["field"]
    fitted = fit([ball(t, 5.0 + t) for t in range(1, 5)], breaks=(2,))
    reloaded: Any = from_bytes(to_bytes(fitted))
    assert reloaded.motion.kernel.breaks == fitted.motion.kernel.breaks == (2,)
    assert reloaded.report["breaks"] == [2.0]
    assert_same_field(fitted, reloaded, (1.0, 2.4, 2.6, 3.5))


@pytest.mark.system
def test_many_states_in_few_modes():
    preset = replace(QUICK, max_values=1)
    fitted = fit([ball(t, 5.0 + 0.05 * t, subdivisions=2) for t in range(1, 36)], preset=preset)
    assert len(fitted.fine.modes) == 32
    assert_same_field(fitted, from_bytes(to_bytes(fitted)), (1.0, 17.5))


def test_a_file_of_the_first_version_is_read_and_written_anew(field, data):
    corrected_field = corrected(copy.copy(field))
    first = old(to_bytes(corrected_field))
    reloaded: Any = from_bytes(first)
    assert torch.equal(reloaded.fine.modes, file_parts(first)[0]["fine_modes"].float())
    # Away from the states it had no lift.
    np.testing.assert_allclose(extract_mesh(reloaded, 1.0).area, extract_mesh(corrected_field, 1.0).area, rtol=1e-4)
    assert_same_field(reloaded, from_bytes(to_bytes(reloaded)))


def test_coding_makes_the_file_smaller(field):
    content = to_bytes(corrected(copy.copy(field)))
    assert len(content) < 0.95 * len(old(content))


def test_only_what_can_be_written_is(field):
    with pytest.raises(TypeError, match="fields of kind 'formula' have no file format"):
        to_bytes(balls(SPHERE))
    with pytest.raises(TypeError, match="fields of kind 'morph' have no file format"):
        to_bytes(field_between(family(("a", field), ("b", field)), "a", "b", 0.5))


# Families and networks


def paper_field(seed=0, network=None, atoms=True):
    """A small network as the paper's, untrained but for what tells times and codes apart."""
    torch.manual_seed(seed)
    network = network or Network(width=48, layers=4, latent=6, radius=0.6)
    with torch.no_grad():
        for entered in (0, network.middle):
            network.layers[entered].weight[:, -7:] = 0.05 * torch.randn(len(network.layers[entered].weight), 7)
    surfaces = peptide()[:3]
    places = np.stack([surface.atoms for surface in surfaces]) if atoms else None
    return PaperField(
        network.requires_grad_(False),
        torch.randn(6),
        0.1,
        Motion.from_states(np.array([1.0, 2.0, 3.0]), places, align=False),
        UnitCube(np.array([1.0, 2.0, 3.0]), 0.09),
        np.array([[-9, -9, -9], [12, 12, 12]], np.float32),
        3.0,
        {"preset": "paper", "area": 900.0},
    )


@pytest.fixture(scope="module")
def fast_family(field):
    """Two trajectories that differ in place, states and code; a decoder that takes a code."""
    torch.manual_seed(0)
    far = fit([moved(surface, translation=(50.0, 0.0, 0.0), state=2 * surface.state) for surface in peptide()[:2]])
    decoder: Any = Decoder(2 + 5 + 8, 24).requires_grad_(False)
    decoder.layers[-1].weight.normal_(0.0, 0.05)
    coded: list[Any] = []
    for base in (field, far):
        correction = Correction(decoder, torch.randn(base.band.count, 2), torch.randn(8))
        coded.append(
            FastField(
                base.motion, base.band, base.factor, base.coarse, base.fine, base.frame,
                base.extent, base.clearance, {**base.report, "mark": len(coded)}, correction,
            )
        )  # fmt: skip
    return family(("pep", coded[0]), ("far-away.1", coded[1]))


@pytest.fixture(scope="module")
def paper_family():
    first = paper_field()
    return family(("a", first), ("b", paper_field(1, first.network, atoms=False)))


@pytest.mark.parametrize("atoms", [True, False])
def test_a_network_comes_back_bit_for_bit(atoms):
    original = paper_field(atoms=atoms)
    reloaded: Any = from_bytes(to_bytes(original))
    assert_same_field(original, reloaded)
    assert isinstance(reloaded, PaperField) and reloaded.scale == original.scale and reloaded.report == original.report
    assert not any(parameter.requires_grad for parameter in reloaded.network.parameters())


@pytest.mark.system
@pytest.mark.parametrize("kind", ["fast_family", "paper_family"])
def test_a_family_comes_back_and_its_members_share_one_network(kind, request, path):
    original = request.getfixturevalue(kind)
    save(original, path)
    reloaded: Any = load(path)
    assert isinstance(reloaded, Family) and list(reloaded.members) == list(original.members)
    assert reloaded.report == original.report
    for name, member in original.members.items():
        assert_same_field(member, reloaded.member(name))
    first, second = original.members
    assert_same_field(
        field_between(original, first, second, 0.3), field_between(reloaded, first, second, 0.3), (1.0, 2.5)
    )
    networks = [network_of(member) for member in reloaded.members.values()]
    assert networks[0] is networks[1]
    prefix = dsr_format.SHARED_NETWORKS[reloaded.member(first).kind]
    names = [name for name in file_parts(path.read_bytes())[0] if name.startswith(prefix)]
    assert len(names) == len(network_of(original.member(first)).state_dict())


def test_a_family_of_networks_keeps_its_report_and_that_of_each_trajectory(paper_family):
    paper_family.report |= {"area": 1.5, "warning": "none"}
    reloaded: Any = from_bytes(to_bytes(paper_family))
    assert isinstance(reloaded, Family) and reloaded.report == paper_family.report
    assert reloaded.report["trajectories"] == {name: member.report for name, member in paper_family.members.items()}
    first, second = (member for member in reloaded.members.values() if isinstance(member, PaperField))
    assert first.network is second.network and not torch.equal(first.z, second.z)
    for name, member in paper_family.members.items():
        assert_same_field(member, reloaded.member(name), (1.5,))


def test_trajectories_that_share_no_network_are_no_family():
    with pytest.raises(TypeError, match="do not share one network"):
        to_bytes(family(("a", paper_field()), ("b", paper_field(1))))


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
    for offset in places:
        for flip in (0x01, 0x80):
            damaged = bytearray(data)
            damaged[offset] ^= flip
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
    with pytest.raises(CheckpointError, match=r"^this is no .dsr file: it does not begin like one$"):
        from_bytes(struct.pack("<Q", length) + data[8:])


def test_another_version_is_named(data):
    tensors, metadata = file_parts(data)
    metadata |= {"format": "dsr 4", "version": "7.5.0"}
    with pytest.raises(
        CheckpointError,
        match=r"format 'dsr 4', written by version '7\.5\.0'; version .* reads dsr 1 and dsr 2 and dsr 3",
    ):
        from_bytes(safetensors.torch.save(tensors, metadata))


def test_a_device_that_is_not_there_is_no_fault_of_the_file(data):
    with pytest.raises(ValueError, match="device 'cuda:99'") as error:
        from_bytes(data, "cuda:99")
    assert not isinstance(error.value, CheckpointError)


# Forged: whole by its digest, but no family


@pytest.mark.parametrize(
    "kind, change, message",
    [
        ("fast_family", put(members={}), "no family"),
        ("fast_family", put(members=[]), "lacks a part"),
        ("fast_family", lambda t, a: a["members"].update({"../c": a["members"]["pep"]}), "no family"),
        ("fast_family", lambda t, a: a["members"].update(c=a["members"]["pep"]), "lacks a part"),
        ("fast_family", lambda t, a: a["members"]["pep"].update(kind="paper"), "no family"),
        ("fast_family", drop("pep/latent"), r"wants torch.float32 \[\d+, 10\]|rest of the file wants"),
        ("fast_family", drop("decoder.layers.0.weight"), "lacks a part"),
        ("fast_family", drop("report"), "lacks a part"),
        ("paper_family", tensor("b/z", lambda t: t[:-1]), "b/z is torch.float32"),
        ("paper_family", tensor("b/z", lambda t: t.double()), "b/z is torch.float64"),
        ("paper_family", drop("network.layers.2.bias"), "lacks a part"),
        ("paper_family", drop("network.layers.4.weight", "network.layers.4.bias"), "network.layers.0.weight is"),
        ("paper_family", tensor("network.layers.1.weight", lambda t: t[:-1]), "network.layers.1.weight is"),
        ("paper_family", tensor("network.layers.4.weight", lambda t: torch.zeros(0, 10**9)), "network.layers.0.weight"),
        ("paper_family", tensor("network.layers.4.weight", lambda t: torch.zeros(1, 5)), "network.layers.0.weight"),
        ("paper_family", lambda t, a: a["members"]["a"].update(scale=0.0), "scale is 0.0, not within"),
        ("paper_family", lambda t, a: a["members"]["a"].update(scale=float("nan")), "scale is nan, not within"),
        ("paper_family", lambda t, a: a["members"]["a"].pop("scale"), "lacks a part"),
        ("paper_family", put(kind="nerf"), "kind 'nerf' is not known; this version reads fast, paper, family"),
    ],
)
def test_families_that_do_not_fit_are_refused(kind, change, message, request):
    file = forged(to_bytes(request.getfixturevalue(kind)), change)
    assert re.search(message, refuse(file, 20 * len(file)))


def test_nothing_is_unpickled(data, tmp_path):
    """A torch file of the same tensors, which would run code when loaded, is no .dsr file."""
    torch.save(file_parts(data)[0], tmp_path / "evil.dsr")
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
    assert_same_field(field, load(str(path)), (1.5,))
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
    reloaded: Any = load(path)
    assert_same_field(field, reloaded, (1.5,))
    assert reloaded.report["loaded_from"].startswith(f"{path}.previous, since {path} is damaged:")


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
    with pytest.raises(OSError, match=r"no/pep\.dsr \(\d+ bytes\) can't be written: No such file or directory"):
        save(field, tmp_path / "no" / "pep.dsr")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda field: setattr(field, "clearance", -1.0), "clearance is -1.0, not within 0 and"),
        (lambda field: setattr(field, "smooth", float("nan")), "smooth is nan, not within 0 and"),
        (lambda field: setattr(field.motion, "sigma", 0.0), "sigma is 0.0, not within 0.1 and 100"),
        (lambda field: field.extent.__setitem__((0, 1), 2e6), "extent is -?2000000.0, not within"),
        (lambda field: field.motion.poses.translations.__setitem__((0, 0), 1e9), "motion.translations has values"),
    ],
)
def test_numbers_that_no_reader_takes_are_not_written(field, change, message):
    """Reader and writer have one table."""
    wrong = copy.deepcopy(field)
    change(wrong)
    with pytest.raises(CheckpointError, match=message):
        to_bytes(wrong)
