"""The plugin in a private PyMOL, with the backend of this checkout."""

from __future__ import annotations

import os
import sys
import time

import pytest
from pymol import CmdException

from pymol_dsr.commands.register import register
from pymol_dsr.fits import jobs
from pymol_dsr.fits.fit import Fit, Trajectory
from pymol_dsr.fits.jobs import Jobs
from pymol_dsr.runtime import settings
from support.paths import ROOT


@pytest.fixture
def plugin(peptide, monkeypatch, tmp_path):
    """A session with the commands, fits and settings of its own, and no backend of another test."""
    register(peptide)
    monkeypatch.setattr(settings, "_memory", {})
    monkeypatch.setattr(jobs, "jobs", Jobs())
    monkeypatch.setenv("DSR_HOME", str(tmp_path / "home"))
    yield peptide
    jobs.jobs.close()


@pytest.fixture
def backend(plugin, monkeypatch):
    """The real backend of this checkout."""
    pytest.importorskip("torch")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "backend"), os.environ.get("PYTHONPATH", "")]))
    # One thread: the tests share their cores with others, and spinning threads would wait for each other.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings.put("backend", f"{sys.executable} -m dsr_backend serve")
    return plugin


def refused(cmd, function, *args, **kwargs):
    began = time.perf_counter()
    with pytest.raises(CmdException) as error:
        function(*args, **kwargs, _self=cmd)
    assert time.perf_counter() - began < 1.0
    line = str(error.value.args[0])
    assert "\n" not in line
    return line


def ready(name, *trajectories, states=(1.0, 3.0)):
    """A finished fit without a backend."""
    made = [Trajectory(t, t or "pep", f"%{t or 'pep'}", None, list(states)) for t in trajectories]
    fit = jobs.jobs.fits[name] = Fit(name, made, phase="ready", report={"preset": "preview"})
    return fit
