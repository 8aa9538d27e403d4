"""Back-mapping measured: adenylate kinase's atoms from its Cα or its backbone, with side chains of another state.

    python benchmarks/backmap.py [--data FOLDER] [--out docs/results.md]

State 41 of the DIMS path is built from state 1 and from state 21, and every tenth state from state 1 and from the first
ten. PyMOL's surface of the atoms is compared with that of the true state. Nothing is random, so there are no seeds.
About three minutes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import markdown
import numpy as np
import trajectories
from dsr_backend.geometry.metrics import GroundTruth
from dsr_backend.geometry.unit_cube import UnitCube
from dsr_backend.runtime import device
from dsr_backend.sources.backmap import ALPHAS, BACKBONE, BACKBONE_WITH_OXYGEN, CLASH, BackMap, clashes
from numpy.typing import NDArray

from pymol_dsr.shared.molecule import COLUMNS, Molecule
from pymol_dsr.surfaces import extract
from pymol_dsr.surfaces.source import Source
from pymol_dsr.surfaces.workers import compute_surfaces_at

TARGET, DONORS = 41, (1, 21)
ROUTES = {"Cα": ALPHAS, "N, Cα, C": BACKBONE, "N, Cα, C, O": BACKBONE_WITH_OXYGEN}
SERIES = {"atoms of state 1": (1,), "atoms of states 1 to 10": tuple(range(1, 11))}
REPEATS = 3


@dataclass
class Built:
    """Atoms that stand for those of a state."""

    label: str
    state: int
    atoms: NDArray[np.float32]
    seconds: float | None = None
    iou: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with adk.psf and adk_dims2.dcd")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "results.md")
    options = parser.parse_args()
    molecule, source = read(options.data)
    single = [Built("the next true state", TARGET, source.coordinates[TARGET + 1])]
    single += [
        built(molecule, source, f"{route}, atoms of state {donor}", TARGET, (donor,), anchors, relax)
        for donor in DONORS[::-1]
        for route, anchors in ROUTES.items()
        for relax in ((False, True) if donor == 1 else (True,))
    ]
    series = {
        f"{route}, {label}": [
            built(molecule, source, route, state, donors, ROUTES[route], True) for state in range(11, source.last, 10)
        ]
        for route in ("Cα", "N, Cα, C, O")
        for label, donors in SERIES.items()
    }
    score(source, [*single, *(model for row in series.values() for model in row)])
    markdown.put(options.out, "backmap", lines(molecule, source, single, series))


def read(data: Path | None) -> tuple[Molecule, Source]:
    """Read AdK's opening with PyMOL: its topology and its states."""
    import pymol2

    session = pymol2.PyMOL()
    session.start()
    try:
        cmd: Any = session.cmd
        cmd.feedback("disable", "all", "everything")
        with tempfile.TemporaryDirectory() as cache:
            trajectories.load(cmd, "dims", data, Path(cache))
        model = cmd.get_model("dims")
        source = extract.read_source("dims", "all", _self=cmd)
    finally:
        session.stop()
    rows = [(a.name, a.resn, a.resi, a.chain, a.symbol) for a in model.atom]
    columns: dict[str, Any] = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    bonds = np.array([bond.index for bond in model.bond], np.int32)
    return Molecule(**columns, bonds=bonds, hetatm=np.zeros(len(model.atom), bool)), source


def built(
    molecule: Molecule,
    source: Source,
    label: str,
    state: int,
    donors: tuple[int, ...],
    anchors: tuple[str, ...],
    relax: bool,
) -> Built:
    """Build a state, and take its CPU time."""
    states = source.coordinates
    backmap = BackMap(molecule, np.stack([states[donor] for donor in donors]), anchors)
    beads = states[state][None, backmap.atoms]
    seconds = []
    for _ in range(REPEATS):
        started = time.process_time()
        atoms = next(backmap.build(beads, relax=relax))
        seconds.append(time.process_time() - started)
    return Built(label + ("" if relax else ", not relaxed"), state, atoms, min(seconds))


def score(source: Source, all_built: list[Built]) -> None:
    """Fill in the IoU of each one's surface with that of its true state."""
    states = sorted({model.state for model in all_built})
    true = {float(state): source.coordinates[state] for state in states}
    mapped = {1000.0 + n: model.atoms for n, model in enumerate(all_built)}
    surfaces = {
        surface.state: surface for surface in compute_surfaces_at(source, list({**true, **mapped}.items()), workers=1)
    }
    for state in states:
        truth = surfaces[float(state)]
        reference = GroundTruth(truth.points, truth.normals, truth.faces, UnitCube.of([truth.points]))
        for n, model in enumerate(all_built):
            if model.state == state:
                surface = surfaces[1000.0 + n]
                model.iou = reference.score(surface.points, surface.normals, surface.faces).iou


def lines(molecule: Molecule, source: Source, single: list[Built], series: dict[str, list[Built]]) -> list[str]:
    """Lines of the section."""
    heavy = molecule.heavy

    def rmsd(model: Built) -> float:
        shift = model.atoms[heavy] - source.coordinates[model.state][heavy]
        return float(np.sqrt((shift**2).sum(1).mean()))

    def clashing(model: Built) -> int:
        return clashes(model.atoms, molecule)

    rows = [
        [
            model.label,
            f"{rmsd(model):.2f}",
            str(clashing(model)),
            f"{model.iou:.3f}",
            "–" if model.seconds is None else f"{model.seconds:.2f}",
        ]
        for model in single
    ]
    spread = [
        [
            route,
            f"{np.mean([rmsd(model) for model in row]):.2f}, {max(rmsd(model) for model in row):.2f}",
            f"{np.mean([clashing(model) for model in row]):.1f}, {max(clashing(model) for model in row)}",
            f"{np.mean([model.iou for model in row]):.3f}, {min(model.iou for model in row):.3f}",
        ]
        for route, row in series.items()
    ]
    count = len(next(iter(series.values())))
    return [
        "## Back to all atoms",
        "",
        f"State {TARGET} of adenylate kinase's opening (DIMS, {len(heavy)} atoms), built from the positions of a few",
        "atoms and the side chains of another state. A clash is two heavy atoms more than three bonds apart and nearer",
        f"than {CLASH:g} Å. CPU time: of one state ({device.describe('cpu').name}).",
        "",
        *markdown.table(["given", "RMSD of heavy atoms, Å", "clashes", "IoU of the surface", "s"], rows),
        "",
        f"{count} states along the path (11, 21, …): mean, worst. With more states given,",
        "atoms are means over the same conformers.",
        "",
        *markdown.table(["given", "RMSD of heavy atoms, Å", "clashes", "IoU of the surface"], spread),
    ]


if __name__ == "__main__":
    main()
