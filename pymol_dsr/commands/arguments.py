"""Meaning of arguments of several commands: a trajectory, times, files to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymol import CmdException

from ..fits.fit import Fit, Trajectory
from ..session import Session
from ..shared import states, text
from ..shared.names import is_name, rule_against
from ..shared.options import FieldOptions
from ..shared.paths import file_to_write

# Times of one command, and for each fitted state, past which the user is asked whether they are meant.
MANY_TIMES, MANY_PER_STATE = 10_000, 100
# Said where surfaces between the states were asked for, and nothing of `steady`.
STEADY = "averaged over time at the fitted states, too, so that it is steady; steady=0 meets them"

# dsr_* commands have an argument named `states`, which hides the module inside them.
parse_states = states.parse
format_states = states.format


def fit_name(name: Any, _self: Any) -> str:
    """Return a fit's name as PyMOL writes it, `B_` for `B` and `a_b` for `a b`: fits are entered under that one."""
    return str(_self.get_legal_name(str(name)))


def fit_of(session: Session, name: str) -> str:
    """Return the name of the fit that a name is of: that one, or the fit of a movie, also of one still to be loaded."""
    if name in session.jobs.fits:
        return name
    if name in session.movies.by_name:
        return session.movies.by_name[name].fit.name
    for fit in session.jobs.listed():
        # The movie of one trajectory of a family, or between two.
        if any(name.startswith(f"{fit.name}_{trajectory.name}") for trajectory in fit.trajectories if trajectory.name):
            return fit.name
    return name


def new_fit_name(fits: Mapping[str, Fit], given: str, argument: str, _self: Any) -> str:
    """Return the name of a fit to be entered, as PyMOL writes it. Raises CmdException before anything is started.

    Refused are names that no file may have, those that PyMOL writes like one that is taken, and those that differ from
    one in case only, which are the same file on Windows and macOS.
    """
    name = fit_name(given, _self)
    if not is_name(name):
        written = f"PyMOL writes it {name[:100]}: " if name not in ("", given) else ""
        raise CmdException(text.one_line(f"{argument} {given[:100]}: {written}{rule_against(name)}"))
    if name != given and name in fits:
        raise CmdException(
            f"{argument} {given}: PyMOL writes it {name}, which there is; {argument}={name} replaces that fit, any "
            "other name keeps it"
        )
    alike = next((existing for existing in fits if existing != name and existing.casefold() == name.casefold()), None)
    if alike is not None:
        raise CmdException(f"{argument} {given}: the fit {alike} differs in case only; give another name, or {alike}")
    return name


def chosen_trajectory(fit: Fit, field: FieldOptions) -> Trajectory:
    """Return the trajectory of a fit that the options name. Raises JobError, for one that the fit does not hold."""
    trajectory = fit.trajectory(field.trajectory)
    if field.towards:
        fit.trajectory(field.towards, "towards")
    return trajectory


def default_name(fit: Fit, field: FieldOptions) -> str:
    """Return the name of what is loaded of a field."""
    return "_".join([fit.name, *filter(None, (field.trajectory, field.towards))])


def requested_times(trajectory: Trajectory, times: str | Sequence[float]) -> list[float]:
    """Return times as numbers, from a states text or as they are; all fitted states where the text is empty.

    Raises StatesError, and CmdException the first time for so many that they are hardly meant.
    """
    if not isinstance(times, str):
        return list(times)
    first, last = int(min(trajectory.states)), int(max(trajectory.states))
    if not times:
        return list(range(first, last + 1))
    parsed = parse_states(times, last=last if times == "all" else None, fractional=True)
    if len(parsed) > max(MANY_TIMES, MANY_PER_STATE * len(trajectory.states)) and trajectory.many_times != times:
        trajectory.many_times = times
        raise CmdException(
            f"states {times}: they are {len(parsed)} times, and the fit is of {len(trajectory.states)} states; "
            "give the command again if that is meant"
        )
    return parsed


def path_to_write(path: str, suffixes: Sequence[str], argument: str) -> str:
    """Return the whole path of a file to write, with an ending out of `suffixes`. Raises CmdException."""
    try:
        return file_to_write(path, suffixes, argument)
    except ValueError as error:
        raise CmdException(str(error)) from error


def table_path(path: str) -> str:
    """Return the whole path of a table to write; empty where none is asked for. Raises CmdException."""
    return path_to_write(path, (".csv",), "file") if path else ""
