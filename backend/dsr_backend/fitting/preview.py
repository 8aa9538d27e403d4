"""The surface of one time while its fit goes on: at once from that state alone, then from the unfinished field."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.options import FitOptions

from ..fields.base import Family, Field
from ..results.mesh import Mesh, extract_mesh
from ..surfaces.surface import Surface
from . import run

# Seconds of decoder training for the state alone; its lattices carry most of the shape.
LOOK_SECONDS = 0.3
# Spacings of the meshes as shares of the first one's: while the fit goes on, and at its end.
SHARPER, SHARPEST = 0.75, 0.5

Show = Callable[[Mesh, bool], None]


class Preview:
    """Sends meshes of one time through `show`; what keeps it from one costs the fit nothing and is told to `say`, once.

    resolution: Å between the nodes of the first mesh. triangles: most of each. trajectory: the first of a family's,
    else None. radii as in `mesher.mesh`. `show` gets the mesh and whether it is that of the finished field.
    """

    def __init__(
        self,
        time: float,
        resolution: float,
        triangles: int | None,
        trajectory: str | None,
        radii: NDArray[np.float32] | None,
        show: Show,
        say: Callable[[str], None],
    ) -> None:
        self.time, self.resolution, self.triangles = time, resolution, triangles
        self.trajectory, self.radii = trajectory, radii
        self.begun = False
        self._show, self._say = show, say
        self._failed = False

    def wants(self, surface: Surface, trajectory: str | None) -> bool:
        """Whether this is the surface of the time that is shown, and the first look at it."""
        return not self.begun and surface.state == self.time and trajectory == self.trajectory

    def begin(self, surface: Surface, config: FitOptions, cancelled: Callable[[], bool]) -> None:
        """Show a quick fit of the surface alone. Raises Cancelled."""
        self.begun = True
        quick = dataclasses.replace(config, preset="preview", budget=LOOK_SECONDS, smooth=0.0)
        try:
            field = run.fit_trajectory([surface], quick, cancelled=cancelled)
        except ValueError as error:
            self._give_up(error)
            return
        self._mesh(field, 1.0, False, cancelled)

    def watch(self, field: Field, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Show an unfinished field, as `trainer.fit` hands it out. Raises Cancelled."""
        self._mesh(field, SHARPER, False, cancelled)

    def end(self, fitted: Field | Family, cancelled: Callable[[], bool]) -> None:
        """Show the finished field. Raises Cancelled."""
        field = fitted.member(str(self.trajectory)) if isinstance(fitted, Family) else fitted
        self._mesh(field, SHARPEST, True, cancelled)

    def _mesh(self, field: Field, share: float, final: bool, cancelled: Callable[[], bool]) -> None:
        if self._failed:
            return
        try:
            mesh = extract_mesh(
                field,
                self.time,
                resolution=share * self.resolution,
                triangles=self.triangles,
                radii=self.radii,
                cancelled=cancelled,
            )
        except ValueError as error:
            self._give_up(error)
            return
        self._show(mesh, final)

    def _give_up(self, error: Any) -> None:
        self._failed = True
        self._say(f"there is no preview: {error}")
