"""The methods of requests, by topic."""

from __future__ import annotations

import subprocess
import sys

import pytest
from dsr_backend.server import worker

from pymol_dsr.shared import messages
from pymol_dsr.shared.messages import Lane

REQUESTS = {name: kind for name, kind in messages.REQUESTS.items() if kind.LANE is not Lane.CONTROL}


@pytest.mark.parametrize("name", REQUESTS)
def test_each_request_has_a_method_in_the_module_of_its_topic(name):
    assert callable(worker.method_of(REQUESTS[name]))


def test_fits_and_their_meshes_and_files_import_no_sources():
    script = (
        "import sys; from dsr_backend.server import worker; from pymol_dsr.shared import messages; "
        "worker.method_of(messages.Mesh); worker.method_of(messages.Fit); worker.method_of(messages.Load); "
        "print(*[name for name in sys.modules if name.startswith('dsr_backend.sources')])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
