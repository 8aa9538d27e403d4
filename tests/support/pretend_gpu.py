"""A GPU that is none: it computes on the CPU, and behaves as CUDA where code goes wrong or waits.

The device `pretend` refuses what CUDA refuses (tensors of two devices in one operation, `.numpy()`, generators of
another device) and counts what makes the host wait for a CUDA device. It is torch's own device for backends made
elsewhere (PrivateUse1), which this registers for the rest of the process; nothing else there is changed.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar
from unittest import mock

import torch
from torch.optim.optimizer import _foreach_supported_types
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

__all__ = ["DEVICE", "PretendGPU", "pretend_gpu"]

NAME = "pretend"


class _Module:
    """torch.pretend. It has no devices, for what torch does with all there are, as to their random numbers."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return False

    def device_count(self) -> int:
        return 0

    def current_device(self) -> int:
        return 0

    def manual_seed_all(self, seed: int) -> None:
        pass

    def _is_in_bad_fork(self) -> bool:
        return False


_setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
# As with "cuda", tensors say pretend:0 and so are not on a device that is equal to it.
DEVICE = torch.device(NAME)
CPU = torch.device("cpu")

aten = torch.ops.aten
# Operations that need a number on the host: a value, or the size of a result.
WAITING = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.masked_select,
    aten._unique,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten.unique_dim_consecutive,
    aten.bincount,
    aten.repeat_interleave,
    aten.equal,
    aten.is_nonzero,
    aten._linalg_eigh,
    aten.linalg_inv_ex,
    aten._linalg_svd,
}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


@dataclass
class PretendGPU:
    """syncs: how often the host waited, by what for: the name of an operation, `host → device` or `device → host`."""

    syncs: Counter[str] = field(default_factory=Counter)


_gpus: list[PretendGPU] = []


def _waits(name: str) -> None:
    for gpu in _gpus:
        gpu.syncs[name] += 1


class _Tensor(torch.Tensor):
    """A tensor on the device. `inner` is the one on the CPU that holds its values."""

    inner: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> _Tensor:
        outer = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
            # Takes no memory, and has room for every shape that an operation may give it later.
            storage_size=2**62,
        )
        outer.inner = inner
        return outer

    def __repr__(self, **_):
        return f"{self.inner!r} on {NAME}"

    def numpy(self, **_):
        raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu()")

    def tolist(self):
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, op, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        packet = op.overloadpacket
        _check(op, packet, args, kwargs)
        if packet in WAITING:
            _waits(packet.__name__)
        outer: dict[int, _Tensor] = {}

        def inside(value):
            if isinstance(value, _Tensor):
                outer[id(value.inner)] = value
                return value.inner
            return CPU if isinstance(value, torch.device) else value

        def outside(value):
            if not isinstance(value, torch.Tensor):
                return value
            return outer[id(value)] if id(value) in outer else _Tensor(value)

        result = op(*_mapped(inside, args), **{key: _mapped(inside, value) for key, value in kwargs.items()})
        for value in outer.values():
            # One that was given to be written to may have got another shape.
            shape, strides = value.inner.shape, value.inner.stride()
            if value.shape != shape or value.stride() != strides:
                with no_dispatch():
                    value.as_strided_(shape, strides)
        if packet is aten.copy_ and not isinstance(args[0], _Tensor):
            return args[0]
        to = kwargs.get("device")
        if to is None or to.type == NAME:
            return _mapped(outside, result)
        if packet is aten._to_copy:
            _waits("device → host")
        return result


def _mapped(change, value):
    """`change` of what is in tuples and lists, which is how operations take and give more than one tensor."""
    if isinstance(value, list | tuple):
        return type(value)([_mapped(change, item) for item in value])
    return change(value)


def _tensors(values) -> Iterator[torch.Tensor]:
    """All in tuples and lists."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _check(op, packet, args, kwargs) -> None:
    """Answer as CUDA does to the devices of an operation: raise, or count what it waits for."""
    tensors = list(_tensors((*args, *kwargs.values())))
    if packet is aten.copy_:
        target, source = args[:2]
        if isinstance(target, _Tensor) != isinstance(source, _Tensor):
            _waits("host → device" if isinstance(target, _Tensor) else "device → host")
        return
    if packet in INDEXING and isinstance(args[0], _Tensor):
        indices = [index for index in args[1] if index is not None]
        values = args[2] if len(args) > 2 else None
        masks = [index for index in indices if index.dtype in (torch.bool, torch.uint8)]
        # One mask and one value is a masked fill.
        if masks and not (len(indices) == 1 and values is not None and values.numel() == 1):
            _waits("a mask as index")
        if any(not isinstance(index, _Tensor) for index in indices):
            _waits("host → device")
        tensors = [args[0], *([] if values is None else [values])]
    if any(not isinstance(tensor, _Tensor) and tensor.ndim > 0 for tensor in tensors):
        devices = ", ".join(str(tensor.device) for tensor in tensors)
        raise RuntimeError(f"{op}: expected all tensors to be on the same device, found them on {devices}")
    generator = kwargs.get("generator")
    if generator is not None and generator._cdata not in _Generator.known:
        raise RuntimeError(f"{op}: expected a {NAME} device type for generator but found {generator.device}")


# Functions that torch asks a backend for; all else comes to `__torch_dispatch__`.


def _empty(size, *, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    return _Tensor(torch.empty(size, dtype=dtype))


def _empty_strided(size, stride, *, dtype=None, layout=None, device=None, pin_memory=None):
    return _Tensor(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source, target, non_blocking=False):
    """Do as torch.tensor(..., device=...), out of sight of `__torch_dispatch__`."""
    _waits("host → device")
    target.inner.copy_(source)
    return target


_library = torch.library.Library("aten", "IMPL")
_library.impl("empty.memory_format", _empty, "PrivateUse1")
_library.impl("empty_strided", _empty_strided, "PrivateUse1")
_library.impl("_copy_from", _copy_from, "PrivateUse1")


class _Generator(torch.Generator):
    """torch.Generator, also for the device: a CPU's that is known to be the device's."""

    known: ClassVar[weakref.WeakValueDictionary[int, torch.Generator]] = weakref.WeakValueDictionary()

    def __new__(cls, device="cpu"):
        if torch.device(device).type != NAME:
            return torch._C.Generator(device)
        tensor = super().__new__(cls)
        cls.known[tensor._cdata] = tensor
        return tensor

    def __init__(self, device="cpu"):
        pass

    @property
    def device(self):
        return torch.device(NAME, 0)


class _Strict(TorchDispatchMode):
    """Refuses generators of the device to what is made on the CPU."""

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        generator, to = kwargs.get("generator"), kwargs.get("device")
        if generator is not None and generator._cdata in _Generator.known:
            on_device = any(isinstance(tensor, _Tensor) for tensor in _tensors((*args, *kwargs.values())))
            if not on_device and (to is None or to.type != NAME):
                raise RuntimeError(f"{op}: expected a cpu device type for generator but found {NAME}")
        return op(*args, **kwargs)


@contextmanager
def pretend_gpu() -> Iterator[PretendGPU]:
    """Within, torch has the device `pretend`, whose waits are counted."""
    gpu = PretendGPU()
    # Adam works on lists of tensors on a GPU, as `_foreach` operations. The engine of autograd has a thread for each
    # device that there was at the first backward of the process, which may be before this was imported.
    with (
        mock.patch.object(torch, "Generator", _Generator),
        torch.autograd.set_multithreading_enabled(False),
        _Strict(),
    ):
        _gpus.append(gpu)
        _foreach_supported_types.append(_Tensor)
        try:
            yield gpu
        finally:
            _foreach_supported_types.remove(_Tensor)
            _gpus.remove(gpu)
