"""Files that PyMOL would run or unpickle are refused by their endings before it sees them."""

from __future__ import annotations

import bz2
import gzip
import pickle
from pathlib import Path

import pymol2
import pytest
from dsr_backend.batch.manifest import read_manifest
from dsr_backend.cli.main import main as backend
from dsr_backend.surfaces import from_pymol
from pymol import importing

from pymol_dsr import __main__
from pymol_dsr.shared import molecule_files
from pymol_dsr.surfaces import stream

RUN = ("pml", "p1m", "pim", "py", "pym", "pyc", "pwg")
"""Endings of files that PyMOL runs."""
UNPICKLED = ("pse", "psw", "pze", "pzw", "pkl")
"""Endings of files that PyMOL unpickles, or did in earlier versions."""
OTHERS = ("r3d", "idx", "png", "ply", "aln", "fasta", "cc1", "cml", "xml", "mae", "model", "brick", "plugin", "4", "")
PYMOL = ("pml", "py", "pse", "pze")
"""Endings with which the control shows that the files of these tests do harm."""


class Marks:
    """An object whose unpickling writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return Path.touch, (Path(self.marker),)


def content(ending: str, marker: Path) -> bytes:
    """A file that writes `marker` when PyMOL loads it with this ending."""
    if ending in UNPICKLED:
        data = pickle.dumps(Marks(marker))
        return gzip.compress(data) if ending in ("pze", "pzw") else data
    slash = "/" if ending in ("pml", "p1m", "pim") else ""
    return f"{slash}__import__('pathlib').Path({str(marker)!r}).touch()\n".encode()


def harmful_files(folder: Path, marker: Path) -> list[Path]:
    """One file of each ending in both cases, plain and packed, and some that are named by their ending alone."""
    files = []
    for lower in (*RUN, *UNPICKLED, *OTHERS):
        data = content(lower, marker)
        for ending in sorted({lower, lower.upper(), lower.capitalize()}):
            for packed, pack in (("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".GZ", gzip.compress)):
                for stem in ("pep.", "pep.pdb.", ".", ""):
                    path = folder / f"{stem}{ending}{packed}"
                    if path != folder:
                        path.write_bytes(pack(data))
                        files.append(path)
    return files


@pytest.fixture
def structure(tmp_path):
    path = tmp_path / "good.pdb"
    session = pymol2.PyMOL()
    session.start()
    session.cmd.fab("AG", "pep")
    session.cmd.save(str(path), "pep")
    session.stop()
    return path


@pytest.mark.parametrize("ending", PYMOL)
def test_pymol_itself_runs_such_files(tmp_path, ending):
    """Without this, the tests below could not fail."""
    marker = tmp_path / "marker"
    path = tmp_path / f"x.{ending}"
    path.write_bytes(content(ending, marker))
    session = pymol2.PyMOL()
    session.start()
    try:
        session.cmd.feedback("disable", "all", "everything")
        session.cmd.load(str(path), "m")
    except Exception as error:  # noqa: BLE001 - a session that is no session is refused after it was unpickled
        assert ending in UNPICKLED, error
    finally:
        session.stop()
    assert marker.exists()


@pytest.mark.system
def test_no_file_that_pymol_runs_gets_to_it(tmp_path, structure, capsys):
    folder, marker = tmp_path / "harmful", tmp_path / "marker"
    folder.mkdir()
    out = tmp_path / "out.safetensors"
    for path in harmful_files(folder, marker):
        for words in ([path], [path, structure], [structure, path]):
            role = "a topology" if words[0] == path else "a trajectory"
            assert __main__.main([f"--out={out}", *map(str, words)]) == 1
            [line] = capsys.readouterr().err.splitlines()
            assert line.startswith(f"pymol_dsr: {path}: {role} can't end in .")
            assert f"; read are .{'pdb' if role == 'a topology' else 'xtc'} " in line
            # An interpreter that isn't there: RequestError, were it started.
            with pytest.raises(ValueError, match=f"{role} can't end in"):
                from_pymol.make_surfaces("/nowhere/python", words, out, from_pymol.SurfaceRequest())
        with pytest.raises(ValueError, match="can't end in"):
            stream.load(str(path), str(structure), "m", None)
    assert not marker.exists() and not out.exists()


@pytest.mark.parametrize("verb", ["fit", "surfaces"])
@pytest.mark.parametrize("name", ["x.pml", "x.PSE", "x.py.gz"])
def test_the_command_line_refuses_them(tmp_path, capsys, verb, name):
    (tmp_path / name).write_bytes(content("py", tmp_path / "marker"))
    out = tmp_path / ("out.dsr" if verb == "fit" else "out.safetensors")
    assert backend([verb, str(tmp_path / name), "-o", str(out)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"{name}: a topology can't end in .{name.lower().partition('.')[2]}; read are .pdb" in line
    assert not (tmp_path / "marker").exists()


def test_a_manifest_refuses_them_with_their_line(tmp_path, structure):
    (tmp_path / "x.pml").write_bytes(content("pml", tmp_path / "marker"))
    for row, role in (("x.pml,", "topology"), ("good.pdb,x.pml", "trajectory")):
        (tmp_path / "list.csv").write_text(f"name,input,trajectory\na,good.pdb,\nb,{row}\n")
        with pytest.raises(ValueError, match=rf"line 3: .*x\.pml: a {role} can't end in \.pml"):
            read_manifest(tmp_path / "list.csv")


def test_what_is_allowed_has_no_reader_in_python():
    """Molecules are read by PyMOL's C code; the one reader in Python among these parses text."""
    allowed = {*molecule_files.STRUCTURES, *molecule_files.TRAJECTORIES, "pdb1", "pdb12"}
    for ending in allowed:
        for packed in ("", ".gz", ".bz2"):
            assert importing.filename_to_format(f"x.{ending}{packed}")[2] not in set(importing.loadfunctions) - {"pdb"}


@pytest.mark.parametrize("name", ["a.pdb", "a.PDB", "a.b.cif.gz", "a.pdb1", "a.ent.bz2", "A.Psf", "a.xyz"])
def test_molecules_pass(name):
    molecule_files.check_structure(name)


@pytest.mark.parametrize("name", ["a.xtc", "A.DCD", "a.b.trr", "a.nc", "a.pdb"])
def test_trajectories_pass(name):
    molecule_files.check_trajectory(name)
