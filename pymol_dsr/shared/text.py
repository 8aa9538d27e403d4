"""Text from a file or the wire, made safe to print; counts and durations in words."""

from __future__ import annotations

from typing import Any

LONGEST_LINE = 1_000
DEEPEST = 30
SECONDS_IN_WORDS = ((86400.0, "days"), (3600.0, "h"), (60.0, "min"), (0.0, "s"))


class AnswerError(ValueError):
    """An answer that can't be used; the message says what of it."""


# Texts


def strip_control_characters(value: Any, depth: int = 0) -> Any:
    """JSON values with the texts in them printable: no escape sequences, line ends or marks that turn the writing.

    Raises AnswerError where they are nested deeper than anything that is told.
    """
    if depth > DEEPEST:
        raise AnswerError(f"its values are nested more than {DEEPEST} deep")
    if isinstance(value, str):
        return value if value.isprintable() else "".join(c if c.isprintable() else " " for c in value)
    if isinstance(value, list):
        return [strip_control_characters(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {strip_control_characters(key): strip_control_characters(item, depth + 1) for key, item in value.items()}
    return value


def error_line(error: BaseException) -> str:
    """Return an error for the user; one of the system without its number, with the file it is about."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return one_line(f"{error.filename}: {error.strerror}")
    return one_line(error)


def one_line(text: Any) -> str:
    """Return a text for the user, of bounded length."""
    text = str(text)
    line = " ".join(strip_control_characters(text[:LONGEST_LINE]).split())
    return line if len(text) <= LONGEST_LINE else f"{line}…"


def in_words(seconds: float) -> str:
    """Return a duration in its largest unit, as 4 min."""
    size, unit = next((size, unit) for size, unit in SECONDS_IN_WORDS if seconds >= size)
    return f"{max(1.0, seconds / (size or 1.0)):.2g} {unit}"


def counted(count: int, noun: str, nouns: str = "") -> str:
    """Return a count with its noun, as 1 state and 2 states. nouns: the plural where no s makes it."""
    return f"1 {noun}" if count == 1 else f"{count} {nouns or noun + 's'}"
