"""dsr_restore: the full meshes of movies that a session file holds coarsely."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from functools import partial
from typing import Any

from pymol import CmdException, cmd

from ..fits.fit import Activity, Fit, JobError
from ..fits.pse import FitReference
from ..scene import atoms, cgo, color_sources, colors, movie_objects
from ..scene.gui_thread import in_gui, step_in_gui
from ..scene.kept_movies import KeptMesh, KeptMovie
from ..scene.light_sessions import CoarseMovie
from ..scene.objects import SceneError
from ..scene.replies import mesh_of
from ..session import Session, session_of
from ..shared import text
from ..shared.messages import MeshResult
from .arguments import fit_name
from .command import command
from .expected import EXPECTED
from .movie_plan import mesh_requests
from .running import Runner, has_window, report_states

POLL_SECONDS = 0.1


@command
def dsr_restore(name: str = "", *, async_: int = -1, quiet: int = 1, _self: Any = cmd) -> list[str]:
    """
    DESCRIPTION

        Makes the meshes of movies again that a session file holds coarsely. Opening the session does this by itself;
        use this command after you have cancelled it with dsr_cancel, or installed the compute program. Names,
        colours, transparency, groups and settings of the objects stay as they are.

    USAGE

        dsr_restore [ name [, async_=... ]]

    ARGUMENTS

        name = str: object of a movie, or a fit {default: all coarse movies}

        async_ = 0/1: make them in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        load adk.pse
        dsr_cancel adk_dsr
        dsr_restore adk_dsr

    SEE ALSO

        dsr_movie, dsr_cancel, dsr_set
    """
    session, name = session_of(_self), fit_name(name, _self)
    session.light.prune(_self)
    chosen = [movie.name for movie in session.light.coarse.values() if name in ("", movie.name, movie.fit)]
    if not chosen:
        listed = ", ".join(session.light.coarse) or "none"
        raise CmdException(f"there is no coarse movie {name or 'of a session file'} (there: {listed})")
    return restore_movies(session, chosen, Runner.of("dsr_restore", async_, quiet, _self), _self)


def restore_movies(session: Session, names: list[str], runner: Runner, _self: Any) -> list[str]:
    """Make the meshes of coarse movies again, one movie after the other; returns the names.

    Raises Cancelled, SceneError, JobError or BackendError.
    """

    def work() -> None:
        for name in names:
            movie = session.light.coarse.get(name)
            if movie is not None:
                _restore(session, movie, runner, _self)

    runner.run(work)
    return names


def restore_opened(session: Session, names: list[str], _self: Any) -> None:
    """Make the meshes of a session file that was opened, in the background where there is a window.

    What keeps that from being done is one line, and the coarse movies stay.
    """

    def work() -> None:
        for name in names:
            try:
                restore_movies(session, [name], Runner("dsr_restore"), _self)
            except EXPECTED as error:
                print(
                    f" {name}: stays coarse: {text.error_line(error)}; 'dsr_restore {name}' makes its meshes when that "
                    "is mended"
                )

    count = sum(len(session.light.coarse[name].recipe.times) for name in names)
    print(f" {', '.join(names)}: coarse at first; its {count} meshes are made again now, and dsr_cancel leaves it so")
    Runner("dsr_restore", background=has_window()).run(work)


def _restore(session: Session, coarse: CoarseMovie, runner: Runner, _self: Any) -> None:
    """Make the meshes of one coarse movie again."""
    if coarse.fit not in session.jobs.fits:
        session.references.enter(coarse.fit, FitReference("", coarse.digest), _self)
    reference, _ = session.references.reference(coarse.fit)
    if reference.sha256 != coarse.digest:
        raise JobError(
            f"its fit is not the fit {coarse.fit} that PyMOL has; 'dsr_delete {coarse.fit}' and open the session again"
        )
    fit = _claimed(session, coarse.fit)
    started_at = time.monotonic()
    with session.jobs.releasing(fit):
        kept = _with_meshes(session, coarse, fit, runner, _self)
        in_gui(_self, _finish, session, coarse, kept, _self)
    runner.say(
        f" {kept.name}: its {len(kept.meshes)} meshes are as they were saved, in {time.monotonic() - started_at:.0f} s"
    )


def _claimed(session: Session, name: str) -> Fit:
    """Return a fit when it has nothing else to do, claimed. Raises JobError or BackendError."""
    while True:
        known = session.jobs.fits.get(name)
        if known is None or known.activity is None:
            fit = session.jobs.get(name)
            with contextlib.suppress(JobError):
                session.jobs.claim(fit, Activity.MOVIE)
                return fit
        time.sleep(POLL_SECONDS)


def _with_meshes(session: Session, coarse: CoarseMovie, fit: Fit, runner: Runner, _self: Any) -> KeptMovie:
    """Return the movie with its meshes, which are in the scene in their colours. Leaves it coarse where that fails."""
    recipe = coarse.recipe
    trajectory = fit.trajectory(recipe.trajectory)
    kept = KeptMovie(coarse.name, fit, trajectory, recipe.field, recipe.mesh, color=recipe.color)
    kept.coloring, kept.scale, kept.digest = recipe.coloring, recipe.scale, coarse.digest
    kept.atom_colors = recipe.atom_colors
    if kept.atom_colors is not None and (trajectory.atoms is None or len(kept.atom_colors) != len(trajectory.atoms)):
        raise SceneError(f"its recipe has colours of {len(kept.atom_colors)} atoms, and the fit has others")
    radii = in_gui(_self, lambda: atoms.PresentAtoms.of(trajectory, _self).radii())
    requests = mesh_requests(fit.name, recipe.field, recipe.mesh, recipe.times, radii)
    movie_states = recipe.movie_states(list(recipe.objects))
    members = []
    try:
        with contextlib.closing(session.jobs.connection.stream(fit, requests)) as answers:
            replies = report_states(fit, answers, len(requests), runner.say, verb="made again")
            for number, reply in enumerate(replies):
                if isinstance(reply, MeshResult) and len(reply.faces):
                    member = recipe.members[number]
                    # The user may rename an object meanwhile.
                    name = in_gui(_self, coarse.present_objects, _self)[member]
                    state = dataclasses.replace(movie_states[number], object=name)
                    kept.meshes.append(KeptMesh.from_reply(state, reply))
                    members.append(member)
                    if kept.scale is None:
                        shown = movie_objects.movie_colors(state, reply, kept.atom_colors, kept.color, _self)
                        floats = cgo.cgo_floats(mesh_of(reply), shown)
                        step_in_gui(_self, _self.load_cgo, floats, state.object, state.state, zoom=0)
        for mesh, member in zip(kept.meshes, members, strict=True):
            name = in_gui(_self, coarse.present_objects, _self)[member]
            mesh.state = dataclasses.replace(mesh.state, object=name)
        if kept.scale is not None:
            _paint_values(session, kept, _self)
    except BaseException:
        in_gui(_self, coarse.show, _self)
        raise
    return kept


def _paint_values(session: Session, kept: KeptMovie, _self: Any) -> None:
    """Colour the meshes by their values; by atoms, with a line, where these are no longer to be had."""
    assert kept.scale is not None, "the caller has checked for it"
    coloring = kept.coloring
    try:
        values, _ = in_gui(
            _self,
            color_sources.color_source,
            kept,
            coloring.by,
            coloring.file,
            coloring.map,
            session.jobs,
            _self,
        )
        colors.paint_values_again(kept, values, kept.scale, _self)
    except (SceneError, OSError) as error:
        print(f" {kept.name}: not coloured by {coloring.by} as before: {text.error_line(error)}")
        kept.scale = None
        colors.paint_again(kept, colors.plain_paint(kept.color, kept.atom_colors, _self), _self)


def _finish(session: Session, coarse: CoarseMovie, kept: KeptMovie, _self: Any) -> None:
    session.light.prune(_self)
    kept.name = coarse.name
    session.light.coarse.pop(coarse.name, None)
    session.movies.keep(kept, _self)


def connect(session: Session) -> None:
    """Have the meshes of coarse movies made when a session file is opened."""
    session.light.reopened = partial(restore_opened, session)
