"""Trajectory sources on open data: continue, fill in and sample, all methods, with losses: writes docs/results.md.

    python benchmarks/generate.py [--parts continue fill surfaces fluctuations peptide equilibrium] [--data FOLDER]

AdK's two DIMS paths come from MDAnalysisTests; --data is a folder with ala10_backbone_1ps.npz and the trajectories of
`trajectories.py`. Results of each part stay in --folder as JSON, and each part has a block of its own on
the page; --parts none only writes the tables.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import generate_report
import numpy as np
import trajectories
from dsr_backend.motion import statistics
from dsr_backend.results import ensemble_metrics as metrics
from dsr_backend.sources import continuation, filling, gate
from dsr_backend.sources.continuation import History
from dsr_backend.sources.contract import Trajectory
from dsr_backend.sources.generate import generate
from dsr_backend.sources.projection import BondProjection
from dsr_backend.sources.topology import Topology
from generate_report import NET_DRAWN, Row
from numpy.typing import NDArray

from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.source_options import GenerateOptions

ROOT = Path(__file__).resolve().parent.parent
States = NDArray[np.float64]
ORIGINS = (20, 50, 80)
AHEAD = 40
NO_REPORT: Any = type("Silent", (), {"__call__": lambda *_: None, "frames": lambda *_: None})()


class Protein:
    """A molecule with its topology and states f8[S,A,3] in Å."""

    def __init__(self, molecule: Molecule, states: States) -> None:
        self.molecule, self.states, self.topology = molecule, states, Topology.of(molecule)

    @classmethod
    def read(cls, topology: Path, frames: Path, selection: str = "all") -> Protein:
        import MDAnalysis
        from MDAnalysis.topology.guessers import guess_bonds

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            universe = MDAnalysis.Universe(str(topology), str(frames))
            atoms = universe.select_atoms(selection)
            states = np.stack([atoms.positions.astype(np.float64) for _ in universe.trajectory])
            universe.trajectory[0]
            known = hasattr(universe, "bonds") and str(topology).endswith(".psf")
            bonds = atoms.bonds.indices if known else np.array(guess_bonds(atoms, atoms.positions))
            # Their atoms are numbered in the file, which may have others between and before.
            bonds = np.searchsorted(atoms.indices, bonds)
        names = [str(name) for name in atoms.names]
        count = len(names)
        molecule = Molecule(
            tuple(names),
            tuple(map(str, atoms.resnames)),
            tuple(map(str, atoms.resids)),
            ("A",) * count,
            tuple(name.lstrip("0123456789")[0] for name in names),
            np.asarray(bonds, np.int32).reshape(-1, 2),
            np.zeros(count, bool),
        )
        return cls(molecule, states)

    def scores(self, path: States, truth: States, lengths: NDArray[np.float64]) -> Row:
        """Mean and largest Cα RMSD in Å of a path from the truth, and broken bonds in per cent."""
        trace = self.topology.trace
        error = statistics.rmsd_to(path[:, trace], truth[:, trace])
        broken = statistics.broken_bonds(path, self.topology.heavy_bonds, lengths)
        return {"mean": float(error.mean()), "max": float(error.max()), "broken": 100.0 * broken}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=[*PARTS, "none"], default=list(PARTS))
    parser.add_argument("--data", type=Path, help="a folder with trajectories")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "generate", help="results stay there")
    parser.add_argument("--write", type=Path, default=ROOT / "docs" / "results.md")
    parser.add_argument("--seconds", type=float, default=300.0, help="of the net's training")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    for section in options.parts:
        if section == "none":
            continue
        started = time.perf_counter()
        try:
            rows = PARTS[section](options)
        except (trajectories.NotHadError, FileNotFoundError) as error:
            print(f"{section}: left out: {error}", flush=True)
            continue
        (options.folder / f"{section}.json").write_text(json.dumps(rows))
        print(f"{section}: {time.perf_counter() - started:.0f} s", flush=True)
    generate_report.write(options.write, options.folder)


def adk() -> tuple[Protein, Protein]:
    """AdK's second DIMS path, which is scored, and the first, which is the other known trajectory."""
    from MDAnalysisTests import datafiles

    psf = Path(datafiles.PSF)
    return Protein.read(psf, Path(datafiles.DCD2)), Protein.read(psf, Path(datafiles.DCD))


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a function and the processor seconds that it took."""
    started = time.process_time()
    return function(), time.process_time() - started


# Parts -------------------------------------------------------------------------------------------------------


def continue_dims(options: argparse.Namespace) -> list[Row]:
    protein, other_run = adk()
    trace = protein.topology.trace
    lengths = statistics.bond_lengths(protein.states, protein.topology.heavy_bonds).mean(0)
    rows = []
    for origin in ORIGINS:
        known = protein.states[: origin + 1]
        truth = protein.states[origin + 1 : origin + 1 + AHEAD]
        projection = BondProjection.of(protein.topology.bonds, protein.topology.heavy, known)

        def predicted(
            method: Any, other_states: Sequence[States], known: Any = known, projection: Any = projection
        ) -> States:
            rides_on = protein.topology.rides_on(known[-1])
            return projection(method(History.of(known, trace, other_states, rides_on), AHEAD, None))

        cases: list[tuple[str, str, Callable[[], States]]] = [
            (name, "no", lambda name=name: predicted(continuation.METHODS[name], ()))
            for name in ("hold", "straight", "damped", "trend", "drift", "dmd", "ar")
        ]
        cases.append(("analog", "yes", lambda: predicted(continuation.METHODS["analog"], [other_run.states])))
        for other_states in ((), (other_run.states,)):
            verdict = gate.choose_continuation(
                History.of(known[:, trace], np.arange(len(trace)), [x[:, trace] for x in other_states]),
                20,
                0,
                lambda: None,
                lambda fraction: None,
            )
            label = f"auto: {verdict.name}"
            cases.append(
                (label, "yes" if other_states else "no", lambda v=verdict, o=other_states: predicted(v.method, o))
            )
        for name, others_known, run in cases:
            path, seconds = timed(run)
            error = statistics.rmsd_to(path[: len(truth), trace], truth[:, trace])
            row = {f"+{lead}": float(error[lead - 1]) for lead in (10, 20, 40) if lead <= len(truth)}
            row |= {"1-10": float(error[:10].mean()), "11-20": float(error[10:20].mean())}
            broken = 100.0 * statistics.broken_bonds(path[:20], protein.topology.heavy_bonds, lengths)
            rows.append({"from": origin, "method": name, "others": others_known, **row, "broken": broken, "s": seconds})
            print(rows[-1], flush=True)
    return rows


def fill_dims(options: argparse.Namespace) -> list[Row]:
    protein, other_run = adk()
    lengths = statistics.bond_lengths(protein.states, protein.topology.heavy_bonds).mean(0)
    last = len(protein.states) - 1
    rows = []
    for label, knots in (
        ("every 5th", range(0, last, 5)),
        ("every 20th", range(0, last, 20)),
        ("every 50th", range(0, last, 50)),
        ("ends", (0, last)),
    ):
        knots = list(knots)
        between = [k for k in range(knots[0], knots[-1]) if k not in knots]
        projection = BondProjection.of(protein.topology.bonds, protein.topology.heavy, protein.states[knots])
        without_clashes = filling.ClashRemoval(protein.molecule, protein.topology, protein.states[knots])
        for name in ("hold", "straight", "elastic", "analog"):
            if name == "elastic" and len(knots) > 6:
                continue

            def run(
                name: str = name,
                knots: Any = knots,
                projection: Any = projection,
                without_clashes: Any = without_clashes,
            ) -> States:
                paths = []
                for a, b in itertools.pairwise(knots):
                    fractions = np.arange(1, b - a) / (b - a)
                    gap = filling.Gap.of(protein.states[a], protein.states[b], protein.topology, [other_run.states])
                    path = getattr(filling, name)(gap, fractions)
                    path = filling.straight(gap, fractions) if path is None else path
                    if name != "hold":
                        path = without_clashes(projection(path), gap, fractions)
                    paths.append(path)
                return np.concatenate(paths)

            path, seconds = timed(run)
            rows.append(
                {"known": label, "method": name, **protein.scores(path, protein.states[between], lengths), "s": seconds}
            )
            print(rows[-1], flush=True)
    return rows


SURFACE_CASES = (("straight", 2), ("elastic", 1), ("elastic", 2), ("elastic", 3), ("elastic", 12), ("analog", 2))


def surfaces(options: argparse.Namespace) -> list[Row]:
    """IoU with PyMOL's true surfaces at a quarter, half and three quarters of the way from DIMS' state 1 to 79."""
    import pymol2
    from dsr_backend.fitting import run
    from dsr_backend.geometry.metrics import GroundTruth
    from dsr_backend.geometry.unit_cube import UnitCube
    from dsr_backend.results.mesh import extract_mesh
    from dsr_backend.surfaces.surface import Surface

    from pymol_dsr.shared.options import FitOptions
    from pymol_dsr.surfaces import extract
    from pymol_dsr.surfaces.workers import compute_surfaces_at

    ends, middles = (1, 79), (21, 40, 59)
    session = pymol2.PyMOL()
    session.start()
    try:
        session.cmd.feedback("disable", "all", "everything")
        trajectories.load(session.cmd, "dims", options.data, options.folder)
        source = extract.read_source("dims", "+".join(map(str, (*ends, *middles))), _self=session.cmd)
    finally:
        session.stop()
    protein, other_run = adk()
    known = np.stack([source.coordinates[state] for state in ends]).astype(np.float64)
    projection = BondProjection.of(protein.topology.bonds, protein.topology.heavy, known)
    without_clashes = filling.ClashRemoval(protein.molecule, protein.topology, known)
    gap = filling.Gap.of(known[0], known[1], protein.topology, [other_run.states])
    at_middles = np.array([(state - ends[0]) / (ends[1] - ends[0]) for state in middles])
    # Method, and fractions of the way; the surfaces of the last one are compared as they are.
    cases = [(name, np.arange(1, n + 1) / (n + 1)) for name, n in SURFACE_CASES]
    cases += [(name, at_middles) for name in ("straight", "elastic", "analog")]
    frames = [(float(state), source.coordinates[state].astype(np.float32)) for state in (*ends, *middles)]
    for number, (name, at) in enumerate(cases, 1):
        path = without_clashes(projection(getattr(filling, name)(gap, at)), gap, at)
        path = filling.in_scene(path, gap, known[1], at)
        frames += [(1000.0 * number + k, atoms.astype(np.float32)) for k, atoms in enumerate(path)]
    by_state = {surface.state: surface for surface in compute_surfaces_at(source, frames, 2)}

    def at_state(key: float, state: float) -> Surface:
        s = by_state[key]
        return Surface(state, s.points, s.normals, s.faces, s.atoms)

    true = {state: at_state(float(state), float(state)) for state in (*ends, *middles)}
    frame = UnitCube.of([true[state].points for state in ends])
    references = {
        state: GroundTruth(true[state].points, true[state].normals, true[state].faces, frame) for state in middles
    }

    def iou(state: int, mesh: Any) -> float:
        return references[state].score(mesh.points, mesh.normals, mesh.faces).iou

    rows: list[Row] = []
    for number, (name, at) in enumerate([("", np.zeros(0)), *cases]):
        generated = [at_state(1000.0 * number + k, ends[0] + (ends[1] - ends[0]) * f) for k, f in enumerate(at)]
        if at is at_middles:
            label = f"PyMOL's surfaces, {name} path"
            values = [iou(state, surface) for state, surface in zip(middles, generated, strict=True)]
        else:
            label = f"field of the two states and {len(at)} of the {name} path" if name else "field of the two states"
            trained = sorted([*(true[state] for state in ends), *generated], key=lambda surface: surface.state)
            field = run.fit_trajectory(trained, FitOptions(preset="fast", device="cpu"))
            values = [iou(state, extract_mesh(field, float(state), resolution=0.5)) for state in middles]
        rows.append({"method": label, "iou": values})
        print(rows[-1], flush=True)
    return rows


def fluctuations(options: argparse.Namespace) -> list[Row]:
    """Filling in with fluctuations: the mean path beside it."""
    protein, other_run = adk()
    rows = []
    cases: list[tuple[str, Protein, list[States], list[tuple[int, int]]]] = [
        ("AdK, DIMS, 10 states apart", protein, [other_run.states], [(k, k + 10) for k in (5, 45, 85)])
    ]
    try:
        peptide, train, test = ala10(options)
        starts = np.linspace(50, len(test) - 61, 16).astype(int)
        cases.append(("Ala10, 10 ps apart", Protein(peptide, test), train, [(int(k), int(k) + 10) for k in starts]))
    except FileNotFoundError as error:
        print(f"Ala10: left out: {error}")
    for label, molecule, known, gaps in cases:
        topology, trace = molecule.topology, molecule.topology.trace
        library = filling.StepLibrary.of(known, topology)
        assert library is not None
        projection = BondProjection.of(topology.bonds, topology.heavy, np.concatenate(known))
        lengths = statistics.bond_lengths(np.concatenate(known), topology.heavy_bonds).mean(0)
        errors: dict[str, list[list[float]]] = {"straight": [], "bridge": []}
        true, seconds = [], 0.0
        for a, b in gaps:
            fractions = np.arange(1, b - a) / (b - a)
            gap = filling.Gap.of(molecule.states[a], molecule.states[b], topology)
            straight = filling.straight(gap, fractions)
            rng = np.random.default_rng(a)
            size = library.size
            bridge, spent = timed(
                lambda g=gap, m=straight, p=projection, li=library, r=rng, z=size: filling.bridge(g, p(m), li, p, r, z)
            )
            seconds += spent
            truth = molecule.states[a + 1 : b]
            true.append(statistics.step_rmsd(molecule.states[a : b + 1, trace]))
            for name, path in (("straight", straight), ("bridge", bridge)):
                full_path = np.concatenate([gap.first[None], path, gap.last[None]])[:, trace]
                steps = statistics.rmsd_to(full_path[1:], full_path[:-1])
                error = float(statistics.rmsd_to(path[:, trace], truth[:, trace]).mean())
                broken = 100.0 * statistics.broken_bonds(path, topology.heavy_bonds, lengths)
                errors[name].append([error, float(steps.mean()), float(steps[-1]), broken])
        for name, values in errors.items():
            mean = np.mean(values, 0).tolist()
            rows.append(
                {"case": label, "method": name, "rmsd": mean[0], "step": mean[1], "last": mean[2], "broken": mean[3]}
                | {"true": float(np.mean(true)), "s": seconds / len(gaps) if name == "bridge" else 0.0}
            )
            print(rows[-1], flush=True)
    return rows


def ala10(options: argparse.Namespace) -> tuple[Molecule, list[States], States]:
    """Ala10's backbone: the molecule, four training runs f8[S,30,3] of 1 ps, and the unseen fifth run."""
    path = (options.data or ROOT / "shared" / "data") / "ala10_backbone_1ps.npz"
    if not path.exists():
        raise FileNotFoundError(f"{path}: give the folder with --data")
    with np.load(path) as file:
        states, seeds = 0.001 * file["ncac"].astype(np.float64), file["seed"]
    runs = [states[seeds == seed] for seed in np.unique(seeds)]
    count = states.shape[1]
    molecule = Molecule(
        ("N", "CA", "C") * (count // 3),
        ("ALA",) * count,
        tuple(str(1 + k // 3) for k in range(count)),
        ("A",) * count,
        ("N", "C", "C") * (count // 3),
        np.stack([np.arange(count - 1), np.arange(1, count)], 1).astype(np.int32),
        np.zeros(count, bool),
    )
    return molecule, runs[:-1], runs[-1]


NET_PIECES = 6
PEPTIDE_STARTS, PEPTIDE_AHEAD, PEPTIDE_KNOWN, PEPTIDE_DRAWN = 48, 60, 51, 16


def peptide(options: argparse.Namespace) -> list[Row]:
    """Ala10, an unseen run: 48 starts, 60 ps ahead; 16 continuations each for the CRPS."""
    molecule, train, test = ala10(options)
    topology = Topology.of(molecule)
    trace = topology.trace
    projection = BondProjection.of(topology.bonds, topology.heavy, np.concatenate(train))
    starts = _starts(test)
    return [
        peptide_row(name, method, draws, topology, projection, train, test, starts)
        for name, method, draws in (
            ("hold", continuation.METHODS["hold"], False),
            ("bootstrap", _of_training(train, trace), True),
            ("ar", continuation.METHODS["ar"], False),
            ("analog", continuation.METHODS["analog"], True),
            ("ou", continuation.METHODS["ou"], True),
            ("gaussian", continuation.METHODS["gaussian"], True),
        )
    ]


def trained_net(options: argparse.Namespace) -> list[Row]:
    """Train the net on Ala10's training runs, and score it as the other methods.

    The net stays in --folder, and so do states of each few starts: a run that was ended goes on there.
    """
    import torch
    from dsr_backend.sources.generator.frames import frames_of
    from dsr_backend.sources.generator.model import HISTORY
    from dsr_backend.sources.generator.model_file import from_bytes
    from dsr_backend.sources.net import Net

    molecule, train, test = ala10(options)
    topology = Topology.of(molecule)
    path, spent_path = options.folder / "net.dsrm", options.folder / "net-seconds.json"
    if not spent_path.exists():
        spent_path.write_text(json.dumps(learned_net(path, molecule, topology, train, options.seconds)))
    spent = float(json.loads(spent_path.read_text()))
    saved = from_bytes(path.read_bytes())
    net, _ = Net.of_model("net", saved, molecule, topology, np.concatenate(train))
    starts = _starts(test)
    drawn, seconds = {}, 0.0
    for number, piece in enumerate(np.array_split(starts, NET_PIECES)):
        states_path = options.folder / f"net-states-{number}.npz"
        if not states_path.exists():
            history = [
                frames_of(
                    torch.as_tensor(
                        np.repeat(test[piece - steps_back][:, net.backbone], NET_DRAWN, 0), dtype=torch.float32
                    )
                )
                for steps_back in range(HISTORY - 1, -1, -1)
            ]
            backbones, cpu = timed(
                lambda h=history, k=number: net.continued_backbones(h, PEPTIDE_AHEAD, k, lambda: None)
            )
            np.savez(states_path, states=backbones.numpy(), seconds=cpu)
        with np.load(states_path) as file:
            seconds += float(file["seconds"])
            forecasts = file["states"].astype(np.float64).reshape(len(piece), NET_DRAWN, PEPTIDE_AHEAD, -1, 3)
        drawn |= dict(zip(piece.tolist(), forecasts, strict=True))
    row = peptide_row("net", drawn, True, topology, net.projection, train, test, starts)
    row |= {"s": seconds, "ratio": net.best.ratio, "steps": net.curve[-1].steps, "chart": saved.priors[0].chart.name}
    return [{**row, "training s": spent}]


def learned_net(path: Path, molecule: Molecule, topology: Topology, train: list[States], seconds: float) -> float:
    """Train a net, of seed 0, and return the processor seconds of that."""
    from dsr_backend.sources.generator import learn
    from dsr_backend.sources.net import backbone_of, names_of

    from pymol_dsr.shared.learn_options import GeneratorOptions

    backbone = backbone_of(molecule, topology)
    runs = [states[:, backbone].astype(np.float32) for states in train]
    protein = learn.ProteinStates("ala10", *names_of(molecule, topology, backbone), runs)

    class Report:
        """Prints the held-out error."""

        def __call__(self, fraction: float, phase: str, text: str = "", seconds_left: float | None = None) -> None:
            print(f"{fraction:.2f} {phase} {text}", flush=True)

        def errors(self, training: float, held_out: float, baseline: float | None = None) -> None:
            """Leave them to the text."""

    learned, spent = timed(
        lambda: learn.learn(
            [protein], GeneratorOptions(budget=seconds), learn.Spacing(1.0, 1.0), path, Report(), lambda: None, "cpu"
        )
    )
    print("\n".join(learned.notes), flush=True)
    return spent


def _starts(test: States) -> NDArray[np.int64]:
    return np.linspace(PEPTIDE_KNOWN - 1, len(test) - PEPTIDE_AHEAD - 1, PEPTIDE_STARTS).astype(int)


def _of_training(train: list[States], trace: NDArray[np.int64]) -> Any:
    """A method that draws training states, whatever came before."""
    known = History.of(np.concatenate(train)[::3], trace)
    return lambda history, frames, rng: continuation.bootstrap(known, frames, rng)


def peptide_row(
    name: str,
    method: Any,
    draws: bool,
    topology: Topology,
    projection: BondProjection,
    train: list[States],
    test: States,
    starts: NDArray[np.int64],
) -> Row:
    trace = topology.trace
    plane = statistics.PrincipalPlane.of(np.concatenate(train)[::4][:, trace])
    lengths = statistics.bond_lengths(np.concatenate(train), topology.bonds).mean(0)
    ends = [int(trace[0]), int(trace[-1])]

    def length(states: States) -> NDArray[np.float64]:
        return np.asarray(np.linalg.norm(states[..., ends[0], :] - states[..., ends[1], :], axis=-1))

    paths, crps = [], {5: [], 20: []}
    started = time.process_time()
    for start in starts:
        history = History.of(test[max(0, start - PEPTIDE_KNOWN + 1) : start + 1], trace, train)
        if isinstance(method, dict):
            drawn = method[int(start)]
        else:
            drawn = np.stack(
                [
                    method(history, PEPTIDE_AHEAD, np.random.default_rng([int(start), k]))
                    for k in range(PEPTIDE_DRAWN if draws else 1)
                ]
            )
        if name not in ("hold", "bootstrap", "net"):
            drawn = projection(drawn.reshape(-1, *drawn.shape[2:])).reshape(drawn.shape)
        paths.append(drawn[0])
        for lead, values in crps.items():
            values.append(statistics.crps(length(drawn[:, lead - 1]), float(length(test[start + lead]))))
    seconds = time.process_time() - started
    late = np.concatenate([path[PEPTIDE_AHEAD // 2 :] for path in paths])[:, trace]
    truth = np.concatenate([test[start + PEPTIDE_AHEAD // 2 + 1 : start + PEPTIDE_AHEAD + 1] for start in starts])
    row = {
        "method": name,
        "late JS": metrics.jensen_shannon(
            metrics.histogram(plane.project(late), plane), metrics.histogram(plane.project(truth[:, trace]), plane)
        ),
        "transition JS": metrics.jensen_shannon(
            metrics.transition_histogram([path[:, trace] for path in paths], plane, 10),
            metrics.transition_histogram([test[:, trace]], plane, 10),
        ),
        "autocorrelation": statistics.autocorrelation([path[:, trace] for path in paths], [1, 5, 10, 20]).tolist(),
        "true autocorrelation": statistics.autocorrelation([test[:, trace]], [1, 5, 10, 20]).tolist(),
        "CRPS 5": float(np.mean(crps[5])),
        "CRPS 20": float(np.mean(crps[20])),
        "step": float(np.mean([statistics.step_rmsd(path[:, trace]) for path in paths])),
        "true step": statistics.step_rmsd(test[:, trace]),
        "broken": 100.0 * statistics.broken_bonds(np.concatenate(paths), topology.bonds, lengths),
        "s": seconds,
    }
    print(row, flush=True)
    return row


def equilibrium(options: argparse.Namespace) -> list[Row]:
    """States like those of the first half of equilibrium trajectories, against the second half."""
    rows = []
    for name in ("trpcage", "villin", "rhodopsin", "gpcr"):
        try:
            topology_file, frames_file = trajectories.find(name, options.data, options.folder)
        except trajectories.NotHadError as error:
            print(error)
            continue
        protein = Protein.read(topology_file, frames_file, "protein")
        half = len(protein.states) // 2
        trace, bonds = protein.topology.trace, protein.topology.heavy_bonds
        known, truth = protein.states[:half], protein.states[half:]
        lengths = statistics.bond_lengths(known, bonds).mean(0)
        known_scores = metrics.compare_ensembles(known[:, trace], truth[:, trace], ordered=True)
        times = np.arange(1.0, half + 1.0)
        for method in ("bootstrap", "gaussian", "ou", "auto"):
            task = GenerateOptions(task="sample", method=method, frames=100)
            result, seconds = timed(
                lambda a=task, k=known, t=times, p=protein: generate(
                    p.molecule, [Trajectory(k.astype(np.float32), t)], a, NO_REPORT, lambda: None
                )
            )
            drawn = result.coordinates.astype(np.float64)
            scores = metrics.compare_ensembles(drawn[:, trace], truth[:, trace], ordered=True)
            rows.append(
                {
                    "trajectory": name,
                    "method": f"auto: {result.method}" if method == "auto" else method,
                    "JS": scores.js,
                    "W2": scores.pca_w2,
                    "RMSF r": scores.rmsf_correlation,
                    "RMSF": scores.rmsf / known_scores.rmsf,
                    "step": scores.step / known_scores.step,
                    "recall": scores.recall,
                    "contacts": scores.contact_jaccard,
                    "broken": 100.0 * statistics.broken_bonds(drawn, bonds, lengths),
                    "s": seconds,
                }
            )
            print(rows[-1], flush=True)
    return rows


PARTS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "continue": continue_dims,
    "fill": fill_dims,
    "surfaces": surfaces,
    "fluctuations": fluctuations,
    "peptide": peptide,
    "net": trained_net,
    "equilibrium": equilibrium,
}


if __name__ == "__main__":
    main()
