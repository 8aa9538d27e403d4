"""The plan of a movie: its times, requests and the line that loads it again, checked before anything is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymol import CmdException

from ..fits import pse
from ..fits.fit import Fit, Trajectory
from ..scene import movie_objects, timeline
from ..scene.replies import Reply
from ..scene.timeline import MovieState, frames_per_second, movie_times
from ..shared import messages
from ..shared.options import RESOLUTION, FieldOptions, MeshOptions, MovieOptions, SurfaceOptions
from ..shared.values import JsonObject
from .arguments import chosen_trajectory, default_name, format_states, requested_times
from .color import color_or_values

# Order of the arguments in the line that loads a movie again.
COMMAND_ORDER = (
    "object",
    "level",
    "resolution",
    "triangles",
    "smooth",
    "color",
    "transparency",
    "movie",
    "as_",
    "trajectory",
    "towards",
    "share",
    "steady",
    "fps",
    "seconds",
    "play",
    "camera",
    "overlay",
    "intro",
    "intro_seconds",
)


@dataclass(frozen=True)
class MoviePlan:
    """A movie that is checked and can be loaded.

    surface: the color of its appearance is one for all, or empty. by: the values that colour it instead, as dsr_color
    calls them. command: the line that loads it again.
    """

    fit: Fit
    trajectory: Trajectory
    surface: SurfaceOptions
    options: MovieOptions
    states: list[MovieState]
    by: str
    command: str

    @property
    def object(self) -> str:
        """The name of the result."""
        return self.options.object

    @property
    def field(self) -> FieldOptions:
        """The field, smoothed at the fitted states where the times ask for it."""
        return self.surface.field_at([state.time for state in self.states], self.trajectory.states)

    @property
    def mesh(self) -> MeshOptions:
        """The options of the meshes, with the most triangles of a state."""
        mesh = self.surface.mesh
        if mesh.triangles is not None:
            return mesh
        # Who gives a spacing wants to see it.
        budget = timeline.fluent_triangles if mesh.resolution is None else timeline.most_triangles
        return dataclasses.replace(mesh, triangles=budget(len(self.states)))

    @property
    def as_map(self) -> bool:
        """Whether maps are loaded instead of meshes."""
        return self.options.representation == "map"

    def requests(self, radii: NDArray[np.float32] | None) -> list[messages.Request[Reply]]:
        """Return the request of each time; radii f4[A] in Å of the atoms, where they are known."""
        times, field, mesh = [float(state.time) for state in self.states], self.field, self.mesh
        if self.as_map:
            resolution = mesh.resolution or RESOLUTION
            return [messages.Grid(fit=self.fit.name, field=field, time=time, resolution=resolution) for time in times]
        return mesh_requests(self.fit.name, field, mesh, times, radii, motion=self.by in ("speed", "velocity"))


def mesh_requests(
    fit: str,
    field: FieldOptions,
    mesh: MeshOptions,
    times: Sequence[float],
    radii: NDArray[np.float32] | None,
    *,
    motion: bool = False,
) -> list[messages.Request[Reply]]:
    """Return the requests of the meshes of a movie; radii f4[A] in Å of the atoms, where they are known.

    motion: ask for the velocities, too.
    """
    # dsr_color takes the blends, and makes no meshes.
    return [
        messages.Mesh(fit=fit, field=field, time=time, mesh=mesh, blend=True, motion=motion, radii=radii)
        for time in times
    ]


def plan_movie(
    fit: Fit, times: str | Sequence[float], surface: SurfaceOptions, options: MovieOptions, _self: Any
) -> MoviePlan:
    """Check a movie before anything is loaded.

    times: a states text, or numbers; empty for every state of the fitted range. Raises CmdException, JobError,
    SceneError or StatesError.
    """
    field, smooth = surface.field, surface.mesh.smooth
    trajectory = chosen_trajectory(fit, field)
    time_points = requested_times(trajectory, times)
    if options.seconds is not None:
        if times and not all(float(time).is_integer() for time in time_points):
            text = times if isinstance(times, str) else format_states(times)
            raise CmdException(
                f"seconds {options.seconds:g}: states {text} says the times already; leave one of them out"
            )
        rate = options.fps or frames_per_second(_self)
        time_points = movie_times(min(time_points), max(time_points), options.seconds, rate, options.play)
    color, by = color_or_values(surface.appearance.color, _self)
    if by and options.representation == "map":
        raise CmdException(f"color {by}: maps have no colours of vertices; leave as_=map out, or give a colour")
    if smooth is not None and options.representation == "map":
        raise CmdException(f"smooth {smooth:g}: maps have the fit's own smoothing; leave as_=map or smooth= out")
    if options.movie and len(trajectory.states) == 1:
        member = f", trajectory={trajectory.name}" if trajectory.name else ""
        raise CmdException(
            f"{trajectory.name or fit.name} was fitted to one state, so nothing moves; "
            f"'dsr_movie {fit.name}{member}, movie=0' loads its surface"
        )
    object = _self.get_legal_name(options.object or default_name(fit, field))
    movie_states = timeline.plan(trajectory, time_points, object, loop=fit.is_loop(trajectory))
    movie_objects.check_movie_names(movie_states, object, _self)
    options = dataclasses.replace(options, object=object)
    text = times if isinstance(times, str) else format_states(times)
    command = _command_line(fit, text, surface, options)
    plain = dataclasses.replace(surface, appearance=dataclasses.replace(surface.appearance, color=color))
    return MoviePlan(fit, trajectory, plain, options, movie_states, by, command)


def _command_line(fit: Fit, times: str, surface: SurfaceOptions, options: MovieOptions) -> str:
    """Return the line that loads the movie again."""
    defaults, values = _words(SurfaceOptions(), MovieOptions()), _words(surface, options)
    defaults["object"] = default_name(fit, surface.field)
    # A record leaves out an option that is not set.
    named = {key: (pse.word_of(values.get(key)), pse.word_of(defaults.get(key))) for key in COMMAND_ORDER}
    return pse.command_line("dsr_movie", [fit.name, times], named)


def _words(surface: SurfaceOptions, options: MovieOptions) -> JsonObject:
    """Return the arguments of dsr_movie by name."""
    records = (surface.field, surface.mesh, options, surface.appearance)
    return {key: value for record in records for key, value in record.to_json().items()}
