"""`.dsr` files taken apart and put together again with changes."""

import json
import struct
import tracemalloc

import pytest
import safetensors.torch
import torch
from dsr_backend.fields.base import Family
from dsr_backend.fields.fast import TABLE_COLUMNS, Correction, Decoder, quantize
from dsr_backend.results import coding, dsr_format
from dsr_backend.results.dsr_file import CheckpointError, from_bytes


def file_parts(data):
    """Tensors and metadata of a file."""
    length = struct.unpack("<Q", data[:8])[0]
    return safetensors.torch.load(data), json.loads(data[8 : 8 + length])["__metadata__"]


def forged(data, change):
    """A whole file, digest included, whose tensors and JSON `change` has altered."""
    tensors, metadata = file_parts(data)
    description = json.loads(metadata["field"])
    change(tensors, description)
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    metadata["field"] = json.dumps(description)
    metadata["digest"] = dsr_format.digest(tensors, metadata)
    return safetensors.torch.save(tensors, metadata)


def corrected(field):
    """The field with a correction, as formats 1 and 2 have one: two static channels, no latent code."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = Decoder(TABLE_COLUMNS - 1 + 2, 24).requires_grad_(False)
    field.correction = Correction(
        decoder, quantize(0.01 * torch.randn(field.band.count, 2, generator=generator)), torch.zeros(0)
    )
    return field


def old(data):
    """The file as the first version wrote it: nothing coded, modes in half precision, no latent code."""
    tensors, metadata = file_parts(data)
    description = json.loads(metadata["field"])
    for name in ("smooth_pose", "period", "lift", "spatial_width"):
        del description[name]
    for name, coding_entry in description.pop("coded").items():
        values = torch.from_numpy(coding.decode(tensors[name].numpy().data, coding_entry, tuple(coding_entry["shape"])))
        tensors[name] = values.half() if name.endswith("_modes") else values
    assert not len(tensors.pop("latent"))
    metadata |= {"format": "dsr 1", "field": json.dumps(description)}
    metadata["digest"] = dsr_format.digest(tensors, metadata)
    return safetensors.torch.save(tensors, metadata)


def family(*members):
    return Family(dict(members), {"preset": "preview", "seed": 3, "trajectories": {n: f.report for n, f in members}})


# Changes for `forged`.


def drop(*names):
    """Leaves tensors or entries out."""

    def change(tensors, description):
        for name in names:
            tensors.pop(name, None)
            description.pop(name, None)

    return change


def put(**values):
    """Replaces entries."""

    def change(tensors, description):
        description.update(values)

    return change


def tensor(name, make):
    """Replaces a tensor by what `make` makes of it."""

    def change(tensors, description):
        tensors[name] = make(tensors[name])

    return change


def lattice(**values):
    """Replaces entries of the lattice."""

    def change(tensors, description):
        description["lattice"].update(values)

    return change


def coded(name, **changes):
    """Replaces what is said of a coded tensor."""

    def change(tensors, description):
        description["coded"][name].update(changes)

    return change


def recoded(name, make, **changes):
    """Other values, coded as they should be; then `how` replaces what is said of them."""

    def change(tensors, description):
        values = coding.decode(
            tensors[name].numpy().data, description["coded"][name], tuple(description["coded"][name]["shape"])
        )
        packed, description["coded"][name] = coding.encode(make(values))
        tensors[name] = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
        description["coded"][name].update(changes)

    return change


def packed(name, make):
    """Other bytes in place of the coded ones."""

    def change(tensors, description):
        tensors[name] = torch.tensor(list(make(tensors[name].numpy().tobytes())), dtype=torch.uint8)

    return change


def in_sequence(*changes):
    """Several changes, one after another."""

    def change(tensors, description):
        for change_one in changes:
            change_one(tensors, description)

    return change


def refuse(file, allowed):
    """The error of a file that is refused with at most this many bytes allocated."""
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as caught:
            from_bytes(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < allowed
    return str(caught.value)
