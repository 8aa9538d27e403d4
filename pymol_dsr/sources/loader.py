"""Loads generated states as all-atom objects of their own: a state per call in the window's thread.

The object is made of atoms of the molecule that the source was given, so bonds, names and representations are its own.
Carbons are orange, as extrapolated surfaces are; each generated state has a title that says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..scene import placement
from ..scene.gui_thread import in_gui
from ..scene.molecule_copy import copy_atoms
from ..scene.molecules import GENERATED, claim_molecule, present_name
from ..scene.objects import SceneError, delete_objects, molecules_in, object_kind
from ..surfaces.coordinates import put_coordinates
from ..surfaces.selections import GENERATED_TITLE, generated_states

CARBONS = "orange"


@dataclass(frozen=True)
class StatePlace:
    """Where a state of a result goes: state `state` (from 1) of the object `object`."""

    object: str
    state: int


@dataclass(frozen=True, eq=False)
class GivenState:
    """A state of the user's that stands among generated ones: its coordinates f4[A,3] (Å) and its title."""

    place: StatePlace
    coordinates: NDArray[np.float32]
    title: str


def check_generated_names(names: Sequence[str], _self: Any) -> None:
    """Raise SceneError where a name belongs to something that no source has made."""
    for name in sorted(set(names) & set(_self.get_names("all"))):
        kind = str(_self.get_type(name)).split(":")[-1]
        # A group of surfaces, as of dsr_occupancy, has no molecules.
        molecules = molecules_in(name, _self) if kind == "group" else [name]
        if not molecules or not all(_is_generated(molecule, _self) for molecule in molecules):
            raise SceneError(f"the name {name} is taken by a {kind}; give another one with name=")


def _is_generated(name: str, _self: Any) -> bool:
    return _self.get_type(name) == "object:molecule" and bool(generated_states(name, _self))


class GeneratedObjects:
    """Loads the states of one result.

    molecule, indices: the object whose atoms i4[A] (from 0) are taken. places: one for each state of the result.
    given: states of the user's among them. group: name of a group of several objects, else empty.
    """

    def __init__(
        self,
        molecule: str,
        indices: NDArray[np.int32],
        places: Sequence[StatePlace],
        _self: Any,
        given: Sequence[GivenState] = (),
        group: str = "",
    ) -> None:
        self._molecule, self._indices, self._places = molecule, indices, list(places)
        self._given, self._group, self._self = list(given), group, _self
        self.objects = list(dict.fromkeys(state_place.object for state_place in self._places))
        # The user may rename the molecule before the first states come.
        in_gui(_self, claim_molecule, self.objects[0], molecule, _self)
        self._began = False
        self._first_states: dict[str, int] = {}
        self._order = np.zeros(0, np.int64)
        self.loaded = 0

    def add(self, first: int, coordinates: NDArray[np.float32]) -> None:
        """Load states f4[F,A,3] (Å) of the result; first: the place of the first among its states, from 0."""
        if not self._began:
            in_gui(self._self, self._begin)
            self._began = True
        for number, xyz in enumerate(coordinates, first):
            if number < len(self._places):
                in_gui(self._self, self._put, self._places[number], xyz, GENERATED_TITLE + "not finished")
                self.loaded = max(self.loaded, number + 1)

    def finish(self, coordinates: NDArray[np.float32], titles: Sequence[str]) -> None:
        """Load all states f4[F,A,3] (Å) of the result with their titles, and group the objects."""
        self.add(0, coordinates)
        for state_place, title in zip(self._places, titles, strict=False):
            in_gui(self._self, self._self.set_title, state_place.object, state_place.state, GENERATED_TITLE + title)
        in_gui(self._self, self._end)

    def remove(self) -> None:
        """Take everything away again."""
        in_gui(self._self, delete_objects, [*self.objects, self._group], self._self)

    def _begin(self) -> None:
        cmd = self._self
        names = [*self.objects, *filter(None, [self._group])]
        check_generated_names(names, cmd)
        # An earlier run may have had more replicas.
        for group in [name for name in names if object_kind(name, cmd) == "group"]:
            replica = re.compile(rf"{re.escape(group)}_\d+")
            names += [name for name in cmd.get_names("objects") if replica.fullmatch(name) and _is_generated(name, cmd)]
        delete_objects(names, cmd)
        if not cmd.get_movie_length() and cmd.get_state() > max(state_place.state for state_place in self._places):
            # They are alone in view soon, and none of them has the state in view.
            cmd.frame(1)
        for given_state in self._given:
            self._put(given_state.place, given_state.coordinates, given_state.title)

    def _put(self, state_place: StatePlace, xyz: NDArray[np.float32], title: str) -> None:
        cmd, name = self._self, state_place.object
        if name not in cmd.get_names("objects"):
            if name in self._first_states:
                # Its first states are gone with it, and who deleted it does not want the others.
                raise SceneError(f"{name} was deleted or renamed while its states came, so no more are generated")
            self._create(name, state_place.state)
        elif not cmd.count_atoms(f"%{name} and state {state_place.state}"):
            template = next(
                k for k in range(1, cmd.count_states(f"%{name}") + 1) if cmd.count_atoms(f"%{name} and state {k}")
            )
            with placement.without_keys(cmd):
                cmd.create(name, f"%{name}", template, state_place.state, zoom=0)
        put_coordinates(name, state_place.state, xyz[self._order], cmd)
        cmd.set_title(name, state_place.state, title)

    def _create(self, name: str, state: int) -> None:
        cmd, molecule = self._self, self._present_name()
        if molecule not in cmd.get_names("objects"):
            raise SceneError(f"{molecule} was deleted, and {name} takes its atoms; load it again, and start anew")
        self._order = copy_atoms(molecule, self._indices, name, 1, state, cmd)
        claim_molecule(GENERATED, name, cmd)
        self._first_states[name] = state
        cmd.color(CARBONS, f"%{name} and elem C")
        placement.place(name, placement.object_ttt(molecule, cmd), cmd)

    def _end(self) -> None:
        cmd = self._self
        if self._group:
            cmd.group(self._group, " ".join(self.objects))
        # Its states are not these, so it would play beside them.
        cmd.disable(self._present_name())

    def _present_name(self) -> str:
        return present_name(self.objects[0], self._molecule, self._self)
