"""The table of a back-test in lines of text: how well each method predicts states that were held out."""

from __future__ import annotations

from collections.abc import Sequence

from ..shared.messages import BackTestRow

NO_SCORE = "-"
LEAST = 1e-4


def table_lines(rows: Sequence[BackTestRow]) -> list[str]:
    """Return the table, a line for each method, with a * at the one that was taken; no lines without scores."""
    columns = list(dict.fromkeys(column for row in rows for column in row.scores))
    if not columns:
        return []
    head = ["  method", *columns, ""]
    body = [
        [
            f"{'*' if row.chosen else ' '} {row.method}",
            *(_number(row.scores[column]) if column in row.scores else NO_SCORE for column in columns),
            row.note,
        ]
        for row in rows
    ]
    widths = [max(len(line[column]) for line in [head, *body]) for column in range(len(head))]
    lines = []
    for line in [head, *body]:
        first, *cells, note = (cell for cell in line)
        numbers = "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths[1:-1], strict=True))
        lines.append(f" {first:<{widths[0]}}{numbers}  {note}".rstrip())
    return lines


def _number(score: float) -> str:
    # A held state moves by rounding alone.
    return "0" if abs(score) < LEAST else f"{score:.3g}"
