"""Typed values: the meaning, unit and range of each field of a dataclass, and the check of what is given for it.

A field says its type and its `Value` in one annotation::

    resolution: Annotated[float, Value("distance between the nodes of the mesh", unit="Å", least=0.01, most=10)] = 0.5

`Field.check` takes values of Python and of JSON, `Field.parse` takes words that a user types. Both raise ValueFault
with the key and the value in one line.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from .names import is_name, rule_against
from .text import LONGEST_LINE

LONGEST_SHOWN = 80
"""Characters of a wrong value that an error shows."""

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
if TYPE_CHECKING:
    JsonObject: TypeAlias = dict[str, JsonValue]
else:
    # Type hints are read at run time, where the alias above would have no end.
    JsonObject = dict

ARecord = TypeVar("ARecord", bound="Record")
AnOptions = TypeVar("AnOptions", bound="Options")


class ValueFault(ValueError):
    """A value that its field does not take: one line for the user, with the key and the value."""


class TypeFault(ValueFault):
    """A value of another type than its field's. noun: what the field takes, as `a finite number`."""

    def __init__(self, key: str, value: object, noun: str, complaint: str = "") -> None:
        super().__init__(f"{key} {shown(value)}: {complaint or f'it is not {noun}'}")
        self.key, self.value, self.noun = key, value, noun


@dataclass(frozen=True)
class Value:
    """The contents of a field.

    text: its meaning. unit: Å, s, states, …, empty for none. least, above, most: its range, `above` without the limit
    itself. choices: the words that a text may be. pattern: a regular expression of the whole text, and `form`, what it
    says in words. absent: the word that users write for None. names: what the text is a name of, as `a fit`. key: that
    of JSON, where it is another than the field's name. sparse: None is left out of JSON. longest: characters at which
    a text for people is cut; None for one that is read again, as those of all options are.
    """

    text: str
    unit: str = ""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    form: str = ""
    absent: str = ""
    names: str = ""
    key: str = ""
    sparse: bool = False
    longest: int | None = LONGEST_LINE

    def range_text(self) -> str:
        """Return the range in words, as `at least 0 Å`; empty where any number will do."""
        unit = f" {self.unit}" if self.unit else ""
        if self.least is not None and self.most is not None:
            return f"between {_digits(self.least)} and {_digits(self.most)}{unit}"
        limits = [("at least", self.least), ("above", self.above), ("at most", self.most)]
        words = [f"{word} {_digits(limit)}" for word, limit in limits if limit is not None]
        return " and ".join(words) + unit if words else ""

    def contains(self, number: float) -> bool:
        """Whether a number lies in the range."""
        return (
            (self.least is None or number >= self.least)
            and (self.above is None or number > self.above)
            and (self.most is None or number <= self.most)
        )


@dataclass(frozen=True)
class Field:
    """A field of a dataclass: its type without None, whether it may be None, its Value, its default (or MISSING)."""

    name: str
    type: Any
    optional: bool
    value: Value
    default: Any

    @property
    def key(self) -> str:
        """Its key in JSON."""
        return self.value.key or self.name

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is MISSING

    def check(self, value: Any) -> Any:
        """Return the value in the field's type: whole numbers as float, lists as tuples and objects as records.

        Raises ValueFault.
        """
        if value is None and self.optional:
            return None
        return self._in_range(self._typed(value), value)

    def parse(self, word: Any) -> Any:
        """Return the value that a user typed, or a caller gave as a number; the default where it is empty.

        Raises ValueFault.
        """
        text = str(word).strip()
        if not text and not self.required:
            return self.default
        if self.optional and self.value.absent and text.lower() == self.value.absent:
            return None
        return self._in_range(self._of_word(text), text)

    def noun(self) -> str:
        """Say what the field takes, in words, as `a list of numbers`."""
        if self.type is str:
            if self.value.choices:
                return f"one of {', '.join(word or 'nothing' for word in self.value.choices)}"
            return self.value.form or "a text"
        if get_origin(self.type) is tuple:
            return f"a list of {'names' if self.value.names else _PLURALS.get(get_args(self.type)[0], 'objects')}"
        return _NOUNS.get(self.type, "an object")

    def _typed(self, value: Any) -> Any:
        if is_record(self.type):
            if isinstance(value, self.type):
                return value
            if not isinstance(value, dict):
                raise self._type_fault(value)
            try:
                return self.type.from_json(value)
            except ValueFault as fault:
                raise ValueFault(f"{self.key}: {fault}") from fault
        if self.type is dict and isinstance(value, dict):
            return value
        origin = get_origin(self.type)
        if origin is dict:
            return self._typed_items(value)
        if origin is tuple:
            if not isinstance(value, (list, tuple)):
                raise self._type_fault(value)
            item = self._item(get_args(self.type)[0])
            try:
                return tuple(item.check(element) for element in value)
            except TypeFault as fault:
                raise self._type_fault(value) from fault
        if self.type is float and is_number(value):
            return float(value)
        if self.type is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if self.type in (bool, str) and isinstance(value, self.type):
            return self._cut(value)
        if self.value.names:
            raise self._name_fault(value)
        raise self._type_fault(value)

    def _cut(self, value: Any) -> Any:
        longest = self.value.longest
        if not isinstance(value, str) or longest is None or len(value) <= longest:
            return value
        return f"{value[: longest - 1]}…"

    def _typed_items(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._type_fault(value)
        for key in value if self.value.names else ():
            if not is_name(key):
                raise self._name_fault(key)
        item = self._item(get_args(self.type)[1])
        return {key: item.check(element) for key, element in value.items()}

    def _item(self, kind: Any) -> Field:
        """Return the field of one item of a list or an object."""
        return dataclasses.replace(self, type=kind, optional=False, default=MISSING)

    def _of_word(self, text: str) -> Any:
        if self.type is float:
            try:
                number = float(text)
            except ValueError:
                raise self._type_fault(text, "a number") from None
            if is_nan(number):
                raise self._type_fault(text, "a number")
            return self._typed(number)
        if self.type is int:
            try:
                return int(text)
            except ValueError:
                raise self._type_fault(text) from None
        if self.type is bool:
            # PyMOL's own commands take them besides 0 and 1.
            words = {"0": False, "1": True, "false": False, "true": True, "off": False, "on": True}
            if text.lower() not in words:
                alternative = f", or {self.value.absent}" if self.value.absent else ""
                raise TypeFault(self.name, text, "0 or 1", f"it must be 0 or 1{alternative}")
            return words[text.lower()]
        if get_origin(self.type) is tuple:
            item = self._item(get_args(self.type)[0])
            # Lists of Python come with brackets and commas.
            return tuple(item.parse(word) for word in text.strip("[]()").replace(",", " ").split())
        return text

    def _in_range(self, value: Any, original: Any) -> Any:
        if isinstance(value, str):
            if self.value.names and not is_name(value):
                raise self._name_fault(value)
            if (self.value.choices and value not in self.value.choices) or (
                self.value.pattern and not re.fullmatch(self.value.pattern, value)
            ):
                raise self._type_fault(original)
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and not self.value.contains(value):
            verb = "lie" if self.value.range_text().startswith("between") else "be"
            alternative = f", or be {self.value.absent}" if self.value.absent else ""
            raise ValueFault(f"{self.key} {shown(original)}: it must {verb} {self.value.range_text()}{alternative}")
        return value

    def _type_fault(self, value: Any, noun: str = "") -> TypeFault:
        noun = noun or self.noun()
        if self.value.absent:
            return TypeFault(self.key, value, noun, f"it is neither {noun} nor {self.value.absent}")
        if self.type is str and self.value.choices:
            return TypeFault(self.key, value, noun, f"choose {noun}")
        must = self.type is bool or (self.type is str and self.value.form)
        return TypeFault(self.key, value, noun, f"it must be {noun}" if must else "")

    def _name_fault(self, value: Any) -> ValueFault:
        return ValueFault(f"{self.value.names} can't be named {str(value)[:100]!r}: {rule_against(value)}")


class Record:
    """Base of frozen dataclasses that are JSON objects. Keys that are not known are left alone."""

    @classmethod
    def from_json(cls: type[ARecord], data: Mapping[str, Any]) -> ARecord:
        """Return the record that a JSON object holds. Raises ValueFault."""
        if not isinstance(data, Mapping):
            raise ValueFault(f"{str(data)[:100]} is not a JSON object")
        arguments = {
            name: field.check(data.get(field.key))
            for name, field in fields_of(cls).items()
            if field.key in data or field.required
        }
        record = cls(**arguments)
        record.check_together()
        return record

    def to_json(self) -> JsonObject:
        """Return the record as a JSON object. Numbers that are not finite are None."""
        data: JsonObject = {}
        for name, field in fields_of(type(self)).items():
            value = plain(getattr(self, name))
            if value is not None or not field.value.sparse:
                data[field.key] = value
        return data

    def check_together(self) -> None:
        """Check what fields say of each other; each of them is checked before. Raises ValueFault."""


class Options(Record):
    """Base of frozen dataclasses whose fields are checked whenever one is made. Raises ValueFault."""

    def __post_init__(self) -> None:
        for name, field in fields_of(type(self)).items():
            object.__setattr__(self, name, field.check(getattr(self, name)))
        self.check_together()

    @classmethod
    def parse(cls: type[AnOptions], **words: Any) -> AnOptions:
        """Options from words that a user typed, by field; fields that are left out have their defaults.

        Raises ValueFault.
        """
        known = fields_of(cls)
        return cls(**{name: known[name].parse(word) for name, word in words.items()})

    @classmethod
    def from_json(cls: type[AnOptions], data: Mapping[str, Any]) -> AnOptions:
        """Options from a JSON object. Raises ValueFault, for keys that are not known, too."""
        known = {field.key: name for name, field in fields_of(cls).items()}
        if unknown := sorted(set(data) - set(known)):
            raise ValueFault(f"there is no option {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        return cls(**{known[key]: value for key, value in data.items()})


def fields_of(kind: type[Any]) -> Mapping[str, Field]:
    """Return the fields of a dataclass that have a Value, by name."""
    # Types are hashable, which mypy does not see of those with a decorator.
    hashable: Any = kind
    return _described(hashable)


@functools.cache
def _described(kind: type[Any]) -> Mapping[str, Field]:
    described = {}
    for name, (plain_type, optional, extra, default) in annotated(kind).items():
        if isinstance(extra, Value):
            # Options are read again: a selection that was cut would be of other atoms.
            value = dataclasses.replace(extra, longest=None) if issubclass(kind, Options) else extra
            described[name] = Field(name, plain_type, optional, value, default)
    return described


def annotated(kind: type[Any]) -> dict[str, tuple[Any, bool, Any, Any]]:
    """By name of a dataclass' field: type without None, whether it may be None, what annotates it, default.

    Raises TypeError for a field without an annotation of its meaning.
    """
    hints = get_type_hints(kind, include_extras=True)
    described = {}
    for entry in fields(kind):
        hint = hints[entry.name]
        if get_origin(hint) is not Annotated:
            raise TypeError(f"{kind.__name__}.{entry.name} has no Value in its annotation")
        base, extra = get_args(hint)
        alternatives = get_args(base) if get_origin(base) in (types.UnionType, Union) else (base,)
        [base_type] = [alternative for alternative in alternatives if alternative is not type(None)]
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        described[entry.name] = (base_type, type(None) in alternatives, extra, default)
    return described


def is_record(kind: Any) -> bool:
    """Whether a type is a Record's."""
    return isinstance(kind, type) and issubclass(kind, Record)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, in floats, too, and not true or false."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def is_nan(value: Any) -> bool:
    """Whether a value, or the word that a user typed for it, is not a number for floats."""
    try:
        return math.isnan(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def plain(value: Any) -> Any:
    """Return the value in JSON's types: records as objects, tuples as lists, and numbers that are not finite as None.

    Scalars and arrays of numpy become Python's.
    """
    if isinstance(value, Record):
        return value.to_json()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def shown(value: Any) -> str:
    """Return a wrong value in an error, on one line of bounded length."""
    text = " ".join(str(value)[: 4 * LONGEST_SHOWN].split())
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


_NOUNS = {float: "a finite number", int: "a whole number", bool: "true or false"}
_PLURALS = {float: "numbers", int: "whole numbers", str: "texts"}


def _digits(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"
