"""dsr_install without its downloads: how it fails, and how it is cancelled. With them: tests/system/test_install.py."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import threading
from pathlib import Path

import pytest
import tomllib

from pymol_dsr.commands.install import dsr_install
from pymol_dsr.runtime import install
from pymol_dsr.runtime.install import CPU_INDEX, InstallCancelled, Installer, InstallError
from pymol_dsr.session import session_of
from support.paths import ROOT
from support.session import refused
from support.waiting import PATIENCE


@pytest.fixture
def earlier(tmp_path, monkeypatch):
    """A folder of fits with a program from before; pip finds no package."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend/earlier").write_text("works")
    return tmp_path


def is_untouched(home):
    return (home / "backend/earlier").read_text() == "works" and not (home / "backend.previous").exists()


def test_requirements_are_those_of_the_packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = project["dependencies"] + project["optional-dependencies"]["backend"]
    assert sorted(named) == sorted([install.TORCH, *install.REQUIREMENTS])


@pytest.mark.system
def test_an_installation_that_fails_leaves_the_earlier_one(earlier):
    messages: list[str] = []
    with pytest.raises(
        InstallError, match=r"installing torch failed: .*torch>=2\.6.*index=pip takes pip's own"
    ) as error:
        Installer().install(str(earlier), "", messages.append)
    assert not isinstance(error.value, InstallCancelled)
    assert [line.strip() for line in messages] == [
        "dsr_install: making the environment",
        "dsr_install: installing torch",
    ]
    assert is_untouched(earlier)
    log = (earlier / "backend_install.log").read_text()
    assert re.findall(r"^\$ .* (\S+)$", log, re.MULTILINE) == [str(earlier / "backend"), "'torch>=2.6'"]


@pytest.mark.system
def test_the_environment_has_copies_of_both_packages_and_starts(earlier, monkeypatch):
    """Torch and the others are lent from this environment; pip has nothing to do but find itself."""
    pytest.importorskip("torch")

    def lend(python):
        site = site_packages(python)
        (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
        return site

    site_packages = install.site_packages
    monkeypatch.setattr(install, "site_packages", lend)
    monkeypatch.setattr(install, "TORCH", "pip")
    monkeypatch.setattr(install, "REQUIREMENTS", ("pip",))
    command = Installer().install(str(earlier), "", print)
    python = str(earlier / "backend/bin/python")
    assert command == f"{python} -I -m dsr_backend serve"
    code = "import dsr_backend, pymol_dsr; print(dsr_backend.__file__, pymol_dsr.__file__)"
    printed = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert all(path.startswith(str(earlier / "backend")) for path in printed.stdout.split())
    assert not (earlier / "backend/earlier").exists() and not (earlier / "backend.previous").exists()


def test_cancel_kills_what_runs_and_leaves_the_earlier_one(earlier):
    installer = Installer()
    raised: list[Exception] = []
    started = threading.Event()

    def work():
        try:
            installer.install(str(earlier), "", lambda line: started.set())
        except InstallError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(PATIENCE)
    assert installer.cancel()
    thread.join(PATIENCE)
    assert isinstance(raised[0], InstallCancelled)
    assert is_untouched(earlier)
    assert not installer.cancel(), "nothing runs any more"


def test_a_killed_installation_is_put_right_by_the_next(earlier, monkeypatch):
    (earlier / "backend").rename(earlier / "backend.previous")
    (earlier / "backend").mkdir()
    monkeypatch.setattr(install, "python_program", lambda: "/nowhere/python")
    with pytest.raises(FileNotFoundError):
        Installer().install(str(earlier), "", print)
    assert is_untouched(earlier)


def test_torch_comes_from_its_cpu_builds_where_there_is_no_card(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.torch_index() == CPU_INDEX
    card = tmp_path / "nvidia-smi"
    card.write_text("#!/bin/sh\n")
    card.chmod(0o755)
    assert install.torch_index() == ""


def test_the_backend_comes_from_this_checkout_or_from_the_zip(tmp_path, monkeypatch):
    assert install.backend_package() == ROOT / "backend/dsr_backend"
    monkeypatch.setattr(install, "PACKAGE", tmp_path)
    (tmp_path / "bundled/dsr_backend").mkdir(parents=True)
    assert install.backend_package() == Path(tmp_path, "bundled/dsr_backend")


def test_the_command_refuses_what_it_can_not_do(plugin):
    assert "index pypi: write auto, pip or the address" in refused(plugin, dsr_install, "pypi")
    assert session_of(plugin).settings.get("backend") == ""
