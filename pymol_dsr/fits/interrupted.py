"""Fits that were interrupted, in this session or an earlier one, and the requests that go on with them."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

from ..backend import reply_checks
from ..backend.client import Backend
from ..backend.process import BackendError
from ..runtime.folders import fits_folder
from ..shared.options import FitOptions, StartOptions
from ..shared.surfaces_format import is_surfaces_path
from ..shared.text import AnswerError
from ..surfaces import extract
from ..surfaces.source import ExtractError, Source
from .jobs import Jobs
from .request import FitRequest, digest

SUFFIX = ".surfaces"


@dataclass(frozen=True)
class Interrupted:
    """An interrupted fit.

    surfaces: how many are kept. step: that of the checkpoint of its training, or None. record: source, trajectories
    and request as the backend keeps them, empty where no backend was asked.
    """

    name: str
    surfaces: int
    step: int | None
    record: dict[str, Any]

    def progress(self) -> str:
        """How far it came, as a text."""
        count = f"{self.surfaces} surface{'' if self.surfaces == 1 else 's'}"
        return f"{self.name}: interrupted: {count}" + (f", step {self.step}" if self.step is not None else "")

    def line(self) -> str:
        """How far it came and how it goes on, in one line."""
        return f"{self.progress()}; dsr_resume {self.name}"


def list_interrupted(jobs: Jobs) -> list[Interrupted]:
    """The interrupted fits that are not under way here; where no backend runs, from the folder of fits.

    Raises BackendError or OSError.
    """
    backend = jobs.connection.running
    fits = _in_folder(fits_folder(jobs.settings)) if backend is None else ask_interrupted(backend)
    return [fit for name, fit in fits.items() if not (name in jobs.fits and jobs.fits[name].activity)]


def ask_interrupted(backend: Backend) -> dict[str, Interrupted]:
    """The interrupted fits that a backend knows, by name; those under way in it are left out. Raises BackendError."""
    result, _ = backend.call("interrupted", timeout=10)
    fits = result.get("fits")
    if not isinstance(fits, dict):
        raise BackendError("protocol", "the backend's list of interrupted fits is none; see dsr_doctor")
    return {
        str(name): Interrupted(str(name), _count(record.get("surfaces")) or 0, _count(record.get("step")), record)
        for name, record in fits.items()
        if isinstance(record, dict)
    }


def request_of(fit: Interrupted, _self: Any) -> FitRequest:
    """The request again, with the molecules from the scene. Raises ExtractError where they are not as they were."""
    request = _dict(fit.record.get("asked"))
    family = str(request.get("family") or "")
    start = StartOptions(resume=True, family=family, frozen=bool(family and request.get("frozen")))
    return FitRequest(_sources(fit, request, _self), FitOptions.from_json(_dict(request.get("config"))), start)


def _sources(fit: Interrupted, request: dict[str, Any], _self: Any) -> list[Source]:
    source = _dict(fit.record.get("source"))
    names = fit.record.get("trajectories")
    if names:
        by_name = source.get("trajectories")
        records = [by_name.get(n) for n in names] if isinstance(by_name, dict) and isinstance(names, list) else []
    else:
        records = [source]
    texts, digests = request.get("states"), request.get("coordinates")
    complete = isinstance(texts, list) and isinstance(digests, list) and len(texts) == len(digests) == len(records)
    known = [record for record in records if isinstance(record, dict) and record.get("object") and record.get("atoms")]
    if not known or not complete or len(known) < len(records):
        raise ExtractError(f"{fit.name}: what was fitted is not kept; dsr_fit it with resume=1, name={fit.name}")
    return [
        _source(fit.name, record, str(text), str(sha), _self)
        for record, text, sha in zip(known, texts or [], digests or [], strict=True)
    ]


def _source(name: str, record: dict[str, Any], text: str, sha: str, _self: Any) -> Source:
    """The source that a record of `Source.to_json` describes. text: its states; sha: the digest of its coordinates."""
    object, atoms = str(record["object"]), str(record["atoms"])
    if object not in _self.get_names("objects"):
        raise ExtractError(
            f"{name}: its object {object} is not in the scene; load it under that name, then dsr_resume {name}"
        )
    try:
        count = len(reply_checks.atom_indices(atoms))
    except AnswerError as error:
        raise ExtractError(f"{name}: {error}; dsr_fit it anew") from error
    # By index: the selection's own words may name objects that are deleted.
    now = extract.read_source(f"%{object} and index {atoms}", text, _self=_self)
    remedy = f"load it as it was, or dsr_fit it anew with name={name}"
    if len(now.atoms) != count:
        raise ExtractError(
            f"{name}: {count} atoms of {object} were fitted, {len(now.atoms)} of them are there; {remedy}"
        )
    if digest(now) != sha:
        raise ExtractError(f"{name}: the atoms of {object} in states {text} are not where they were; {remedy}")
    before = _dict(record.get("settings"))
    changed = [key for key, value in now.settings.items() if before.get(key) != value]
    if changed:
        were = ", ".join(f"{key} was {before.get(key)}" for key in changed[:3])
        raise ExtractError(f"{name}: other settings of {object} made its surfaces ({were}); set them, or {remedy}")
    return dataclasses.replace(now, selection=str(record.get("selection") or now.selection))


def _in_folder(folder: str) -> dict[str, Interrupted]:
    """By name, from a folder of fits on this machine."""
    fits = {}
    for entry in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        path = os.path.join(folder, entry)
        if entry.endswith(SUFFIX) and os.path.isfile(os.path.join(path, "about.json")):
            name = entry.removesuffix(SUFFIX)
            count = sum(is_surfaces_path(file) for inner, _, files in os.walk(path) if inner != path for file in files)
            fits[name] = Interrupted(name, count, None, {})
    return fits


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
