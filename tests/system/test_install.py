"""The ways to install: pip's wheel, the Plugin Manager's zip, and both PyMOLs that the zip is for."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from pymol_dsr.shared.version import VERSION
from support.paths import ROOT

DEBIAN = "/usr/bin/pymol"
OURS = [sys.executable, "-m", "pymol"]
FIT = """
fab ACDEFGHIK, pep, ss=1
create pep, pep, 1, 2
translate [0, 1, 0], resi 1-3, 2, camera=0
dsr_fit pep, preset=preview
rotate x, 30, object=pep, camera=0
dsr_movie pep_dsr, 1-2:0.5
dsr_movie pep_dsr, 2+4, object=late
dsr_export pep_dsr, pep.glb, states=1-2:0.5, resolution=1
python
print("loaded", [(name, cmd.count_states(name)) for name in ("pep_dsr", "late", "late_future")])
python end
"""
LOADED = "loaded [('pep_dsr', 3), ('late', 2), ('late_future', 4)]"
INSTALL = """
import os
from pymol import cmd, plugins
from pymol.plugins import installation, legacysupport
for name in ("showinfo", "askyesno", "askokcancel"):
    setattr(legacysupport.tkMessageBox, name, staticmethod(lambda title, text, **_: print("BOX", title, text) or True))
installation.get_tk_focused = legacysupport.get_tk_focused = lambda: None
plugins.initialize(-2)
installation.installPluginFromFile(os.environ["DSR_ZIP"], plugdir=os.environ["DSR_STARTUP"])
from pmg_tk.startup.pymol_dsr.session import session_of
jobs = session_of(cmd).jobs
"""


@functools.cache
def debian() -> str:
    """The version of Debian's own PyMOL, empty where there is none."""
    if not os.path.exists(DEBIAN):
        return ""
    code = "import pymol; print(pymol.cmd.get_version()[0])"
    process = subprocess.run(
        ["/usr/bin/python3", "-c", code], capture_output=True, text=True, check=False, env=system()
    )
    return process.stdout.strip()


def system(**variables: str) -> dict[str, str]:
    """An environment in which nothing of this checkout or its Python is found."""
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", **variables}


PYMOLS = [
    pytest.param(OURS, id="this PyMOL"),
    pytest.param(
        [DEBIAN],
        id="Debian's PyMOL",
        marks=pytest.mark.skipif(not os.path.exists(DEBIAN), reason="no /usr/bin/pymol (apt-get install pymol)"),
    ),
]


@pytest.fixture
def archive(tmp_path):
    """The zip as `make zip` makes it."""
    path = tmp_path / "pymol_dsr.zip"
    process = subprocess.run(
        [sys.executable, ROOT / "tools/plugin_zip.py", path], capture_output=True, text=True, check=True
    )
    assert process.stdout.startswith(f"{path}: ")
    return path


@pytest.fixture
def program(tmp_path):
    """A folder with `dsr-backend`, as an environment of its own has one."""
    pytest.importorskip("torch")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    script = folder / "dsr-backend"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT}/backend exec {sys.executable} -m dsr_backend "$@"\n')
    script.chmod(0o755)
    return script


def test_the_zip_is_the_plugin_with_the_backend_for_dsr_install(archive, tmp_path):
    with zipfile.ZipFile(archive) as content:
        names = content.namelist()
        assert content.testzip() is None
        for name in names:
            source = name.replace("pymol_dsr/LICENSE", "LICENSE").replace("pymol_dsr/bundled", "backend")
            assert content.read(name) == (ROOT / source).read_bytes()
    package = ROOT / "pymol_dsr"
    paths = [*package.rglob("*.py"), package / "examples/trpcage.pdb.gz", package / "examples/trpcage_open.pdb.gz"]
    packed = [str(path.relative_to(ROOT)) for path in paths]
    packed += [f"pymol_dsr/bundled/{path.relative_to(ROOT / 'backend')}" for path in (ROOT / "backend").rglob("*.py")]
    assert sorted(names) == sorted([*packed, "pymol_dsr/LICENSE"])
    second_zip = tmp_path / "again" / "pymol_dsr.zip"
    subprocess.run([sys.executable, ROOT / "tools/plugin_zip.py", second_zip], stdout=subprocess.DEVNULL, check=True)
    assert second_zip.read_bytes() == archive.read_bytes()


def test_make_zip_makes_it():
    # Within another make its flags would come along, and its talk of folders.
    env = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    process = subprocess.run(["make", "-n", "zip"], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert process.stdout.split()[1:] == ["tools/plugin_zip.py"]


# An installation, and a fit within it.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("pymol", PYMOLS)
def test_the_zip_without_a_window_and_a_backend_on_path(archive, program, tmp_path, pymol):
    startup = tmp_path / "startup"
    startup.mkdir()
    (tmp_path / "install.py").write_text(INSTALL)
    (tmp_path / "job.pml").write_text(
        "run install.py\n" + FIT + "print('by', jobs.connection.running.command)\njobs.close()\n"
    )
    env = system(HOME=str(tmp_path), DSR_ZIP=str(archive), DSR_STARTUP=str(startup))
    env["PATH"] = f"{program.parent}:{env['PATH']}"
    process = subprocess.run(
        [*pymol, "-cq", "job.pml"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    output = process.stdout
    assert 'BOX Success Plugin "pymol_dsr" has been installed.' in output, output + process.stderr
    assert f"by ['{program}', 'serve']" in output
    assert os.path.isfile(startup / "pymol_dsr" / "__init__.py")
    assert "only available" not in output
    assert "pep_dsr: 2 states fitted" in output and LOADED in output
    assert (tmp_path / "pep.glb").read_bytes()[:4] == b"glTF"
    # The next PyMOL with a window finds it, and is the only thing that was told so.
    assert str(startup) in (tmp_path / ".pymolpluginsrc.py").read_text()
    assert sorted(os.listdir(tmp_path / ".pymol_dsr/fits")) == ["pep_dsr.dsr"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.gui
@pytest.mark.parametrize("pymol", PYMOLS)
def test_the_zip_at_the_window(archive, program, display, tmp_path, pymol):
    """Installed and installed over itself; after a new start menu, panel, fit, movie, doctor; uninstalled."""
    reports = {}
    for step in ("install", "use"):
        env = system(
            HOME=str(tmp_path),
            DISPLAY=display,
            LIBGL_ALWAYS_SOFTWARE="1",
            QT_API="pyqt5",
            DSR_HOME=str(tmp_path / "dsr"),
            DSR_GUI_OUT=str(tmp_path),
            DSR_STEP=step,
            DSR_ZIP=str(archive),
            DSR_BACKEND=str(program),
        )
        with open(tmp_path / "output.txt", "w") as output:
            subprocess.run(
                [*pymol, "-W", "640", "-H", "480", ROOT / "tests/support/install_script.py"],
                cwd=tmp_path,
                env=env,
                timeout=300,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        path = tmp_path / f"{step}.json"
        assert path.exists(), (tmp_path / "output.txt").read_text()[-3000:]
        reports[step] = json.loads(path.read_text())
        assert not reports[step]["error"], reports[step]["error"] + reports[step].get("log", "")
    assert reports["install"]["steps"] == ["installed", "again"]
    assert reports["install"]["boxes"] == [
        ["Success", 'Plugin "pymol_dsr" has been installed.'],
        ["Confirm", "Plugin already installed. Reinstall?"],
        ["Success", 'Plugin "pymol_dsr" has been installed.'],
    ]
    assert reports["use"]["steps"] == ["panel", "fit", "movie", "doctor", "uninstalled"]
    assert reports["use"]["file"] == str(tmp_path / "startup/pymol_dsr/__init__.py")
    assert reports["use"]["typed_returns_at_once"]
    assert "dsr_doctor: all is well" in reports["use"]["log"]
    assert reports["use"]["left"] == []
    assert reports["use"]["pymol"] == (debian() if pymol == [DEBIAN] else reports["use"]["pymol"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_wheel_in_an_environment_of_its_own(tmp_path):
    """Everything but its dependencies, which are lent from this environment, comes from the wheel."""
    pytest.importorskip("torch")
    # A build folder in the checkout would keep files that are long gone from it.
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pymol_dsr", "backend"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "-w", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("pymol_dsr-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as content:
        inside = {name for name in content.namelist() if name.endswith((".py", ".gz"))}
    packages = {path.relative_to(ROOT) for path in (ROOT / "pymol_dsr").rglob("*.py")}
    packages |= {path.relative_to(ROOT) for path in (ROOT / "pymol_dsr/examples").iterdir()}
    packages |= {path.relative_to(ROOT / "backend") for path in (ROOT / "backend").rglob("*.py")}
    assert inside == {str(path) for path in packages}

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "fresh"], check=True)
    python = tmp_path / "fresh/bin/python"
    subprocess.run([*pip, "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    site = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "fresh"), "platbase": str(tmp_path / "fresh")})
    Path(site, "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (tmp_path / ".pymolrc.py").write_text("import pymol_dsr\n")
    end = "from pymol_dsr.session import close_session\nclose_session(cmd)\n"
    (tmp_path / "job.pml").write_text("dsr_doctor\n" + FIT + end)
    process = subprocess.run(
        [python, "-m", "pymol", "-cq", "job.pml"],
        cwd=tmp_path,
        env=system(HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert f"ok   plugin: {VERSION}, {site}/pymol_dsr" in process.stdout, process.stdout + process.stderr
    assert f"ok   backend: {tmp_path}/fresh/bin/dsr-backend serve (found), version {VERSION}" in process.stdout
    assert "dsr_doctor: all is well" in process.stdout and LOADED in process.stdout
    version_process = subprocess.run(
        [tmp_path / "fresh/bin/dsr-backend", "--version"], env=system(), capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"dsr-backend \d+\.\d+\.\d+\n", version_process.stdout)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_dsr_install_from_the_zip(archive, tmp_path):
    """Downloads torch, from DSR_TEST_INDEX where that is set, otherwise from pip's own index."""
    (tmp_path / "startup").mkdir()
    with zipfile.ZipFile(archive) as content:
        content.extractall(tmp_path / "startup")
    index = os.environ.get("DSR_TEST_INDEX", "pip")
    end = "from pymol_dsr.session import close_session\nclose_session(cmd)\n"
    (tmp_path / "job.pml").write_text(f"import pymol_dsr\ndsr_install index={index}\ndsr_doctor\n" + FIT + end)
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    env = system(HOME=str(tmp_path), PYTHONPATH=str(tmp_path / "startup"), **pip)
    process = subprocess.run(
        [*OURS, "-cq", "job.pml"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=1500, check=False
    )
    python = tmp_path / ".pymol_dsr/backend/bin/python"
    assert f"ok   backend: {python} -I -m dsr_backend serve (set with dsr_set), version {VERSION}" in process.stdout, (
        process.stdout + process.stderr
    )
    assert "dsr_doctor: all is well" in process.stdout and LOADED in process.stdout
    code = "import dsr_backend, pymol_dsr; print(dsr_backend.__file__, pymol_dsr.__file__)"
    import_process = subprocess.run(
        [python, "-I", "-c", code], env=system(), capture_output=True, text=True, check=True
    )
    assert all(path.startswith(str(tmp_path / ".pymol_dsr/backend")) for path in import_process.stdout.split())
