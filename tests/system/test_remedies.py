"""Every order that a message gives works: the fault is caused, the order carried out as it is written, the fault gone.

In PyMOL the orders are typed; for the command line they are options and files. Orders of lost and interrupted fits are
carried out in test_remote.py and test_reliability.py, those of session files in tests/plugin/fits/test_sessions.py.
"""

from __future__ import annotations

import ast
import gzip
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import tomllib
from dsr_backend.cli.main import main as backend_main

from pymol_dsr.commands.command import COMMANDS
from pymol_dsr.commands.files import dsr_load
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.session import session_of
from support.paths import CASES, ROOT

pytest.importorskip("torch")

WATER = "ATOM  {:5d} {:<4} SOL W{:4d}    {:8.3f}{:8.3f}{:8.3f}  1.00  0.00           {}"


# In PyMOL


@dataclass(frozen=True)
class Fault:
    """A molecule `mol` with a fault. text: of the message that says so, before the order."""

    text: str
    cause: Callable
    selection: str = "mol"


def with_setting(name, *settings):
    def cause(cmd):
        cmd.load(str(CASES / name), "mol")
        for key, value in settings:
            cmd.set(key, value, "mol")

    return cause


def lacking_atoms(cmd):
    cmd.load(str(CASES / "complex.pdb"), "all_atoms")
    cmd.create("mol", "all_atoms", 1, 1)
    cmd.create("mol", "all_atoms and not name CB", 2, 2)
    cmd.delete("all_atoms")


def solvated_pdb() -> str:
    """The complex with three waters that are no HETATM."""
    lines = (CASES / "complex.pdb").read_text().splitlines()
    lines = [line for line in lines if line.startswith(("ATOM", "HETATM"))][:63]
    for number in range(3):
        for name, x, y, element in (("OW", 0.0, 0.0, "O"), ("HW1", 0.96, 0.0, "H"), ("HW2", -0.24, 0.93, "H")):
            lines.append(WATER.format(len(lines) + 1, name, 900 + number, 20 + 4 * number + x, y, 0.0, element))
    return "\n".join([*lines, "END\n"])


FAULTS = {
    "flags": Fault("atoms flagged ignore", with_setting("complex.pdb")),
    "hydrogens": Fault("atoms that are hydrogens", with_setting("complex.pdb", ("surface_mode", 2))),
    "hydrogens alone": Fault("atoms are hydrogens", with_setting("complex.pdb", ("surface_mode", 4)), "mol and hydro"),
    "solvent": Fault("atoms are solvent", lambda cmd: cmd.read_pdbstr(solvated_pdb(), "mol")),
    "lacking atoms": Fault("selected atoms of mol are not in it", lacking_atoms),
    "inside out": Fault("and has no inside", with_setting("helix.pdb", ("solvent_radius", 0.0))),
    "open": Fault("are open", with_setting("helix.pdb", ("solvent_radius", 0.1))),
    "dots": Fault("which draws dots", with_setting("complex.pdb", ("surface_type", 1))),
    "lines": Fault("which draws a mesh of lines", with_setting("complex.pdb", ("surface_type", 2))),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_order_in_pymol_ends_the_fault(plugin, tmp_path, capfd, name):
    fault = FAULTS[name]
    plugin.delete("all")
    fault.cause(plugin)

    def lines(selection: str) -> list[str]:
        capfd.readouterr()
        plugin.do(f"dsr_surfaces {selection}, {tmp_path / 'out.safetensors'}, async_=0")
        return [line for line in capfd.readouterr().out.splitlines() if fault.text in line]

    [line] = lines(fault.selection)
    order = line[line.index(fault.text) :]
    selection = fault.selection
    if typed := re.search(r"'(set [^']*)'", order):
        plugin.do(typed[1])
    else:
        added = re.search(r"add '(and [^']*)' to the selection", order)
        assert added, line
        selection = f"({selection}) {added[1]}"
    assert lines(selection) == []
    assert (tmp_path / "out.safetensors").exists()


def order_in(pattern: str, text: str) -> str:
    order = re.search(pattern, text)
    assert order is not None, text
    return order[1]


def test_orders_about_fits_and_movies(backend, tmp_path, capfd):
    cmd = backend
    dsr_fit("pep", "1-3", name="fit", preset="preview", watch=0, _self=cmd)
    dsr_fit("pep", "1", name="still", preset="preview", watch=0, _self=cmd)

    def refused(typed: str) -> str:
        capfd.readouterr()
        cmd.do(typed)
        [line] = [line for line in capfd.readouterr().out.splitlines() if "Error" in line]
        return line

    def obeyed(typed: str, ends: str = ", async_=0") -> None:
        capfd.readouterr()
        cmd.do(f"{typed}{ends}")
        assert "Error" not in capfd.readouterr().out

    line = refused("dsr_color fit, motion")
    obeyed(order_in(r"; (dsr_movie fit) makes one", line))
    obeyed("dsr_color fit, motion")
    assert cmd.count_frames() == 3

    line = refused("dsr_movie still")
    obeyed(order_in(r"'(dsr_movie still, movie=0)'", line))
    assert cmd.count_states("still") == 1

    line = refused("dsr_movie nope")
    assert "make one with dsr_fit or dsr_load" in line
    obeyed(f"dsr_save fit, {tmp_path / 'saved.dsr'}", "")
    shutil.copy(tmp_path / "saved.dsr", tmp_path / "nope.dsr")
    dsr_load(str(tmp_path / "nope.dsr"), "nope", _self=cmd)
    obeyed("dsr_movie nope")

    cmd.mset("1 x7")
    cmd.do("dsr_movie fit, 1-3, async_=0")
    assert "movie=0 loads the surfaces and keeps it" in capfd.readouterr().out
    cmd.mset("1 x7")
    obeyed("dsr_movie fit, 1-3, movie=0")
    assert cmd.count_frames() == 7

    # A session whose fit has no file says how it gets one, and one whose file is gone how the fit comes back.
    fit = session_of(cmd).jobs.fits["fit"]
    kept = Path(fit.file or str(fit.report.path))
    away = kept.with_name("away.dsr")
    kept.rename(away)
    capfd.readouterr()
    cmd.save(str(tmp_path / "x.pse"))
    order = order_in(r"; (dsr_save fit, fit\.dsr), then save again", capfd.readouterr().out)
    cmd.cd(str(tmp_path))
    obeyed(order, "")
    cmd.save(str(tmp_path / "x.pse"))
    assert "then save again" not in capfd.readouterr().out
    (tmp_path / "fit.dsr").rename(tmp_path / "moved.dsr")
    del session_of(cmd).jobs.fits["fit"]
    cmd.load(str(tmp_path / "x.pse"))
    order = order_in(r"'(dsr_load FILE, fit)' brings the fit back", capfd.readouterr().out)
    cmd.do(order.replace("FILE", str(tmp_path / "moved.dsr")))
    obeyed("dsr_movie fit, 1-3")


# On the command line


def gro_of_frames(path: Path) -> None:
    """Two frames of one atom, and no line break at the end."""
    frame = "step\n    1\n    1ALA     CA    1   1.000   1.000   {}\n   9.00000   9.00000   9.00000"
    path.write_text("\n".join(frame.format(z) for z in ("1.000", "1.100")))


def with_line_break(path: Path, line: str) -> list[str]:
    path.write_text(path.read_text() + "\n")
    return [str(path)]


def unpack(path: Path, line: str) -> list[str]:
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    return [str(path.with_suffix(""))]


def option(path: Path, line: str) -> list[str]:
    """The option that stands between quotes."""
    order = re.search(r"'--(set|selection) ([^']*)'", line)
    assert order, line
    return [str(path), f"--{order[1]}", order[2].strip('"')]


def add_trajectory(path: Path, line: str) -> list[str]:
    files = pytest.importorskip("MDAnalysisTests.datafiles")
    return [str(path), str(Path(files.PSF).parent / "watdyn.dcd")]


def copy(source: Path) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        shutil.copy(source, path)

    return write


def packed_gro(path: Path) -> None:
    gro_of_frames(path)
    path.write_bytes(gzip.compress(path.read_bytes() + b"\n"))


def solvated(path: Path) -> None:
    path.write_text(solvated_pdb())


def five_waters(path: Path) -> None:
    files = pytest.importorskip("MDAnalysisTests.datafiles")
    shutil.copy(Path(files.PSF).parent / "watdyn.psf", path)


@dataclass(frozen=True)
class CommandLineFault:
    """A file with a fault, and what to do about it: a function of the file and the line, which gives the new words."""

    text: str
    name: str
    write: Callable[[Path], None]
    obey: Callable[[Path, str], list[str]]
    words: tuple[str, ...] = ()


COMMAND_LINE_FAULTS = {
    "flags": CommandLineFault("atoms flagged ignore", "x.pdb", copy(CASES / "complex.pdb"), option),
    "hydrogens": CommandLineFault(
        "that are hydrogens", "x.pdb", copy(CASES / "complex.pdb"), option, ("--set", "surface_mode=2")
    ),
    "solvent": CommandLineFault("are solvent", "x.pdb", solvated, option),
    "inside out": CommandLineFault(
        "has no inside", "x.pdb", copy(CASES / "helix.pdb"), option, ("--set", "solvent_radius=0")
    ),
    "dots": CommandLineFault(
        "which draws dots", "x.pdb", copy(CASES / "helix.pdb"), option, ("--set", "surface_type=1")
    ),
    "frames": CommandLineFault("has 2 frames, of which PyMOL reads 1", "x.gro", gro_of_frames, with_line_break),
    "packed": CommandLineFault("does not unpack .gro", "x.gro.gz", packed_gro, unpack),
    "no states": CommandLineFault("holds no coordinates; give its trajectory", "x.psf", five_waters, add_trajectory),
}


@pytest.mark.parametrize("name", COMMAND_LINE_FAULTS)
def test_an_order_on_the_command_line_ends_the_fault(tmp_path, capfd, name):
    fault = COMMAND_LINE_FAULTS[name]
    path, out = tmp_path / fault.name, tmp_path / "out.safetensors"
    fault.write(path)

    def lines(words: list[str]) -> list[str]:
        capfd.readouterr()
        backend_main(["surfaces", "-o", str(out), *words])
        return [line for line in capfd.readouterr().err.splitlines() if fault.text in line]

    [line] = lines([str(path), *fault.words])
    assert not PYMOL_ORDERS.search(line), line
    assert lines([*fault.words, *fault.obey(path, line)]) == []
    assert out.exists()


# Orders in the code

PYMOL_ORDERS = re.compile(rf"\b({'|'.join(COMMANDS)}|pbc_unwrap|pbc_wrap|set_discrete|load_traj)\b|'set \w+, ")
# Messages of these reach the command line. The server answers PyMOL, and help texts tell of both.
ON_COMMAND_LINE = ("cli", "batch", "fitting", "results", "fields", "motion", "geometry", "surfaces", "runtime")


def texts_of(path: Path) -> list[str]:
    """The texts in a module that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


@pytest.mark.parametrize("room", ON_COMMAND_LINE)
def test_no_message_of_the_command_line_names_a_command_of_pymol(room):
    named = [
        (path.name, text)
        for path in sorted((ROOT / "backend" / "dsr_backend" / room).rglob("*.py"))
        if path.name != "main.py"
        for text in texts_of(path)
        # A message of both names the option as well.
        if PYMOL_ORDERS.search(text) and "of dsr-backend" not in text
    ]
    assert named == []


def test_what_pip_is_to_install_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    required = {re.split(r"[\[<>=!]", name)[0].lower() for names in extras.values() for name in names}
    named: set[str] = set()
    for path in [*(ROOT / "pymol_dsr").rglob("*.py"), *(ROOT / "backend").rglob("*.py"), *(ROOT / "docs").glob("*.md")]:
        text = path.read_text(encoding="utf-8")
        assert {extra for names in re.findall(r"pymol-dsr\[([\w,]+)\]", text) for extra in names.split(",")} <= set(
            extras
        )
        named |= set(re.findall(r"pip install ([A-Za-z][\w-]*)", text))
    assert {name.lower() for name in named} - {"atheris"} <= required | {"pymol-dsr"}, named
