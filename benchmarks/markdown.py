"""Parts of a hand-written Markdown file that a script writes, between markers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


def put(path: Path, name: str, lines: Sequence[str]) -> None:
    """Replace what stands between the markers of part `name`, or append it with markers where there are none."""
    begin, end = f"<!-- {name}: written by a script -->", f"<!-- {name}: end -->"
    text = path.read_text() if path.exists() else ""
    if begin not in text:
        text += ("\n" if text else "") + f"{begin}\n{end}\n"
    before, _, remainder = text.partition(begin)
    _, end_mark, after = remainder.partition(end)
    if not end_mark:
        raise ValueError(f"{path} has {begin!r} without {end!r}; put it back")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([before + begin, "", *lines, "", end + after]))


def marked(text: str) -> list[str]:
    """Return the parts between markers, with their markers, in their order."""
    pattern = re.compile(r"<!-- ([\w-]+): written by a script -->.*?<!-- \1: end -->", re.DOTALL)
    return [match.group(0) for match in pattern.finditer(text)]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table."""
    texts = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cells)} |" for cells in texts]
