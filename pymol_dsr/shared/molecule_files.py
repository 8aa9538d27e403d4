"""Endings of the files that PyMOL reads as molecules and trajectories, and never as commands.

PyMOL chooses a reader by the ending of a name. A script (`.pml`, `.py`) is run and a session (`.pse`) is unpickled, so
no path of a user's list reaches PyMOL unless its ending is one of these.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

STRUCTURES = (
    *("pdb", "ent", "pdbqt", "pqr", "cif", "mmcif", "bcif", "mol", "mol2", "sdf", "sd", "xyz", "gro", "g96"),
    *("psf", "prmtop", "parm7", "top", "crd", "cor", "rst", "rst7", "vtf"),
)
"""Endings of structures and topologies. `.pdb1`, `.pdb2`, … are biological assemblies and read, too."""
PACKED = ("gz", "bz2")
"""Endings that may follow one of PACKABLE. PyMOL unpacks no trajectories, and not all structures."""
PACKABLE = ("pdb", "ent", "cif", "mmcif", "bcif", "mol", "mol2", "sdf", "sd", "xyz")
"""Endings of structures that PyMOL unpacks."""
PYMOL_TRAJECTORIES = (
    *("xtc", "trr", "dcd", "dtr", "nc", "trj", "crd", "mdcrd", "rst7", "coor", "binpos"),
    *("pdb", "pqr", "xyz", "vtf"),
)
"""Endings of trajectories that PyMOL reads."""
OTHER_TRAJECTORIES = ("ncdf", "h5md", "tng", "lammpstrj", "lammpsdump", "dump", "trc", "gro")
"""Endings of trajectories that MDAnalysis reads and PyMOL does not."""
TRAJECTORIES = (*PYMOL_TRAJECTORIES, *OTHER_TRAJECTORIES)
"""Endings of trajectories."""
EXTRA_PACKAGES = {"tng": "pytng", "h5md": "h5py"}
"""Packages that MDAnalysis needs for an ending."""
INSTALL_READERS = 'pip install "pymol-dsr[formats]" for the Python of PyMOL'
"""The order that brings MDAnalysis and its packages."""
CONVERT_STRUCTURE = "convert it to .pdb, as with 'gmx editconf' (.tpr) or MDAnalysis"
CONVERT_TRAJECTORY = "unpack it or convert it to .xtc, as with 'gmx trjconv' (.g96), 'mdconvert' (.h5) or MDAnalysis"
_ASSEMBLY = re.compile(r"pdb[0-9]+")


def check_structure(path: str | os.PathLike[str]) -> None:
    """Check the ending of a structure or topology for PyMOL. Raises ValueError."""
    ending, packed = _endings(path)
    is_assembly = bool(_ASSEMBLY.fullmatch(ending))
    if ending not in STRUCTURES and not is_assembly:
        raise ValueError(
            f"{os.fspath(path)}: a topology can't end in {_suffix(ending, packed)}; read are "
            f".{' .'.join(STRUCTURES)}; {CONVERT_STRUCTURE}"
        )
    if packed and ending not in PACKABLE and not is_assembly:
        raise ValueError(
            f"{os.fspath(path)}: PyMOL does not unpack .{ending}, but .{' .'.join(PACKABLE)}; unpack it yourself"
        )


def check_trajectory(path: str | os.PathLike[str]) -> None:
    """Check the ending of a trajectory for PyMOL. Raises ValueError."""
    ending, packed = _endings(path)
    if packed or ending not in TRAJECTORIES:
        raise ValueError(
            f"{os.fspath(path)}: a trajectory can't end in {_suffix(ending, packed)}; "
            f"read are .{' .'.join(PYMOL_TRAJECTORIES)}, and with MDAnalysis "
            f".{' .'.join(OTHER_TRAJECTORIES)}; {CONVERT_TRAJECTORY}"
        )


def check_paths(paths: Sequence[str | os.PathLike[str]]) -> None:
    """Check the endings of a topology and of the trajectories after it. Raises ValueError."""
    check_structure(paths[0])
    for path in paths[1:]:
        check_trajectory(path)


def is_read_by_pymol(trajectory: str | os.PathLike[str]) -> bool:
    """Whether PyMOL itself reads a trajectory with this ending."""
    ending, packed = _endings(trajectory)
    return not packed and ending in PYMOL_TRAJECTORIES


def _endings(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Return the ending in lower case and that of the packing, both without their dots, by PyMOL's own rule.

    A name without a dot is its own ending there, so `os.path.splitext` would let a packed script named `pml.gz` pass.
    """
    stem, _, ending = os.path.basename(os.fspath(path)).rpartition(".")
    if ending not in PACKED:
        return ending.lower(), ""
    return stem.rpartition(".")[2].lower(), ending


def _suffix(ending: str, packed: str) -> str:
    return f".{ending}.{packed}" if packed else f".{ending}"
