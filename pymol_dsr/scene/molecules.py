"""The molecules that fits were made from, followed when the user renames them, also in session files.

A molecule is tagged with each fit that was made from it, and the name that this fit knows it by. The tag is a text
setting of the object that PyMOL reads only where `mesh_clear_cutoff` is set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from ..fits.fit import Fit, Trajectory
from ..fits.jobs import Jobs
from .gui_thread import in_gui
from .kept_movies import KeptMovies
from .objects import object_kind
from .tags import put_tag, tagged_objects

SETTING, PREFIX = "mesh_clear_selection", "dsr:"
# In place of a fit's name, which it can't be: for the name that an object was generated under.
GENERATED = "*generated"

# Name of a fit, and of its molecule when it was fitted. A trajectory source has its own name in place of a fit's.
Owner = tuple[str, str]


def present_name(fit: str, molecule: str, _self: Any) -> str:
    """Return the present name of the molecule that a fit knows by this one; that one where no object has its tag."""
    tagged = [name for name, owners in _owners(_self).items() if (fit, molecule) in owners]
    return molecule if molecule in tagged or not tagged else tagged[0]


def claim_molecule(fit: str, molecule: str, _self: Any) -> None:
    """Tag a molecule with a fit that was made from it, in place of another one with that tag."""
    owners, owner = _owners(_self), (fit, molecule)
    if molecule not in owners:
        return
    for name, known in owners.items():
        if owner in known and name != molecule:
            _put_owners(name, known - {owner}, _self)
    if owner not in owners[molecule]:
        _put_owners(molecule, owners[molecule] | {owner}, _self)


def generated_name(name: str, _self: Any) -> str:
    """Return the name that an object was generated under; its present one where it has no tag of that."""
    names = [molecule for fit, molecule in _owners(_self).get(name, ()) if fit == GENERATED]
    return names[0] if names else name


class Molecules:
    """Keeps `object` of all trajectories the present name of their molecule."""

    def __init__(self, jobs: Jobs, movies: KeptMovies) -> None:
        self._jobs, self._movies = jobs, movies
        self._self: Any = None

    def attach(self, _self: Any) -> None:
        """Know the PyMOL whose molecules they are."""
        self._self = _self

    def follow_loaded(self, fit: Fit) -> None:
        """Follow the molecules of a fit that was loaded because it is used, in any thread."""
        in_gui(self._self, self._follow, [fit], self._self)

    def claim(self, fit: Fit, _self: Any) -> None:
        """Tag the molecules of a fit, which have the names that it knows, and follow those that have others."""
        for trajectory in fit.trajectories:
            claim_molecule(fit.name, trajectory.origin, _self)
        self._follow([fit], _self)

    def follow(self, _self: Any) -> None:
        """Follow the molecules of all fits and loaded movies."""
        self._follow(self._jobs.listed(), _self)

    def _follow(self, fits: Iterable[Fit], _self: Any) -> None:
        owners = _owners(_self)
        for fit, trajectory in self._trajectories(fits):
            owner = (fit, trajectory.origin)
            tagged = [name for name, known in owners.items() if owner in known]
            if tagged:
                # A copy of an object has its tag, too.
                name = trajectory.object if trajectory.object in tagged else tagged[0]
            elif trajectory.origin in owners:
                name = trajectory.origin
                owners[name] = owners[name] | {owner}
                _put_owners(name, owners[name], _self)
            else:
                continue
            if name != trajectory.object:
                before, trajectory.object = trajectory.object, name
                self._rename(fit, before, name, _self)

    def _trajectories(self, fits: Iterable[Fit]) -> Iterator[tuple[str, Trajectory]]:
        """Yield the trajectories of fits and of movies, with the names of their fits."""
        for fit in fits:
            yield from ((fit.name, trajectory) for trajectory in fit.trajectories)
        for movie in self._movies.by_name.values():
            yield movie.fit.name, movie.trajectory

    def _rename(self, fit: str, before: str, name: str, _self: Any) -> None:
        """Write the other name of a molecule into the tags of the surfaces of a fit."""
        self._movies.follow_names(_self)
        for object, tag in tagged_objects(_self).items():
            if (tag.fit, tag.molecule) == (fit, before):
                put_tag(object, dataclasses.replace(tag, molecule=name), _self)
        self._movies.read_tags(_self)


def _owners(_self: Any) -> dict[str, frozenset[Owner]]:
    """Return the fits that each molecule in the scene is tagged with."""
    molecules = [name for name in _self.get_names("objects") if object_kind(name, _self) == "molecule"]
    return {name: _read(str(_self.get(SETTING, name) or "")) for name in molecules}


def _read(text: str) -> frozenset[Owner]:
    if not text.startswith(PREFIX):
        return frozenset()
    pairs = (entry.partition("=") for entry in text.removeprefix(PREFIX).split(","))
    return frozenset((fit, molecule) for fit, _, molecule in pairs)


def _put_owners(name: str, owners: frozenset[Owner], _self: Any) -> None:
    text = str(_self.get(SETTING, name) or "")
    # A text of the user's own stays.
    if not text or text.startswith(PREFIX):
        _self.set(SETTING, PREFIX + ",".join(sorted(f"{fit}={molecule}" for fit, molecule in owners)), name)
