"""Objects of the scene by name: whether a name is free, deleting them, switching them off."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from ..surfaces.object_session import read_object_session
from ..surfaces.selections import ATOMS_TITLE, is_beside_movie

# Ends of the names of surfaces that the plugin has put into a group: the number of a part, or a level.
_PART = re.compile(r"_[+-]?\d[\d.e+-]*")


class SceneError(ValueError):
    """A result can't be shown: one line for the user."""


def object_kind(name: str, _self: Any) -> str:
    """Return the kind of an object or selection, as molecule, cgo or map; empty where the scene has none.

    A molecule that dsr_movie made has the kind ATOMS_TITLE.
    """
    if name not in _self.get_names("all"):
        return ""
    kind = str(_self.get_type(name)).split(":")[-1]
    return ATOMS_TITLE if kind == "molecule" and is_beside_movie(name, _self) else kind


def check_names(names: Iterable[str], replaceable: Collection[str], _self: Any) -> None:
    """Raise SceneError where a name belongs to something else than the replaceable kinds, or to a group of the user's.

    A group is the user's where it holds a molecule that has none of the names.
    """
    present = set(names) & set(_self.get_names("all"))
    for name in sorted(present):
        kind = object_kind(name, _self)
        if kind not in replaceable:
            noun = "molecule" if kind == ATOMS_TITLE else kind
            raise SceneError(f"the name {name} is taken by a {noun}; give another one with object=")
        held = sorted(set(molecules_in(name, _self)) - present) if kind == "group" else []
        if held:
            raise SceneError(
                f"the name {name} is taken by a group that holds {', '.join(held)}; give another one with object=, or "
                f"'ungroup {held[0]}'"
            )


def molecules_in(group: str, _self: Any) -> list[str]:
    """Return the molecules of a group."""
    # PyMOL takes the name of a group also for the beginning of another name, so that this is none or any.
    if not _self.get_object_list(f"%{group}"):
        return []
    molecules = [name for name in _self.get_names("objects") if _self.get_type(name) == "object:molecule"]
    return [name for name in molecules if read_object_session(name, _self).group == group]


def delete_objects(names: Iterable[str], _self: Any) -> None:
    """Delete the objects that exist; of a group, the surfaces that are named after it. The others in it stay."""
    for name in set(names) & set(_self.get_names("all")):
        if object_kind(name, _self) == "group":
            for member in _self.get_names("objects"):
                is_part = member.startswith(name) and _PART.fullmatch(member, len(name))
                if is_part and object_kind(member, _self) in ("cgo", "surface"):
                    _self.delete(member)
            # PyMOL's delete would take all members along.
            _self.group(name, action="excise")
        else:
            _self.delete(name)


def switch_off(name: str, _self: Any) -> bool:
    """Disable an object that is no molecule; returns whether it was there and on."""
    if name not in _self.get_names("objects", enabled_only=1) or _self.get_type(name) == "object:molecule":
        return False
    _self.disable(name)
    return True
