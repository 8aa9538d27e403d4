"""The noisy trajectories in benchmarks/data: molecular dynamics of two small proteins in implicit solvent.

    pip install openmm MDAnalysisTests
    python benchmarks/noisy_md.py [--folder benchmarks/data]

villin at 300 K and 450 K (the headpiece HP35, from MDAnalysisTests) and Trp-cage at 450 K (from the first state of
benchmarks/data/trpcage_300k): 160 states each, 1 ps apart, all atoms. Amber ff99SB-ILDN with the OBC solvent, no
cutoff, Langevin dynamics in steps of 4 fs with bonds to hydrogen fixed and hydrogens of 2 amu. About 15 minutes on one
core. Seeds and threads are fixed, so that one machine gives the same states again; another may not, as chaos goes.
"""

from __future__ import annotations

import argparse
import bz2
import io
from pathlib import Path
from typing import Any

import openmm
from openmm import app, unit

STATES = 160
PER_STATE = 250  # steps of 4 fs: 1 ps
SETTLE = 2_500  # steps: 10 ps
SEED = 20_240_611


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "data", help="where the files go")
    folder = parser.parse_args().folder
    trpcage = app.PDBFile(str(folder / "trpcage_300k.pdb"))
    run(folder / "trpcage_450k", trpcage.topology, trpcage.positions, 450)
    topology, positions = villin()
    for kelvin in (300, 450):
        run(folder / f"villin_{kelvin}k", topology, positions, kelvin)


def villin() -> tuple[Any, Any]:
    """Topology and positions of HP35 with all hydrogens, from MDAnalysisTests' Gromacs file.

    Its two norleucines become methionines, which differ from them in one heavy atom: Amber has no norleucine.
    """
    from MDAnalysisTests.datafiles import contacts_villin_folded

    renamed = {"NLE": "MET", "HSP": "HIS"}
    lines = []
    for line in bz2.decompress(Path(contacts_villin_folded).read_bytes()).decode().splitlines()[2:]:
        residue, name = line[5:10].strip(), line[10:15].strip()
        if residue == "SOL":
            break
        if name[0] == "H":
            continue
        name = {"OT1": "O", "OT2": "OXT"}.get(name, name)
        if residue == "NLE" and name == "CD":
            name = "SD"
        x, y, z = (10.0 * float(line[k : k + 8]) for k in (20, 28, 36))
        kind = renamed.get(residue, residue)
        lines.append(
            f"ATOM  {len(lines) + 1:5d}  {name:<3s} {kind} A{int(line[:5]):4d}    "
            f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {name[0]:>2s}"
        )
    structure = app.PDBFile(io.StringIO("\n".join([*lines, "END"])))
    modeller = app.Modeller(structure.topology, structure.positions)
    modeller.addHydrogens(force_field(), pH=7.0)
    return modeller.topology, modeller.positions


def force_field() -> Any:
    return app.ForceField("amber99sbildn.xml", "amber99_obc.xml")


def run(stem: Path, topology: Any, positions: Any, kelvin: int) -> None:
    """Write stem.pdb, the first state, and stem.xtc, all of them to 0.01 Å."""
    system = force_field().createSystem(
        topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds, hydrogenMass=2.0 * unit.amu
    )
    integrator = openmm.LangevinMiddleIntegrator(kelvin, 1.0 / unit.picosecond, 0.004)
    integrator.setRandomNumberSeed(SEED)
    platform = openmm.Platform.getPlatformByName("CPU")
    simulation = app.Simulation(topology, system, integrator, platform, {"Threads": "1", "DeterministicForces": "true"})
    simulation.context.setPositions(positions)
    simulation.minimizeEnergy(maxIterations=500)
    simulation.context.setVelocitiesToTemperature(kelvin, SEED)
    simulation.step(SETTLE)
    simulation.reporters.append(app.XTCReporter(str(stem.with_suffix(".xtc")), PER_STATE))
    simulation.step(PER_STATE)
    first = simulation.context.getState(positions=True).getPositions()
    with stem.with_suffix(".pdb").open("w") as stream:
        app.PDBFile.writeFile(topology, first, stream, keepIds=True)
    simulation.step((STATES - 1) * PER_STATE)
    print(f"{stem.name}: {STATES} states of {system.getNumParticles()} atoms", flush=True)


if __name__ == "__main__":
    main()
