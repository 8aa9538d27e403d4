"""Fits that were interrupted, in this session or an earlier one, and the requests that go on with them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..backend.client import Backend
from ..runtime.folders import fits_folder
from ..shared import messages
from ..shared.fits_folder import ABOUT, SURFACES
from ..shared.names import is_name
from ..shared.options import FitOptions, StartOptions
from ..shared.surfaces_format import is_surfaces_path
from ..shared.text import counted
from ..shared.values import ValueFault
from ..surfaces import extract
from ..surfaces.source import ExtractError, Source
from .jobs import Jobs
from .request import AskedFit, FitRequest, digest


@dataclass(frozen=True)
class Interrupted:
    """An interrupted fit.

    record: as the backend keeps it; without source and request where no backend was asked.
    """

    name: str
    record: messages.InterruptedFit

    def progress(self) -> str:
        """Return its progress as a text."""
        count, step = self.record.surfaces, self.record.step
        return f"{self.name}: interrupted: {counted(count, 'surface')}" + (f", step {step}" if step is not None else "")

    def line(self) -> str:
        """Return its progress and the command that goes on with it, in one line."""
        return f"{self.progress()}; dsr_resume {self.name}"


def list_interrupted(jobs: Jobs) -> list[Interrupted]:
    """Return the interrupted fits that are not under way here; where no backend runs, from the folder of fits.

    Raises BackendError or OSError.
    """
    backend = jobs.connection.running
    fits = interrupted_in(fits_folder(jobs.settings)) if backend is None else ask_interrupted(backend)
    return [fit for name, fit in fits.items() if not (name in jobs.fits and jobs.fits[name].activity)]


def ask_interrupted(backend: Backend) -> dict[str, Interrupted]:
    """Return the interrupted fits that a backend knows, by name; those under way in it are left out.

    Raises BackendError.
    """
    fits = backend.call(messages.Interrupted(), timeout=10).fits
    return {name: Interrupted(name, record) for name, record in fits.items()}


def request_of(fit: Interrupted, present_name: Callable[[str], str], _self: Any) -> FitRequest:
    """Return the request again, with the molecules from the scene.

    present_name: returns the name in the scene of a molecule that had another one when it was fitted. Raises
    ExtractError where they are not as they were, and ValueFault for a record that can't be read.
    """
    request = AskedFit.from_json(fit.record.asked)
    family = request.family or ""
    start = StartOptions(resume=True, family=family, frozen=bool(family) and request.frozen)
    return FitRequest(_sources(fit, request, present_name, _self), FitOptions.from_json(request.config), start)


def _sources(fit: Interrupted, request: AskedFit, present_name: Callable[[str], str], _self: Any) -> list[Source]:
    names = fit.record.trajectories
    molecules = messages.molecule_sources(fit.record.source, names)
    known = [molecules[name] for name in names or ("",) if name in molecules]
    complete = len(known) == len(names or ("",)) == len(request.states) == len(request.coordinates)
    if not complete or not all(molecule.object and molecule.atoms for molecule in known):
        raise ExtractError(f"{fit.name}: what was fitted is not kept; dsr_fit it with resume=1, name={fit.name}")
    return [
        _source(fit.name, dataclasses.replace(molecule, object=present_name(molecule.object or "")), text, sha, _self)
        for molecule, text, sha in zip(known, request.states, request.coordinates, strict=True)
    ]


def _source(name: str, molecule: messages.MoleculeSource, text: str, sha: str, _self: Any) -> Source:
    """Return the source that was fitted, from the scene. text: its states; sha: the digest of its coordinates."""
    object, atoms = molecule.object, molecule.atoms
    if object not in _self.get_names("objects"):
        raise ExtractError(
            f"{name}: its object {object} is not in the scene; load it under that name, then dsr_resume {name}"
        )
    try:
        indices = molecule.atom_indices()
    except ValueFault as error:
        raise ExtractError(f"{name}: {error}; dsr_fit it anew") from error
    count = 0 if indices is None else len(indices)
    # By index: the selection's own words may name objects that are deleted.
    source = extract.read_source(f"%{object} and index {atoms}", text, unwrap=bool(molecule.unwrap), _self=_self)
    remedy = f"load it as it was, or dsr_fit it anew with name={name}"
    if len(source.atoms) != count:
        raise ExtractError(
            f"{name}: {count} atoms of {object} were fitted, {len(source.atoms)} of them are there; {remedy}"
        )
    if digest(source) != sha:
        raise ExtractError(f"{name}: the atoms of {object} in states {text} are not where they were; {remedy}")
    before = molecule.settings or {}
    changed = [key for key, value in source.settings.items() if before.get(key) != value]
    if changed:
        were = ", ".join(f"{key} was {before.get(key)}" for key in changed[:3])
        raise ExtractError(f"{name}: other settings of {object} made its surfaces ({were}); set them, or {remedy}")
    if molecule.radius not in (None, source.mean_radius()):
        raise ExtractError(
            f"{name}: other van der Waals radii of {object} made its surfaces ({molecule.radius} A on average, and now "
            f"{source.mean_radius()} A); set them with 'alter', or {remedy}"
        )
    return dataclasses.replace(source, selection=molecule.selection or source.selection, provenance=molecule.provenance)


def interrupted_in(folder: str) -> dict[str, Interrupted]:
    """Return the interrupted fits in a folder of fits on this machine, by name. Raises OSError."""
    fits = {}
    for entry in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        path = os.path.join(folder, entry)
        if entry.endswith(SURFACES) and os.path.isfile(os.path.join(path, ABOUT)):
            name = entry.removesuffix(SURFACES)
            if not is_name(name):
                continue
            count = sum(is_surfaces_path(file) for inner, _, files in os.walk(path) if inner != path for file in files)
            fits[name] = Interrupted(name, messages.InterruptedFit(count))
    return fits
