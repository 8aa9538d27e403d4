"""Meshes of one time of a running fit: first of that state alone, then of the finished field."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.options import FitOptions

from ..fields.base import Family, Field
from ..results.mesh import Mesh, extract_mesh
from ..surfaces.surface import Surface
from . import run

# Node spacing of the last mesh per spacing of the first one.
FINAL_SPACING = 0.5

# Gets a mesh, and whether it is that of the finished field.
Show = Callable[[Mesh, bool], None]


class Preview:
    """Meshes of one time of a running fit.

    An error while meshing does not disturb the fit: it is reported once, and no further mesh follows.
    """

    def __init__(
        self,
        time: float,
        resolution: float,
        triangles: int | None,
        trajectory: str | None,
        radii: NDArray[np.float32] | None,
        show: Show,
        warn: Callable[[str], None],
    ) -> None:
        """time: state number; resolution: node spacing of the first mesh in Å; triangles: most triangles of a mesh;
        trajectory: the one of a family to show, None without a family; radii: as in `extract_mesh`; show: gets each
        mesh; warn: gets the error."""
        self.time, self.resolution, self.triangles = time, resolution, triangles
        self.trajectory, self.radii = trajectory, radii
        self.started = False
        self._show, self._warn = show, warn
        self._failed = False

    def starts_with(self, surface: Surface, trajectory: str | None) -> bool:
        """Return whether this surface is the preview's state, and no mesh was made so far."""
        return not self.started and surface.state == self.time and trajectory == self.trajectory

    def show_sent_state(self, surface: Surface, options: FitOptions, cancelled: Callable[[], bool]) -> None:
        """Show a surface that the sender has, unless it can show it itself: `triangles` at most. Raises Cancelled."""
        self.started = True
        if self.triangles is None or len(surface.faces) > self.triangles:
            self.show_state(surface, options, cancelled)

    def show_state(self, surface: Surface, options: FitOptions, cancelled: Callable[[], bool]) -> None:
        """Show a quick fit of the surface alone. Raises Cancelled."""
        self.started = True
        quick = dataclasses.replace(options, preset="preview", smooth=0.0)
        try:
            field = run.fit_trajectory([surface], quick, cancelled=cancelled)
        except ValueError as error:
            self._fail(error)
            return
        self._show_mesh(field, 1.0, False, cancelled)

    def show_finished(self, fitted: Field | Family, cancelled: Callable[[], bool]) -> None:
        """Show the finished field. Raises Cancelled."""
        field = fitted.member(str(self.trajectory)) if isinstance(fitted, Family) else fitted
        self._show_mesh(field, FINAL_SPACING, True, cancelled)

    def _show_mesh(self, field: Field, factor: float, final: bool, cancelled: Callable[[], bool]) -> None:
        """Show the mesh at `factor` times the first mesh's spacing."""
        if self._failed:
            return
        try:
            mesh = extract_mesh(
                field,
                self.time,
                resolution=factor * self.resolution,
                triangles=self.triangles,
                radii=self.radii,
                cancelled=cancelled,
            )
        except ValueError as error:
            self._fail(error)
            return
        self._show(mesh, final)

    def _fail(self, error: ValueError) -> None:
        self._failed = True
        self._warn(f"there is no preview: {error}")
