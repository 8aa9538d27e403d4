"""The list of all that is kept on this machine, for those who want to delete it."""

from __future__ import annotations

import tempfile

from pymol_dsr.runtime.folders import written_files
from pymol_dsr.runtime.settings import Settings


def test_all_that_is_kept_is_listed_with_its_size(monkeypatch, tmp_path):
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    monkeypatch.setenv("DSR_HOME", str(home))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    descriptions = {
        tmp_path / ".pymolpluginsrc.py": "PyMOL's preferences, of which those named dsr_ are ours",
        home / "fits/a.dsr": "a fit",
        home / "fits/b.surfaces/0001.safetensors": "of an interrupted fit: surfaces and training; dsr_resume goes on",
        home / "fits/notes.txt": "not ours, or left by a write that failed",
        home / "models/ala10.dsrm": "a learned model",
        home / "simulations/pep_md/start.safetensors": "a simulation: states, forces and its last checkpoint",
        home / "backend/bin/python": "the compute program of dsr_install",
        home / "backend_install.log": "the log of its installation",
        temporary / "dsr-1/still.png": "of a fit under way, or of one that was killed and then of no use",
    }
    for number, path in enumerate(descriptions, 1):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(number))
    listed = [(file.description, file.size) for file in written_files(Settings())]
    assert listed == [(description, number) for number, description in enumerate(descriptions.values(), 1)]


def test_nothing_is_listed_where_nothing_was_written(monkeypatch, tmp_path):
    monkeypatch.setenv("DSR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert written_files(Settings()) == []
