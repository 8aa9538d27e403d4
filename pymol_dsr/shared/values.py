"""Typed values: the meaning, unit and range of each field of a dataclass, and the check of what is given for it.

A field says its type and its `Value` in one annotation::

    resolution: Annotated[float, Value("distance between the nodes of the mesh", unit="Å", least=0.01, most=10)] = 0.5

`check` takes values of Python and of JSON, `parse` takes words that a user types. Both raise ValueFault with the key
and the value in one line.
"""

from __future__ import annotations

import functools
import math
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

LONGEST_SHOWN = 80
"""Characters of a wrong value that an error shows."""

AnOptions = TypeVar("AnOptions", bound="Options")


class ValueFault(ValueError):
    """A value that its field does not take: one line for the user, with the key and the value."""


@dataclass(frozen=True)
class Value:
    """What a field holds.

    text: its meaning. unit: Å, s, states, …, empty for none. least, above, most: its range, `above` without the limit
    itself. choices: the words that a text may be. pattern: a regular expression of the whole text, and `form`, what it
    says in words. absent: the word that users write for None.
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

    def range_text(self) -> str:
        """The range in words, as `at least 0 Å`; empty where any number will do."""
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
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is MISSING

    def check(self, value: Any) -> Any:
        """The value in the field's type: whole numbers as float and lists as tuples where the field holds these.

        Raises ValueFault.
        """
        if value is None and self.optional:
            return None
        return self._in_range(self._typed(value), value)

    def parse(self, word: Any) -> Any:
        """The value that a user typed: a text, or a number where the caller has one; the default where it is empty.

        Raises ValueFault.
        """
        text = str(word).strip()
        if not text and not self.required:
            return self.default
        if self.optional and self.value.absent and text.lower() == self.value.absent:
            return None
        return self._in_range(self._of_word(text), text)

    def fault(self, value: Any, complaint: str) -> ValueFault:
        """An error that names the field and shows the value."""
        return ValueFault(f"{self.name} {shown(value)}: {complaint}")

    def _is_not(self, noun: str) -> str:
        return f"it is neither {noun} nor {self.value.absent}" if self.value.absent else f"it is not {noun}"

    def _typed(self, value: Any) -> Any:
        if self.type is float:
            if not is_number(value):
                raise self.fault(value, self._is_not("a finite number"))
            return float(value)
        if self.type is int:
            if not isinstance(value, int) or isinstance(value, bool):
                raise self.fault(value, self._is_not("a whole number"))
            return value
        if self.type is bool:
            if not isinstance(value, bool):
                raise self.fault(value, "it must be true or false")
            return value
        if self.type is str:
            if not isinstance(value, str):
                raise self.fault(value, self._text_complaint())
            return value
        if get_origin(self.type) is tuple:
            if not isinstance(value, (list, tuple)):
                raise self.fault(value, self._is_not("a list"))
            [kind, *_] = get_args(self.type)
            item = Field(self.name, kind, False, self.value, MISSING)
            return tuple(item._in_range(item._typed(one), one) for one in value)
        raise TypeError(f"{self.name}: values of type {self.type} are not known")

    def _of_word(self, text: str) -> Any:
        if self.type is float:
            try:
                number = float(text)
            except ValueError:
                raise self.fault(text, self._is_not("a number")) from None
            return self._typed(number)
        if self.type is int:
            try:
                return int(text)
            except ValueError:
                raise self.fault(text, self._is_not("a whole number")) from None
        if self.type is bool:
            # What PyMOL's own commands take besides 0 and 1.
            words = {"0": False, "1": True, "false": False, "true": True, "off": False, "on": True}
            if text.lower() not in words:
                raise self.fault(text, "it must be 0 or 1")
            return words[text.lower()]
        if get_origin(self.type) is tuple:
            [kind, *_] = get_args(self.type)
            item = Field(self.name, kind, False, self.value, MISSING)
            return tuple(item.parse(word) for word in text.split())
        return text

    def _in_range(self, value: Any, given: Any) -> Any:
        if isinstance(value, str):
            if (self.value.choices and value not in self.value.choices) or (
                self.value.pattern and not re.fullmatch(self.value.pattern, value)
            ):
                raise self.fault(given, self._text_complaint())
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and not self.value.contains(value):
            verb = "lie" if self.value.range_text().startswith("between") else "be"
            alternative = f", or be {self.value.absent}" if self.value.absent else ""
            raise self.fault(given, f"it must {verb} {self.value.range_text()}{alternative}")
        return value

    def _text_complaint(self) -> str:
        if self.value.choices:
            return f"choose one of {', '.join(self.value.choices)}"
        return f"it must be {self.value.form}" if self.value.form else "it is not a text"


class Options:
    """Base of frozen dataclasses whose fields are checked when one is made. Raises ValueFault."""

    def __post_init__(self) -> None:
        for name, field in fields_of(type(self)).items():
            object.__setattr__(self, name, field.check(getattr(self, name)))
        self.check_together()

    def check_together(self) -> None:
        """Check what fields say of each other; each of them is checked before. Raises ValueFault."""

    @classmethod
    def parse(cls: type[AnOptions], **words: Any) -> AnOptions:
        """Options from words that a user typed, by field; fields that are left out have their defaults.

        Raises ValueFault.
        """
        known = fields_of(cls)
        return cls(**{name: known[name].parse(word) for name, word in words.items()})

    @classmethod
    def from_json(cls: type[AnOptions], data: Mapping[str, Any], owner: str = "config") -> AnOptions:
        """Options from a JSON object, which errors call `owner`. Raises ValueFault, for unknown keys too."""
        known = fields_of(cls)
        if unknown := sorted(set(data) - set(known)):
            raise ValueFault(f"{owner} has no {', '.join(unknown)}; it knows {', '.join(sorted(known))}")
        return cls(**data)

    def to_json(self) -> dict[str, Any]:
        """The options as a JSON object, each field under its name."""
        values = {name: getattr(self, name) for name in fields_of(type(self))}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def fields_of(kind: type[Any]) -> Mapping[str, Field]:
    """The fields of a dataclass by name."""
    # Types are hashable, which mypy does not see of those with a decorator.
    hashable: Any = kind
    return _described(hashable)


@functools.cache
def _described(kind: type[Any]) -> Mapping[str, Field]:
    hints = get_type_hints(kind, include_extras=True)
    described = {}
    for entry in fields(kind):
        hint = hints[entry.name]
        if get_origin(hint) is not Annotated:
            raise TypeError(f"{kind.__name__}.{entry.name} has no Value in its annotation")
        base, value = get_args(hint)
        alternatives = get_args(base) if get_origin(base) in (types.UnionType, Union) else (base,)
        [plain] = [alternative for alternative in alternatives if alternative is not type(None)]
        described[entry.name] = Field(entry.name, plain, type(None) in alternatives, value, entry.default)
    return described


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, and not true or false."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def shown(value: Any) -> str:
    """A wrong value in an error, on one line of bounded length."""
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def _digits(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"
