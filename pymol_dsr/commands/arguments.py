"""What the arguments of several commands mean: a trajectory, times, files to write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymol import CmdException

from ..fits.fit import Fit, Trajectory
from ..shared import states
from ..shared.options import FieldOptions
from ..shared.paths import file_to_write

# dsr_* commands have an argument named `states`, which hides the module inside them.
parse_states = states.parse
format_states = states.format


def fit_name(name: Any, _self: Any) -> str:
    """A fit's name as PyMOL writes it, `B_` for `B`: fits are entered under that one."""
    return str(_self.get_legal_name(str(name)))


def chosen_trajectory(fit: Fit, field: FieldOptions) -> Trajectory:
    """The trajectory of a fit that the options name. Raises JobError, for one that the fit does not hold."""
    trajectory = fit.trajectory(field.trajectory)
    if field.towards:
        fit.trajectory(field.towards, "towards")
    return trajectory


def default_name(fit: Fit, field: FieldOptions) -> str:
    """The name of what is loaded of a field."""
    return "_".join([fit.name, *filter(None, (field.trajectory, field.towards))])


def requested_times(trajectory: Trajectory, times: str | Sequence[float]) -> list[float]:
    """Times as numbers, from a states text or as they are; all fitted states where the text is empty.

    Raises StatesError.
    """
    if not isinstance(times, str):
        return list(times)
    first, last = int(min(trajectory.states)), int(max(trajectory.states))
    if times:
        return parse_states(times, last=last if times == "all" else None, fractional=True)
    return list(range(first, last + 1))


def path_to_write(path: str, suffixes: Sequence[str], argument: str) -> str:
    """The whole path of a file to write, with an ending out of `suffixes`. Raises CmdException."""
    try:
        return file_to_write(path, suffixes, argument)
    except ValueError as error:
        raise CmdException(str(error)) from error


def table_path(path: str) -> str:
    """The whole path of a table to write; empty where none is asked for. Raises CmdException."""
    return path_to_write(path, (".csv",), "file") if path else ""
