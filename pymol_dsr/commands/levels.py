"""dsr_levels."""

from __future__ import annotations

from typing import Any

from pymol import CmdException, cmd

from ..fits.fit import Activity
from ..scene import gui_thread, level_sets, placement
from ..scene.camera import toward_camera
from ..scene.objects import switch_off
from ..session import session_of
from ..shared.mesh import Mesh
from .command import command
from .options import chosen_trajectory, default_name, fit_name, parse_number, requested_times
from .running import reporter, run_or_start


@command
def dsr_levels(
    name: str,
    state: str,
    levels: str = "-2 -1 0 2 4",
    *commas: str,
    object: str = "",
    resolution: str = "",
    cut: int = 0,
    transparency: str = "",
    trajectory: str = "",
    towards: str = "",
    share: str = "",
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Shows the field at one time as nested surfaces, each as far from the molecule's own as its level says:
        outside red, inside blue, the surface itself white, darker the farther. They come as one object for each
        level, in a group.

    USAGE

        dsr_levels name, state [, levels [, object=..., resolution=..., cut=..., transparency=...,
            trajectory=..., towards=..., share=..., async_=... ]]

    ARGUMENTS

        name = str: name of a fit

        state = float: the time, as 40 or 40.5

        levels = str: distances in Angstrom with spaces between, outside positive {default: -2 -1 0 2 4}

        object = str: name of the group {default: <fit>_levels, or <fit>_<trajectory>_levels}

        resolution = float: spacing of the meshes in Angstrom {default: 0.5, wider where a level would take more
        than 200000 triangles}

        cut = 0/1: cut away the half that faces you now, for a view of all levels {default: 0}

        transparency = float: of all levels but the innermost, 0 to 1 {default: 0.7, or 0 with cut=1}

        trajectory, towards, share: as in dsr_movie

        async_ = 0/1: load in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        orient adk
        dsr_levels adk_dsr, 40, cut=1
        dsr_levels adk_dsr, 40, -1.5 0 1.5 3, resolution=0.3

    SEE ALSO

        dsr_movie
    """
    say, jobs = reporter(quiet), session_of(_self).jobs
    fit = jobs.get(fit_name(name, _self))
    chosen, which = chosen_trajectory(fit, trajectory, towards, share)
    times = requested_times(chosen, str(state))
    if len(times) != 1:
        raise CmdException(f"state {state}: the levels of one time are shown at once; dsr_movie shows several times")
    wanted = level_sets.parse(str(levels))
    object = _self.get_legal_name(str(object) or f"{default_name(fit, which)}_levels")
    level_sets.check_level_names(object, wanted, _self)
    request: dict[str, Any] = {**which, "time": float(times[0])}
    if str(resolution):
        request["resolution"] = parse_number("resolution", resolution, 0.0, above=True)
    else:
        request.update(resolution=0.5, triangles=level_sets.MOST_TRIANGLES)
    seen_through = parse_number("transparency", transparency or (0.0 if int(cut) else level_sets.TRANSPARENCY), 0.0)
    if seen_through > 1.0:
        raise CmdException(f"transparency {transparency}: it must lie between 0 and 1")
    toward = None
    if int(cut):
        toward = toward_camera(_self.get_view(), placement.object_matrix(chosen.object, _self))
    jobs.claim(fit, Activity.LEVELS)

    def work() -> None:
        try:
            meshes = {}
            for level in wanted:
                result, arrays = jobs.ask(fit, "mesh", {**request, "level": level})
                meshes[level] = Mesh.from_arrays(arrays)
        finally:
            jobs.release(fit)
        loaded = level_sets.show_levels(
            chosen,
            meshes,
            object=object,
            toward=toward,
            transparency=seen_through,
            say=lambda text: print(f" {fit.name}: {text}"),
            _self=_self,
        )
        movie = default_name(fit, which)
        if gui_thread.in_gui(_self, switch_off, movie, _self):
            print(f" {fit.name}: {movie} is switched off, as it would hide the levels")
        if result["extrapolated"]:
            error = result["expected_error"]
            expected = "" if error is None else f", expected error {error:.2f} A"
            print(f" {fit.name}: state {times[0]:g} is extrapolated{expected}")
        say(f" {fit.name}: {len(loaded)} levels of state {times[0]:g} loaded as {object}")

    run_or_start("dsr_levels", work, async_, quiet, _self)
    return object
