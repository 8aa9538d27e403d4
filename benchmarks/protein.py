"""One protein from all-atom copies to a learned potential and its landscape, on a CPU or a GPU.

    python benchmarks/protein.py GYDPETGTWG --folder chignolin --device cuda [--copies 64 --ns 2 --replicas 64]

All files stay in the folder; with them, a run that was ended goes on at the next copy or the next part. OpenMM
simulates the copies one after the other. At the end, summary.json has seconds and figures of each part, and the
landscape of the potential on the axes of the copies.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dsr_backend.results.landscape import landscape
from dsr_backend.runtime import device as devices
from dsr_backend.sources.model_file import model_path
from dsr_backend.sources.potential.beads import k_centres
from dsr_backend.sources.potential.forces import ClosedForces
from dsr_backend.sources.potential.langevin import STEP, Langevin
from dsr_backend.sources.potential.learn import LearningData, learn, simulated
from dsr_backend.sources.potential.model_file import load, save
from dsr_backend.sources.potential.potential import Potential
from dsr_backend.sources.simulation.dynamics import estimate, simulate
from dsr_backend.sources.simulation.store import SimulationStore
from numpy.typing import NDArray

from pymol_dsr.shared.ensemble_options import LandscapeOptions
from pymol_dsr.shared.learn_options import LearnOptions
from pymol_dsr.shared.molecule import COLUMNS, Molecule
from pymol_dsr.shared.simulation_options import SimulationOptions

NAME = "copies"
SETTLE, SAMPLED = 2000, 50
Figures = dict[str, Any]


class Printed:
    """A report that prints a line every 30 seconds."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, fraction: float, phase: str, text: str = "", seconds_left: float | None = None) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 30.0
            print(f"{phase} {100 * fraction:.0f} % {text}", flush=True)

    def frames(self, coordinates: NDArray[np.float32]) -> None:
        pass

    def errors(self, training: float, held_out: float, baseline: float | None = None) -> None:
        pass

    def gap(self, deviations: float) -> None:
        pass


def go_on(*_: Any) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sequence", help="letters of amino acids, or a .pdb file of a protein")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--device", default="auto", help="of the potential: auto, cpu or cuda")
    parser.add_argument("--platform", default="auto", help="OpenMM's platform of the copies, as CUDA")
    parser.add_argument("--copies", type=int, default=64)
    parser.add_argument("--ns", type=float, default=2.0, help="length of each copy")
    parser.add_argument("--every", type=float, default=1.0, help="ps between two states")
    parser.add_argument("--temperature", type=float, default=350.0)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--budget", type=float, default=300.0, help="seconds to learn")
    parser.add_argument("--replicas", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20_000, help="of each replica of the potential")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    os.environ["DSR_HOME"] = str(options.folder)
    computing = devices.choose_device(options.device)
    if computing.type == "cpu":
        # Threads of so small tensors wait for each other.
        torch.set_num_threads(1)
    figures: Figures = {"device": devices.describe(str(computing)).name, "sequence": options.sequence}
    started = time.perf_counter()
    copies(options, figures)
    data = simulated(NAME, options.sequence, None)
    potential = learned(data, options, computing, figures)
    compare(potential, data, options, computing, figures)
    figures["seconds"] = round(time.perf_counter() - started, 1)
    (options.folder / "summary.json").write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures, indent=1))


def copies(options: argparse.Namespace, figures: Figures) -> None:
    """Simulate the copies with all their atoms; those that are there stay."""
    store = SimulationStore(NAME)
    checkpoint = store.checkpoint()
    simulation_options = SimulationOptions(
        ns=options.ns,
        every=options.every,
        temperature=options.temperature,
        replicas=options.copies,
        seed=1,
        platform=options.platform,
        resume=checkpoint is not None,
    )
    if checkpoint is None:
        prepared, coordinates, speed = estimate(*molecule_of(options.sequence), simulation_options, go_on)
        molecule = prepared.molecule
        print(f"{len(molecule)} atoms, {speed.ns_a_day:.0f} ns/day on {speed.platform}", flush=True)
        figures["ns_a_day"], figures["platform"] = round(speed.ns_a_day), speed.platform
    else:
        molecule, coordinates, _ = store.start()
        if checkpoint.states >= simulation_options.states * simulation_options.replicas:
            return
    started = time.perf_counter()
    simulate(molecule, coordinates, simulation_options, store, Printed(), go_on, print)
    figures["copies_s"] = round(time.perf_counter() - started, 1)


def molecule_of(sequence: str) -> tuple[Molecule, NDArray[np.float32]]:
    """The molecule of letters or of a file, and its coordinates f4[A,3] (Å)."""
    import pymol2

    with pymol2.PyMOL() as session:
        if sequence.lower().endswith(".pdb"):
            session.cmd.load(sequence, "peptide")
            session.cmd.remove("not polymer.protein")
        else:
            session.cmd.fab(sequence, "peptide", ss=1)
        model = session.cmd.get_model("peptide")
    rows = [(a.name, a.resn, a.resi, a.chain, a.symbol) for a in model.atom]
    columns: dict[str, Any] = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    bonds = np.array([bond.index for bond in model.bond], np.int32)
    molecule = Molecule(**columns, bonds=bonds, hetatm=np.zeros(len(rows), bool))
    return molecule, np.array([atom.coord for atom in model.atom], np.float32)


def learned(data: LearningData, options: argparse.Namespace, computing: torch.device, figures: Figures) -> Potential:
    """The potential of the folder, or one that is learned now."""
    path = model_path(NAME)
    if path.exists():
        return load(NAME)[0]
    learn_options = LearnOptions(budget=options.budget, preset=options.preset)
    started = time.perf_counter()
    potential, report, lines = learn([data], learn_options, Printed(), go_on, None, computing)
    figures["learning_s"] = round(time.perf_counter() - started, 1)
    figures["learned"] = list(lines)
    save(path, potential, report)
    return potential


def compare(
    potential: Potential, data: LearningData, options: argparse.Namespace, computing: torch.device, figures: Figures
) -> None:
    """Simulate replicas by the potential, and put their landscape beside that of the copies."""
    potential.to(computing)
    trained = potential.proteins[0]
    protein, offsets = trained.protein, torch.as_tensor(trained.offsets, device=computing)
    starts = trained.centres[k_centres(trained.centres, options.replicas, 0)]
    dynamics = Langevin(
        ClosedForces(potential, protein, offsets),
        torch.as_tensor(starts, device=computing),
        potential.temperature,
        torch.Generator(computing).manual_seed(0),
    )
    bonds = torch.as_tensor(protein.runs(2), device=computing)
    started, lost, samples = time.perf_counter(), 0, []
    dynamics.run(min(SETTLE, options.steps // 4))
    for _ in range(max(20, options.steps // SAMPLED)):
        dynamics.run(SAMPLED)
        flown = dynamics.flown_apart(bonds)
        lost += int(flown.sum())
        if bool(flown.any()):
            dynamics.restart(flown, torch.as_tensor(starts, device=computing)[flown])
        samples.append(dynamics.x.cpu().numpy())
    seconds = time.perf_counter() - started
    steps = min(SETTLE, options.steps // 4) + SAMPLED * len(samples)
    replicas = np.stack(samples, 1)[:, :, :, None].astype(np.float64)
    beads = data.frames.beads[:, :, None].astype(np.float64)
    reference = [beads[data.frames.runs == run] for run in np.unique(data.frames.runs)]
    result = landscape(list(replicas), LandscapeOptions(ordered="0"), reference)
    np.savez_compressed(
        options.folder / "landscape.npz",
        axes=result.axes,
        free_energy=result.free_energy,
        reference=result.reference_axes,
    )
    assert result.reference_rmsf is not None
    figures["potential"] = {
        "replicas": options.replicas,
        "steps": steps,
        "ms_a_step": round(1e3 * seconds / steps, 2),
        "model_ns_a_day": round(options.replicas * steps * STEP * 1e-6 * 86400.0 / seconds),
        "flown_apart": lost,
        "js": round(result.js, 4),
        "floor": round(result.floor, 4),
        "run_floor": round(result.run_floor, 4),
        "rmsf_off": round(float(np.abs(result.rmsf - result.reference_rmsf).mean()), 3),
    }


if __name__ == "__main__":
    main()
