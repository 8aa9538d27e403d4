"""Frames and forces of a folder in mdCATH's layout: an HDF5 file for each protein, `mdcath_dataset_DOMAIN.h5`.

In a file, DOMAIN/pdbProteinAtoms is the molecule as PDB, and DOMAIN/TEMPERATURE/REPLICA has `coords` (Å) and `forces`
(kcal/mol/Å), each [F,A,3]. h5py is an optional package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pymol_dsr.shared.learn_options import LearnOptions
from pymol_dsr.shared.molecule import COLUMNS, Molecule
from pymol_dsr.shared.values import ValueFault

from ..contract import Check
from .beads import MOST_BEADS, ForceMap, beads_of
from .learn import CHUNK, LearningData, force_noise
from .train import BeadStates

PREFIX, SUFFIX = "mdcath_dataset_", ".h5"
INSTALL = 'pip install "pymol-dsr[formats]"'
MOST_FILES = 100
LONGEST_PDB = 100 * 2**20
HYDROGEN_BOND = 1.35
"""Å. A hydrogen is bonded to the nearest heavy atom, at most so far away."""
LAYOUT = f"{PREFIX}DOMAIN{SUFFIX} with DOMAIN/pdbProteinAtoms and DOMAIN/TEMPERATURE/REPLICA/coords"


@dataclass(frozen=True, eq=False)
class Skipped:
    """A file that is left out, and why."""

    name: str
    reason: str


def files_of(folder: str) -> list[Path]:
    """Return the files of a folder in mdCATH's layout. Raises ValueFault where there is none, or too many."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ValueFault(f"folder {folder}: there is no such folder where the backend runs")
    files = sorted(path.glob(f"{PREFIX}*{SUFFIX}")) or sorted((path / "data").glob(f"{PREFIX}*{SUFFIX}"))
    if not files:
        raise ValueFault(f"folder {folder}: it holds no file {PREFIX}*{SUFFIX}, as mdCATH has them")
    if len(files) > MOST_FILES:
        raise ValueFault(f"folder {folder}: {len(files)} files, and a potential can be of {MOST_FILES} proteins")
    return files


def read_folder(
    files: Sequence[Path], options: LearnOptions, check: Check, label: str = ""
) -> tuple[list[LearningData], list[Skipped]]:
    """Return the frames of all proteins at the temperature of the options, and those that are left out.

    label: name of the only protein, where it is another than the domain's. Proteins of too many residues are left out.
    Raises ValueFault where h5py is missing, or a file has another layout.
    """
    try:
        # Optional.
        import h5py
    except ImportError as error:
        raise ValueFault(f"mdCATH's files need h5py, where the backend runs ({error}): {INSTALL}") from error
    data, skipped = [], []
    for path in files:
        check()
        domain = path.stem.removeprefix(PREFIX)
        try:
            with h5py.File(path, "r") as file:
                protein = _protein(file[domain] if domain in file else file[next(iter(file))], options, check)
        except ValueFault as fault:
            raise ValueFault(f"{path}: {fault}") from fault
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueFault(f"{path} can't be read ({error}); expected is {LAYOUT}") from error
        if isinstance(protein, Skipped):
            skipped.append(protein)
        else:
            data.append(replace(protein, name=label) if label else protein)
    if not data:
        raise ValueFault("no protein is left: " + "; ".join(f"{skip.name}: {skip.reason}" for skip in skipped[:3]))
    return data, skipped


def _protein(domain: Any, options: LearnOptions, check: Check) -> LearningData | Skipped:
    name = domain.name.removeprefix("/")
    temperature = f"{options.temperature:g}"
    kelvins = sorted((key for key in domain if key.isdigit()), key=int)
    if temperature not in kelvins:
        raise ValueFault(f"there is no {temperature} K, but {', '.join(kelvins) or 'nothing'}: give temperature=")
    text = domain["pdbProteinAtoms"][()]
    if not isinstance(text, bytes) or len(text) > LONGEST_PDB:
        raise ValueFault(f"pdbProteinAtoms is no text of at most {LONGEST_PDB} bytes")
    replicas = [domain[temperature][key] for key in sorted(domain[temperature])]
    first = np.asarray(replicas[0]["coords"][0], np.float32)
    molecule = molecule_of_pdb(text.decode(), first)
    residues = sum(name == "CA" for name in molecule.names)
    if not 4 <= residues <= MOST_BEADS:
        return Skipped(name, f"{residues} residues with Cα, and a potential can be of 4 to {MOST_BEADS}")
    for replica in replicas:
        _check_shapes(replica, len(molecule), options)
    protein, atoms = beads_of(molecule, first)
    beads = np.concatenate([np.asarray(replica["coords"][:, atoms], np.float32) for replica in replicas])
    if not np.isfinite(beads).all():
        raise ValueFault("coords have numbers that are not finite")
    runs = np.concatenate([np.full(len(replica["coords"]), number) for number, replica in enumerate(replicas)])
    with_forces = options.forces is not False and all("forces" in replica for replica in replicas)
    mapped, noise = None, None
    if with_forces:

        def chunks() -> Iterator[NDArray[np.float32]]:
            for replica in replicas:
                for k in range(0, len(replica["forces"]), CHUNK):
                    check()
                    yield np.asarray(replica["forces"][k : k + CHUNK], np.float32)

        force_map = ForceMap(molecule, atoms, chunks())
        mapped = np.concatenate([force_map(chunk) for chunk in chunks()]).astype(np.float32)
        noise = force_noise(np.concatenate([chunk[:, atoms] for chunk in chunks()]), mapped)
        if not np.isfinite(mapped).all():
            raise ValueFault("forces have numbers that are not finite")
    return LearningData(name, BeadStates(protein, beads, mapped, runs), options.temperature, noise)


def _check_shapes(replica: Any, atoms: int, options: LearnOptions) -> None:
    shape = replica["coords"].shape
    if len(shape) != 3 or shape[1:] != (atoms, 3) or not shape[0]:
        raise ValueFault(f"{replica.name}/coords has the shape {list(shape)}, and {atoms} atoms in pdbProteinAtoms")
    if "forces" in replica and replica["forces"].shape != shape:
        raise ValueFault(f"{replica.name}: coords {list(shape)}, forces {list(replica['forces'].shape)}")
    if options.forces and "forces" not in replica:
        raise ValueFault(f"{replica.name} has no forces; forces=auto learns from states alone")


def molecule_of_pdb(text: str, coordinates: NDArray[np.float32]) -> Molecule:
    """Return the molecule of PDB lines, with a bond of each hydrogen to the heavy atom that is nearest.

    coordinates: f4[A,3] in Å of one frame. Raises ValueFault where the number of atoms differs.
    """
    rows = []
    for line in text.splitlines():
        if line.startswith(("ATOM", "HETATM")):
            name, chain = line[12:16].strip(), line[21:22].strip() or line[72:76].strip()
            element = line[76:78].strip() or name.lstrip("0123456789")[:1]
            rows.append((name, line[17:21].strip(), line[22:27].strip(), chain, element))
    if len(rows) != len(coordinates):
        raise ValueFault(f"pdbProteinAtoms has {len(rows)} atoms, and coords {len(coordinates)}")
    columns: dict[str, Any] = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    molecule = Molecule(**columns, bonds=np.zeros((0, 2), np.int32), hetatm=np.zeros(len(rows), bool))
    heavy, light = np.flatnonzero(molecule.heavy), np.flatnonzero(~molecule.heavy)
    distance, nearest = cKDTree(coordinates[heavy]).query(coordinates[light])
    if len(distance) and distance.max() > HYDROGEN_BOND:
        raise ValueFault(f"a hydrogen is {distance.max():.2f} Å from the nearest heavy atom")
    return replace(molecule, bonds=np.stack([heavy[nearest], light], 1).astype(np.int32))
