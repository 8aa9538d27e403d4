"""Backends on other machines: through a real sshd, over lines that are slow or break, and fits that outlive PyMOL."""

from __future__ import annotations

import contextlib
import getpass
import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from dsr_backend.fitting.config import Preset
from dsr_backend.results import mesh
from dsr_backend.runtime.errors import RequestError
from dsr_backend.server import detached_registry, detached_runner
from dsr_backend.surfaces.surface import Surface
from pymol import CmdException
from scipy.spatial import cKDTree

from pymol_dsr import register
from pymol_dsr.backend import process
from pymol_dsr.backend.process import BackendError
from pymol_dsr.commands.fit import dsr_fit, dsr_resume
from pymol_dsr.commands.manage import dsr_cancel, dsr_doctor, dsr_status
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.fits.fit import JobError, Phase
from pymol_dsr.runtime import slow_backend
from pymol_dsr.session import close_session, session_of
from pymol_dsr.shared.frames import encode, read_frame
from support import processes, shapes, survivors
from support.paths import ROOT, SUPPORT, TESTS
from support.waiting import PATIENCE, wait_for

SURFACE = {"kind": "request", "id": 1, "method": "surface", "params": {"fit": "pep", "state": 1.0}}
PYTHON = sys.executable


# Packed arrays


def arrays_of(surface):
    return {
        "points": surface.points,
        "normals": surface.normals,
        "faces": surface.faces,
        "atoms": np.asarray(surface.atoms, "<f4"),
    }


def read(data):
    return read_frame(io.BufferedReader(io.BytesIO(data)))[1]


def wire(arrays):
    return b"".join(bytes(chunk) for chunk in encode(SURFACE, arrays, packed=True))


def test_packed_surfaces_are_near_and_small():
    arrays = arrays_of(shapes.peptide(1)[0])
    data = wire(arrays)
    assert len(data) < 0.36 * sum(array.nbytes for array in arrays.values())
    reply = read(data)
    np.testing.assert_array_equal(reply["faces"], arrays["faces"])
    for name in ("points", "normals", "atoms"):
        assert reply[name].dtype == np.dtype("<f4")
        np.testing.assert_allclose(reply[name], arrays[name], rtol=0, atol=0.0005)
    # A second way through changes nothing.
    assert wire(reply) == data


def test_a_fit_from_packed_surfaces_is_the_fit_within_noise():
    exact = shapes.peptide(1)
    packed = []
    for surface in exact:
        reply = read(wire(arrays_of(surface)))
        packed.append(Surface(surface.state, reply["points"], reply["normals"], reply["faces"], reply["atoms"]))
    coarse = Preset(spacing=1.4)
    fits = [shapes.fit(exact, preset=coarse), shapes.fit(packed, preset=coarse)]
    exact_mesh, packed_mesh = (mesh.extract_mesh(fitted, 1.0, resolution=0.8) for fitted in fits)
    assert abs(packed_mesh.volume / exact_mesh.volume - 1) < 0.001
    assert abs(packed_mesh.area / exact_mesh.area - 1) < 0.002
    distances, _ = cKDTree(exact_mesh.points).query(packed_mesh.points)
    assert distances.mean() < 0.02


@pytest.mark.parametrize(
    "command, local",
    [
        ("dsr-backend", True),
        ("/home/me/dsr/bin/dsr-backend serve", True),
        ("/usr/bin/python3.11 -m dsr_backend serve", True),
        ("ssh -T gpu01 dsr-backend serve", False),
        ("srun --gres=gpu:1 dsr-backend serve", False),
        ("apptainer exec --nv dsr.sif dsr-backend serve", False),
        ("docker run -i --rm dsr", False),
    ],
)
def test_only_lines_that_may_be_slow_are_packed(command, local):
    assert process.is_local(shlex.split(command)) is local


# A real sshd


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Sshd:
    """An sshd of our own on the loopback, with its own keys; `home` is DSR_HOME over there."""

    def __init__(self, folder, sshd, keygen):
        self.folder, self.port, self.home = folder, free_port(), folder / "home"
        for name in ("host", "user", "stranger"):
            subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        shutil.copy(folder / "user.pub", folder / "authorized")
        config = folder / "sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {folder / 'host'}\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder / 'authorized'}\nStrictModes no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
            f"SetEnv DSR_HOME={self.home} OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE PYTHONPATH={ROOT / 'backend'} "
            f"{survivors.MARK}={os.getpid()}\n"
        )
        public = (folder / "host.pub").read_text().split()[:2]
        self.known = folder / "known_hosts"
        self.known.write_text(f"dsr-test {' '.join(public)}\n")
        self.process = subprocess.Popen([sshd, "-D", "-E", folder / "log", "-f", config])
        end = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.skip(f"sshd does not start: {(folder / 'log').read_text()[-300:]}")
            time.sleep(0.05)

    def words(self, *remote, port=None, key="user", host="127.0.0.1", known=None):
        """The command as a user sets it."""
        options = f"-F none -o BatchMode=yes -o HostKeyAlias=dsr-test -o UserKnownHostsFile={known or self.known}"
        words = f"ssh -T -p {port or self.port} -i {self.folder / key} -o IdentitiesOnly=yes {options}"
        return f"{words} {getpass.getuser()}@{host} {' '.join(remote)}"

    def close(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    program = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    tools = [program, shutil.which("ssh"), shutil.which("ssh-keygen")]
    if None in tools:
        pytest.skip("sshd, ssh and ssh-keygen are not all installed (apt-get install openssh-server)")
    server = Sshd(tmp_path_factory.mktemp("sshd"), program, tools[2])
    yield server
    server.close()


class Proxy:
    """A line to a port: slow (`rate` bytes per second each way, `delay` seconds each way), and it can be cut."""

    def __init__(self, port, rate=None, delay=0.0):
        self.target, self.rate, self.delay = port, rate, delay
        self.carried = [0, 0]
        self._ends = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                self._ends += [near, far]
                for direction, (a, b) in enumerate(((near, far), (far, near))):
                    threading.Thread(target=self._carry, args=(direction, a, b), daemon=True).start()

    def _carry(self, direction, a, b):
        with contextlib.suppress(OSError):
            while data := a.recv(16384):
                time.sleep(self.delay + (len(data) / self.rate if self.rate else 0.0))
                self.carried[direction] += len(data)
                b.sendall(data)
        for end in (a, b):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self):
        self._listener.close()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def plugin(peptide, monkeypatch, tmp_path):
    register(peptide)
    session_of(peptide).settings.put("workers", "1")
    session_of(peptide).settings.put("wait", f"{PATIENCE:.0f}")
    monkeypatch.setenv("DSR_HOME", str(tmp_path / "near"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "backend"), str(ROOT)]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield peptide
    # Where a test fails, its detached fit would go on for hours.
    for pid, command in survivors.survivors().items():
        if "fit-detached" in command:
            os.kill(pid, signal.SIGKILL)


SERVE = (PYTHON, "-m", "dsr_backend", "serve")


def has_ended(pid):
    """Whether a process has ended, also where nobody has waited for it."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def fits(home):
    return sorted(path.name for path in (Path(home) / "fits").glob("*"))


def test_the_whole_way_through_ssh_over_a_line_that_is_cut(plugin, sshd, capsys):
    """The user reads of it, the far process ends by itself, and the surfaces are not sent again."""
    jobs = session_of(plugin).jobs
    line = Proxy(sshd.port, delay=0.001)
    session_of(plugin).settings.put("backend", sshd.words(*SERVE, port=line.port))
    # Long enough that it is not done before the line is cut.
    dsr_fit("pep", name="cut", async_=1, _self=plugin)
    fit = jobs.fits["cut"]
    wait_for(lambda: fit.phase is Phase.FIT)
    pid = jobs.connection.running.info.pid
    line.cut()
    wait_for(lambda: fit.phase is Phase.FAILED)
    wait_for(lambda: has_ended(pid))
    assert "; dsr_resume cut goes on from the surfaces it had (the backend" in fit.error
    assert "ended with exit code 255; its last words: " in fit.error and "\n" not in fit.error
    plugin.do(f"dsr_set backend, {sshd.words(*SERVE)}")
    capsys.readouterr()
    dsr_resume("cut", quiet=0, _self=plugin)
    assert "6 of 6 surfaces are there from before" in capsys.readouterr().out
    plugin.do("dsr_movie cut, 1-2, resolution=1")
    assert plugin.get_type("cut") == "object:cgo" and plugin.count_states("cut") == 2
    backend = jobs.connection.running
    assert backend.packs and "ServerAliveInterval=5" in backend.command
    assert "cut.dsr" in fits(sshd.home) and not fits(os.environ["DSR_HOME"]), "kept over there"
    pid = backend.info.pid
    jobs.close()
    wait_for(lambda: has_ended(pid))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_node_that_is_preempted(plugin, sshd):
    jobs = session_of(plugin).jobs
    session_of(plugin).settings.put("backend", sshd.words(*SERVE))
    dsr_fit("pep", name="gone", async_=1, _self=plugin)
    fit = jobs.fits["gone"]
    wait_for(lambda: fit.phase is Phase.FIT)
    os.kill(jobs.connection.running.info.pid, 9)
    wait_for(lambda: fit.phase is Phase.FAILED)
    assert "dsr_resume gone goes on from the surfaces it had" in fit.error


def refused(plugin):
    with pytest.raises((CmdException, JobError, BackendError)) as error:
        dsr_fit("pep", preset="preview", _self=plugin)
    text = str(error.value.args[0])
    assert "\n" not in text
    return text


PIP = 'install it there: pip install "pymol-dsr[backend]"'


@pytest.mark.parametrize(
    "change, remote, message, remedy",
    [
        (
            {"host": "nowhere.invalid"},
            SERVE,
            "Could not resolve hostname nowhere.invalid",
            "correct the host in `dsr_set",
        ),
        ({"key": "stranger"}, SERVE, "Permission denied (publickey)", "let ssh in with a key and without a question"),
        ({"known": os.devnull}, SERVE, "Host key verification failed", "to see and accept the key of that host"),
        ({"port": 1}, SERVE, "Connection refused", "see whether that host is up and the port is right"),
        ({}, ("no-such-backend", "serve"), "no-such-backend: command not found", "give the whole path of dsr-backend"),
        ({}, (PYTHON, "-m", "dsr_nothing", "serve"), "No module named dsr_nothing", PIP),
        (
            {},
            ("echo", "Welcome to gpu01;", *SERVE),
            "expected a frame beginning with 'DSR1', got 'Welcome to gpu01'",
            "silence the shell profile, or use `ssh -T`",
        ),
        (
            {},
            (PYTHON, str(SUPPORT / "problem_backend.py"), "older"),
            "the backend speaks protocol 0 (version '9.9') and this plugin protocol 1",
            "upgrade the backend",
        ),
    ],
    ids=["host", "key", "unknown-host", "port", "command", "module", "banner", "version"],
)
def test_what_does_not_start_says_why_and_what_to_do(plugin, sshd, change, remote, message, remedy):
    session_of(plugin).settings.put("backend", sshd.words(*remote, **change))
    text = refused(plugin)
    assert message.replace("'9.9'", "9.9") in text.replace("'9.9'", "9.9") and remedy in text, text


@pytest.fixture
def queue(tmp_path):
    """A job that waits in the queue, as srun reports it while no node is free."""
    script = tmp_path / "srun"
    script.write_text("#!/bin/sh\necho srun: job 17 queued and waiting for resources >&2\nexec sleep 600\n")
    script.chmod(0o755)
    return f"{script} --gres=gpu:1 dsr-backend serve"


def test_a_queue_is_waited_for_and_said(plugin, queue, monkeypatch, capsys):
    monkeypatch.setattr(slow_backend, "QUIET_SECONDS", 0.0)
    processes.give_up_at_first_words(monkeypatch)
    session_of(plugin).settings.put("backend", queue)
    text = refused(plugin)
    assert (
        f"waits for the backend to start, {PATIENCE:g} s at most (dsr_set wait); it says "
        "'srun: job 17 queued and waiting for resources'" in capsys.readouterr().out
    )
    assert (
        f"did not greet within {PATIENCE:g} s; its last words: 'srun: job 17 queued and waiting for resources'" in text
    )


def test_waiting_in_a_queue_can_be_cancelled(plugin, queue):
    session_of(plugin).settings.put("backend", queue)
    dsr_fit("pep", async_=1, _self=plugin)
    fit = session_of(plugin).jobs.fits["pep_dsr"]
    wait_for(lambda: any(command.endswith(": sleep 600") for command in survivors.survivors().values()))
    dsr_cancel("pep_dsr", _self=plugin)
    wait_for(lambda: fit.phase is Phase.CANCELLED)


def test_the_doctor_says_what_it_waits_for(plugin, queue, monkeypatch, capsys):
    monkeypatch.setattr(slow_backend, "QUIET_SECONDS", 0.0)
    processes.give_up_at_first_words(monkeypatch)
    session_of(plugin).settings.put("backend", queue)
    lines = dsr_doctor(async_=0, quiet=0, _self=plugin)
    assert "it says 'srun: job 17 queued and waiting for resources'" in capsys.readouterr().out
    [line] = [line for line in lines if line.startswith("FAIL")]
    assert "wait longer (`dsr_set wait, 3600`)" in line


def srun_that(tmp_path, *lines):
    script = tmp_path / "srun"
    script.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    script.chmod(0o755)
    return script


# As Slurm 22.05 says it.
TIME_LIMIT = "slurmstepd-gpu01: error: *** STEP 17.0 ON gpu01 CANCELLED AT 2026-11-21T17:40:21 DUE TO TIME LIMIT ***"
EXITED = "srun: error: gpu01: task 0: Exited with exit code"


def test_a_fit_that_its_scheduler_ends_is_lost_and_not_cancelled(plugin, tmp_path):
    """The backend is told to end, as by a user; the scheduler's words say why."""
    jobs = session_of(plugin).jobs
    script = srun_that(tmp_path, "shift", '"$@"', f'echo "{TIME_LIMIT}" >&2', f'echo "{EXITED} 143" >&2', "exit 143")
    session_of(plugin).settings.put("backend", f"{script} {' '.join(SERVE)}")
    dsr_fit("pep", name="ended", preset="paper", async_=1, _self=plugin)
    fit = jobs.fits["ended"]
    wait_for(lambda: fit.phase is Phase.FIT)
    os.kill(jobs.connection.running.info.pid, signal.SIGTERM)
    wait_for(lambda: fit.phase in (Phase.FAILED, Phase.CANCELLED))
    assert "dsr_resume ended goes on" in fit.error
    assert f"ended with exit code 143; its last words: {TIME_LIMIT!r})" in fit.error


@pytest.mark.parametrize(
    "message, remedy",
    [
        (["srun: error: Invalid generic resource (gres) specification"], "ask srun for what the cluster has (`sinfo"),
        (["srun: error: Unable to allocate resources: Invalid partition name specified"], "ask srun for what"),
        (["srun: option '--gpu=1' is ambiguous", 'Try "srun --help" for more information'], "ask srun for what"),
        (
            ["slurmstepd-gpu01: error: execve(): dsr-backend: No such file or directory", f"{EXITED} 2"],
            "give the whole path of dsr-backend",
        ),
        (
            ["slurmstepd-gpu01: error: execve(): /opt/dsr-backend: Permission denied", f"{EXITED} 13"],
            "make it executable there: chmod +x",
        ),
        (
            ["srun: error: Unable to allocate resources: Unable to contact slurm controller (connect failure)"],
            "Slurm itself does not answer",
        ),
        (
            [
                "srun: job 17 has been allocated resources",
                "srun: error: gpu01: task 0: Illegal instruction (core dumped)",
            ],
            "start it again",
        ),
        (["RuntimeError: no", f"{EXITED} 1"], "start it again"),
    ],
)
def test_what_srun_does_not_start_says_why_and_what_to_do(plugin, tmp_path, message, remedy):
    script = srun_that(tmp_path, *[f"echo {shlex.quote(line)} >&2" for line in message], "exit 1")
    session_of(plugin).settings.put("backend", f"{script} --gres=gpu:1 dsr-backend serve")
    text = refused(plugin)
    cause = next(line for line in reversed(message) if not line.startswith(EXITED))
    assert f"its last words: {cause!r}" in text and f"; {remedy}" in text
    assert "dsr_resume" not in text, "there is nothing to go on from"


def slurm_runs():
    if shutil.which("scontrol") is None or shutil.which("srun") is None:
        return False
    return subprocess.run(["scontrol", "ping"], capture_output=True, timeout=20).returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_way_through_slurm(plugin):
    """A fit and a movie through a real srun; one that `scancel` ends is resumed; no job outlives PyMOL."""
    jobs = session_of(plugin).jobs
    if not slurm_runs():
        pytest.skip("no Slurm answers `scontrol ping`")
    name = f"dsr-test-{os.getpid()}"

    def queued():
        return subprocess.run(["squeue", "-h", "-n", name], capture_output=True, text=True, check=True).stdout

    session_of(plugin).settings.put("backend", f"srun -J {name} -n 1 {' '.join(SERVE)}")
    dsr_fit("pep", name="ended", async_=1, _self=plugin)
    fit = jobs.fits["ended"]
    wait_for(lambda: fit.phase is Phase.FIT)
    subprocess.run(["scancel", "-n", name], check=True)
    wait_for(lambda: fit.phase in (Phase.FAILED, Phase.CANCELLED))
    assert "dsr_resume ended goes on" in fit.error and " CANCELLED AT " in fit.error
    dsr_resume("ended", _self=plugin)
    dsr_movie("ended", "1-2", resolution=1, _self=plugin)
    assert plugin.count_states("ended") == 2 and queued()
    jobs.close()
    wait_for(lambda: not queued())


# Detached fits

SENDS = """
import os, signal, sys
import pymol2
from support.scene import build_peptide
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.session import close_session, session_of
from pymol_dsr.shared import messages
from support.waiting import wait_for
words, folder = sys.argv[1:]
session = pymol2.PyMOL()
session.start()
build_peptide(session.cmd)
dsr = session_of(session.cmd)
dsr.settings.put("backend", words)
dsr.settings.put("workers", "1")
dsr_fit("pep", "1+3", name="alone", preset="preview", detach=1, quiet=0, _self=session.cmd)
# Its process is held, with its lock, until the other session has seen it under way.
wait_for(lambda: os.path.exists(os.path.join(folder, "fits", "alone.detached", "lock")))
os.kill(dsr.jobs.connection.backend().call(messages.Detached()).fits["alone"].pid, signal.SIGSTOP)
print("backend", dsr.jobs.connection.running.info.pid)
close_session(session.cmd)
"""


def sent_by_another_pymol(words, folder):
    """A PyMOL sends a detached fit, which its backend keeps in a folder, and ends; what it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], str(TESTS)])}
    finished = subprocess.run(
        [PYTHON, "-c", SENDS, words, folder], capture_output=True, text=True, timeout=PATIENCE, env=environment
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def wait_for_status(plugin, name, words):
    """Ask as a user does, until it says so."""
    lines: list[Any] = []

    def says():
        lines[:] = dsr_status(name, _self=plugin)
        return any(words in line for line in lines)

    wait_for(says, lambda: lines)
    return lines


def test_a_detached_fit_outlives_pymol_and_the_line(plugin, sshd):
    """One PyMOL sends it over ssh and ends; another sees it under way, and makes a movie of it."""
    words = sshd.words(*SERVE)
    printed = sent_by_another_pymol(words, sshd.home)
    assert "alone: 2 states sent; it is fitted by process " in printed and "dsr_status alone shows" in printed
    assert has_ended(int(printed.split()[-1])), "the backend that started it has ended"
    session_of(plugin).settings.put("backend", words)
    [line] = dsr_status("alone", _self=plugin)
    pid = detached_registry.statuses(sshd.home / "fits")["alone"].pid
    assert f"detached (process {pid} on " in line, line
    with pytest.raises(CmdException, match="it can be used when it is ready"):
        dsr_movie("alone", _self=plugin)
    os.kill(pid, signal.SIGCONT)
    wait_for_status(plugin, "alone", "alone: fitted, loaded when used")
    dsr_movie("alone", "1-2", resolution=1, _self=plugin)
    assert plugin.count_states("alone") == 2
    # Fetched, so that it is asked for no more; its process may still be about to remove its surfaces.
    wait_for(lambda: not {"alone.detached", "alone.surfaces"} & set(fits(sshd.home)))
    assert dsr_status("alone", _self=plugin)[0].startswith("alone: ready, states 1+3 of pep")


@pytest.fixture
def local(plugin):
    session_of(plugin).settings.put("backend", " ".join(SERVE))
    return plugin


def status_of(name):
    return detached_registry.statuses(Path(os.environ["DSR_HOME"]) / "fits").get(name)


def test_a_detached_fit_is_cancelled_from_another_session(local):
    # This preset is not done before it is cancelled.
    dsr_fit("pep", "1+3", name="alone", preset="paper", detach=1, _self=local)
    session_of(local).jobs.fits.clear()  # what another session knows
    with pytest.raises(CmdException, match=r"is being fitted, detached \(process .* stops it; or give another"):
        dsr_fit("pep", name="alone", preset="preview", _self=local)
    pid = status_of("alone").pid
    assert os.getsid(pid) == pid, "out of reach of what ends the backend"
    dsr_cancel("alone", _self=local)
    wait_for_status(local, "alone", "alone: cancelled: it was stopped")
    wait_for(lambda: has_ended(pid))
    lines = dsr_status("alone", _self=local)
    assert lines[1].startswith("alone: interrupted: 2 surfaces") and lines[1].endswith("; dsr_resume alone")


def test_a_killed_detached_fit_is_told_from_one_that_is_late(tmp_path, monkeypatch):
    """A process that lives holds its lock; where nobody does, the time of its status counts, to either side of now."""
    moment = time.time()
    monkeypatch.setattr(detached_registry, "time", SimpleNamespace(time=lambda: moment))
    folder = tmp_path / "alone.detached"
    folder.mkdir()
    (folder / "log.txt").write_text("MemoryError\n\n")

    def phase(age, host=None, phase="fit"):
        host = host or socket.gethostname()
        # Number 1 always runs: the number of a process says nothing of who has it by now.
        status = {"phase": phase, "fraction": 0.5, "pid": 1, "host": host, "updated": moment - age}
        (folder / "status.json").write_text(json.dumps(status))
        return detached_registry.statuses(tmp_path)["alone"].phase

    lock = f"import filelock; lock = filelock.FileLock({str(folder / 'lock')!r}); lock.acquire(); print(flush=True)"
    holder = subprocess.Popen([PYTHON, "-c", f"{lock}; input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        for age in (1, 30, 3600, -3600):
            assert phase(age) == "fit"
            assert phase(age, "elsewhere") == "fit"
    finally:
        holder.kill()
        holder.communicate()
    assert phase(1) == "fit", "its last status is too young to say"
    for sign in (1, -1):
        assert phase(sign * 30, phase="starting") == "starting", "it may not have its lock yet"
        assert phase(sign * 70, phase="starting") == "failed"
        assert phase(sign * 30, "elsewhere") == "fit"
        assert phase(sign * 70, "elsewhere") == "failed"
        assert phase(sign * 3600) == "failed"
    assert detached_registry.statuses(tmp_path)["alone"].message.startswith("its process (1 on "), "no age below 0"
    assert phase(10) == "failed"
    message = detached_registry.statuses(tmp_path)["alone"].message
    assert message == (
        f"its process (1 on {socket.gethostname()}) is gone without a word, 10 s ago; "
        "its last words: 'MemoryError'; dsr_resume goes on from its surfaces"
    )


def test_a_clock_set_back_locks_no_name(local):
    """The process is killed for real; its status is an hour ahead, as after a clock was set back."""
    dsr_fit("pep", "1+3", name="alone", preset="paper", detach=1, _self=local)
    folder = Path(os.environ["DSR_HOME"], "fits", "alone.detached")
    pid = status_of("alone").pid
    wait_for(lambda: status_of("alone").phase == "fit")
    status = json.loads((folder / "status.json").read_text())
    status["updated"] += 3600
    # Another session's backend starts nothing that it could wait for.
    close_session(local)
    session_of(local).settings.put("backend", " ".join(SERVE))
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: has_ended(pid))
    (folder / "status.json").write_text(json.dumps(status))
    assert "alone: failed: its process" in dsr_status("alone", _self=local)[0]
    dsr_cancel("alone", _self=local)
    assert not folder.exists()
    assert dsr_status("alone", _self=local) == ["alone: interrupted: 2 surfaces; dsr_resume alone"]
    with pytest.raises(CmdException, match="there is no fit alone"):
        dsr_cancel("alone", _self=local)


def test_a_finished_fit_outlives_a_detached_one_of_its_name(local):
    fits = session_of(local).jobs.fits
    dsr_fit("pep", "1+3", name="alone", preset="preview", _self=local)
    first = fits["alone"]
    dsr_fit("pep", "all", name="alone", preset="paper", detach=1, _self=local)
    second, pid = fits["alone"], status_of("alone").pid
    with pytest.raises(CmdException, match="is being fitted, detached"):
        dsr_fit("pep", name="alone", preset="preview", _self=local)
    assert fits["alone"] is second and second.replaces is first
    dsr_cancel("alone", _self=local)
    wait_for_status(local, "alone", "the fit that was to replace it was cancelled")
    wait_for(lambda: has_ended(pid) and status_of("alone") is None)
    dsr_movie("alone", "1+3", resolution=1, _self=local)
    assert fits["alone"] is first and local.count_states("alone") == 3


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_detached_fit_says_so(local):
    dsr_fit("pep", "1+3", name="alone", detach=1, _self=local)
    pid = status_of("alone").pid
    os.kill(pid, 9)
    lines = wait_for_status(local, "alone", "alone: failed: its process")
    assert f"({pid} on {socket.gethostname()}) is gone without a word" in lines[0]
    assert lines[1] == "alone: interrupted: 2 surfaces; dsr_resume alone"


def test_the_log_of_a_detached_fit_has_the_ceiling_that_is_promised(local):
    """A real process, whose log others write to as it does; the ceiling is the documentation's."""
    [stated] = re.findall(r"with `detach=1`[:,] (\d+) MiB each", (ROOT / "docs/reliability.md").read_text("utf-8"))
    ceiling = int(stated) * 2**20
    dsr_fit("pep", "1+3", name="alone", preset="paper", detach=1, _self=local)
    log = Path(os.environ["DSR_HOME"], "fits", "alone.detached", "log.txt")

    def later_than(seconds: float) -> bool:
        return bool(status_of("alone").updated > seconds)

    def beats(count):
        """Until the process has looked at its log so many times."""
        for _ in range(count):
            wait_for(partial(later_than, status_of("alone").updated))

    def write(size):
        with open(log, "ab") as file:
            file.write(b"x" * size)

    # The first status is of the backend that started it.
    beats(2)
    write(ceiling - log.stat().st_size - 1000)
    beats(2)
    assert log.stat().st_size >= ceiling - 1000, "what is below the ceiling is kept"
    write(2000)
    beats(2)
    assert log.stat().st_size < 1000
    dsr_cancel("alone", _self=local)
    wait_for_status(local, "alone", "alone: cancelled: it was stopped")


def test_a_detached_fit_that_fails_says_why(local):
    folder = Path(os.environ["DSR_HOME"], "fits", "alone.detached")
    folder.mkdir(parents=True)
    request = {"fit": "alone", "detached": True, "config": {"preset": "preview", "device": "cuda:77"}}
    (folder / "asked.json").write_text(json.dumps(request))
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(RequestError):
            detached_runner.run_detached(folder.parent, "alone")
    finally:
        signal.signal(signal.SIGTERM, before)
    [line] = dsr_status("alone", _self=local)
    assert line.startswith("alone: failed: device 'cuda:77' was asked for") and "\n" not in line


def test_a_status_that_cannot_be_read_is_none(tmp_path):
    folder = tmp_path / "bad.detached"
    folder.mkdir()
    status = {"phase": "fit", "fraction": 0.5, "pid": 1, "host": "here", "updated": time.time()}
    wrong = [("updated", "then"), ("updated", 10**400), ("updated", float("nan")), ("pid", None), ("phase", "away")]
    texts = [json.dumps({**status, key: value}) for key, value in wrong]
    for text in ("", "{", "[]", '{"updated": "then"}', "[" * 100_000, *texts):
        (folder / "status.json").write_text(text)
        assert detached_registry.statuses(tmp_path) == {}
        detached_registry.ensure_not_running(tmp_path, "bad")


def test_no_backend_is_started_where_no_detached_fit_can_be(local):
    assert dsr_status(_self=local) == []
    assert session_of(local).jobs.connection.running is None


# Sizes


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_150_states_of_adk_over_20_megabits(adk, sshd, monkeypatch, tmp_path):
    """Surfaces made before are sent as a fit sends them: 75 MB, which take 30 s on such a line."""
    from pymol_dsr.backend.client import Backend
    from pymol_dsr.surfaces import extract, workers

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    source = extract.read_source("adk", "1-100:25", _self=adk)
    surfaces = list(workers.compute_surfaces(source, 2))
    line = Proxy(sshd.port, rate=20e6 / 8)
    backend = Backend(process.find_command(sshd.words(*SERVE, port=line.port)))
    backend.start(30)
    try:
        backend.call(processes.raw("open", {"fit": "adk", "config": {"preset": "paper"}}))
        before = line.carried[0]
        calls = []
        for number in range(150):
            surface = surfaces[number % len(surfaces)]
            arrays = {
                "points": surface.points,
                "normals": surface.normals,
                "faces": surface.faces,
                "atoms": surface.atoms,
            }
            calls.append(backend.submit(processes.raw("surface", {"fit": "adk", "state": float(number + 1)}, arrays)))
        for call in calls:
            call.result(120)
        bytes_each = (line.carried[0] - before) / 150
    finally:
        backend.close()
    assert bytes_each < 500_000


@pytest.mark.parametrize("name, words", [("Dockerfile", "COPY"), ("apptainer.def", "   ")])
def test_images_are_made_of_files_that_are_there(name, words):
    """They can't be built here."""
    lines = (ROOT / "packaging" / name).read_text().splitlines()
    sources = [word for line in lines if "/src" in line and line.startswith(words) for word in line.split()]
    named = [word for word in sources if not word.startswith("/") and (ROOT / word).exists()]
    assert named == ["pyproject.toml", "README.md", "LICENSE", "pymol_dsr", "backend"]
