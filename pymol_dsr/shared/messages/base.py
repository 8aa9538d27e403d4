"""Messages as frozen dataclasses: JSON values and arrays, checked as they are decoded.

Shapes of arrays are given in letters: N points, M faces, A atoms, K neighbours, and others where a message says so. A
letter stands for the same number in all arrays of a message.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..frames import Arrays
from ..values import Field, JsonObject, Record, TypeFault, ValueFault, annotated, fields_of, plain

AMessage = TypeVar("AMessage", bound="Message")
AResult = TypeVar("AResult", bound="Result", covariant=True)

FAR = 1e7
"""Å. Past it, lengths in single precision have no digits left."""


class ArrayFault(TypeFault):
    """An array that is missing, or of another type or shape than it must be."""


class Lane(enum.Enum):
    """Who answers a request, and when."""

    CONTROL = "answered at once, also while something is computed"
    WORKER = "one after another, in the order they come"
    TOGETHER = "as `worker`, but on a CPU up to four of these at once, in any order"


@dataclass(frozen=True)
class Array:
    """The contents of an array.

    dtype: as numpy writes it. shape: numbers and letters. limit: all values are finite and less than this far from 0.
    finite: False where NaN stands for no value; infinities and values past `most` are refused all the same. indexes:
    the letter of what its values are indices of, from 0. key: its name in the frame, where it is another than the
    field's.
    """

    text: str
    dtype: str
    shape: tuple[int | str, ...]
    unit: str = ""
    limit: float | None = None
    finite: bool = True
    most: float | None = None
    indexes: str = ""
    key: str = ""

    def noun(self, letters: Mapping[str, int]) -> str:
        """Type and shape in words, with the numbers that letters stand for, as `f4 [N, 3]`."""
        lengths = [str(letters.get(length, length) if isinstance(length, str) else length) for length in self.shape]
        return f"{self.dtype[1:]} [{', '.join(lengths)}]"

    def fits(self, array: NDArray[Any], letters: dict[str, int], exact: bool) -> bool:
        """Whether an array has the type and shape; letters that had no number get theirs.

        exact: the same width of numbers, too.
        """
        same_type = array.dtype.str == self.dtype if exact else array.dtype.kind == np.dtype(self.dtype).kind
        if not same_type or array.ndim != len(self.shape):
            return False
        known = dict(letters)
        for dimension, length in zip(self.shape, array.shape, strict=True):
            if (known.setdefault(dimension, length) if isinstance(dimension, str) else dimension) != length:
                return False
        letters.update(known)
        return True

    def check_values(self, name: str, array: NDArray[Any], letters: Mapping[str, int]) -> None:
        """Raise ValueFault for values that the array must not hold."""
        if not array.size:
            return
        if self.indexes:
            count = letters.get(self.indexes)
            if array.min() < 0 or (count is not None and array.max() >= count):
                raise ValueFault(f"{name} has indices from {array.min()} to {array.max()}, of {count} that there are")
        # No NaN passes the comparison.
        elif self.limit is not None and not max(-float(array.min()), float(array.max())) < self.limit:
            flat = array.ravel()
            raise ValueFault(f"{name} has the value {flat[int(np.argmax(~(np.abs(flat) < self.limit)))]:g} in it")
        elif not self.finite and np.isinf(array).any():
            raise ValueFault(f"{name} has infinite values in it")
        elif not self.finite and self.most is not None and (np.abs(array) > self.most).any():
            raise ValueFault(f"{name} has the value {np.nanmax(np.abs(array)):g} in it, and {self.most:g} is the most")


@dataclass(frozen=True)
class ArrayField:
    """A field that holds an array, or None where it is optional."""

    name: str
    optional: bool
    array: Array

    @property
    def key(self) -> str:
        """Its name in the frame."""
        return self.array.key or self.name

    def take(self, arrays: Arrays, letters: dict[str, int], exact: bool) -> NDArray[Any] | None:
        """Return the array of a frame, with its type and shape checked. Raises ValueFault."""
        array = arrays.get(self.key)
        if array is None:
            if self.optional:
                return None
            raise ArrayFault(self.key, None, self.array.noun(letters))
        if not self.array.fits(array, letters, exact):
            described = f"{array.dtype.str[1:]} {list(array.shape)}"
            raise ArrayFault(self.key, described, self.array.noun(letters), f"it is not {self.array.noun(letters)}")
        return array


class Flat:
    """Marks a field whose record's own fields stand among those of the message."""


class Message:
    """Base of the parameters of requests and events, and of results."""

    EXACT: ClassVar[bool] = True
    """Whether arrays must have the width of numbers that is written; else any of the same kind."""

    @classmethod
    def decode(
        cls: type[AMessage], values: Mapping[str, Any], arrays: Arrays, letters: Mapping[str, int] | None = None
    ) -> AMessage:
        """Return the message that a frame holds. Keys and arrays that are not known are left alone.

        letters: numbers that are known, as that of the atoms. Raises ValueFault.
        """
        schema = parts_of(cls)
        arguments: dict[str, Any] = {}
        for name, kind in schema.flat.items():
            arguments[name] = kind.from_json({key: values[key] for key in schema.flat_keys[name] if key in values})
        for name, field in schema.values.items():
            if field.key in values or field.required:
                if field.optional and field.key not in values:
                    raise ValueFault(f"{field.key} is missing")
                arguments[name] = field.check(values.get(field.key))
        known = dict(letters or {})
        for entry in schema.arrays:
            arguments[entry.name] = entry.take(arrays, known, cls.EXACT)
        # Once all letters are known, for indices of what comes in a later array.
        for entry in schema.arrays:
            if arguments[entry.name] is not None:
                entry.array.check_values(entry.key, arguments[entry.name], known)
        message = cls(**arguments)
        message.check_together()
        return message

    def encode(self) -> tuple[JsonObject, Arrays]:
        """JSON values and arrays of a frame; numbers that are not finite are None."""
        schema = parts_of(type(self))
        values: JsonObject = {}
        for name, field in schema.values.items():
            value = getattr(self, name)
            if not self._leaves_out(field, value):
                values[field.key] = plain(value)
        for name, kind in schema.flat.items():
            record = getattr(self, name)
            for inner, field in fields_of(kind).items():
                if not self._leaves_out(field, getattr(record, inner)):
                    values[field.key] = plain(getattr(record, inner))
        arrays = {entry.key: getattr(self, entry.name) for entry in schema.arrays}
        return values, {
            entry.key: np.asarray(arrays[entry.key], entry.array.dtype)
            for entry in schema.arrays
            if arrays[entry.key] is not None
        }

    def check_together(self) -> None:
        """Check what fields say of each other; each of them is checked before. Raises ValueFault."""

    def _leaves_out(self, field: Field, value: Any) -> bool:
        return field.value.sparse and value is None


class Result(Message):
    """Base of what a request is answered with."""


class Request(Message, Generic[AResult]):
    """Base of requests. Fields with their default are left out of the frame."""

    METHOD: ClassVar[str]
    LANE: ClassVar[Lane]
    RESULT: ClassVar[type[Result]]
    EXACT = False

    def _leaves_out(self, field: Field, value: Any) -> bool:
        return not field.required and bool(value == field.default)


class Event(Message):
    """Base of what the backend tells without being asked."""

    EVENT: ClassVar[str]


class Parts:
    """The fields of a message: values, arrays, and records whose fields stand among the values."""

    def __init__(self, kind: type[Any]) -> None:
        self.values: dict[str, Field] = dict(fields_of(kind))
        self.arrays: list[ArrayField] = []
        self.flat: dict[str, type[Record]] = {}
        for name, (base_type, optional, extra, default) in annotated(kind).items():
            if isinstance(extra, Array):
                if optional == (default is MISSING):
                    raise TypeError(f"{kind.__name__}.{name}: an array has the default None where it may be None")
                self.arrays.append(ArrayField(name, optional, extra))
            elif isinstance(extra, Flat):
                self.flat[name] = base_type
        self.flat_keys = {
            name: [field.key for field in fields_of(record).values()] for name, record in self.flat.items()
        }


def parts_of(kind: type[Any]) -> Parts:
    """Return the fields of a message."""
    hashable: Any = kind
    return _cached_parts(hashable)


@functools.cache
def _cached_parts(kind: type[Any]) -> Parts:
    return Parts(kind)
