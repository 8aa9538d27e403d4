"""Tables as the content of .csv files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any


def csv_bytes(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Return a table with one line of names, in UTF-8."""
    table = io.StringIO(newline="")
    out = csv.writer(table)
    out.writerow(names)
    out.writerows(rows)
    return table.getvalue().encode()
