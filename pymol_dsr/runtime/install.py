"""Installs the compute program in a virtual environment of its own, inside the folder of fits.

The environment gets torch and the other requirements from pip, and copies of both packages: this one and the backend's,
which the plugin's zip carries in `bundled`. Nothing has to be built.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from ..backend.process import LaunchError, python_program
from ..shared.text import strip_control_characters

TORCH = "torch>=2.6"
# pyproject.toml names the same ones as the extra `backend`.
REQUIREMENTS = ("numpy", "scipy", "pykdtree", "safetensors", "filelock>=3.12")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PACKAGE = Path(__file__).resolve().parent.parent
FOLDER, LOG = "backend", "backend_install.log"
# pip's lines that say how far it is.
_SAID = ("Collecting ", "Downloading ", "Installing collected", "Successfully installed")
# Number of its last lines that an error repeats.
_LAST = 5


class InstallError(LaunchError):
    """The compute program could not be installed; a line for the user."""


class InstallCancelled(InstallError):
    """The installation was cancelled, and nothing is left of it."""


class Installer:
    """Installs the compute program, once at a time; any thread may cancel it. line: its last line of progress."""

    def __init__(self) -> None:
        self.line = ""
        self._lock = threading.Lock()
        self._running = False
        self._stopped = False
        self._process: subprocess.Popen[str] | None = None

    @property
    def running(self) -> bool:
        """Whether an installation is under way."""
        return self._running

    def cancel(self) -> bool:
        """Stop the installation, and return whether one was under way."""
        with self._lock:
            if not self._running:
                return False
            self._stopped = True
            if self._process is not None:
                _end(self._process)
        return True

    def install(self, home: str, index: str, say: Callable[[str], None]) -> str:
        """Install the program into `home`, in place of an earlier one; the command that starts it.

        index: address of the package index for torch; empty for pip's own. say: gets lines of progress. Raises
        InstallError or OSError; an earlier installation is in place again then.
        """
        with self._lock:
            if self._running:
                raise InstallError("the compute program is being installed already; dsr_cancel dsr_install stops that")
            self._running, self._stopped, self.line = True, False, ""
        try:
            return self._install(Path(home), index, say)
        finally:
            self._running = False

    def _install(self, home: Path, index: str, say: Callable[[str], None]) -> str:
        backend = backend_package()
        base = python_program()
        if base is None:
            raise InstallError(
                "no Python program was found beside PyMOL; install the backend by hand (docs/install.md)"
            )
        home.mkdir(parents=True, exist_ok=True)
        target, previous = home / FOLDER, home / f"{FOLDER}.previous"
        if previous.exists():
            # An installation was killed.
            shutil.rmtree(target, ignore_errors=True)
            previous.rename(target)
        if target.exists():
            target.rename(previous)
        try:
            with open(home / LOG, "w", encoding="utf-8") as log:

                def run(step: str, *command: str) -> None:
                    self._run(step, command, log.write, say)

                run("making the environment", base, "-I", "-m", "venv", str(target))
                python = str(target / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
                pip = (python, "-I", "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar", "off")
                run("installing torch", *pip, *(["--index-url", index] if index else []), TORCH)
                run("installing the other requirements", *pip, *REQUIREMENTS)
                site = site_packages(python)
                for source, name in ((PACKAGE, "pymol_dsr"), (backend, "dsr_backend")):
                    shutil.copytree(source, site / name, ignore=shutil.ignore_patterns("__pycache__", "bundled"))
                run("trying it", python, "-I", "-m", "dsr_backend", "--version")
                run("trying torch", python, "-I", "-c", "import torch, scipy, safetensors, filelock")
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            if previous.exists():
                previous.rename(target)
            raise
        shutil.rmtree(previous, ignore_errors=True)
        program = f'"{python}"' if os.name == "nt" else shlex.quote(python)
        return f"{program} -I -m dsr_backend serve"

    def _run(self, step: str, command: Sequence[str], log: Callable[[str], object], say: Callable[[str], None]) -> None:
        """Run one program to its end; its lines go to the log. Raises InstallError."""
        self._report(step, say)
        log(f"$ {shlex.join(command)}\n")
        with self._lock:
            process = None
            if not self._stopped:
                process = self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    encoding="utf-8",
                    errors="replace",
                    start_new_session=True,
                )
        last: deque[str] = deque(maxlen=_LAST)
        if process is not None:
            assert process.stdout is not None
            with process.stdout:
                for line in process.stdout:
                    log(line)
                    printable = strip_control_characters(line.strip())
                    if printable.startswith(_SAID):
                        self._report(f"{step}: {printable[:100]}", say)
                    if printable:
                        last.append(printable)
            process.wait()
        with self._lock:
            self._process = None
        if self._stopped:
            raise InstallCancelled("cancelled; nothing is left of it")
        if process is not None and process.returncode:
            # pip's own summary, where there is one; hints may follow it.
            summary = " ".join([line for line in last if line.startswith("ERROR:")] or last)
            raise InstallError(f"{step} failed: {summary or 'it said nothing'}{_remedy(summary)}")

    def _report(self, text: str, say: Callable[[str], None]) -> None:
        self.line = text
        say(f" dsr_install: {text}")


def torch_index() -> str:
    """Return the package index that torch is taken from: that of its CPU builds, or pip's own for an NVIDIA card."""
    return "" if shutil.which("nvidia-smi") else CPU_INDEX


def backend_package() -> Path:
    """Return the folder of the backend's package: the bundled one, or the one installed here. Raises InstallError."""
    bundled = PACKAGE / "bundled/dsr_backend"
    if bundled.is_dir():
        return bundled
    spec = importlib.util.find_spec("dsr_backend")
    if spec is None or not spec.submodule_search_locations:
        raise InstallError(
            "this copy of the plugin lacks the compute program: install the zip, or use pip (docs/install.md)"
        )
    return Path(spec.submodule_search_locations[0])


def site_packages(python: str) -> Path:
    """Return the folder that the environment of this Python has its packages in."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    completed = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return Path(completed.stdout.strip())


def _remedy(summary: str) -> str:
    if "ensurepip" in summary:
        return "; on Debian and Ubuntu, apt-get install python3-venv helps"
    if "No matching distribution" in summary or "Could not find a version" in summary:
        return "; dsr_install index=pip takes pip's own index, and index=ADDRESS another one"
    return f"; {LOG} in the folder of fits has all lines"


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a program with what it has started."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
