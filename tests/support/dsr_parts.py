"""`.dsr` files taken apart and put together again with changes."""

import json
import struct

import safetensors.torch
import torch
from dsr_backend.fields.base import Family
from dsr_backend.results import coding, dsr_format


def parts(data):
    """Tensors and metadata of a file."""
    length = struct.unpack("<Q", data[:8])[0]
    return safetensors.torch.load(data), json.loads(data[8 : 8 + length])["__metadata__"]


def forged(data, change):
    """A whole file, digest included, whose tensors and JSON `change` has altered."""
    tensors, metadata = parts(data)
    about = json.loads(metadata["field"])
    change(tensors, about)
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    metadata["field"] = json.dumps(about)
    metadata["digest"] = dsr_format.digest(tensors, metadata)
    return safetensors.torch.save(tensors, metadata)


def old(data):
    """The file as the first version wrote it: nothing coded, modes in half precision, no latent code."""
    tensors, metadata = parts(data)
    about = json.loads(metadata["field"])
    for name in ("smooth_pose", "period", "lift"):
        del about[name]
    for name, how in about.pop("coded").items():
        values = torch.from_numpy(coding.decode(tensors[name].numpy().data, how, tuple(how["shape"])))
        tensors[name] = values.half() if name.endswith("_modes") else values
    assert not len(tensors.pop("latent"))
    metadata |= {"format": "dsr 1", "field": json.dumps(about)}
    metadata["digest"] = dsr_format.digest(tensors, metadata)
    return safetensors.torch.save(tensors, metadata)


def family(*members):
    return Family(dict(members), {"preset": "preview", "seed": 3, "trajectories": {n: f.report for n, f in members}})
