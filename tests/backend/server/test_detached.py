"""The records of detached fits: processes that end without a word, and files that can't be written or are in use."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys

import filelock
import pytest
from dsr_backend.runtime.errors import RequestError
from dsr_backend.server import detached_registry, detached_runner
from dsr_backend.server.detached_registry import start_detached, starting_status, statuses, write_json

from pymol_dsr.shared import messages
from support.formula_field import balls
from support.waiting import wait_for
from support.wire import Wire


@pytest.mark.skipif(os.name == "nt", reason="there is no program `false`")
def test_a_process_that_ends_without_a_word_has_failed_at_once_and_for_good(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    monkeypatch.setattr(detached_registry, "SILENT", float("inf"))
    start_detached(tmp_path, "alone", messages.Open(fit="alone"))
    wait_for(lambda: statuses(tmp_path)["alone"].phase == "failed")
    assert statuses(tmp_path)["alone"].phase == "failed"


def test_the_last_status_is_tried_again(tmp_path, monkeypatch):
    folder = tmp_path / "alone.detached"
    folder.mkdir()
    request = {"fit": "alone", "detached": True, "config": {"preset": "preview", "device": "cuda:77"}}
    (folder / "asked.json").write_text(json.dumps(request))
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    monkeypatch.setattr(detached_runner, "BEAT", 0.01)
    refused: list[object] = []

    def busy_once(path, value):
        if value["phase"] == "failed" and not refused:
            refused.append(path)
            raise PermissionError("a reader has it open")
        write_json(path, value)

    monkeypatch.setattr(detached_runner, "write_json", busy_once)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(RequestError, match="cuda:77"):
            detached_runner.run_detached(tmp_path, "alone")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert refused and statuses(tmp_path)["alone"].message.startswith("device 'cuda:77' was asked for")


def test_loading_an_older_fit_leaves_the_record_of_one_under_way(tmp_path, monkeypatch):
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    folder = tmp_path / "fits" / "alone.detached"
    folder.mkdir(parents=True)
    write_json(folder / "status.json", starting_status(1).to_json())
    wire = Wire()
    wire.worker.state.fitted.put("alone", balls(((0.0, 0.0, 0.0), 5.0)))
    with filelock.FileLock(folder / "lock"):
        wire.call("load", fit="alone")
        assert statuses(tmp_path / "fits")["alone"].phase == "starting"
