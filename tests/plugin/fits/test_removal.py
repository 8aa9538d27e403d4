"""Deleting fits: what goes, what stays, and what is refused."""

from __future__ import annotations

import os

import pytest

from pymol_dsr.fits.fit import Activity, Fit, JobError, Phase
from pymol_dsr.fits.jobs import Jobs
from pymol_dsr.fits.removal import INTERRUPTED, remove_fit
from pymol_dsr.runtime.settings import Settings
from pymol_dsr.shared import atomic_write


@pytest.fixture
def jobs(monkeypatch, tmp_path):
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    (tmp_path / "fits").mkdir()
    return Jobs(Settings())


def test_a_fit_goes_with_its_files_in_the_folder_and_no_other(jobs, tmp_path):
    user_file = tmp_path / "a.dsr"
    similar = tmp_path / "fits" / "ab.dsr"
    for path in (user_file, similar, tmp_path / "fits" / "a.dsr", tmp_path / "fits" / "a.dsr.previous"):
        path.write_bytes(b"x")
    (tmp_path / "fits" / "a.surfaces" / "0").mkdir(parents=True)
    jobs.fits["a"] = Fit("a", phase=Phase.READY, file=str(user_file))
    assert [path.name for path in remove_fit(jobs, "a")] == ["a.dsr", "a.dsr.previous", "a.surfaces"]
    assert jobs.fits == {} and user_file.exists() and sorted(tmp_path.glob("fits/*")) == [similar]
    with pytest.raises(JobError, match="there is no fit a"):
        remove_fit(jobs, "a")


def test_remains_of_an_interrupted_fit_go_without_the_finished_one(jobs, tmp_path):
    finished = tmp_path / "fits" / "a.dsr"
    finished.write_bytes(b"x")
    (tmp_path / "fits" / "a.surfaces").mkdir()
    jobs.fits["a"] = Fit("a", phase=Phase.READY)
    assert [path.name for path in remove_fit(jobs, "a", INTERRUPTED)] == ["a.surfaces"]
    assert finished.exists() and "a" in jobs.fits


def test_a_fit_of_this_session_without_a_file_goes_too(jobs):
    jobs.fits["a"] = Fit("a", phase=Phase.FAILED)
    assert remove_fit(jobs, "a") == [] and jobs.fits == {}


def test_what_is_under_way_is_not_deleted(jobs, tmp_path):
    file = tmp_path / "fits" / "a.dsr"
    file.write_bytes(b"x")
    jobs.fits["a"] = Fit("a", phase=Phase.READY, activity=Activity.MOVIE)
    with pytest.raises(JobError, match="a is busy with a movie; wait for it, or dsr_cancel a"):
        remove_fit(jobs, "a")
    jobs.fits.clear()
    detached = tmp_path / "fits" / "a.detached"
    detached.mkdir()
    with pytest.raises(JobError, match="a is detached"):
        remove_fit(jobs, "a")
    detached.rmdir()
    surfaces = tmp_path / "fits" / "a.surfaces"
    surfaces.mkdir()
    with open(surfaces / "lock", "wb") as stream:
        atomic_write.lock(stream)
        with pytest.raises(JobError, match="a is under way in another process"):
            remove_fit(jobs, "a")
    assert file.exists()
    assert remove_fit(jobs, "a") and not surfaces.exists()


def test_nothing_is_deleted_where_the_lock_can_not_be_removed(jobs, tmp_path, monkeypatch):
    """As on Windows, whose locks can't be asked for, while the process that has it open lives; here it is a folder."""
    monkeypatch.setattr(atomic_write, "fcntl", None)
    (tmp_path / "fits" / "a.dsr").write_bytes(b"x")
    (tmp_path / "fits" / "a.surfaces" / "lock").mkdir(parents=True)
    with pytest.raises(OSError, match="lock"):
        remove_fit(jobs, "a")
    assert sorted(os.listdir(tmp_path / "fits")) == ["a.dsr", "a.surfaces"]
    assert (tmp_path / "fits" / "a.surfaces" / "lock").exists()
