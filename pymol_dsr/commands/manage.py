"""dsr_status, dsr_cancel, dsr_delete, dsr_set and dsr_doctor."""

from __future__ import annotations

from typing import Any

from pymol import CmdException, cmd

from ..backend.process import BackendError
from ..fits.interrupted import Interrupted, list_interrupted
from ..fits.jobs import Jobs
from ..fits.removal import remove_fit
from ..runtime import doctor, settings
from ..session import Session, session_of
from .arguments import fit_name, format_states
from .command import command
from .running import Runner, reporter


@command
def dsr_status(name: str = "", *, quiet: int = 1, _self: Any = cmd) -> list[str]:
    """
    DESCRIPTION

        Lists the fits of this session: how far they are, what they are busy with, and on which device. It also lists
        fits that were interrupted, in earlier sessions too, and commands that generate states, as dsr_continue, while
        they run. It asks the backend for detached fits, and starts it for that.

    USAGE

        dsr_status [ name ]

    ARGUMENTS

        name = str: name of a fit {default: all}

    SEE ALSO

        dsr_fit, dsr_cancel
    """
    name, jobs = fit_name(name, _self), session_of(_self).jobs
    fits = jobs.fits
    jobs.unload_lost()
    try:
        jobs.refresh_detached(name if name not in fits else "")
    except BackendError as error:
        print(f" dsr_status: detached fits can't be asked for: {error}")
    interrupted = interrupted_fits(jobs)
    running = [job for key, job in tuple(session_of(_self).sources.running.items()) if name in ("", key)]
    if name and not running and name not in fits and name not in [left.name for left in interrupted]:
        raise CmdException(f"there is no fit {name} (there: {', '.join(sorted(fits)) or 'none'})")
    lines = []
    for fit in [fit for fit in jobs.listed() if name in ("", fit.name)]:
        lines.append(fit.line())
        lines += [
            f"  {t.name}: states {format_states(t.states)}{f' of {t.object}' if t.object not in ('', t.name) else ''}"
            for t in fit.trajectories
            if fit.family
        ]
    lines += [left.line() for left in interrupted if name in ("", left.name)]
    lines += [job.line() for job in running]
    say = reporter(quiet)
    for line in lines or ["no fits yet; dsr_fit makes one"]:
        say(f" {line}")
    return lines


@command
def dsr_cancel(name: str, *, quiet: int = 1, _self: Any = cmd) -> None:
    """
    DESCRIPTION

        Stops what a fit is busy with: its fitting, detached or not, a movie or an evaluation; or a command that
        generates states, as dsr_continue, by the name of its object. States that are loaded stay. A detached fit
        that has failed is no longer listed; dsr_resume goes on from its surfaces.

    USAGE

        dsr_cancel name

    ARGUMENTS

        name = str: name of a fit, or of the object that states are generated for, or dsr_install

    SEE ALSO

        dsr_fit, dsr_status, dsr_delete
    """
    session, stopped = session_of(_self), fit_name(name, _self)
    running = session.sources.cancel(stopped) or session.jobs.cancel(stopped)
    if not running and stopped == "dsr_install":
        running = session.installer.cancel()
    reporter(quiet)(f" {stopped}: {'stopping' if running else 'nothing to stop'}")


@command
def dsr_delete(name: str, *, quiet: int = 1, _self: Any = cmd) -> list[str]:
    """
    DESCRIPTION

        Deletes a fit for good: from this session and from the folder of fits, with what an interrupted fit of that
        name has left there. Surfaces in the scene stay, and so does a file that dsr_save has written elsewhere.

    USAGE

        dsr_delete name

    ARGUMENTS

        name = str: name of a fit

    SEE ALSO

        dsr_status, dsr_cancel, dsr_save
    """
    name = fit_name(name, _self)
    removed = [str(path) for path in remove_fit(session_of(_self).jobs, name)]
    reporter(quiet)(f" {name}: deleted" + (f", with {', '.join(removed)}" if removed else ""))
    return removed


@command
def dsr_set(key: str = "", value: str | None = None, *, quiet: int = 1, _self: Any = cmd) -> dict[str, str]:
    """
    DESCRIPTION

        Sets an option of all fits; without a value, shows it.

    USAGE

        dsr_set [ key [, value ]]

    ARGUMENTS

        key = backend: command that starts the backend, here or on another machine, as
            ssh -T gpu01 dsr-backend serve {default: the one that is installed}

        key = device: where a fit runs, unless dsr_fit has device=: auto, cpu, cuda or cuda:1 {default: auto}

        key = folder: folder of finished fits {default: ~/.pymol_dsr}

        key = workers: processes that make surfaces at once {default: 0, as many as cores, at most 8}

        key = session: light, where session files hold a movie coarsely with its fit, and opening makes its meshes
            again; or full, where they hold all meshes {default: light}

        key = wait: most seconds for a backend to start, its place in a queue included {default: 60}

        value = default goes back to the default. backend and folder take effect at the next start of the backend.

    EXAMPLE

        dsr_set backend, ssh -T gpu01 dsr-backend serve
        dsr_set workers, 4

    SEE ALSO

        dsr_fit
    """
    say, session = reporter(quiet), session_of(_self)
    key = str(key)
    if value is not None:
        persisted = session.settings.put(key, str(value))
        if key in ("backend", "folder"):
            session.jobs.restart_unused()
        say(f" dsr_set: {key} = {session.settings.get(key) or 'default'}" + ("" if persisted else ", for this session"))
        return {key: session.settings.get(key)}
    values = {k: session.settings.get(k) for k in ([key] if key else settings.KEYS)}
    for k, v in values.items():
        say(f" {k:<8} = {v or 'default'}  ({settings.KEYS[k].description})")
    return values


@command
def dsr_doctor(*, async_: int = -1, quiet: int = 1, _self: Any = cmd) -> list[str] | None:
    """
    DESCRIPTION

        Checks everything that a fit needs, fits a small peptide, and says what to do about each fault. It takes some
        seconds, and the scene stays as it is. Send its lines along when you report a fault.

    USAGE

        dsr_doctor [ async_=... ]

    ARGUMENTS

        async_ = 0/1: check in the background {default: -1, in the background when typed, blocking in scripts}

    SEE ALSO

        dsr_set, dsr_fit
    """
    return check_installation(session_of(_self), Runner.of("dsr_doctor", async_, quiet, _self), _self)


def check_installation(session: Session, runner: Runner, _self: Any) -> list[str] | None:
    """Make the doctor's checks; return a line of each, or None where that is begun in the background."""

    def work() -> list[str]:
        lines = doctor.examine(session.settings, runner.say, _self)
        faults = sum(line.startswith("FAIL") for line in lines)
        need = "needs" if faults == 1 else "need"
        verdict = f"{faults} of {len(lines)} {need} attention" if faults else "all is well"
        runner.say(f" {runner.title}: {verdict}")
        return lines

    return runner.run(work)


def interrupted_fits(jobs: Jobs) -> list[Interrupted]:
    """Return the interrupted fits that are not under way in this session; none where they can't be listed."""
    try:
        return list_interrupted(jobs)
    except (BackendError, OSError) as error:
        print(f" dsr: interrupted fits can't be listed: {error}")
        return []
