"""Start and end of a backend: finds its command, owns its process.

The backend is any command that speaks the protocol on its stdin and stdout: a local program, or `ssh -T gpu01
dsr-backend serve`, `srun --gres=gpu:1 dsr-backend serve`. It is started without a shell.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import IO

from ..shared.text import strip_control_characters

_PROGRAM = "dsr-backend"
SSH_ALIVE = ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]
# The last words of ssh, shells and Pythons, and what helps.
_REMEDIES = (
    ("Could not resolve hostname", "correct the host in `dsr_set backend, ...`"),
    (r"execve\(\).*Permission denied", "make it executable there: chmod +x"),
    ("slurm controller|Socket timed out", "Slurm itself does not answer: try again later, or tell those who run it"),
    (
        r"Permission denied( \(|, please)",
        "let ssh in with a key and without a question (ssh-copy-id HOST, ssh-add), until `ssh HOST true` in a terminal "
        "asks nothing",
    ),
    ("Host key verification failed", "`ssh HOST` once in a terminal, to see and accept the key of that host"),
    ("Connection refused|timed out|No route to host", "see whether that host is up and the port is right"),
    (
        "command not found|[Nn]o such file or directory|not found in .PATH|: not found",
        "give the whole path of dsr-backend over there (`dsr_set backend, ... /path/to/dsr-backend serve`), or "
        'install it there: pip install "pymol-dsr[backend]"',
    ),
    ("No module named", 'install it there: pip install "pymol-dsr[backend]"'),
    (
        "srun: (fatal|error: (?!.*: tasks? |.*already complet))|srun --help",
        "ask srun for what the cluster has (`sinfo -o '%P %l %c %m %G'` there: partitions, time, cores, MB, GPUs) in "
        "`dsr_set backend, ...`",
    ),
)
# Line of srun for each job that ends, after its cause.
_OF_EVERY_END = re.compile(
    r"srun: (error: .*: tasks? [0-9,-]+: (Exited|Terminated|Killed)|Job step aborted|Terminating|Force Terminated)"
)
_STDERR_LINES = 200
_STDERR_LINE = 1000  # bytes; longer lines are split


STARTS_AGAIN = "the next command starts it again"
"""Follows how a backend ended that was at work."""
NO_REMEDY = "start it again"
"""Follows how a backend ended that had not begun, where its last words say no more."""


class BackendError(Exception):
    """A request failed.

    `code` is one of the protocol's, or `launch`, `lost`, `timeout`, `protocol`, `version`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class LaunchError(BackendError):
    """No backend could be started."""

    def __init__(self, message: str) -> None:
        super().__init__("launch", message)


def find_command(setting: str | None = None) -> list[str]:
    """Return the command of a backend.

    The setting, else `dsr-backend` on PATH, else beside PyMOL's Python, else that Python itself.
    `setting` is split as a shell would, but nothing in it is expanded except `~` at the start of the program.
    A command that ends in the program `dsr-backend` gets its argument `serve`, ssh is told to notice within 15 s
    that its line is dead, and srun to hold nothing back. Torch is looked for, never imported.
    """
    if setting is not None and setting.strip():
        return _from_setting(setting)
    program = shutil.which(_PROGRAM)
    if program is None:
        folder = os.path.dirname(sys.executable or "")
        places = [folder, os.path.join(folder, "Scripts")] if folder else []
        program = shutil.which(_PROGRAM, path=os.pathsep.join(places)) if places else None
    if program is not None:
        return [program, "serve"]
    python = python_program()
    if python is not None and _importable("torch") and _importable("dsr_backend"):
        return [python, "-m", "dsr_backend", "serve"]
    raise LaunchError(
        f"no backend found: `{_PROGRAM}` is neither on PATH nor beside {sys.executable or 'PyMOL'}, "
        "and PyMOL's Python does not have torch and dsr_backend; name one with "
        "`dsr_set backend, /path/to/dsr-backend serve`, or install one with "
        "`dsr_install`"
    )


def _from_setting(setting: str) -> list[str]:
    try:
        words = shlex.split(setting, posix=os.name != "nt")
    except ValueError as exc:
        raise LaunchError(
            f"the backend setting {setting!r} can't be read as a command ({exc}): quote it as in a shell, "
            "with `dsr_set backend, ...`"
        ) from exc
    words = [word.strip('"') for word in words] if os.name == "nt" else words
    if not words:
        raise LaunchError(f"the backend setting {setting!r} names no program: set one with `dsr_set backend, ...`")
    program_name = os.path.expanduser(words[0])
    program = shutil.which(program_name)
    if program is None:
        raise LaunchError(
            f"the backend setting names the program {program_name!r}, which is not there or can't be run: "
            "correct it with "
            "`dsr_set backend, ...`, or install one with `dsr_install`"
        )
    if os.path.basename(program) in ("ssh", "ssh.exe") and "ServerAlive" not in setting:
        # A line that went silent is else noticed by nobody.
        words[1:1] = SSH_ALIVE
    named = [os.path.basename(word) for word in words]
    if "srun" in named and "--unbuffered" not in words:
        # It else holds back what does not end in a newline, as no frame does; also behind ssh.
        words.insert(named.index("srun") + 1, "--unbuffered")
    last = os.path.basename(words[-1])
    return [program, *words[1:], *(["serve"] if last in (_PROGRAM, _PROGRAM + ".exe") else [])]


def is_local(command: list[str]) -> bool:
    """Whether a command starts a backend on this machine, as far as it shows: `dsr-backend` itself, or a Python."""
    name = os.path.basename(command[0]).lower()
    return name.startswith((_PROGRAM, "python", "pypy"))


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # ValueError: present in sys.modules without a spec
        return False


def python_program() -> str | None:
    """Return the Python that runs PyMOL, as a program.

    In bundled PyMOLs `sys.executable` may be PyMOL's own window program: to run that with `-m` would open a
    second PyMOL. Then the interpreter is looked for beside it and in `sys.prefix`.
    """
    name = os.path.basename(sys.executable or "").lower()
    if name.startswith("python") and not name.startswith("pythonw"):
        return sys.executable
    names = ["python.exe"] if os.name == "nt" else [f"python3.{sys.version_info[1]}", "python3", "python"]
    folders = [os.path.dirname(sys.executable or ""), os.path.join(sys.prefix, "bin"), sys.prefix]
    for folder in folders:
        for candidate in names:
            path = os.path.join(folder, candidate)
            if folder and os.path.isfile(path) and os.access(path, os.X_OK):
                return path
    return None


class Process:
    """A backend process, alone in its process group, its stderr drained into a bounded tail.

    `home` becomes the process's DSR_HOME, the folder that it keeps its files in.
    """

    def __init__(self, command: list[str], home: str = "") -> None:
        self.command = list(command)
        flags = 0
        if sys.platform == "win32":
            flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        try:
            self._popen = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                creationflags=flags,
                env={**os.environ, "DSR_HOME": home} if home else None,
            )
        except (OSError, ValueError) as exc:
            raise LaunchError(
                f"the backend `{self.shown}` can't be started ({exc}): correct it with `dsr_set backend, ...`"
            ) from exc
        self._tail: deque[str] = deque(maxlen=_STDERR_LINES)
        self._stopping = threading.Lock()
        self._stopped = False
        self._drain = threading.Thread(target=self._read_stderr, name="dsr-stderr", daemon=True)
        self._drain.start()

    @property
    def shown(self) -> str:
        """The command as a user would type it."""
        return " ".join(shlex.quote(word) for word in self.command)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._popen.pid

    @property
    def stdin(self) -> IO[bytes]:
        """The pipe that requests are written to."""
        assert self._popen.stdin is not None
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The pipe that replies and events come from."""
        assert self._popen.stdout is not None
        return self._popen.stdout

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._popen.poll() is None

    def wait(self, seconds: float) -> bool:
        """Whether the process has ended, after at most so many seconds."""
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stderr_tail(self) -> list[str]:
        """Return the last lines that the backend wrote to stderr, oldest first."""
        if not self.running:
            self._drain.join(0.5)
        return list(self._tail)

    def describe_end(self) -> str:
        """Return the end of the process and its last words, as part of a sentence."""
        code = self._popen.poll()
        if code is None:
            ending = "closed its output but still runs"
        elif code >= 0:
            ending = f"ended with exit code {code}"
        else:
            ending = f"was killed by signal {-code} ({_signal_name(-code)}"
            ending += ", often sent when memory runs out)" if _signal_name(-code) == "SIGKILL" else ")"
        tail = self.stderr_tail()
        last_words = next((line for line in reversed(tail) if not _OF_EVERY_END.match(line)), tail[-1] if tail else "")
        return ending + (f"; its last words: {last_words!r}" if last_words else "; it wrote nothing to stderr")

    def remedy(self) -> str:
        """Say what to do about how the process ended, as far as its last words tell."""
        if self._popen.poll() not in (None, 0):
            last_lines = "\n".join(self.stderr_tail()[-3:])
            for words, todo in _REMEDIES:
                if re.search(words, last_lines):
                    return todo
        return NO_REMEDY

    def stop(self, ask: Callable[[], None], hang_up: Callable[[], None], grace: float) -> None:
        """End the process: ask, close its stdin (`hang_up`), SIGTERM, SIGKILL to its group.

        `grace` seconds are left after asking, for a checkpoint. Neither callable may block.
        """
        with self._stopping:
            if self._stopped:
                # The number may belong to another process group by now.
                return
            for step, patience in ((ask, grace), (hang_up, 1.0), (self._terminate, 2.0), (self._kill, 5.0)):
                if not self.running:
                    break
                step()
                self.wait(patience)
            # A process that the backend started itself may have outlived it.
            self._kill()
            self._stopped = True

    def _terminate(self) -> None:
        if sys.platform == "win32":
            self._popen.terminate()
        else:
            self._signal_group(signal.SIGTERM)

    def _kill(self) -> None:
        if sys.platform == "win32":
            self._popen.kill()
        else:
            self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        if sys.platform != "win32":
            # PermissionError is what macOS says for a group of zombies.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, number)

    def _read_stderr(self) -> None:
        assert self._popen.stderr is not None
        with self._popen.stderr as stream:
            while True:
                line = stream.readline(_STDERR_LINE)
                if not line:
                    return
                text = line.decode("utf-8", "replace").replace("\r", "\n").strip()
                if text:
                    self._tail.append(strip_control_characters(text.splitlines()[-1]))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
