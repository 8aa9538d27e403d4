"""Surfaces that are computed while the backend starts, in a real PyMOL and with real workers."""

from __future__ import annotations

import sys
import threading

import pytest
from pymol import CmdException

from pymol_dsr.backend.process import BackendError
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.fits.ahead import SurfacesAhead
from pymol_dsr.fits.connection import Connection
from pymol_dsr.session import session_of
from pymol_dsr.surfaces import extract, workers
from pymol_dsr.surfaces.source import ExtractError
from support.waiting import PATIENCE, wait_for


def ended(crew):
    """Whether all workers have ended."""
    return all(worker.process.poll() is not None for worker in crew)


def test_the_first_surface_is_shown_before_anyone_asks_and_all_come_once(peptide, crew):
    shown_states = []
    arrived = threading.Event()

    def show(surface):
        shown_states.append(surface.state)
        arrived.set()

    source = extract.read_source("pep", "1-4", _self=peptide)
    surfaces = SurfacesAhead(source, 1, lambda: False, show)
    assert arrived.wait(PATIENCE)
    assert shown_states == [1.0]
    assert sorted(surface.state for surface in surfaces) == [1.0, 2.0, 3.0, 4.0]
    assert shown_states == [1.0] and ended(crew)
    surfaces.close()


@pytest.mark.parametrize("is_read", [False, True])
def test_closing_ends_the_workers(peptide, crew, is_read):
    surfaces = SurfacesAhead(extract.read_source("pep", "1-6", _self=peptide), 2, lambda: False)
    if is_read:
        next(iter(surfaces))
    else:
        wait_for(lambda: crew)
    surfaces.close()
    assert crew and ended(crew)


def test_an_error_waits_for_the_reader(peptide, monkeypatch):
    def broken(*_):
        raise ExtractError("no Python interpreter was found")

    monkeypatch.setattr(workers, "python_executable", broken)
    surfaces = SurfacesAhead(extract.read_source("pep", "1-2", _self=peptide), 1, lambda: False)
    with pytest.raises(ExtractError, match="no Python interpreter"):
        list(surfaces)
    surfaces.close()


def test_cancelling_ends_the_surfaces_without_an_error(peptide, crew):
    cancelled = threading.Event()
    surfaces = SurfacesAhead(extract.read_source("pep", "1-6", _self=peptide), 1, cancelled.is_set)
    wait_for(lambda: crew)
    cancelled.set()
    assert len(list(surfaces)) < 6
    surfaces.close()
    assert crew and ended(crew)


def test_a_fit_begins_its_surfaces_before_the_backend_and_computes_each_once(backend, monkeypatch):
    order, states = [], []
    start, compute = Connection.backend, workers.compute_surfaces

    def started(self, fit=None):
        order.append("backend")
        return start(self, fit)

    def computed(source, *options):
        order.append("surfaces")
        states.extend(source.states)
        return compute(source, *options)

    monkeypatch.setattr(Connection, "backend", started)
    monkeypatch.setattr(workers, "compute_surfaces", computed)
    name = dsr_fit("pep", "1-5:2", preset="preview", _self=backend)
    assert order[:2] == ["surfaces", "backend"] and states == [1, 3, 5]
    assert session_of(backend).jobs.get(name).trajectories[0].states == [1.0, 3.0, 5.0]


def test_a_backend_that_does_not_start_leaves_no_worker(plugin, crew):
    session_of(plugin).settings.put("backend", f"{sys.executable} -m no_such_backend")
    with pytest.raises((BackendError, CmdException), match="no_such_backend"):
        dsr_fit("pep", "1-3", _self=plugin)
    assert crew and ended(crew)


def test_warnings_of_surfaces_ahead_reach_the_user(backend, capfd):
    backend.set("solvent_radius", 0.1, "pep")
    dsr_fit("pep", "1-3:2", preset="preview", _self=backend)
    assert "is uncertain" in capfd.readouterr().out


def test_a_resumed_fit_shows_its_first_surface_before_the_backend_and_computes_no_others_twice(backend, monkeypatch):
    states = []
    compute = workers.compute_surfaces

    def computed(source, *options):
        states.append(source.states)
        return compute(source, *options)

    monkeypatch.setattr(workers, "compute_surfaces", computed)
    backend.frame(3)
    dsr_fit("pep", "1-5:2", preset="preview", resume=1, watch=1, _self=backend)
    assert states == [[3], [3, 1, 5]]
