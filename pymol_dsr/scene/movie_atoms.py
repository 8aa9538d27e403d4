"""The fitted atoms at times between states, as a molecule beside the movie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fits.fit import Trajectory
from ..surfaces.coordinates import put_coordinates
from ..surfaces.selections import ATOMS_TITLE
from . import placement
from .atoms import present_indices
from .molecule_copy import copy_atoms
from .objects import SceneError


class MovieAtoms:
    """A molecule drawn like the source, so that cartoons move along with the surface."""

    def __init__(self, source: Trajectory, name: str, _self: Any) -> None:
        self.source, self.name, self._self = source, name, _self
        self.absence = ""
        """Why the source in the scene can't be copied, in one line."""
        self._first_state: int | None = None
        self._order = np.zeros(0, np.int64)

    @property
    def exists(self) -> bool:
        """Whether atoms were added."""
        return self._first_state is not None

    def add(self, state: int, atoms: NDArray[np.float32]) -> None:
        """Add a state with atoms f4[A,3] (Å); does nothing where the source is not in the scene as it was fitted."""
        cmd, source = self._self, self.source
        if source.atoms is None or len(atoms) != len(source.atoms) or source.object not in cmd.get_names("objects"):
            return
        if self.absence:
            return
        if self._first_state is None:
            try:
                present = present_indices(source, cmd)
            except SceneError as error:
                self.absence = str(error)
                return
            self._order = copy_atoms(source.object, present, self.name, int(min(source.states)), state, cmd)
            self._first_state = state
        else:
            with placement.without_keys(cmd):
                cmd.create(self.name, self.name, self._first_state, state, zoom=0)
        put_coordinates(self.name, state, atoms[self._order], cmd)

    def finish(self, ttt: list[float]) -> None:
        """Place the molecule by a display matrix, and switch the source off."""
        cmd = self._self
        placement.place(self.name, ttt, cmd)
        cmd.set_title(self.name, 1, ATOMS_TITLE)
        # Its states are not the movie's, so it would play beside its own surface.
        cmd.disable(self.source.object)
