"""Fits that were interrupted: what is left of them in the folder of fits, and how they go on.

What was asked is kept with their surfaces, so that they go on in another session, too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend import reply_checks
from ..backend.client import Backend
from ..backend.process import BackendError
from ..shared import states
from ..shared.surfaces_format import is_surfaces_path
from ..shared.text import AnswerError
from ..surfaces import extract
from ..surfaces.source import ExtractError, Source


@dataclass(frozen=True)
class Interrupted:
    """surfaces: how many are there; step: that of the checkpoint of its training, or None; about: as the backend keeps
    it, empty where nobody asked.
    """

    name: str
    surfaces: int
    step: int | None
    about: dict[str, Any]

    def line(self) -> str:
        """In a word: what is there and what to do."""
        there = f"{self.surfaces} surface{'' if self.surfaces == 1 else 's'}"
        there += f", step {self.step}" if self.step is not None else ""
        return f"{self.name}: interrupted: {there}; dsr_resume {self.name}"


def asked(sources: Sequence[Source]) -> dict[str, Any]:
    """What `open` is told, for the fit to go on with: states as text and a digest of the coordinates, per object."""
    return {
        "states": [states.format(source.states) for source in sources],
        "coordinates": [_digest(source) for source in sources],
    }


def _digest(source: Source) -> str:
    found = hashlib.sha256()
    for state in source.states:
        found.update(np.ascontiguousarray(source.coordinates[state], "<f4").tobytes())
    return found.hexdigest()


def listed(backend: Backend) -> dict[str, Interrupted]:
    """By name, as the backend finds them; those that are under way in it are not among them. Raises BackendError."""
    result, _ = backend.call("interrupted", timeout=10)
    fits = result.get("fits")
    if not isinstance(fits, dict):
        raise BackendError("protocol", "the backend's list of interrupted fits is none; see dsr_doctor")
    return {
        str(name): Interrupted(str(name), _count(about.get("surfaces")) or 0, _count(about.get("step")), about)
        for name, about in fits.items()
        if isinstance(about, dict)
    }


def in_folder(folder: str) -> dict[str, Interrupted]:
    """By name, from a folder of fits on this machine, for when no backend runs; without what was asked."""
    found = {}
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        path = os.path.join(folder, name)
        if name.endswith(".surfaces") and os.path.isfile(os.path.join(path, "about.json")):
            count = sum(is_surfaces_path(file) for at, _, files in os.walk(path) if at != path for file in files)
            found[name[:-9]] = Interrupted(name[:-9], count, None, {})
    return found


def sources(fit: Interrupted, _self: Any) -> list[Source]:
    """What was fitted, from the scene as it is now. Raises ExtractError where it is not there as it was."""
    told = fit.about.get("source")
    names = fit.about.get("trajectories")
    told = told if isinstance(told, dict) else {}
    if names:
        among = told.get("trajectories")
        parts = [among.get(name) for name in names] if isinstance(among, dict) and isinstance(names, list) else []
    else:
        parts = [told]
    was = fit.about.get("asked")
    was = was if isinstance(was, dict) else {}
    texts, digests = was.get("states"), was.get("coordinates")
    whole = isinstance(texts, list) and isinstance(digests, list) and len(texts) == len(digests) == len(parts)
    known = [part for part in parts if isinstance(part, dict) and part.get("object") and part.get("atoms")]
    if not known or not whole or len(known) < len(parts):
        raise ExtractError(f"{fit.name}: what was fitted is not kept; dsr_fit it with resume=1, name={fit.name}")
    return [
        _source(fit.name, part, str(text), str(digest), _self)
        for part, text, digest in zip(known, texts or [], digests or [], strict=True)
    ]


def _source(name: str, part: dict[str, Any], text: str, digest: str, _self: Any) -> Source:
    object, atoms = str(part["object"]), str(part["atoms"])
    if object not in _self.get_names("objects"):
        raise ExtractError(
            f"{name}: its object {object} is not in the scene; load it under that name, then dsr_resume {name}"
        )
    try:
        count = len(reply_checks.atom_indices(atoms))
    except AnswerError as error:
        raise ExtractError(f"{name}: {error}; dsr_fit it anew") from error
    # By index: the selection's own words may name what is no longer there.
    now = extract.read_source(f"%{object} and index {atoms}", text, _self=_self)
    anew = f"load it as it was, or dsr_fit it anew with name={name}"
    if len(now.atoms) != count:
        raise ExtractError(f"{name}: {count} atoms of {object} were fitted, {len(now.atoms)} of them are there; {anew}")
    if _digest(now) != digest:
        raise ExtractError(f"{name}: the atoms of {object} in states {text} are not where they were; {anew}")
    changed = [key for key, value in now.settings.items() if dict(part.get("settings") or {}).get(key) != value]
    if changed:
        were = ", ".join(f"{key} was {dict(part.get('settings') or {}).get(key)}" for key in changed[:3])
        raise ExtractError(f"{name}: other settings of {object} made its surfaces ({were}); set them, or {anew}")
    return dataclasses.replace(now, selection=str(part.get("selection") or now.selection))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
