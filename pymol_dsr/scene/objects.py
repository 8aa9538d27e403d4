"""Objects of the scene by name: whether a name is free, deleting them, switching them off."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from ..surfaces.selections import ATOMS_TITLE, is_beside_movie


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
    """Raise SceneError where a name belongs to something else than the replaceable kinds."""
    for name in sorted(set(names) & set(_self.get_names("all"))):
        kind = object_kind(name, _self)
        if kind not in replaceable:
            noun = "molecule" if kind == ATOMS_TITLE else kind
            raise SceneError(f"the name {name} is taken by a {noun}; give another one with object=")


def delete_objects(names: Iterable[str], _self: Any) -> None:
    """Delete the objects that exist."""
    for name in set(names) & set(_self.get_names("all")):
        _self.delete(name)


def switch_off(name: str, _self: Any) -> bool:
    """Disable an object that is no molecule; returns whether it was there and on."""
    if name not in _self.get_names("objects", enabled_only=1) or _self.get_type(name) == "object:molecule":
        return False
    _self.disable(name)
    return True
