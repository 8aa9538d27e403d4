"""`python -m pymol_dsr.generate`: its exit codes tell bad input from a backend that failed."""

import json
import os
import subprocess
import sys

import pytest

from pymol_dsr.shared.exit_codes import WORK_FAILED
from pymol_dsr.shared.source_options import GenerateOptions
from support.paths import ROOT

pytestmark = pytest.mark.system


def generate(folder, backend, method):
    options = GenerateOptions(task="continue", frames=2, method=method).to_json()
    words = ["pep.pdb", f"--options={json.dumps(options)}", "--backend", backend, "--out", "next.pdb"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "backend")]),
        "DSR_HOME": str(folder / "home"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pymol_dsr.generate", *words]
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return process.returncode, process.stderr.splitlines()[-1]


def test_a_backend_that_fails_is_no_bad_input(peptide, tmp_path):
    peptide.save(str(tmp_path / "pep.pdb"), "pep", 0)
    code, line = generate(tmp_path, f"'{sys.executable}' -c 'raise SystemExit(7)'", "hold")
    assert code == WORK_FAILED and line.startswith("pymol_dsr: ") and "exit code 7" in line
    assert not (tmp_path / "next.pdb").exists()


def test_states_that_a_method_can_not_use_are_bad_input(peptide, tmp_path):
    peptide.save(str(tmp_path / "pep.pdb"), "pep", 0)
    code, line = generate(tmp_path, f"'{sys.executable}' -m dsr_backend serve", "analog")
    assert code == 1 and line.startswith("pymol_dsr: method analog")
