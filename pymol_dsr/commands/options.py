"""Parses the arguments of commands."""

from __future__ import annotations

import math
import os
from typing import Any

from pymol import CmdException

from ..fits.fit import Fit, Trajectory
from ..shared import states
from ..shared.paths import file_to_write

PRESETS = ("fast", "preview", "paper")


FORMATS = ("ply", "obj", "stl", "glb", "npz")


# dsr_* commands have an argument named `states`, which hides the module inside them.
parse_states = states.parse
format_states = states.format


def fit_name(name: Any, _self: Any) -> str:
    """Return a fit's name as PyMOL writes it, `B_` for `B`: fits are entered under that one."""
    return str(_self.get_legal_name(str(name)))


def chosen_trajectory(
    fit: Fit, trajectory: Any, towards: Any = "", share: Any = "", steady: Any = 0
) -> tuple[Trajectory, dict[str, Any]]:
    """The trajectory that is meant, and what requests say of it."""
    chosen = fit.trajectory(str(trajectory))
    which: dict[str, Any] = {"trajectory": chosen.name} if chosen.name else {}
    if str(towards):
        other = fit.trajectory(str(towards), "towards")
        if other is chosen:
            raise CmdException(f"towards {towards}: it is the trajectory itself; name another one")
        which.update(towards=other.name, share=parse_number("share", share if str(share) else 0.5, 0.0))
        if which["share"] > 1.0:
            raise CmdException(f"share {share}: it must lie between 0 ({chosen.name}) and 1 ({other.name})")
    elif str(share):
        raise CmdException(f"share {share}: it says how far towards another trajectory; give towards= too")
    if int(steady):
        which["steady"] = True
    return chosen, which


def default_name(fit: Fit, which: dict[str, Any]) -> str:
    return "_".join([fit.name, *(which[key] for key in ("trajectory", "towards") if key in which)])


def requested_times(trajectory: Trajectory, text: str) -> list[float]:
    first, last = int(min(trajectory.states)), int(max(trajectory.states))
    if text:
        return parse_states(text, last=last if text == "all" else None, fractional=True)
    return list(range(first, last + 1))


def parse_choice(key: str, value: str, choices: tuple[str, ...]) -> str:
    if str(value) not in choices:
        raise CmdException(f"{key} {value}: choose one of {', '.join(choices)}")
    return str(value)


def parse_number(key: str, value: Any, least: float | None = None, above: bool = False) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise CmdException(f"{key} {value}: it is not a number") from error
    if math.isnan(number):
        raise CmdException(f"{key} {value}: it is not a number")
    if not abs(number) < float("inf") or (least is not None and (number < least or (above and number == least))):
        raise CmdException(f"{key} {value}: it must be {'above' if above else 'at least'} {least or 0:g}")
    return number


def parse_whole_number(key: str, value: Any, least: int) -> int:
    try:
        number = int(value)
    except ValueError as error:
        raise CmdException(f"{key} {value}: it is not a whole number") from error
    if number < least:
        raise CmdException(f"{key} {value}: it must be at least {least}")
    return number


def table_path(file: str) -> str:
    """The path of a table to write; none where none is asked for."""
    try:
        return file_to_write(file, (".csv",), "file") if file else ""
    except ValueError as error:
        raise CmdException(str(error)) from error


def writable_path(filename: str, suffixes: tuple[str, ...]) -> str:
    path = os.path.abspath(os.path.expanduser(filename))
    suffix = os.path.splitext(path)[1][1:].lower()
    if suffix not in suffixes:
        raise CmdException(f"filename {filename}: it must end in {', '.join('.' + s for s in suffixes)}")
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise CmdException(f"filename {filename}: the folder {folder} does not exist")
    if not os.access(folder, os.W_OK):
        raise CmdException(f"filename {filename}: the folder {folder} can't be written to")
    return path


def write_file(path: str, data: bytes) -> None:
    draft = f"{path}.part"
    try:
        with open(draft, "wb") as stream:
            stream.write(data)
        os.replace(draft, path)
    except BaseException:
        if os.path.exists(draft):
            os.unlink(draft)
        raise
