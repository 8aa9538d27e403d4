"""The plugin in a private PyMOL, with the backend of this checkout."""

from __future__ import annotations

import os
import sys

import pytest
from pymol import CmdException

from pymol_dsr import register
from pymol_dsr.fits.fit import Fit, Phase, Trajectory
from pymol_dsr.session import close_session, session_of
from pymol_dsr.shared.messages import FitReport
from pymol_dsr.surfaces.workers import SurfaceWorker
from support.paths import ROOT


@pytest.fixture
def plugin(peptide, monkeypatch, tmp_path):
    """A PyMOL with the commands, and a folder of fits of its own."""
    register(peptide)
    monkeypatch.setenv("DSR_HOME", str(tmp_path / "home"))
    return peptide


@pytest.fixture
def backend(plugin, monkeypatch):
    """The real backend of this checkout."""
    pytest.importorskip("torch")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "backend"), os.environ.get("PYTHONPATH", "")]))
    # One thread: the tests share their cores with others, and spinning threads would wait for each other.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    use_this_backend(plugin)
    return plugin


@pytest.fixture
def crew(monkeypatch):
    """The workers that are started, in their order."""
    started = []
    start = SurfaceWorker.__init__

    def watched(self, *args):
        start(self, *args)
        started.append(self)

    monkeypatch.setattr(SurfaceWorker, "__init__", watched)
    return started


def set_up(cmd, monkeypatch, tmp_path):
    """Give a PyMOL the commands, a folder of fits of its own, and the backend of this checkout with one thread."""
    register(cmd)
    monkeypatch.setenv("DSR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "backend")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    use_this_backend(cmd)


def use_this_backend(cmd):
    session_of(cmd).settings.put("backend", f"{sys.executable} -m dsr_backend serve")


def begin_another_session(cmd):
    """As when PyMOL is started again with the same scene."""
    close_session(cmd)
    use_this_backend(cmd)


def refused(cmd, function, *args, **kwargs):
    with pytest.raises(CmdException) as error:
        function(*args, **kwargs, _self=cmd)
    line = str(error.value.args[0])
    assert "\n" not in line
    return line


def ready(cmd, name, *trajectories, states=(1.0, 3.0)):
    """A finished fit without a backend."""
    listed = [Trajectory(t, t or "pep", f"%{t or 'pep'}", None, list(states)) for t in trajectories]
    fit = session_of(cmd).jobs.fits[name] = Fit(name, listed, phase=Phase.READY, report=FitReport(preset="preview"))
    return fit
