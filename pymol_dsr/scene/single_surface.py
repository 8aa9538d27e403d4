"""One mesh as one object that is replaced in place: the preview of a fit, and the window's live surface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..surfaces.selections import ATOMS_TITLE
from . import cgo, placement
from .color_bar import remove_bars
from .objects import object_kind, switch_off
from .tags import LIVE, MOVIE, PREVIEW, Tag, object_of, put_tag, tagged_objects


def preview_name(fit: str, _self: Any) -> str:
    """Return the name of the object of a fit's preview, which the user may have renamed."""
    return object_of(PREVIEW, fit, _self) or str(_self.get_legal_name(f"{fit}_preview"))


def live_name(fit: str, _self: Any) -> str:
    """Return the name of the object of a fit's live surface, which the user may have renamed."""
    return object_of(LIVE, fit, _self) or str(_self.get_legal_name(f"{fit}_live"))


def clear_place(molecule: str, name: str, _self: Any) -> None:
    """Leave `name` as the only surface of a molecule: remove live ones and previews, switch movies off.

    Surfaces of other fits of the molecule would lie in the same place.
    """
    if not molecule:
        return
    for object, tag in tagged_objects(_self).items():
        if tag.molecule != molecule or object == name:
            continue
        if tag.role == MOVIE:
            if object in _self.get_names("objects", enabled_only=1):
                switch_off_movie(object, molecule, _self)
        else:
            remove([object], _self)
            remove_bars(object, _self)


def switch_off_movie(name: str, molecule: str, _self: Any) -> None:
    """Switch a movie off. Where its own atoms are on, they are switched off, too, and the molecule is on again.

    The states of these atoms are those of the movie: beside another surface they would be at another time.
    """
    switch_off(name, _self)
    atoms = f"{name}_atoms"
    if atoms in _self.get_names("objects", enabled_only=1) and object_kind(atoms, _self) == ATOMS_TITLE:
        _self.disable(atoms)
        if molecule in _self.get_names("objects"):
            _self.enable(molecule)


def remove_both(fit: str, _self: Any) -> None:
    """Delete the preview and the live surface of a fit, where its movie takes their place."""
    remove([preview_name(fit, _self), live_name(fit, _self)], _self)


def remove(names: Sequence[str], _self: Any) -> None:
    """Delete objects that are CGOs, with the bars of their colours."""
    for name in names:
        remove_bars(name, _self)
        if name in _self.get_names("objects") and _self.get_type(name) == "object:cgo":
            _self.delete(name)


def put_mesh(name: str, floats: list[float], ttt: Sequence[float], color: str, tag: Tag, _self: Any) -> bool:
    """Load one mesh as the CGO object `name`, in place of its last one; False where another object has that name."""
    if name in _self.get_names("objects"):
        if _self.get_type(name) != "object:cgo":
            return False
    elif color:
        # Coloured before it is first drawn.
        _self.load_cgo(cgo.NOTHING, name, 1, zoom=0)
    if color:
        _self.color(color, name)
    _self.load_cgo(floats, name, 1, zoom=0)
    put_tag(name, tag, _self)
    placement.place(name, ttt, _self)
    return True
