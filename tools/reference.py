"""docs/commands.md from the docstrings of the commands: python tools/reference.py [docs/commands.md]

Runs in a Python that has PyMOL. The file is not edited by hand: `help dsr_fit` says the same in PyMOL.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

# The order a user meets them in; what is not named follows.
FIRST = (
    "dsr_fit",
    "dsr_movie",
    "dsr_color",
    "dsr_film",
    "dsr_still",
    "dsr_levels",
    "dsr_measure",
    "dsr_eval",
    "dsr_export",
)
SECTIONS = ("DESCRIPTION", "USAGE", "ARGUMENTS", "EXAMPLE", "SEE ALSO", "NOTES")
AS_TYPED = ("USAGE", "EXAMPLE")


def reference() -> str:
    """The whole page."""
    # PyMOL is heavy. The import of `register` fills COMMANDS.
    from pymol_dsr.commands import register  # noqa: F401
    from pymol_dsr.commands.command import COMMANDS

    names = [name for name in FIRST if name in COMMANDS] + sorted(set(COMMANDS) - set(FIRST))
    lines = [
        "# Commands",
        "",
        "Written by `python tools/reference.py` from what `help dsr_fit` says in PyMOL. States are numbered from 1, "
        "lengths are in ångström. A comma ends an argument in PyMOL, so states are joined with `+`: `1+5+9`, `1-79:2`, "
        "`1-40+60-80:2`, `1-102:0.25` for times between states, `1-300:1..10` for an interval that grows. Objects are "
        "joined with `+`, too, and the numbers of a list have spaces between them: `levels=10 50`.",
        "",
        " · ".join(f"[{name}](#{name})" for name in names),
    ]
    for name in names:
        lines += ["", f"## {name}", "", *_page(name, inspect.getdoc(COMMANDS[name]) or "", names)]
    return "\n".join(lines) + "\n"


def _page(name: str, text: str, names: list[str]) -> list[str]:
    """One command's sections as Markdown. Raises ValueError where a section has no known heading."""
    sections: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line and not line[0].isspace():
            if line not in SECTIONS:
                raise ValueError(f"{name}: {line!r} is not one of {', '.join(SECTIONS)}")
            sections.append((line, []))
        elif sections:
            sections[-1][1].append(line.removeprefix("    "))
    lines: list[str] = []
    for heading, body in sections:
        body = "\n".join(body).strip("\n").splitlines()
        if heading in AS_TYPED:
            lines += [*([] if heading == "USAGE" else ["Example:", ""]), "```", *body, "```", ""]
        elif heading == "ARGUMENTS":
            lines += [*_arguments(body), ""]
        elif heading == "SEE ALSO":
            commands = [entry.strip() for entry in " ".join(body).split(",")]
            linked = ", ".join(
                f"[{command}](#{command})" if command in names else f"`{command}`" for command in commands
            )
            lines += [f"See also {linked}.", ""]
        else:
            lines += [*map(_plain, body), ""]
    return lines[:-1]


def _arguments(body: list[str]) -> list[str]:
    """Paragraphs `name = kind: text` as a list, with the names as code."""
    items = []
    for paragraph in "\n".join(body).split("\n\n"):
        sentence = " ".join(paragraph.split())
        match = re.match(r"([\w, ]+?) = ([^:]*(?:cuda:1)?[^:]*): (.*)", sentence)
        items.append(f"- `{match[1]}` = {_plain(match[2])}: {_plain(match[3])}" if match else f"- {_plain(sentence)}")
    return items


def _plain(text: str) -> str:
    """With placeholders in angle brackets as code, and stars kept as they are."""
    return re.sub(r"(\w*(?:<[\w ]+>\w*)+)", r"`\1`", text.replace("*", r"\*"))


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else "docs/commands.md").write_text(reference(), encoding="utf-8")
