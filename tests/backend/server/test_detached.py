"""Detached fits whose process ends before it has said anything."""

from __future__ import annotations

import os
import shutil
import sys

import pytest
from dsr_backend.server import detached_registry
from dsr_backend.server.detached_registry import start_detached, statuses

from pymol_dsr.shared import messages
from support.waiting import wait_for


@pytest.mark.skipif(os.name == "nt", reason="there is no program `false`")
def test_a_process_that_ends_without_a_word_has_failed_at_once_and_for_good(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    monkeypatch.setattr(detached_registry, "SILENT", float("inf"))
    start_detached(tmp_path, "alone", messages.Open(fit="alone"))
    wait_for(lambda: statuses(tmp_path)["alone"].phase == "failed")
    assert statuses(tmp_path)["alone"].phase == "failed"
