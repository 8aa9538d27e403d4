"""`dsr-backend batch`: many trajectories, each in its own time, whatever happens to the others."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

for _package in ("torch", "distributed", "cryptography"):
    pytest.importorskip(_package)

import importlib.util  # noqa: E402

from dsr_backend.batch import task  # noqa: E402
from dsr_backend.batch.manifest import BatchTask, read_manifest  # noqa: E402
from dsr_backend.batch.summary import TaskResult, read_summary, write_summary  # noqa: E402
from dsr_backend.cli import main  # noqa: E402
from dsr_backend.fields.base import Field  # noqa: E402
from dsr_backend.results import dsr_file  # noqa: E402
from dsr_backend.surfaces import surfaces_file  # noqa: E402

from pymol_dsr.shared.text import counted  # noqa: E402
from support.paths import CASES, ROOT  # noqa: E402
from support.shapes import ball, cloud  # noqa: E402
from support.waiting import PATIENCE, wait_for  # noqa: E402

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT / "backend"), str(ROOT), os.environ.get("PYTHONPATH", "")]),
    "PYTHONIOENCODING": "utf-8",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with balls.safetensors, three states of a ball that grows."""
    folder = tmp_path_factory.mktemp("data")
    atoms = cloud(40).astype(np.float32)
    surfaces_file.write_surfaces_file(
        folder / "balls.safetensors", [ball(s, 4.0 + 0.2 * s, atoms=atoms, subdivisions=3) for s in (1, 2, 3)], {}
    )
    return folder


def manifest(folder, *lines):
    path = folder / "manifest.csv"
    path.write_text(
        "\n".join(["name,input,trajectory,selection,states,preset,evaluate,unwrap", *lines, ""]), encoding="utf-8"
    )
    return path


def summary(folder):
    with open(folder / "summary.csv", newline="", encoding="utf-8") as stream:
        return {row["name"]: row for row in csv.DictReader(stream)}


def started(data, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "dsr_backend", "batch", str(data / "manifest.csv"), *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=ENVIRONMENT,
        start_new_session=True,
    )


# The list


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a b,balls.safetensors,,,,,,", "line 2: a fit can't be named 'a b'"),
        ("a,,,,,,,", "line 2: a has no input"),
        ("a,none.safetensors,,,,,,", "line 2: none.safetensors: there is no such file"),
        ("a,balls.safetensors", "line 2: it has not 8 cells"),
        ("a,balls.safetensors,,name CA,,,,", "a trajectory, selection or unwrap goes with a topology only"),
        ("a,balls.safetensors,,,,,,1", "a trajectory, selection or unwrap goes with a topology only"),
        ("a,balls.safetensors,,,,,,maybe", "line 2: unwrap maybe: "),
        ("a,balls.safetensors,,,,best,,", "preset best: choose one of fast, fine, preview, paper"),
        ("a,balls.safetensors,,,1-,,,", "states 1-"),
        ("a,balls.safetensors,,,,,2,", "name the states to fit, too"),
        ("a,balls.safetensors,,,1-3,,2,", "states 2 are to be fitted and held out"),
        ("a,balls.safetensors,,,,,,\na,balls.safetensors,,,,,,", "line 3: there is a a before it"),
        ("a,balls.safetensors,,,,,,\nA,balls.safetensors,,,,,,", "line 3: A differs from a before it in case only"),
        ("CON,balls.safetensors,,,,,,", "line 2: a fit can't be named 'CON'"),
        ("nul.x,balls.safetensors,,,,,,", "Windows has a device of that name"),
        ("", "there are no trajectories"),
    ],
)
def test_a_list_that_can_t_be_done_is_refused_with_its_line(data, line, message):
    with pytest.raises(ValueError, match=message):
        read_manifest(manifest(data, line))


def test_no_cell_of_the_summary_is_a_formula(tmp_path):
    """A spreadsheet that opens it sees texts; the next run reads them as they were."""
    texts = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "'=1", "''", "name CA"]
    named = [(f"{mark}a{number}", text) for number, text in enumerate(texts) for mark in "+-"]
    tasks = [BatchTask(name, "x.pdb", selection=text) for name, text in named]
    rows = {task.name: TaskResult(**vars(task), nc_fitted=-0.5, failed="=HYPERLINK(1)") for task in tasks}
    for _ in range(2):
        write_summary(tmp_path / "summary.csv", rows, tasks)
        with open(tmp_path / "summary.csv", newline="", encoding="utf-8") as stream:
            cells = [cell for row in csv.reader(stream) for cell in row]
        assert cells.count("-0.5") == len(tasks)
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r")) and cell != "-0.5"]
        rows_read = read_summary(tmp_path / "summary.csv")
        assert {name: row.selection for name, row in rows_read.items()} == {task.name: task.selection for task in tasks}
        assert {row.failed for row in rows_read.values()} == {"=HYPERLINK(1)"}
        rows = rows_read


def test_columns_must_be_known(data):
    path = data / "columns.csv"
    path.write_text("name,file\na,b\n", encoding="utf-8")
    with pytest.raises(ValueError, match="it is name,file"):
        read_manifest(path)


def test_paths_are_relative_to_the_list(data):
    [job] = read_manifest(manifest(data, "a,balls.safetensors,,,,,,"))
    assert job == BatchTask("a", str(data / "balls.safetensors"))


def test_without_dask_it_is_said_what_to_install(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main.main(["batch", str(manifest(data, "a,balls.safetensors,,,,,,")), "--out", str(tmp_path)]) == 2
    assert "-m pip install 'pymol-dsr[batch]'" in capsys.readouterr().err


# One of them


def test_one_is_fitted_scored_and_not_fitted_again(data, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(task, "SCORED", 1)
    [job] = read_manifest(manifest(data, "a,balls.safetensors,,,1+3,preview,2,"))
    row, is_new = task.run_task(job, str(tmp_path), 1, "cpu", None)
    assert (
        is_new
        and row.belongs_to(job)
        and (row.fitted, row.scored, row.atoms) == (2, 2, 40)
        and (row.threads, row.device) == (1, "cpu")
    )
    scores: Any = row
    assert scores.iou_fitted > 0.95 and 0.9 < scores.iou_held_out <= 1 and scores.nc_held_out > 0.9
    assert row.mb == pytest.approx((tmp_path / "a.dsr").stat().st_size / 1e6, abs=1e-3)
    assert fitted(tmp_path / "a.dsr").states == [1, 3]

    # As the table has it, all text.
    write_summary(tmp_path / "summary.csv", {"a": row}, [job])
    before = read_summary(tmp_path / "summary.csv")["a"]
    assert task.run_task(job, str(tmp_path), 1, "cpu", before) == (before, False)
    newer = tmp_path / "newer.safetensors"
    shutil.copy(job.input, newer)
    fit_time = (tmp_path / "a.dsr").stat().st_mtime
    for seconds, is_newer in ((-10, False), (10, True)):
        os.utime(newer, (fit_time + seconds, fit_time + seconds))
        known = dataclasses.replace(before, input=str(newer))
        assert task.run_task(dataclasses.replace(job, input=str(newer)), str(tmp_path), 1, "cpu", known)[1] == is_newer
    assert not before.belongs_to(BatchTask(**{**vars(job), "evaluate": ""}))

    content = (tmp_path / "a.dsr").read_bytes()
    (tmp_path / "a.dsr").write_bytes(content[:-100])
    monkeypatch.setattr(task, "_fitted", lambda *_: row)
    assert task.run_task(job, str(tmp_path), 1, "cpu", before) == (row, True)


def test_a_warning_about_a_structure_names_the_column_that_ends_it(tmp_path, monkeypatch):
    monkeypatch.setattr(task, "SCORED", 1)
    shutil.copy(CASES / "wrapped.pdb", tmp_path)

    def row(**cells):
        path = tmp_path / "manifest.csv"
        columns = {"name": "a", "input": "wrapped.pdb", "states": "1-2", "preset": "preview", **cells}
        path.write_text(f"{','.join(columns)}\n{','.join(columns.values())}\n", encoding="utf-8")
        [job] = read_manifest(path)
        result, _ = task.run_task(job, str(tmp_path), 1, "cpu", None)
        assert not result.failed
        return result

    cut = row()
    order = re.search(r"write (\S+) in the column (\w+)", cut.warnings)
    assert order and "bonds are cut" in cut.warnings and "dsr-backend: warning" not in cut.warnings, cut.warnings
    unwrapped = row(**{order[2]: order[1]})
    assert "bonds are cut" not in unwrapped.warnings
    # The area is that of one molecule, not of two halves.
    assert isinstance(cut.area, float) and isinstance(unwrapped.area, float) and unwrapped.area < cut.area
    assert dsr_file.load(tmp_path / "a.dsr").report["source"]["unwrap"] is True
    assert not unwrapped.belongs_to(BatchTask(**{field.name: getattr(cut, field.name) for field in fields(BatchTask)}))


def test_what_fails_is_a_line_in_its_row(data, tmp_path):
    job = BatchTask("a", str(data / "balls.safetensors"), states="1-9")
    row, is_new = task.run_task(job, str(tmp_path), 1, "cpu", None)
    assert is_new and not row.belongs_to(job) and row.failed.endswith("balls.safetensors holds the states 1-3, not 4")
    assert not list(tmp_path.glob("*.dsr"))


# All of them


def test_a_failure_stops_nothing(data, tmp_path):
    shutil.copy(data / "balls.safetensors", data / "cut.safetensors")
    os.truncate(data / "cut.safetensors", 1000)
    manifest(data, "cut,cut.safetensors,,,,preview,,", "whole,balls.safetensors,,,1+3,preview,,")
    process = started(data, "--out", tmp_path / "fits", "--workers", "1", "--device", "cpu")
    out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, errors
    assert "summary.csv: 1 of 2 fitted\nfailed: cut: " in out and "is not a whole .safetensors file" in out
    rows = summary(tmp_path / "fits")
    assert list(rows) == ["cut", "whole"] and rows["whole"]["threads"] == str(threads_each(1))
    assert fitted(tmp_path / "fits" / "whole.dsr").states == [1, 3]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_leaves_a_batch_that_goes_on(data, tmp_path):
    lines = [f"fit{k},balls.safetensors,,,1+3,preview,," for k in range(3)]
    shutil.copy(data / "balls.safetensors", data / "cut.safetensors")
    os.truncate(data / "cut.safetensors", 1000)
    manifest(data, *lines[:2], "cut,cut.safetensors,,,,preview,,", *lines[2:])
    process = started(data, "--out", tmp_path / "fits", "--workers", "2", "--device", "cpu")
    for line in process.stderr:
        if "fitted in" in line:
            break
    # As a terminal does it, to all of them.
    os.killpg(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "Traceback" not in errors and errors.endswith("dsr-backend: cancelled\n"), (
        errors
    )
    wait_for(lambda: not running(process.pid))
    rows = summary(tmp_path / "fits")
    finished = {name for name, row in rows.items() if not row["failed"]}
    assert finished and all(fitted(tmp_path / "fits" / f"{name}.dsr").states == [1, 3] for name in finished)
    assert not list((tmp_path / "fits").glob("*.part"))

    process = started(data, "--out", tmp_path / "fits", "--workers", "2", "--device", "cpu")
    out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, errors
    assert "summary.csv: 3 of 4 fitted" in out and "failed: cut: " in out and "is not a whole .safetensors file" in out
    assert f"4 trajectories, 2 at once, {counted(threads_each(2), 'thread')} each\n" in errors
    assert all(f"{name} is there already" in errors for name in finished)
    rows = summary(tmp_path / "fits")
    assert list(rows) == ["fit0", "fit1", "cut", "fit2"]
    assert [row["threads"] for row in rows.values() if not row["failed"]] == [str(threads_each(2))] * 3
    assert len({row["iou_fitted"] for name, row in rows.items() if name != "cut"}) == 1


# On a cluster, whose queue is a script here

SBATCH = """#!/bin/sh
if [ -e refuse ] || { [ -e one ] && ! mkdir taken 2>/dev/null; }; then
    echo "sbatch: error: Batch job submission failed: Invalid partition name specified" >&2
    exit 1
fi
([ -e full ] || exec sh "$1") >> jobs.log 2>&1 &
echo Submitted batch job $!
echo $! >> jobs
"""


@pytest.fixture
def on_slurm(data, tmp_path, monkeypatch):
    """A batch of two with jobs of `sbatch`, which runs them at once, refuses them where there is a file `refuse`, all
    but one where there is one `one`, and lets them wait where there is one `full`."""
    pytest.importorskip("dask_jobqueue")
    (tmp_path / "bin").mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", "#!/bin/sh\npkill -P $1\n")):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(ENVIRONMENT, "PATH", path)
    manifest(data, *(f"fit{k},balls.safetensors,,,1+3,preview,," for k in range(2)))
    words = ["--out", tmp_path / "fits", "--cluster", "slurm", "--cores", "1", "--memory", "2 GB", "--device", "cpu"]
    return lambda workers=1: started(data, *words, "--workers", workers)


@pytest.mark.skipif(os.name == "nt", reason="no /bin/sh")
def test_jobs_that_a_cluster_refuses_are_said_at_once(on_slurm, tmp_path):
    (tmp_path / "refuse").touch()
    _, errors = on_slurm().communicate(timeout=PATIENCE)
    assert errors.splitlines()[-1] == (
        "dsr-backend: slurm takes no such jobs: sbatch: error: Batch job submission failed: Invalid partition name "
        "specified; see --workers, --cores, --memory and ~/.config/dask/jobqueue.yaml (queue, account)"
    )
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.name == "nt", reason="no /bin/sh")
def test_a_batch_goes_on_with_the_jobs_that_it_got(on_slurm, tmp_path):
    (tmp_path / "one").touch()
    process = on_slurm(2)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and "takes no further job for now: sbatch: error" in errors
    assert {row["failed"] for row in summary(tmp_path / "fits").values()} == {""}


@pytest.mark.skipif(os.name == "nt", reason="no /bin/sh")
def test_ctrl_c_ends_the_waiting_for_a_cluster(on_slurm, tmp_path):
    (tmp_path / "full").touch()
    process = on_slurm()
    first_lines = [process.stderr.readline(), process.stderr.readline()]
    assert first_lines[1].startswith("dsr-backend: 0 of 1 jobs of slurm run; the others wait in the queue")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE)[1].endswith("dsr-backend: cancelled\n") and process.returncode == 130


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.name == "nt", reason="no /bin/sh")
def test_a_job_that_is_ended_is_asked_for_again(on_slurm, tmp_path):
    process = on_slurm()
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "fitted in" in line and len((tmp_path / "jobs").read_text().split()) == 1:
            subprocess.run(["pkill", "-9", "-P", (tmp_path / "jobs").read_text().split()[0]], check=True)
    assert process.wait(timeout=PATIENCE) == 0
    messages = "".join(lines)
    assert (
        "0 of 1 jobs of slurm run; the others wait in the queue (squeue or qstat), or ended: see the logs" in messages
    )
    assert len((tmp_path / "jobs").read_text().split()) == 2
    assert {row["failed"] for row in summary(tmp_path / "fits").values()} == {""}


def threads_each(workers):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(16, cores // workers))


def running(group):
    """Whether a process of that group runs."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def fitted(path):
    """The field in a file, which is no family's."""
    fit = dsr_file.load(path)
    assert isinstance(fit, Field)
    return fit
