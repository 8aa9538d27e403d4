"""The molecules of the scene, and the selections of them that pages offer."""

from __future__ import annotations

from typing import Any

from ..surfaces.selections import is_beside_movie


def molecules(_self: Any) -> dict[str, int]:
    """Return the molecules of the scene with their numbers of states."""
    return {
        name: _self.count_states(f"%{name}")
        for name in _self.get_names("public_objects")
        if _self.get_type(name) == "object:molecule" and not is_beside_movie(name, _self)
    }


def offers(counts: dict[str, int], _self: Any) -> list[str]:
    """Return selections to offer, of molecules with these numbers of states.

    Moving ones come first, their polymer where there is solvent, and all of them as a family.
    """
    names = sorted(counts, key=lambda n: counts[n] <= 1)
    out = []
    for name in names:
        solvent, polymer = (_self.count_atoms(f"%{name} and {kind}") for kind in ("solvent", "polymer"))
        if solvent and polymer:
            out.append(f"{name} and polymer")
        out.append(name)
    moving = [name for name in names if counts[name] > 1]
    if 1 < len(moving) <= 8:
        out.append("+".join(moving))
    return out
