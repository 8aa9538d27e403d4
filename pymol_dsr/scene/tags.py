"""Tags of the plugin's surfaces in the scene, which they keep when the user renames them, and in session files.

PyMOL has no notes on objects. A tag is a text setting of the object that PyMOL reads of molecules only.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

SETTING, PREFIX, PARTS = "atom_name_wildcard", "dsr", 5
LIVE, PREVIEW, MOVIE = "live", "preview", "movie"


@dataclass(frozen=True)
class Tag:
    """The role of an object (LIVE, PREVIEW or MOVIE), its fit and molecule. key: of this object alone."""

    role: str
    fit: str
    molecule: str
    key: str = ""

    @classmethod
    def new(cls, role: str, fit: str, molecule: str) -> Tag:
        """Return a tag that no other object has."""
        return cls(role, fit, molecule, uuid.uuid4().hex)

    def __str__(self) -> str:
        return ":".join((PREFIX, self.role, self.fit, self.molecule, self.key))


def put_tag(name: str, tag: Tag, _self: Any) -> None:
    """Tag an object."""
    _self.set(SETTING, str(tag), name)


def tag_of(name: str, _self: Any) -> Tag | None:
    """Return the tag of an object; None for one that has none."""
    fields = str(_self.get(SETTING, name) or "").split(":")
    return Tag(*fields[1:]) if len(fields) == PARTS and fields[0] == PREFIX else None


def tagged_objects(_self: Any) -> dict[str, Tag]:
    """Return the tags of all objects that have one, by name."""
    tags = {name: tag_of(name, _self) for name in _self.get_names("objects") if _self.get_type(name) == "object:cgo"}
    return {name: tag for name, tag in tags.items() if tag is not None}


def object_of(role: str, fit: str, _self: Any) -> str:
    """Return the name of the object of a fit that has this role, or an empty text."""
    names = (name for name, tag in tagged_objects(_self).items() if (tag.role, tag.fit) == (role, fit))
    return next(names, "")
