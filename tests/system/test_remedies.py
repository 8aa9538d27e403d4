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

import numpy as np
import pytest
import tomllib
from dsr_backend.cli.main import main as backend_main
from dsr_backend.surfaces import surfaces_file

from pymol_dsr.commands.command import COMMANDS
from pymol_dsr.commands.files import dsr_load
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.manage import dsr_set
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.session import session_of
from support.paths import CASES, ROOT
from support.scene import build_peptide
from support.shapes import ball, cloud

pytest.importorskip("torch")

WATER = "ATOM  {:5d} {:<4} SOL W{:4d}    {:8.3f}{:8.3f}{:8.3f}  1.00  0.00           {}"


# In PyMOL


@dataclass(frozen=True)
class Fault:
    """A molecule `mol` with a fault. text: of the message that says so, before the order. order: which one is obeyed.

    The order is typed as it stands between quotes, or is an option, or is added to the selection.
    """

    text: str
    cause: Callable
    selection: str = "mol"
    options: str = ""
    order: str = r"'(set [^']*)'|add '(?P<more>and [^']*)' to the selection"


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


def states_of(*names):
    def cause(cmd):
        for name in names:
            cmd.load(str(CASES / name), "mol")

    return cause


def cut_without_a_cell(cmd):
    states_of("whole.pdb", "wrapped.pdb")(cmd)
    for state in range(6):
        cmd.set_symmetry("mol", 1, 1, 1, 90, 90, 90, state=state)


def copies(cmd):
    cmd.load(str(CASES / "helix.pdb"), "mol")
    cmd.create("mol", "mol", 1, 2)
    cmd.create("mol", "mol", 1, 3)
    cmd.alter_state(3, "mol", "x = x + 1.0 * (index % 2)")


def other_molecules(cmd):
    for state, sequence in enumerate(("ACDE", "ACDF", "ACDE"), 1):
        cmd.fab(sequence, f"m{state}")
        cmd.create("mol", f"m{state}", 1, state, discrete=1)
        cmd.delete(f"m{state}")


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
    "without atoms": Fault("of its atoms' spheres", with_setting("helix.pdb", ("surface_quality", -1))),
    "dots": Fault("which draws dots", with_setting("complex.pdb", ("surface_type", 1))),
    "lines": Fault("which draws a mesh of lines", with_setting("complex.pdb", ("surface_type", 2))),
    "cut by the box, mended by PyMOL": Fault(
        "bonds are cut", states_of("whole.pdb", "wrapped.pdb"), order="type '(pbc_unwrap [^']*)' first"
    ),
    "cut by the box, mended for the fit": Fault(
        "bonds are cut", states_of("whole.pdb", "wrapped.pdb"), order="give (?P<option>unwrap=1),"
    ),
    "cut by the box from the start": Fault(
        "bonds are cut", states_of("wrapped.pdb"), order="give (?P<option>unwrap=1)"
    ),
    "cut by a box that is not known": Fault(
        "has no unit cell", cut_without_a_cell, options=", unwrap=1", order="type '(set_symmetry [^']*)'"
    ),
    "copies": Fault("has the coordinates of state", copies, order="give (?P<option>states=1[+]3)"),
    "other molecules": Fault("has other atoms there", other_molecules, order="give (?P<option>states=1[+]3) for those"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_order_in_pymol_ends_the_fault(plugin, tmp_path, capfd, name):
    fault = FAULTS[name]
    plugin.delete("all")
    fault.cause(plugin)

    out = tmp_path / "out.safetensors"

    def lines(selection: str, options: str) -> list[str]:
        out.unlink(missing_ok=True)
        capfd.readouterr()
        plugin.do(f"dsr_surfaces {selection}, {out}{options}, async_=0")
        return [line for line in capfd.readouterr().out.splitlines() if fault.text in line]

    [line] = lines(fault.selection, fault.options)
    order = re.search(fault.order, line[line.index(fault.text) :])
    assert order, line
    words = {"option": "", "more": "", **order.groupdict()}
    if order.lastgroup is None:
        plugin.do(order[1].replace("a, b, c", "30, 30, 30"))
        plugin.sync()
    selection = f"({fault.selection}) {words['more']}" if words["more"] else fault.selection
    assert lines(selection, f"{fault.options}, {words['option']}" if words["option"] else fault.options) == []
    assert out.exists()


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

    # A session that holds no fit says how it gets a file, and one whose file is gone how the fit comes back.
    dsr_set("session", "full", _self=cmd)
    fit = session_of(cmd).jobs.fits["fit"]
    fit_file = Path(fit.file or str(fit.report.path))
    moved_file = fit_file.with_name("away.dsr")
    fit_file.rename(moved_file)
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
    dsr_set("session", "default", _self=cmd)


@dataclass(frozen=True)
class Refusal:
    """A typed line that is refused, and the lines that do as the message says. `{1}` stands for a group of its order.

    order: of the message, from the words that name what is wrong.
    """

    typed: str
    order: str
    obeyed: tuple[str, ...]


BEFORE_FITS = (
    Refusal("dsr_fit pep, 1, 5", r"join states with \+ as in 1\+5", ("dsr_fit pep, 1+5, name=a, preset=preview",)),
    Refusal(
        "dsr_fit pep, 1-3, name=two, preset=preview",
        "a molecule of that name; give another with name=, or delete it",
        ("dsr_fit pep, 1-3, name=a, preset=preview",),
    ),
    Refusal(
        "dsr_fit pep, 1-3, name=c, preset=preview, breaks=3",
        "name the last state of a run that another one follows",
        ("dsr_fit pep, 1-3, name=c, preset=preview, breaks=2",),
    ),
    Refusal(
        "dsr_fit pep, 1-6, name=c, preset=preview, breaks=3, loop=1",
        "a loop has no cuts; leave loop= or breaks= out",
        ("dsr_fit pep, 1-6, name=c, preset=preview, breaks=3", "dsr_fit pep, 1-6, name=c, preset=preview, loop=1"),
    ),
    Refusal(
        "dsr_fit pep, 1-3, name=c, times=short.txt, preset=preview",
        "it has 3 numbers and pep 6 states; give one for each state",
        ("dsr_fit pep, 1-3, name=c, times=long.txt, preset=preview",),
    ),
    Refusal(
        "dsr_fit pep, 1-6, name=c, loop=1, preset=paper", "fit with (preset=fast)", ("dsr_fit pep, 1-6, loop=1, {1}",)
    ),
    Refusal(
        "dsr_fit pep, 1-3, family=fit",
        r"it is a fit of one trajectory; (dsr_fit one\+two) makes a family",
        ("dsr_fit pep+two, 1-2, name=fam, preset=preview", "dsr_fit pep, 1-3, name=d, family=fam"),
    ),
    Refusal("dsr_fit pep, 1-3, frozen=1", "give family= too", ("dsr_fit pep, 1-3, name=d, frozen=1, family=fam",)),
    Refusal(
        "dsr_fit pep, 1-3, name=d, family=fam, preset=fast",
        "has preset preview and this fit fast: fit with (preset=preview)",
        ("dsr_fit pep, 1-3, name=d, family=fam, {1}",),
    ),
    Refusal("dsr_fit pep, 1-3, family=fam, name=fam", "give another", ("dsr_fit pep, 1-3, family=fam, name=e",)),
    Refusal(
        "dsr_fit CON+pep, 1-2, name=g, preset=preview",
        "a trajectory can't be named CON.* rename the object with set_name",
        ("set_name CON, console", "dsr_fit console+pep, 1-2, name=g, preset=preview"),
    ),
)
OF_FITS = (
    Refusal("dsr_movie fam", r"choose one with trajectory= \((pep), two\)", ("dsr_movie fam, trajectory={1}",)),
    Refusal(
        "dsr_movie fam, trajectory=pep, share=0.5",
        "give towards= too",
        ("dsr_movie fam, 1, trajectory=pep, share=0.5, towards=two, movie=0",),
    ),
    Refusal(
        "dsr_movie fam, 1-2, trajectory=pep, towards=pep",
        "it is the trajectory itself; name another one",
        ("dsr_movie fam, 1-2, trajectory=pep, towards=two",),
    ),
    Refusal("dsr_movie fit, trajectory=pep", "leave trajectory=pep out", ("dsr_movie fit",)),
    Refusal(
        "dsr_movie fit, 1-3, object=pep",
        "is taken by a molecule; give another one with object=",
        ("dsr_movie fit, 1-3, object=shown",),
    ),
    Refusal(
        "dsr_movie fit, 1-3:0.5, seconds=2",
        "says the times already; leave one of them out",
        ("dsr_movie fit, 1-3:0.5", "dsr_movie fit, seconds=2, fps=2"),
    ),
    Refusal(
        "dsr_movie fit, seconds=1000, fps=25",
        "take at most ([0-9.]+) seconds, or a smaller fps",
        ("dsr_movie fit, seconds=1000, fps=0.004",),
    ),
    Refusal(
        "dsr_movie fit, seconds=0.01, fps=25",
        "take more seconds, or a larger fps",
        ("dsr_movie fit, seconds=0.16, fps=25", "dsr_movie fit, seconds=0.01, fps=400"),
    ),
    Refusal("dsr_movie fit, 2, seconds=1, fps=4", "give states= a range", ("dsr_movie fit, 2-3, seconds=1, fps=4",)),
    Refusal(
        "dsr_movie fit, camera=follow, as_=map",
        "leave as_=map or camera= out",
        ("dsr_movie fit, camera=follow", "dsr_movie fit, as_=map, object=maps"),
    ),
    Refusal(
        "dsr_movie fit, movie=0, fps=10",
        "leave movie= or these out",
        ("dsr_movie fit, fps=10", "dsr_movie fit, movie=0"),
    ),
    Refusal("dsr_levels fit, 1-3", "; (dsr_movie) shows several times", ("{1} fit, 1-3",)),
    Refusal(
        "dsr_levels fit, 2, levels=0, 1",
        "write spaces between numbers as in levels=",
        ("dsr_levels fit, 2, levels=0 1",),
    ),
    Refusal("dsr_measure fit, plot=1", "; file=NAME.csv writes NAME.png", ("dsr_measure fit, file=m.csv",)),
    Refusal(
        "dsr_measure fit, 1, pocket=resi 3 and name CA",
        "1 atom encloses no space at state 1; choose at least 4",
        ("dsr_measure fit, 1, pocket=resi 2-7 and name CA",),
    ),
    Refusal(
        "dsr_color fit, map, map=nope",
        "'load x.dx' or (map_new) make one",
        ("{1} nope, vdw, 2.0, pep", "dsr_color fit, map, map=nope"),
    ),
    Refusal(
        "dsr_color fit, values, file=bad.csv",
        "write the columns (state,index,value)",
        ("dsr_color fit, values, file=good.csv",),
    ),
    Refusal("dsr_color fit, motion, palette=nope", "write (viridis),", ("dsr_color fit, motion, palette={1}",)),
    Refusal("dsr_color gone", "give a colour as by=(white)", ("dsr_color gone, {1}",)),
)


def test_orders_of_refused_commands(backend, tmp_path, capfd):
    cmd = backend
    cmd.cd(str(tmp_path))
    (tmp_path / "short.txt").write_text("0 1 2")
    (tmp_path / "long.txt").write_text("0 1 2 4 8 16")
    (tmp_path / "bad.csv").write_text("time,atom,b\n1,1,0.5\n")
    (tmp_path / "good.csv").write_text("state,index,value\n1,1,0.5\n3,1,1.5\n")
    for name in ("two", "CON", "away"):
        build_peptide(cmd, name, 3)
    for name, selection in (("fit", "pep"), ("gone", "away")):
        dsr_fit(selection, "1-3", name=name, preset="preview", watch=0, _self=cmd)
        dsr_movie(name, "1-3", _self=cmd)
    cmd.delete("away")

    def typed(line: str) -> str:
        capfd.readouterr()
        verb = line.split()[0]
        # Coarse, for the time that it takes.
        cmd.do(line + (", async_=0" if verb in COMMANDS else "") + (", resolution=2" if verb == "dsr_movie" else ""))
        return capfd.readouterr().out

    faults = []
    for refusal in (*BEFORE_FITS, *OF_FITS):
        out = typed(refusal.typed)
        order = re.search(refusal.order, out) if " Error: " in out else None
        if order is None:
            faults.append((refusal.typed, "says", out))
            continue
        for line in refusal.obeyed:
            out = typed(line.format(order[0], *order.groups()))
            if "Error" in out:
                faults.append((refusal.typed, line, out))
    assert faults == []
    assert (tmp_path / "m.png").exists()


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
    """The option that the line says to give."""
    order = re.search(r"'--(set|selection|states) ([^']*)'|give --(unwrap)$", line)
    assert order, line
    return [str(path), f"--{order[3]}"] if order[3] else [str(path), f"--{order[1]}", order[2].strip('"')]


def with_cell(path: Path, line: str) -> list[str]:
    assert "(CRYST1 in a .pdb" in line
    path.write_text((CASES / "wrapped.pdb").read_text())
    return [str(path)]


def own_topology(path: Path, line: str) -> list[str]:
    assert "x.pdb" in line and "runs.xtc" in line, line
    return [str(CASES / "villin.pdb"), str(CASES / "runs.xtc"), "--states", "1-2"]


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


def without_cell(path: Path) -> None:
    lines = (CASES / "wrapped.pdb").read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("CRYST1")))


def models(*texts: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        blocks = [f"MODEL     {number:4d}\n{text}ENDMDL\n" for number, text in enumerate(texts, 1)]
        path.write_text("".join(blocks) + "END\n")

    return write


HELIX = "".join(line for line in (CASES / "helix.pdb").read_text().splitlines(keepends=True) if line.startswith("ATOM"))


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
    "without atoms": CommandLineFault(
        "of its atoms' spheres", "x.pdb", copy(CASES / "helix.pdb"), option, ("--set", "solvent_radius=0.4")
    ),
    "dots": CommandLineFault(
        "which draws dots", "x.pdb", copy(CASES / "helix.pdb"), option, ("--set", "surface_type=1")
    ),
    "frames": CommandLineFault("has 2 frames, of which PyMOL reads 1", "x.gro", gro_of_frames, with_line_break),
    "packed": CommandLineFault("does not unpack .gro", "x.gro.gz", packed_gro, unpack),
    "cut by the box": CommandLineFault("bonds are cut", "x.pdb", copy(CASES / "wrapped.pdb"), option),
    "no cell": CommandLineFault("has no unit cell", "x.pdb", without_cell, with_cell, ("--unwrap",)),
    "copies": CommandLineFault(
        "has the coordinates of state 1", "x.pdb", models(HELIX, HELIX, HELIX.replace("1.000", "1.100")), option
    ),
    "lacking atoms": CommandLineFault(
        "are not in it", "x.pdb", models(HELIX, "".join(HELIX.splitlines(True)[3:])), option
    ),
    "other atoms": CommandLineFault(
        "give the structure or topology of the same atoms",
        "x.pdb",
        copy(CASES / "helix.pdb"),
        own_topology,
        (str(CASES / "runs.xtc"),),
    ),
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
    out.unlink(missing_ok=True)
    words = [word for word in fault.words if not word.endswith(".xtc")]
    assert lines([*words, *fault.obey(path, line)]) == []
    assert out.exists()


@dataclass(frozen=True)
class CommandLineRefusal:
    """Words of dsr-backend that it refuses, and those that do as the message says. `{1}`: a group of its order."""

    words: str
    order: str
    obeyed: tuple[str, ...]


COMMAND_LINE_REFUSALS = (
    CommandLineRefusal(
        "fit a.safetensors --breaks 3 -o f.dsr",
        "name the last state of a run that another one follows",
        ("fit a.safetensors --breaks 2 -o f.dsr",),
    ),
    CommandLineRefusal(
        "fit a.safetensors --breaks 2 --loop -o f.dsr",
        "leave (--loop) or (--breaks) out",
        ("fit a.safetensors --breaks 2 -o f.dsr", "fit a.safetensors --loop -o f.dsr"),
    ),
    CommandLineRefusal(
        "fit a.safetensors --preset paper --loop -o f.dsr",
        "fit with (--preset fast)",
        ("fit a.safetensors {1} --loop -o f.dsr",),
    ),
    CommandLineRefusal(
        "fit a.safetensors --selection polymer -o f.dsr", "goes with a topology only", ("fit a.safetensors -o f.dsr",)
    ),
    CommandLineRefusal(
        "fit a.safetensors --family f.dsr -o g.dsr",
        "of one trajectory and no family; fit several files together",
        ("fit a.safetensors b.safetensors -o fam.dsr", "fit a.safetensors --family fam.dsr -o g.dsr"),
    ),
    CommandLineRefusal(
        "fit a.safetensors --frozen -o g.dsr",
        "name it as (--family)",
        ("fit a.safetensors --frozen {1} fam.dsr -o g.dsr",),
    ),
    CommandLineRefusal(
        "fit a.safetensors folder/a.safetensors -o g.dsr",
        "are both named a: rename one of them",
        ("fit b.safetensors folder/a.safetensors -o g.dsr",),
    ),
    CommandLineRefusal(
        "mesh fam.dsr --time 1 -o m.ply",
        r"name a trajectory, one of (a), b .(--trajectory)",
        ("mesh fam.dsr --time 1 {2} {1} -o m.ply",),
    ),
    CommandLineRefusal(
        "mesh fam.dsr --time 1 --trajectory a --share 0.5 -o m.ply",
        "give (--towards) too",
        ("mesh fam.dsr --time 1 --trajectory a --share 0.5 {1} b -o m.ply",),
    ),
    CommandLineRefusal(
        "mesh f.dsr --time 1 --trajectory a -o m.ply",
        "leave trajectory, towards and share out",
        ("mesh f.dsr --time 1 -o m.ply",),
    ),
    CommandLineRefusal(
        "mesh f.dsr --time 1 --level 90 -o m.ply", "give a lower one", ("mesh f.dsr --time 1 --level 2 -o m.ply",)
    ),
    CommandLineRefusal(
        "measure f.dsr --states 1 --resolution 1 --pocket 1",
        "choose at least 4",
        ("measure f.dsr --states 1 --resolution 1 --pocket 1-9",),
    ),
    CommandLineRefusal(
        "eval f.dsr late.safetensors", "name the (--states) to compare", ("eval f.dsr late.safetensors {1} 90",)
    ),
    CommandLineRefusal(
        "eval f.dsr a.safetensors --states 7", "holds the states (1-3)", ("eval f.dsr a.safetensors --states 1",)
    ),
)


def test_orders_of_the_verbs_of_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    atoms = cloud(40).astype(np.float32)
    balls = [ball(state, 4.0 + 0.2 * state, atoms=atoms, subdivisions=3) for state in (1, 2, 3)]
    (tmp_path / "folder").mkdir()
    for name, surfaces in (
        ("a", balls),
        ("b", balls),
        ("folder/a", balls),
        ("late", [ball(90, 5.0, atoms=atoms, subdivisions=3)]),
    ):
        surfaces_file.write_surfaces_file(tmp_path / f"{name}.safetensors", surfaces, {})

    def run(words: str) -> tuple[int, str]:
        preset = [] if not words.startswith("fit") or "--preset" in words else ["--preset", "preview"]
        capsys.readouterr()
        code = backend_main([*words.split(), *preset, "--device", "cpu"])
        return code, capsys.readouterr().err

    faults = []
    for refusal in COMMAND_LINE_REFUSALS:
        code, text = run(refusal.words)
        order = re.search(refusal.order, text) if code else None
        if order is None:
            faults.append((refusal.words, "says", text))
            continue
        for words in refusal.obeyed:
            code, text = run(words.format(order[0], *order.groups()))
            if code:
                faults.append((refusal.words, words, text))
    assert faults == []


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
        # The help of a verb may name the command of PyMOL that goes with it.
        if path.name != "verbs.py"
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
