"""dsr_install."""

from __future__ import annotations

from typing import Any

from pymol import CmdException, cmd

from ..fits.fit import Cancelled
from ..runtime.folders import fits_home
from ..runtime.install import FOLDER, InstallCancelled, torch_index
from ..session import Session, session_of
from .command import command
from .running import Runner


@command
def dsr_install(index: str = "auto", *commas: str, async_: int = -1, quiet: int = 1, _self: Any = cmd) -> str | None:
    """
    DESCRIPTION

        Installs the program that computes, the backend, on this machine: a virtual environment of its own, named
        backend, in the folder of fits, with torch and all else that it needs. The backend setting (dsr_set) then
        names it. An earlier one there is replaced once the new one works. dsr_cancel dsr_install stops it, and
        backend_install.log, in the same folder, has all lines of pip.

    USAGE

        dsr_install [ index [, async_=... ]]

    ARGUMENTS

        index = str: package index that torch is taken from: auto, pip for the one that pip is set to, or an address.
        auto takes PyTorch's CPU builds, and pip's own where there is an NVIDIA card {default: auto}

        async_ = 0/1: install in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        dsr_install
        dsr_install index=pip

    SEE ALSO

        dsr_doctor, dsr_set, dsr_cancel
    """
    index = str(index)
    if index not in ("auto", "pip") and not index.startswith(("https://", "http://", "file://")):
        raise CmdException(f"index {index}: write auto, pip or the address of a package index, as https://…")
    address = {"auto": torch_index(), "pip": ""}.get(index, index)
    return install_program(session_of(_self), address, Runner.of("dsr_install", async_, quiet, _self))


def install_program(session: Session, index: str, runner: Runner) -> str | None:
    """Install the compute program and set it; the command that starts it, None where that is begun in the background.

    index: address of a package index, empty for pip's own. Raises CmdException, Cancelled, InstallError or OSError.
    """
    jobs = session.jobs
    busy = [fit.name for fit in jobs.listed() if fit.activity]
    if busy:
        raise CmdException(f"{busy[0]} is busy: wait for it, or dsr_cancel {busy[0]}, before the program is replaced")

    def work() -> str:
        # Fits that it has loaded are read from the folder of fits again.
        jobs.connection.end()
        try:
            command = session.installer.install(fits_home(session.settings), index, runner.say)
        except InstallCancelled as error:
            raise Cancelled(str(error)) from error
        persisted = session.settings.put("backend", command)
        later = "" if persisted else f", for this session; later: dsr_set backend, {command}"
        runner.say(f" dsr_install: the compute program is in {fits_home(session.settings)}/{FOLDER}{later}")
        return command

    return runner.run(work)
