"""Writes docs/protocol.md, the messages of the plugin and the backend, from their schema: python tools/protocol.py"""

from __future__ import annotations

import sys
from dataclasses import MISSING
from pathlib import Path
from typing import Any, get_args, get_origin

from pymol_dsr.shared import messages
from pymol_dsr.shared.messages.base import Array, Message, parts_of
from pymol_dsr.shared.values import Field, fields_of, is_record

INTRODUCTION = """# Protocol

The messages between the plugin and the backend. `python tools/protocol.py` writes this page from
`pymol_dsr/shared/messages`. [The wire](wire.md) describes the frames that carry them.

Parameters with a default may be left out. A number that is not finite is null. In shapes, N are points, M faces, A
atoms, K neighbours; a letter is the same number in all arrays of a message. Other keys and arrays are ignored.
"""
TYPES = {float: "number", int: "whole number", bool: "true or false", str: "text", dict: "object"}


def protocol() -> str:
    """Return the page."""
    lines = [INTRODUCTION]
    for lane in messages.Lane:
        lines += [f"## Lane `{lane.name.lower()}`", "", f"Requests are {lane.value}.", ""]
        for method, kind in messages.REQUESTS.items():
            if kind.LANE is lane:
                lines += [f"### {method}", "", _summary(kind), "", *_table(kind, "parameter")]
                lines += [f"Result: {_summary(kind.RESULT)}", "", *_table(kind.RESULT, "result")]
    lines += ["## Events", ""]
    for event, event_kind in messages.EVENTS.items():
        lines += [f"### {event} (event)", "", _summary(event_kind), "", *_table(event_kind, "parameter")]
    return "\n".join(lines).rstrip() + "\n"


def _summary(kind: type[Any]) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def _table(kind: type[Message], title: str) -> list[str]:
    message_parts = parts_of(kind)
    fields = [*message_parts.values.values()]
    for record in message_parts.flat.values():
        fields += fields_of(record).values()
    rows = [row for field in fields for row in _rows(field, "")]
    rows += [_array(entry.key, entry.array, entry.optional) for entry in message_parts.arrays]
    return [f"| {title} | type | default | meaning |", "|---|---|---|---|", *rows, ""] if rows else []


def _rows(field: Field, prefix: str) -> list[str]:
    """The row of a field, and of the fields of a record in it."""
    default = "" if field.default is MISSING else _default(field.default)
    meaning = ", ".join(word for word in (field.value.text, field.value.range_text() or field.value.unit) if word)
    rows = [f"| `{prefix}{field.key}` | {_type(field.type, field)} | {default} | {meaning} |"]
    inner = get_args(field.type)[1] if get_origin(field.type) is dict else field.type
    if is_record(inner):
        below = f"{prefix}{field.key}." + ("NAME." if inner is not field.type else "")
        rows += [row for inner_field in fields_of(inner).values() for row in _rows(inner_field, below)]
    return rows


def _type(kind: Any, field: Field) -> str:
    if get_origin(kind) is tuple:
        return f"list of {_type(get_args(kind)[0], field)}s"
    if get_origin(kind) is dict or is_record(kind):
        return "object"
    if field.value.choices:
        return ", ".join(f"`{word}`" for word in field.value.choices)
    return field.value.form or TYPES[kind]


def _default(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, (int, str)) else ""


def _array(name: str, array: Array, optional: bool) -> str:
    unit = f", {array.unit}" if array.unit else ""
    text = array.text.replace("|", "\\|")
    return f"| `{name}` | array {array.noun({})} | {'none' if optional else ''} | {text}{unit} |"


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else "docs/protocol.md").write_text(protocol(), encoding="utf-8")
