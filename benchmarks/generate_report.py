"""Tables of generate.py, from the JSON files of its parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import markdown
import numpy as np

Row = dict[str, Any]
NET_DRAWN = 4


def write(page: Path, folder: Path) -> None:
    """Write each part that has results into a block of its own; the others stay as they are."""
    markdown.put(page, "sources", HEADING)
    for section, tabulate in TABLES.items():
        path = folder / f"{section}.json"
        if path.exists():
            markdown.put(page, f"sources-{section}", tabulate(json.loads(path.read_text())))


HEADING = [
    "## Trajectory sources",
    "",
    "Written by `benchmarks/generate.py`. Seconds are of one processor. The second of AdK's DIMS paths is scored; "
    "constants were chosen on other DIMS paths and on FRODA. `broken`: heavy-atom bonds off by more than 0.2 Å.",
]


def _number(value: Any, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _continue_table(rows: list[Row]) -> list[str]:
    header = ["from state", "method", "other path known", "+10", "+20", "+40", "1–10", "11–20", "broken, %", "s"]
    body = [
        [
            str(row["from"]),
            row["method"],
            row["others"],
            *(_number(row.get(key)) for key in ("+10", "+20", "+40", "1-10", "11-20")),
            _number(row["broken"]),
            _number(row["s"], 1),
        ]
        for row in rows
    ]
    note = "Continuing DIMS: Cα RMSD in Å, superposed. From state 20, 21 states are known (they count from 0)."
    return [note, "", *markdown.table(header, body)]


def _fill_table(rows: list[Row]) -> list[str]:
    header = ["known states", "method", "mean", "largest", "broken, %", "s"]
    body = [
        [row["known"], row["method"], *(_number(row[key]) for key in ("mean", "max", "broken")), _number(row["s"], 1)]
        for row in rows
    ]
    note = "Filling in DIMS: Cα RMSD in Å of the states between; `analog` knows the other path."
    return [note, "", *markdown.table(header, body)]


def _surface_table(rows: list[Row]) -> list[str]:
    body = [[row["method"], *(_number(v, 4) for v in row["iou"]), _number(np.mean(row["iou"]), 4)] for row in rows]
    note = "From DIMS' states 1 and 79 alone: IoU with the true surfaces at states 21, 40 and 59."
    return [note, "", *markdown.table(["surfaces", "21", "40", "59", "mean"], body)]


def _fluctuation_table(rows: list[Row]) -> list[str]:
    header = ["gaps", "path", "RMSD, Å", "step, Å", "true step, Å", "last step, Å", "broken, %", "s a gap"]
    keys = ("rmsd", "step", "true", "last", "broken")
    body = [[row["case"], row["method"], *(_number(row[key]) for key in keys), _number(row["s"], 1)] for row in rows]
    return ["Filling in with fluctuations (`sample=1`), beside straight lines.", "", *markdown.table(header, body)]


def _peptide_table(rows: list[Row]) -> list[str]:
    truth = " ".join(_number(value) for value in rows[0]["true autocorrelation"])
    header = ["method", "late JS", "transition JS", f"autocorrelation ({truth})", "CRPS 5 ps", "CRPS 20 ps"]
    header += [f"step ({_number(rows[0]['true step'])})", "broken, %", "s"]
    body = [
        [
            row["method"],
            _number(row["late JS"], 3),
            _number(row["transition JS"], 3),
            " ".join(_number(value) for value in row["autocorrelation"]),
            *(_number(row[key]) for key in ("CRPS 5", "CRPS 20", "step", "broken")),
            _number(row["s"], 1),
        ]
        for row in rows
    ]
    note = "Ala10, an unseen run, 48 starts of 60 ps; true values in brackets, CRPS of the end-to-end distance in Å."
    return [note, "", *markdown.table(header, body)]


def _net_table(rows: list[Row]) -> list[str]:
    row = rows[0]
    text = (
        f"The net on the same: trained for {row['training s']:.0f} processor seconds ({row['steps']} steps), held-out "
        f"loss {row['ratio']:.3f} of its baseline's, {row['chart']} coordinates; {NET_DRAWN} continuations a start."
    )
    return [text, "", *_peptide_table(rows)[2:]]


def _equilibrium_table(rows: list[Row]) -> list[str]:
    header = ["trajectory", "method", "JS", "W2, Å", "RMSF r", "RMSF / training", "step / training", "recall, Å"]
    header += ["contacts", "broken, %", "s"]
    keys = ("JS", "W2", "RMSF r", "RMSF", "step", "recall", "contacts", "broken")
    body = [
        [row["trajectory"], row["method"], *(_number(row[key]) for key in keys), _number(row["s"], 1)] for row in rows
    ]
    note = "100 states like those of the first half of an equilibrium trajectory, against the second half."
    return [note, "", *markdown.table(header, body)]


TABLES: dict[str, Callable[[list[Row]], list[str]]] = {
    "continue": _continue_table,
    "fill": _fill_table,
    "surfaces": _surface_table,
    "fluctuations": _fluctuation_table,
    "peptide": _peptide_table,
    "net": _net_table,
    "equilibrium": _equilibrium_table,
}
