"""Learned potentials measured: ten alanines at 350 K, by forces or frames alone, before and after the calibration.

    python benchmarks/cg.py make ala10.npz [--ns 1]                     # five simulations of all atoms
    python benchmarks/cg.py measure ala10.npz --folder cg [--seeds 0 1 2] [--seconds 90]
    python benchmarks/cg.py together ala10.npz --folder cg [--seeds 0 1 2]  # three proteins, in one potential and not
    python benchmarks/cg.py stability --folder cg [--seed 0]            # 10⁵ steps; a call goes on for 300 s
    python benchmarks/cg.py pace ala10.npz --folder cg [--replicas 8 64]    # beside the simulation of all atoms
    python benchmarks/cg.py write --folder cg [--out docs/results.md]

`measure` and `together` keep a file after each stage in the folder, so that they can be ended and go on. `stability`
and `pace` take the potentials of `measure`. Four of the five runs are learned from; the fifth is not seen. Seconds are
of one processor; a crowded machine still comes to fewer updates in them. A seed of `measure` takes about four minutes,
one of `together` ten.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import markdown
import numpy as np
import torch
from dsr_backend.motion.statistics import PrincipalPlane
from dsr_backend.results.ensemble_metrics import histogram, jensen_shannon
from dsr_backend.results.landscape import landscape
from dsr_backend.runtime import device
from dsr_backend.sources.contract import Trajectory
from dsr_backend.sources.model_file import model_path
from dsr_backend.sources.potential.beads import ForceMap, Protein, beads_of, k_centres
from dsr_backend.sources.potential.calibrate import calibrate, feature_statistics
from dsr_backend.sources.potential.forces import ClosedForces
from dsr_backend.sources.potential.langevin import STEP, Langevin
from dsr_backend.sources.potential.learn import LearningData, learn, simulated
from dsr_backend.sources.potential.model_file import from_bytes, save
from dsr_backend.sources.potential.network import GraphNetwork
from dsr_backend.sources.potential.potential import Potential, Trained
from dsr_backend.sources.potential.priors import Priors, cosines, torsions
from dsr_backend.sources.potential.simulate import simulate_beads
from dsr_backend.sources.potential.train import BeadStates, train
from dsr_backend.sources.potential.trajectories import read_trajectory
from dsr_backend.sources.simulation.dynamics import estimate, simulate
from dsr_backend.sources.simulation.store import SimulationStore
from numpy.typing import NDArray
from protein import molecule_of

from pymol_dsr.shared.ensemble_options import LandscapeOptions
from pymol_dsr.shared.learn_options import LearnOptions
from pymol_dsr.shared.simulation_options import SimulationOptions

ALANINES = Protein(("ALA",) * 10, (0,) * 10)
KELVIN = 350.0
EVERY = 0.5  # ps between two frames
RUNS = 5
REPLICAS = 64
SETTLE, STEPS, SAMPLED = 2000, 4000, 25
TOGETHER_KELVIN = 300.0
"""Temperature of two proteins; Ala10 is of 350 K, and without forces, energies are in units of kT."""
TOGETHER_REPLICAS, TOGETHER_SETTLE, TOGETHER_STEPS = 32, 500, 1500
DATA = Path(__file__).parent / "data"
STABLE_REPLICAS, STABLE_STEPS = 32, 100_000
# The histogram of end-to-end distance (Å) and helix share, whose divergence is measured.
ENDS = np.linspace(0.0, 36.0, 8)
SHARES = np.linspace(-0.001, 1.001, 5)
HELIX = (0.35, 1.4)  # dihedral angles of Cα, rad
KINDS = ("forces", "frames")
PACE = "ala10_pace"
"""Name of the simulation of all atoms, and of the potential, whose speeds are compared."""
Values = dict[str, Any]


class Silent:
    """A report that nobody reads."""

    def __call__(self, fraction: float, phase: str, text: str = "", seconds_left: float | None = None) -> None:
        pass

    def frames(self, coordinates: NDArray[np.float32]) -> None:
        pass

    def errors(self, training: float, held_out: float, baseline: float | None = None) -> None:
        pass

    def gap(self, deviations: float) -> None:
        pass


def ignore(*_: Any) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("make")
    verb.add_argument("data", type=Path)
    verb.add_argument("--ns", type=float, default=1.0, help="length of each run")
    verb = verbs.add_parser("measure")
    verb.add_argument("data", type=Path)
    verb.add_argument("--folder", type=Path, required=True)
    verb.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    verb.add_argument("--seconds", type=float, default=90.0, help="of the training, and again of the calibration")
    verb.add_argument("--kinds", choices=KINDS, nargs="+", default=KINDS, help="learn by forces, or by frames alone")
    verb = verbs.add_parser("together")
    verb.add_argument("data", type=Path)
    verb.add_argument("--folder", type=Path, required=True)
    verb.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    verb.add_argument(
        "--seconds",
        type=float,
        default=LearnOptions.budget / 3,
        help="to learn a protein; three times as many for all three {default: in all, those of dsr_learn}",
    )
    verb = verbs.add_parser("stability")
    verb.add_argument("--folder", type=Path, required=True)
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--steps", type=int, default=STABLE_STEPS)
    verb.add_argument("--seconds", type=float, default=300.0, help="of this call; another one goes on")
    verb = verbs.add_parser("pace")
    verb.add_argument("data", type=Path)
    verb.add_argument("--folder", type=Path, required=True)
    verb.add_argument("--ns", type=float, default=0.1, help="length of the simulation of all atoms")
    verb.add_argument("--replicas", type=int, nargs="+", default=[8, 64], help="of the potential, run after run")
    verb.add_argument("--model-ns", type=float, default=0.05, help="length of each replica")
    verb = verbs.add_parser("write")
    verb.add_argument("--folder", type=Path, required=True)
    verb.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "results.md")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    os.environ["OPENMM_CPU_THREADS"] = "1"
    if options.verb == "make":
        make(options.data, options.ns)
    elif options.verb == "measure":
        options.folder.mkdir(parents=True, exist_ok=True)
        measure(options.data, options.folder, options.seeds, options.seconds, options.kinds)
    elif options.verb == "together":
        options.folder.mkdir(parents=True, exist_ok=True)
        together(options.data, options.folder, options.seeds, options.seconds)
    elif options.verb == "stability":
        stability(options.folder, options.seed, options.steps, options.seconds)
    elif options.verb == "pace":
        pace(options.data, options.folder, options.ns, options.replicas, options.model_ns)
    else:
        markdown.put(options.out, "cg", lines(options.folder))


def make(path: Path, ns: float) -> None:
    """Simulate five runs from a helix, and keep beads and mapped forces."""
    molecule, coordinates = molecule_of("A" * 10)
    run_states = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DSR_HOME"] = folder
        for run in range(1, RUNS + 1):
            options = SimulationOptions(ns=ns, every=EVERY, temperature=KELVIN, seed=run)
            prepared, relaxed, speed = estimate(molecule, coordinates, options, ignore)
            store = SimulationStore(f"run{run}")
            started = time.process_time()
            simulate(prepared.molecule, relaxed, options, store, Silent(), ignore, print)
            run_states.append(store.states())
            print(f"run {run}: {speed.ns_a_day:.0f} ns/day, {time.process_time() - started:.0f} s of CPU", flush=True)
    _, atoms = beads_of(prepared.molecule, relaxed)
    force_map = ForceMap(prepared.molecule, atoms, (states.forces for states in run_states))
    forces = [force_map(states.forces) for states in run_states]
    bead_forces = np.concatenate([states.forces[:, atoms] for states in run_states])
    print(f"rms force on a bead's axis: {rms(bead_forces):.1f}, mapped {rms(np.concatenate(forces)):.1f} kcal/mol/Å")
    np.savez_compressed(
        path,
        ca=np.concatenate([states.coordinates[:, atoms] for states in run_states]).round(3),
        forces=np.concatenate(forces).astype(np.float16),
        run=np.concatenate([np.full(len(states), number + 1) for number, states in enumerate(run_states)]),
    )


def rms(values: NDArray[np.floating[Any]]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def read(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Beads f4[F,10,3] in Å, forces f4[F,10,3] and run i8[F] of each frame."""
    with np.load(path) as data:
        run = data["run"] if "run" in data else data["seed"]
        return data["ca"], data["forces"].astype(np.float32), run.astype(np.int64)


def shape(beads: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """End-to-end distance, helix share, and share of dihedrals below zero of each frame."""
    cosine, sine = torsions(torch.as_tensor(beads), ALANINES.runs(4))
    angle = torch.atan2(sine, cosine).numpy()
    helix = ((angle > HELIX[0]) & (angle < HELIX[1])).mean(1)
    return np.linalg.norm(beads[:, 0] - beads[:, -1], axis=1), helix, (angle < 0).mean(1)


def divergence(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Jensen–Shannon divergence in bits of the histograms of end-to-end distance and helix share."""
    p, q = (np.histogram2d(*shape(beads)[:2], bins=(ENDS, SHARES))[0] for beads in (first, second))
    p, q = p / p.sum(), q / q.sum()
    middle = 0.5 * (p + q)
    return float(sum(0.5 * (x[x > 0] * np.log2(x[x > 0] / middle[x > 0])).sum() for x in (p, q)))


def relaxation(values: NDArray[np.float64]) -> float:
    """Autocorrelation time of [T,R] in samples: the sum of correlations until they fall below zero."""
    shifted = values - values.mean()
    total = 0.5
    for lag in range(1, len(values) // 2):
        correlation = float((shifted[lag:] * shifted[:-lag]).mean() / (shifted**2).mean())
        if correlation < 0:
            break
        total += correlation
    return 2.0 * total


def measure(path: Path, folder: Path, seeds: Sequence[int], seconds: float, chosen: Sequence[str]) -> None:
    """Learn with each seed from four of the runs, by forces and then by frames alone."""
    beads, forces, runs = read(path)
    training_rows = runs != RUNS
    everyday = {
        "frames": len(beads),
        "force": rms(forces),
        "floor": [divergence(beads[runs == a], beads[runs == b]) for a in range(1, RUNS + 1) for b in range(1, a)],
        "unseen": divergence(beads[training_rows], beads[~training_rows]),
        "helix": float(shape(beads[training_rows])[1].mean()),
        "negative": float(shape(beads[training_rows])[2].mean()),
        "relaxation_ps": EVERY
        * float(np.mean([relaxation(shape(beads[runs == run])[0][:, None]) for run in range(1, RUNS + 1)])),
        "processor": device.describe("cpu").name,
    }
    (folder / "data.json").write_text(json.dumps(everyday))
    for kind in chosen:
        for seed in seeds:
            frames = BeadStates(
                ALANINES, beads[training_rows], forces[training_rows] if kind == "forces" else None, runs[training_rows]
            )
            target = folder / f"{kind}-{seed}.json"
            one_seed(target, frames, beads[~training_rows], seed, seconds, kind == "forces" and seed == 0)
            print(target, flush=True)


def one_seed(
    target: Path, frames: BeadStates, unseen: NDArray[np.float32], seed: int, seconds: float, with_prior: bool
) -> None:
    """Train, calibrate, and compare ensembles. Each stage is kept; those in the file are not run again."""
    results: Values = json.loads(target.read_text()) if target.exists() else {}
    model = target.with_suffix(".dsrm")

    def keep(**values: Any) -> None:
        results.update(values)
        target.write_text(json.dumps(results))

    torch.manual_seed(seed)
    potential = Potential(Priors.fitted([(ALANINES, frames.beads)], KELVIN), GraphNetwork(), KELVIN)
    if with_prior and "prior" not in results:
        keep(prior=ensemble(potential, frames, unseen, None, seed))
    if "error" not in results:
        spent = time.process_time()
        training = train(potential, [frames], seed, seconds, ignore, ignore, time.process_time)
        keep_potential(model, potential, frames, None, seed)
        best = training.epochs[training.best - 1].held_out if training.best else training.prior
        keep(error=[training.prior, best], training_s=time.process_time() - spent)
    potential, _ = from_bytes(model.read_bytes())
    if with_prior and "matched" not in results:
        keep(matched=ensemble(potential, frames, unseen, None, seed))
    if "gap" not in results:
        spent = time.process_time()
        offsets, outcome = calibrate(potential, frames, seed, seconds, ignore, ignore, clock=time.process_time)
        keep_potential(model, potential, frames, offsets, seed)
        keep(
            gap=[outcome.gaps[0], float(np.mean(outcome.gaps[-5:]))],
            updates=len(outcome.gaps),
            calibration_s=time.process_time() - spent,
        )
    if "calibrated" not in results:
        potential, _ = from_bytes(model.read_bytes())
        offsets = torch.as_tensor(potential.proteins[0].offsets)
        keep(calibrated=ensemble(potential, frames, unseen, offsets, seed))


def keep_potential(
    path: Path, potential: Potential, frames: BeadStates, offsets: NDArray[np.float64] | None, seed: int
) -> None:
    """Write the potential of one protein."""
    means, deviations = feature_statistics(frames)
    centres = frames.beads[k_centres(frames.beads, REPLICAS, seed)]
    offsets = np.zeros(len(means)) if offsets is None else offsets
    potential.proteins[:] = [Trained("ala10", frames.protein, offsets, means, deviations, centres, 1.0)]
    save(path, potential, {})


def ensemble(
    potential: Potential, frames: BeadStates, unseen: NDArray[np.float32], offsets: torch.Tensor | None, seed: int
) -> Values:
    """Simulate replicas from states that lie apart, and compare them with the data."""
    starts = torch.as_tensor(frames.beads[k_centres(frames.beads, REPLICAS, seed)])
    forces = ClosedForces(potential, ALANINES, offsets)
    dynamics = Langevin(forces, starts, KELVIN, torch.Generator().manual_seed(seed + 1000))
    started = time.process_time()
    dynamics.run(SETTLE)
    samples = []
    for _ in range(STEPS // SAMPLED):
        dynamics.run(SAMPLED)
        samples.append(dynamics.x.numpy().copy())
    seconds = time.process_time() - started
    sampled = np.concatenate(samples)
    ends = shape(sampled)[0].reshape(len(samples), REPLICAS)
    return {
        "js": divergence(sampled, frames.beads),
        "js_unseen": divergence(sampled, unseen),
        "helix": float(shape(sampled)[1].mean()),
        "negative": float(shape(sampled)[2].mean()),
        "lost": int(dynamics.flown_apart(torch.as_tensor(ALANINES.runs(2))).sum()),
        "steps": SETTLE + STEPS,
        "ms_a_step": 1e3 * seconds / (SETTLE + STEPS),
        "relaxation_steps": SAMPLED * relaxation(ends),
    }


def together(path: Path, folder: Path, seeds: Sequence[int], seconds: float) -> None:
    """Learn three proteins from frames alone, each by itself and all in one potential, and compare their ensembles."""
    beads, _, runs = read(path)
    options = LearnOptions(temperature=TOGETHER_KELVIN, budget=seconds)
    proteins = [
        read_trajectory(name, str(DATA / f"{name}_300k.pdb"), str(DATA / f"{name}_300k.xtc"), "all", options, ignore)
        for name in ("trpcage", "villin")
    ]
    proteins.append(LearningData("ala10", BeadStates(ALANINES, beads, None, runs), TOGETHER_KELVIN))
    for seed in seeds:
        target = folder / f"together-{seed}.json"
        results: Values = json.loads(target.read_text()) if target.exists() else {}
        joint = folder / f"joint-{seed}.dsrm"
        options = dataclasses.replace(options, seed=seed, budget=seconds * len(proteins))
        learned_file(joint, proteins, options)
        for number, protein in enumerate(proteins):
            own_file = folder / f"own-{protein.name}-{seed}.dsrm"
            learned_file(own_file, [protein], dataclasses.replace(options, budget=seconds))
            row = results.setdefault(protein.name, {"frames": len(protein.frames.beads)})
            for kind, file, row_number in (("own", own_file, 0), ("joint", joint, number)):
                if kind not in row:
                    potential, _ = from_bytes(file.read_bytes())
                    row[kind] = together_divergence(potential, row_number, protein.frames)
            target.write_text(json.dumps(results))
            print(seed, protein.name, row, flush=True)


def learned_file(path: Path, data: Sequence[LearningData], options: LearnOptions) -> None:
    """Learn a potential, unless it is there."""
    if not path.exists():
        potential, report, lines = learn(data, options, Silent(), ignore, clock=time.process_time)
        save(path, potential, report)
        print(path, *lines, sep="\n", flush=True)


def together_divergence(potential: Potential, row_number: int, frames: BeadStates) -> float:
    """Return the Jensen–Shannon divergence (bits) of an ensemble from the frames, on their principal plane."""
    trained = potential.proteins[row_number]
    forces = ClosedForces(potential, frames.protein, torch.as_tensor(trained.offsets))
    starts = frames.beads[k_centres(frames.beads, TOGETHER_REPLICAS, 0)]
    generator = torch.Generator().manual_seed(1)
    dynamics = Langevin(forces, torch.as_tensor(starts), potential.temperature, generator)
    dynamics.run(TOGETHER_SETTLE)
    samples = []
    for _ in range(TOGETHER_STEPS // SAMPLED):
        dynamics.run(SAMPLED)
        samples.append(dynamics.x.numpy().copy())
    data = frames.beads.astype(np.float64)
    plane = PrincipalPlane.of(data)
    histograms = [histogram(plane.project(states), plane) for states in (data, np.concatenate(samples).astype(float))]
    return jensen_shannon(*histograms)


def measured_potential(folder: Path, seed: int) -> tuple[Potential, Values]:
    """Return the potential by forces that `measure` has kept, and its report."""
    path = folder / f"forces-{seed}.dsrm"
    if not path.exists():
        raise SystemExit(f"{path} is missing: run `measure` with seed {seed} and this folder first")
    return from_bytes(path.read_bytes())


def stability(folder: Path, seed: int, steps: int, seconds: float) -> None:
    """Simulate replicas until `steps`, or for `seconds`, and count those that fly apart. Files in the folder go on."""
    state, target = (folder / f"stable-{seed}.{ending}" for ending in ("pt", "json"))
    potential, _ = measured_potential(folder, seed)
    protein = potential.proteins[0]
    offsets = torch.as_tensor(protein.offsets)
    starts = torch.as_tensor(protein.centres[:STABLE_REPLICAS])
    generator = torch.Generator().manual_seed(seed)
    record: Values = {"steps": 0, "flown_apart": 0, "longest": 0.0, "straightest": 0.0, "seconds": 0.0}
    velocities = None
    if state.exists():
        saved = torch.load(state, weights_only=True)
        starts, velocities, record = saved["x"], saved["v"], saved["done"]
        generator.set_state(saved["generator"])
    dynamics = Langevin(ClosedForces(potential, ALANINES, offsets), starts, KELVIN, generator, velocities)
    bonds, angles = torch.as_tensor(ALANINES.runs(2)), torch.as_tensor(ALANINES.runs(3))
    started = time.process_time()
    while record["steps"] < steps and time.process_time() - started < seconds:
        spent = time.process_time()
        dynamics.run(5)
        record["seconds"] += time.process_time() - spent
        record["steps"] += 5
        lengths = (dynamics.x[:, bonds[:, 0]] - dynamics.x[:, bonds[:, 1]]).norm(dim=-1)
        record["longest"] = max(record["longest"], float(lengths.max()))
        record["straightest"] = min(record["straightest"], float(cosines(dynamics.x, angles).min()))
        lost = dynamics.flown_apart(bonds)
        if bool(lost.any()):
            record["flown_apart"] += int(lost.sum())
            dynamics.restart(lost, torch.as_tensor(protein.centres[:STABLE_REPLICAS])[lost])
    torch.save({"x": dynamics.x, "v": dynamics.v, "done": record, "generator": generator.get_state()}, state)
    target.write_text(json.dumps(record))
    print(json.dumps(record), flush=True)


def pace(path: Path, folder: Path, ns: float, replicas: Sequence[int], model_ns: float) -> None:
    """Count independent samples a second, by all atoms and by the first potential, both as dsr_simulate runs them.

    The samples are of the slowest axis of the five runs. A state of the potential has all its atoms again.
    """
    potential, report = measured_potential(folder, 0)
    os.environ["DSR_HOME"] = str(folder)
    beads, _, runs = read(path)
    references = [beads[runs == run][:, :, None] for run in range(1, RUNS + 1)]
    options = SimulationOptions(ns=ns, every=EVERY, temperature=KELVIN, seed=RUNS + 1)
    prepared, relaxed, _ = estimate(*molecule_of("A" * 10), options, ignore)
    started = time.process_time()
    states = simulate(prepared.molecule, relaxed, options, SimulationStore(PACE), Silent(), ignore, print)
    figures: Values = {"ns": ns, "seconds": time.process_time() - started, "runs": []}
    figures["force_noise"] = simulated(PACE, PACE, True).force_noise
    save(model_path(PACE), potential, report)
    _, alphas = beads_of(prepared.molecule, relaxed)
    for count in replicas:
        options = SimulationOptions(ns=model_ns, temperature=KELVIN, model=PACE, replicas=count)
        started = time.process_time()
        donors = Trajectory(states.coordinates, states.times)
        generated = simulate_beads(prepared.molecule, donors, options, Silent(), ignore, print)
        seconds = time.process_time() - started
        series = generated.coordinates[:, alphas].reshape(options.states, count, len(alphas), 1, 3)
        result = landscape([*series.swapaxes(0, 1)], LandscapeOptions(ordered="1"), references)
        figures["reference"] = [result.reference_samples, EVERY * 1e-3 * len(beads)]
        row = {"replicas": count, "ns": model_ns, "seconds": seconds, "samples": result.samples, "js": result.js}
        figures["runs"].append({**row, "floor": result.floor})
        (folder / "pace.json").write_text(json.dumps(figures))
        print(json.dumps(figures), flush=True)


def lines(folder: Path) -> list[str]:
    """Lines of the section."""
    data = json.loads((folder / "data.json").read_text())
    measured = {
        kind: [json.loads(path.read_text()) for path in sorted(folder.glob(f"{kind}-*.json"))] for kind in KINDS
    }
    kinds = {kind: [row for row in seeds if "calibrated" in row] for kind, seeds in measured.items()}
    rows = []
    for label, chosen in (
        ("priors alone", [row["prior"] for row in kinds["forces"] if "prior" in row]),
        ("forces, not calibrated", [row["matched"] for row in kinds["forces"] if "matched" in row]),
        ("forces, calibrated", [row["calibrated"] for row in kinds["forces"]]),
        ("frames alone, calibrated", [row["calibrated"] for row in kinds["frames"]]),
    ):
        if chosen:
            rows.append([label, str(len(chosen)), *_cells(chosen, data)])
    pairs = np.array(data["floor"])
    all_rows = kinds["forces"] + kinds["frames"]
    longest = max(row["training_s"] + row["calibration_s"] for row in all_rows)
    worst = max(row["error"][1] for row in kinds["forces"])
    steps = [row["calibrated"]["ms_a_step"] for row in all_rows]
    return [
        "## Learned potentials",
        "",
        f"Ten alanines at {KELVIN:g} K: {data['frames']} states of five simulations of all atoms, from a helix; four",
        "are learned from, the fifth is not seen. JS is the Jensen–Shannon divergence, in bits, of the histogram of",
        f"end-to-end distance and helix share (7 × 4 bins), of {REPLICAS} replicas over {STEPS} steps after",
        f"{SETTLE} steps to settle. Two of the five simulations differ by {pairs.min():.2f} to {pairs.max():.2f}",
        f"(median {np.median(pairs):.2f}), and the unseen one from the four by {data['unseen']:.2f}: these data are",
        "not converged.",
        "Mean, worst over the seeds.",
        "",
        *markdown.table(
            ["potential", "seeds", "JS", "JS, unseen run", "helix share off", "dihedrals < 0 off", "flown apart"], rows
        ),
        "",
        f"Training and calibration take {longest:.0f} s of one core at most ({data['processor']}). The forces, mapped",
        f"from those on all atoms, are {data['force']:.1f} kcal/mol/Å on an axis (root mean square). The held-out",
        f"error falls from {kinds['forces'][0]['error'][0]:.3f} (priors) to {worst:.3f} kcal/mol/Å at worst: most of",
        f"a force on a bead is noise. A step of {REPLICAS} replicas takes {np.mean(steps):.1f} ms.",
        *_pace(folder, kinds["forces"], data),
        *_together(folder),
        *_stability(folder),
    ]


def _cells(chosen: Sequence[Values], data: Values) -> list[str]:
    def pair(values: Sequence[float]) -> str:
        return f"{np.mean(values):.3f}, {max(values):.3f}"

    return [
        pair([row["js"] for row in chosen]),
        pair([row["js_unseen"] for row in chosen]),
        pair([abs(row["helix"] - data["helix"]) for row in chosen]),
        pair([abs(row["negative"] - data["negative"]) for row in chosen]),
        f"{sum(row['lost'] for row in chosen)} of {REPLICAS * len(chosen)}",
    ]


def _together(folder: Path) -> list[str]:
    measured = [json.loads(path.read_text()) for path in sorted(folder.glob("together-*.json"))]
    # One that is still measured has fewer proteins.
    complete = max(map(len, measured), default=0)
    seeds = [seed for seed in measured if len(seed) == complete]
    if not seeds:
        return []
    rows = []
    for name in seeds[0]:
        values = {kind: [seed[name][kind] for seed in seeds] for kind in ("own", "joint")}
        cells = [f"{np.mean(js):.3f}, {max(js):.3f}" for js in values.values()]
        rows.append([name, str(seeds[0][name]["frames"]), *cells])
    return [
        "",
        "One potential of three proteins, from frames alone, and one for each: JS of the ensemble from the frames, on",
        f"their principal plane (10 × 10 bins; {TOGETHER_REPLICAS} replicas, {TOGETHER_STEPS} steps after"
        f" {TOGETHER_SETTLE}).",
        f"Mean, worst of {len(seeds)} seeds.",
        "",
        *markdown.table(["protein", "frames", "JS, its own potential", "JS, one of all three"], rows),
    ]


def _stability(folder: Path) -> list[str]:
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("stable-*.json"))]
    if not runs:
        return []
    steps = " and ".join(str(count) for count in sorted({run["steps"] for run in runs}))
    lost, count = sum(run["flown_apart"] for run in runs), STABLE_REPLICAS * len(runs)
    return [
        "",
        f"{STABLE_REPLICAS} replicas (seeds: {len(runs)}) over {steps} steps of {STEP:g} fs: {lost} of {count}",
        f"flew apart. The longest bond was {max(run['longest'] for run in runs):.2f} Å, and the angle nearest to a",
        f"straight line had a cosine of {min(run['straightest'] for run in runs):.4f}.",
    ]


def _pace(folder: Path, seeds: Sequence[Values], data: Values) -> list[str]:
    path = folder / "pace.json"
    if not path.exists():
        return []
    figures = json.loads(path.read_text())
    per_second = [
        REPLICAS / (row["calibrated"]["relaxation_steps"] * 1e-3 * row["calibrated"]["ms_a_step"]) for row in seeds
    ]
    seconds_a_ns = figures["seconds"] / figures["ns"]
    all_atom = 1.0 / (data["relaxation_ps"] * 1e-3 * seconds_a_ns)
    samples, ns = figures["reference"]
    known = samples / ns / seconds_a_ns
    rows = [["all atoms", f"{figures['ns']:g}", "–", f"{seconds_a_ns:.0f}", f"{known:.2f}", "1"]]
    for row in figures["runs"]:
        rate = row["samples"] / row["seconds"]
        length = row["replicas"] * row["ns"]
        rows.append(
            [
                f"the potential, {row['replicas']} replicas",
                f"{row['replicas']} × {row['ns']:g}",
                f"{row['js']:.3f}",
                f"{row['seconds'] / length:.0f}",
                f"{rate:.2f}",
                f"{rate / known:.1f}",
            ]
        )
    before, after = figures["force_noise"]
    return [
        f"By the autocorrelation of the end-to-end distance, it gives {np.mean(per_second):.2f} independent states per",
        f"second of one core, {min(per_second) / all_atom:.1f} times as many as the simulation of all atoms at worst"
        f" ({data['relaxation_ps']:.0f} ps, {86400.0 / seconds_a_ns:.0f} ns/day; a step of the model is {STEP:g} fs).",
        "",
        "The same as `dsr_simulate` runs both, with all atoms of each state 1 ps apart, and all that it does beside:",
        "independent samples of the slowest axis (TICA) of the five simulations, which have"
        f" {samples:.0f} of them in {ns:.1f} ns.",
        f"The simulation of all atoms was timed over {figures['ns']:g} ns. The map to beads takes its forces from"
        f" {before:.1f} to {after:.1f} kcal/mol/Å.",
        "JS: on the two slowest axes, from the five simulations, whose halves differ by"
        f" {figures['runs'][0]['floor']:.3f}.",
        "",
        *markdown.table(
            ["simulation", "ns", "JS", "CPU s a ns", "samples a CPU s", "times as many"],
            rows,
        ),
    ]


if __name__ == "__main__":
    main()
