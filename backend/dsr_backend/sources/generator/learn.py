"""Learns a generator from trajectories of one or several proteins, and keeps it in a file while it learns."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pymol_dsr.shared.learn_options import GeneratorOptions
from pymol_dsr.shared.spacing import evenly_spaced
from pymol_dsr.shared.values import JsonObject, ValueFault

from ...motion.statistics import step_rmsds
from ...runtime import distributed
from ...runtime.device import choose_device
from ...runtime.errors import Cancelled
from ..contract import Check, TrainingReport
from ..model_file import GENERATOR, ModelWriter, ensure_free
from .frames import Frames, frames_of, local_atoms
from .model import PRESETS
from .model_file import (
    MOST_KINDS,
    MOST_PROTEINS,
    MOST_RESIDUES,
    KnownProtein,
    SavedGenerator,
    from_bytes,
    residues_of,
    save,
)
from .residues import Residues
from .training import Measurement, ProteinRuns, Training

MIN_WINDOWS = 400
"""Steps from state to state below which training has never paid."""
PAYS = 1500.0
"""Steps from which it may pay, for ten residues; they grow as the root of the residues. A guess."""
LEAST_EACH = 100
"""Steps that each protein must have, for its own closed-form model."""
LEAST_RUN = 12
"""States below which a trajectory has none to hold out."""
FEWEST_RESIDUES = 4
HELPS = 0.95
"""Held-out error over that of the baseline from which on the net adds nothing."""
CHART_LINES = {
    "rigid": "residues move as rigid bodies: on held-out states this errs less than turning bonds",
    "internal": "bonds turn: on held-out states this errs less than residues that move as rigid bodies",
}
SHOWN = 8
"""Measurements of the curve that the lines for the user show."""


@dataclass(frozen=True, eq=False)
class ProteinStates:
    """States of a protein to learn from.

    residues: names; chains: number of the chain of each, from 0. runs: atoms N, CA and C, f4[S,R,3,3] (state, residue,
    atom, axis; Å) of trajectories that are evenly spaced in time. unseen: measure on it, and learn nothing from it.
    """

    name: str
    residues: tuple[str, ...]
    chains: tuple[int, ...]
    runs: Sequence[NDArray[np.float32]]
    unseen: bool = False

    @property
    def steps(self) -> int:
        """Steps from state to state."""
        return sum(len(run) - 1 for run in self.runs)


@dataclass(frozen=True)
class Spacing:
    """Time from state to state: stride, in the unit of the trajectories' times, and in ps where it is known."""

    stride: float = 1.0
    picoseconds: float | None = None


@dataclass(frozen=True, eq=False)
class Learned:
    """A generator that was learned: lines for the user, and the curves of its training."""

    saved: SavedGenerator
    notes: tuple[str, ...]
    report: JsonObject


def learn(
    protein_states: Sequence[ProteinStates],
    options: GeneratorOptions,
    spacing: Spacing,
    path: Path,
    report: TrainingReport,
    check: Check,
    device: str = "auto",
    log: Callable[[str], None] = lambda text: None,
) -> Learned:
    """Learn a generator, written to `path` after each measurement of its held-out error.

    log: gets a line where what was learned stays although the training was cancelled. With several ranks
    (`runtime.distributed`), the first one writes the file. Raises ValueFault for states that nothing can be learned
    from, Cancelled once the generator as it is by then is written, and WriteError.
    """
    ensure_free(path, GENERATOR)
    proteins = merged(protein_states)
    ensure_learnable(proteins)
    check()
    report(0.0, "baseline")
    digest = _digest(proteins)
    earlier = _earlier(path, digest, options) if options.resume else None
    vocabulary = tuple(sorted({name for protein in proteins for name in protein.residues}))
    preset = earlier.preset if earlier else PRESETS[options.preset]
    runs = [protein_runs(protein, vocabulary) for protein in proteins]
    priors = earlier.priors if earlier else None
    training = Training(runs, len(vocabulary), preset, options.seed, choose_device(device), priors)
    if earlier:
        training.go_on(earlier.tensors, earlier.curve, earlier.step_ratios)
    known = tuple(
        KnownProtein(protein.name, protein.residues, protein.chains, protein.steps, step_length(protein))
        for protein in proteins
    )

    def content() -> SavedGenerator:
        return SavedGenerator(
            preset,
            vocabulary,
            known,
            tuple(training.priors),
            tuple(run.residues for run in runs),
            tuple(training.step_ratios),
            spacing.stride,
            spacing.picoseconds,
            digest,
            tuple(training.curve),
            training.tensors(),
        )

    def progress(fraction: float, current: Training) -> None:
        report.errors(current.loss, current.curve[-1].ratio)
        report(fraction, "training", progress_text(current), (1.0 - fraction) * options.budget)

    writer = ModelWriter(path)

    def keep(current: Training) -> None:
        if distributed.rank() == 0:
            save(writer, content())

    try:
        training.run(options.budget, check=check, progress=progress, save=keep)
    except Cancelled:
        reached = f"cancelled after {training.steps} steps of training; {best_text(training.best)}"
        log(f"{reached}; resume=1 goes on from {path}")
        raise
    return Learned(content(), tuple(_lines(proteins, training, earlier)), _record(proteins, options, training))


def progress_text(training: Training) -> str:
    """Return the figures of a training under way."""
    last, best = training.curve[-1].ratio, training.best.ratio
    beside = f" (best {best:.3f})" if best < last else ""
    return f"loss {training.loss:.3f}, {last:.3f} of the baseline's error on held-out states{beside}"


def merged(protein_states: Sequence[ProteinStates]) -> list[ProteinStates]:
    """Return the proteins, each with all its runs, without runs that are too short."""
    proteins: dict[tuple[tuple[str, ...], tuple[int, ...]], ProteinStates] = {}
    for protein in protein_states:
        known = proteins.get((protein.residues, protein.chains))
        runs = [run for run in protein.runs if len(run) >= LEAST_RUN]
        if known is not None:
            runs = [*known.runs, *runs]
        name, unseen = (known.name, known.unseen) if known else (protein.name, protein.unseen)
        proteins[protein.residues, protein.chains] = ProteinStates(name, protein.residues, protein.chains, runs, unseen)
    return list(proteins.values())


def ensure_learnable(proteins: Sequence[ProteinStates]) -> None:
    """Raise ValueFault for proteins that a generator can't be learned from, with what would do."""
    if len(proteins) > MOST_PROTEINS:
        raise ValueFault(f"{len(proteins)} proteins are too many for one generator; {MOST_PROTEINS} are the most")
    for protein in proteins:
        if not FEWEST_RESIDUES <= len(protein.residues) <= MOST_RESIDUES:
            raise ValueFault(
                f"{protein.name} has {len(protein.residues)} residues with N, CA and C; a generator learns from "
                f"{FEWEST_RESIDUES} to {MOST_RESIDUES}"
            )
    kinds = {name for protein in proteins for name in protein.residues}
    if len(kinds) > MOST_KINDS:
        raise ValueFault(f"the proteins have {len(kinds)} kinds of residues; {MOST_KINDS} are the most")
    steps = sum(protein.steps for protein in proteins if not protein.unseen)
    if steps < MIN_WINDOWS:
        raise ValueFault(
            f"a generator learns from {MIN_WINDOWS} steps from state to state or more, in trajectories of {LEAST_RUN} "
            f"states or more, and there are {steps}: name more trajectories, or continue and sample by another "
            "method than net, which needs no training"
        )
    for protein in proteins:
        if protein.steps < LEAST_EACH:
            raise ValueFault(
                f"{protein.name}: {protein.steps} steps from state to state are too few; {LEAST_EACH} of each "
                "protein are the least: leave it out, or name more of its trajectories"
            )


def protein_runs(protein: ProteinStates, vocabulary: Sequence[str]) -> ProteinRuns:
    """Return a protein as training takes it."""
    atoms = [torch.as_tensor(run, dtype=torch.float32) for run in protein.runs]
    frames = [frames_of(run) for run in atoms]
    return ProteinRuns(residues_with(protein, vocabulary, frames, atoms), frames, protein.unseen)


def residues_with(
    protein: ProteinStates, vocabulary: Sequence[str], frames: Sequence[Frames], atoms: Sequence[torch.Tensor]
) -> Residues:
    """Return the residues of a protein with the mean places of their atoms f[S,R,3,3] (Å) in their frames."""
    local = torch.cat([local_atoms(f, a) for f, a in zip(frames, atoms, strict=True)]).mean(0)
    return residues_of(protein.residues, protein.chains, vocabulary, local)


def step_length(protein: ProteinStates) -> float:
    """Return the mean RMSD in Å of Cα from state to state, without moves of the whole."""
    lengths = [step_rmsds(run[:, :, 1]) for run in protein.runs]
    return float(np.concatenate(lengths).mean())


def hold_out(names: Sequence[str]) -> Collection[str]:
    """Return the proteins of a folder to measure on: one of five, none of fewer than three."""
    ordered = sorted(names)
    return set(ordered[2::5]) if len(ordered) >= 3 else set()


def _digest(proteins: Sequence[ProteinStates]) -> str:
    """Return a digest of all states, by which a training knows its data again."""
    digest = hashlib.sha256()
    for protein in proteins:
        digest.update(
            repr((protein.residues, protein.chains, protein.unseen, [run.shape for run in protein.runs])).encode()
        )
        for run in protein.runs:
            digest.update(np.ascontiguousarray(run, "<f4").tobytes())
    return digest.hexdigest()


def _earlier(path: Path, digest: str, options: GeneratorOptions) -> SavedGenerator:
    """Return the generator to go on with. Raises ValueFault."""
    if not path.is_file():
        raise ValueFault(f"resume 1: there is no generator {path.stem} to go on with ({path}): leave resume out")
    saved = from_bytes(path.read_bytes())
    if saved.digest != digest:
        learned = ", ".join(f"{protein.steps} steps of {protein.name}" for protein in saved.proteins)
        raise ValueFault(
            f"resume 1: {path.stem} was learned from other states ({learned}): name the same objects and states, or "
            "leave resume out"
        )
    if saved.preset != PRESETS[options.preset]:
        name = next((name for name, preset in PRESETS.items() if preset == saved.preset), "another")
        raise ValueFault(f"resume 1: {path.stem} has the preset {name}, not {options.preset}: ask for preset={name}")
    return saved


def _record(proteins: Sequence[ProteinStates], options: GeneratorOptions, training: Training) -> JsonObject:
    """Return what was learned from, how, and how well, as plain JSON values."""
    return {
        "kind": "generator",
        "options": options.to_json(),
        "curve": [
            [round(measurement.seconds, 1), measurement.steps, round(measurement.ratio, 4)]
            for measurement in training.curve
        ],
        "ratio": round(training.best.ratio, 4),
        "steps": {protein.name: protein.steps for protein in proteins},
        "unseen": [protein.name for protein in proteins if protein.unseen],
    }


def _lines(proteins: Sequence[ProteinStates], training: Training, earlier: SavedGenerator | None) -> list[str]:
    lines = []
    for protein in proteins:
        count = len(protein.runs)
        of = "1 trajectory" if count == 1 else f"{count} trajectories"
        held = "; held out, to measure on" if protein.unseen else ""
        lines.append(f"{protein.name}: {protein.steps} steps in {of} of {len(protein.residues)} residues{held}")
    lines.append(CHART_LINES[training.priors[0].chart.name])
    before = f" ({earlier.curve[-1].steps} of them before)" if earlier else ""
    lines.append(f"{training.steps} steps of training in {training.seconds:.0f} s{before}")
    lines.append(curve_line(training.curve))
    lines.append(best_text(training.best))
    if training.best.ratio < HELPS:
        return lines
    lines.append(f"the net adds nothing, as it would below {HELPS:g}: method=auto does as well")
    enough = PAYS * math.sqrt(max(len(protein.residues) for protein in proteins) / 10.0)
    steps = sum(protein.steps for protein in proteins if not protein.unseen)
    if steps < enough:
        lines.append(f"from about {enough:.0f} steps from state to state it may help (a guess); there are {steps}")
    return lines


def best_text(best: Measurement) -> str:
    """Say how good the best net is."""
    return f"the net has {best.ratio:.3f} of the baseline's held-out error, reached after {best.seconds:.0f} s"


def curve_line(curve: Sequence[Measurement]) -> str:
    """Return the measurements of the held-out error in a line."""
    chosen = [curve[k] for k in evenly_spaced(range(len(curve)), SHOWN)]
    ratios = " ".join(f"{row.ratio:.3f}" for row in chosen)
    return f"held-out error over the baseline's: {ratios} (after {' '.join(f'{row.seconds:.0f}' for row in chosen)} s)"
