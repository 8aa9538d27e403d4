"""Real PyMOL, one private session per test; the window's own PyMOL is never touched."""

from __future__ import annotations

import os
import shutil
import subprocess

import pymol2
import pytest

from pymol_dsr.session import close_session
from support.paths import TESTS
from support.scene import build_peptide
from support.survivors import end_survivors, mark_children
from support.waiting import PATIENCE

# Before torch is imported, here and in the processes that tests start: spinning threads on shared cores wait for each
# other, which made tests take ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# One thread each: there is a test for every core already.
os.environ.setdefault("OMP_NUM_THREADS", "1")
mark_children()


def pytest_collection_modifyitems(items):
    """Mark the tests of whole folders; in the rooms of the packages, single tests have the mark."""
    for item in items:
        if item.path.relative_to(TESTS).parts[0] in ("system", "benchmarks"):
            item.add_marker("system")


@pytest.fixture(scope="session", autouse=True)
def no_survivors():
    """Fail at the end where a process of a test still runs."""
    yield
    running = end_survivors()
    assert not running, "\n".join(["these processes outlived their tests and were killed:", *running.values()])


@pytest.fixture
def session():
    """A private PyMOL: session.cmd is what the commands take as _self."""
    pymol = pymol2.PyMOL()
    pymol.start()
    pymol.cmd.feedback("disable", "all", "everything")
    yield pymol
    close_session(pymol.cmd)
    pymol.stop()


@pytest.fixture
def cmd(session):
    return session.cmd


@pytest.fixture
def peptide(cmd):
    """`pep`: a small helix that bends over 6 states; a tenth of a second per surface."""
    build_peptide(cmd)
    return cmd


@pytest.fixture
def adk(cmd):
    """`adk`: the DIMS trajectory of adenylate kinase, 102 states of 3341 atoms."""
    files = pytest.importorskip("MDAnalysisTests.datafiles")
    cmd.load(files.PSF, "adk")
    cmd.load_traj(files.DCD2, "adk", state=1)
    return cmd


@pytest.fixture
def display():
    """A screen of its own for one test."""
    program = shutil.which("Xvfb")
    if program is None:
        pytest.skip("Xvfb is not installed (apt-get install xvfb libgl1-mesa-dri)")
    reading, writing = os.pipe()
    # The server picks a free display and writes its number.
    server = subprocess.Popen(
        [program, "-displayfd", str(writing), "-screen", "0", "1280x1024x24", "+extension", "GLX"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as pipe:
        number = pipe.readline().strip()
    assert number, "Xvfb did not start"
    yield f":{number}"
    server.terminate()
    server.wait(PATIENCE)
