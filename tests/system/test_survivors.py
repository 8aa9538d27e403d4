"""The check that the tests leave no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from support.survivors import survivors
from support.waiting import wait_for


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
def test_a_process_is_known_that_was_detached_and_whose_parent_has_ended() -> None:
    quiet = "stdout=s.DEVNULL, stderr=s.DEVNULL"
    start = f"import subprocess as s; print(s.Popen(['sleep', '1000'], {quiet}, start_new_session=True).pid)"
    pid = int(subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=True).stdout)
    try:
        wait_for(lambda: survivors().get(pid, "").endswith(": sleep 1000"), survivors)
        assert "test_a_process_is_known" in survivors()[pid]
    finally:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: pid not in survivors(), survivors)
