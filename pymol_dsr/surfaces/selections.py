"""PyMOL selections and the objects that they are of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pymol import CmdException

from .source import ExtractError

# Title of the molecules that dsr_movie makes.
ATOMS_TITLE = "dsr atoms"
# First words of the titles of states that a trajectory source has generated.
GENERATED_TITLE = "dsr generated: "
NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
ONE_NAME = re.compile(r"[\w.-]+", re.ASCII)
# Kinds of what has a name in the scene and holds atoms.
WITH_ATOMS = ("molecule", "group", "selection")
# Names that a message lists, at most.
MOST_NAMES = 8
# PyMOL's own words on a name that it does not know.
INVALID = "Invalid selection name"
# Names as in one+two+three.
NAME_LIST = re.compile(r"[\w.^%-]+(?:\+[\w.^%-]+)+", re.ASCII)


def split_by_object(selection: str, _self: Any) -> list[str]:
    """Split a selection into selections of one object each. Raises ExtractError."""
    # PyMOL takes a + between names without spaces for part of a name, and none in a selection.
    if NAME_LIST.fullmatch(selection) and selection.removeprefix("%") not in _self.get_names("all"):
        # Each may be a group.
        return [of_one for name in selection.split("+") for of_one in split_by_object(name, _self)]
    objects = selected_objects(selection, _self)
    if len(objects) == 1:
        return [selection]
    # The atoms that dsr_movie has put beside its surfaces are no data; generated ones are where they are named.
    data = [name for name in objects if not is_beside_movie(name, _self)] or objects
    data = [name for name in data if not generated_states(name, _self)] or data
    return [f"({selection}) and %{name}" for name in data]


def check_named_once(selection: str, objects: Sequence[str]) -> None:
    """Raise ExtractError where one of the objects of a selection is named twice, as in one+two+one."""
    for number, name in enumerate(objects):
        if name in objects[:number]:
            raise ExtractError(f"selection {selection}: the object {name} occurs twice; each object is one trajectory")


def selected_object(selection: str, _self: Any) -> str:
    """Return the only object of a selection. Raises ExtractError where there are several."""
    names = selected_objects(selection, _self)
    if len(names) > 1:
        listed = ", ".join(sorted(names)[:4]) + (", ..." if len(names) > 4 else "")
        raise ExtractError(f"selection {selection}: it spans {len(names)} objects ({listed}); take one at a time")
    return names[0]


def selected_objects(selection: str, _self: Any) -> list[str]:
    """List the objects of a selection in the scene's order, at least one. Raises ExtractError."""
    try:
        # In PyMOL 3.1 only this one raises for a name that does not exist.
        _self.count_atoms(f"({selection})")
        names = list(_self.get_object_list(f"({selection})") or [])
    except CmdException as error:
        if fault := _word_fault(selection, _self):
            raise ExtractError(fault) from error
        raise ExtractError(f"selection {selection}: {refusal(selection, error, _self)}") from error
    if not names:
        raise ExtractError(f"selection {selection}: it holds no atoms")
    if fault := _abbreviation_fault(selection, names, _self):
        raise ExtractError(fault)
    return names


def refusal(selection: str, error: CmdException, _self: Any) -> str:
    """Return in one line why PyMOL refuses a selection, with the names in the scene where one is unknown."""
    reason = str(error.args[0] if error.args else error).splitlines()[0].rstrip(".")
    if NAME.fullmatch(selection) and selection not in _self.get_names("all"):
        # PyMOL takes the beginning of one of its words for it, as pep for pepseq, and complains of what follows.
        reason = f'{INVALID} "{selection}"'
    names = f" ({names_there(_self)})" if INVALID in reason else ""
    hint = "; join objects with 'or' in a selection" if "+" in reason else ""
    return f"{reason}{names}{hint}"


def names_there(_self: Any) -> str:
    """List the molecules and selections of the scene for a message, MOST_NAMES of them at most."""
    kinds = ("object:molecule", "selection")
    names = [name for name in _self.get_names("public") if _self.get_type(name) in kinds]
    listed = [*names[:MOST_NAMES], *(["..."] if len(names) > MOST_NAMES else [])]
    return f"there: {', '.join(listed) or 'none'}"


def _abbreviation_fault(selection: str, names: list[str], _self: Any) -> str:
    """Say that a name is none of a molecule; empty for all other selections, and for abbreviations of molecules.

    PyMOL takes it for the beginning of another name then: that of a movie for the atoms beside it.
    """
    if not ONE_NAME.fullmatch(selection) or str(_self.get_legal_name(selection)) != selection:
        return ""
    kind = str(_self.get_type(selection)).split(":")[-1] if selection in _self.get_names("all") else ""
    if kind and kind not in WITH_ATOMS:
        molecules = [name for name in _self.get_names("objects") if _self.get_type(name) == "object:molecule"]
        named = next((name for name in molecules if not is_beside_movie(name, _self)), molecules[0])
        return f"selection {selection}: it is a {kind}, which has no atoms; name a molecule, as {named}"
    if not kind and all(is_beside_movie(name, _self) for name in names):
        return f'selection {selection}: {INVALID} "{selection}" ({names_there(_self)})'
    return ""


def _word_fault(selection: str, _self: Any) -> str:
    """Say that a selection that PyMOL refuses is one of its words and no name; empty where it is neither."""
    legal = str(_self.get_legal_name(selection)) if NAME.fullmatch(selection) else selection
    # PyMOL names no object like a word of its selections, and adds a _ to it.
    if legal == selection:
        return ""
    names = _self.get_names("objects")
    remedy = f"give {legal}" if legal in names else f"give a name that the scene has, as {names[0]}" if names else ""
    return f"selection {selection}: no object is called {selection}, which is a word of PyMOL's selections; {remedy}"


def filled_states(name: str, _self: Any) -> list[int]:
    """Return the states of a molecule that have coordinates, from 1."""
    return [state for state in range(1, _self.count_states(f"%{name}") + 1) if _is_filled(name, state, _self)]


def is_beside_movie(name: str, _self: Any) -> bool:
    """Return whether a molecule has the interpolated atoms that dsr_movie puts beside its surfaces."""
    return _is_filled(name, 1, _self) and _self.get_title(name, 1) == ATOMS_TITLE


def generated_states(name: str, _self: Any) -> list[int]:
    """Return the states of a molecule that a trajectory source has generated, from 1."""
    titles = {state: str(_self.get_title(name, state) or "") for state in filled_states(name, _self)}
    return [state for state, title in titles.items() if title.startswith(GENERATED_TITLE)]


def _is_filled(name: str, state: int, _self: Any) -> bool:
    # By the matrix, which an empty state does not have: PyMOL prints an error where it is asked for such a title.
    return _self.get_object_matrix(name, state=state, incl_ttt=0) is not None
