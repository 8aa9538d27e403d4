"""Learns a potential from frames of one or several proteins, with forces where their simulations have kept them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pymol_dsr.shared.learn_options import LearnOptions
from pymol_dsr.shared.text import counted
from pymol_dsr.shared.values import JsonObject, JsonValue, ValueFault

from ...runtime.errors import Cancelled
from ..contract import Check, TrainingReport
from ..simulation.store import SimulationStore
from .beads import ForceMap, Protein, beads_of, k_centres, nearest_distance
from .calibrate import calibrate, feature_statistics
from .network import GraphNetwork
from .potential import Potential, Trained
from .priors import Priors
from .train import BeadStates, Training, train

LEAST_FRAMES = 100
CENTRES = 64
QUERIES = 500
"""Frames whose distances to the centres give the spacing of the data."""
TRAINING_FRACTION = 0.55
"""Fraction of the seconds; calibration has the others."""
CHUNK = 200
SAME_FRAME = 0.01
"""Å. Frames whose beads lie as far from their centre, but for this, are one."""
KEPT_SECONDS = 60.0
"""Between two files of a training under way, at least."""
CPU = torch.device("cpu")
SIZES = {"small": (2, 48), "large": (4, 128)}
"""Layers and width of the network."""
MOST_KEPT_EPOCHS = 10_000


@dataclass(frozen=True, eq=False)
class LearningData:
    """Frames of a protein. force_noise: rms force on beads in kcal/mol/Å before and after its map, where known."""

    name: str
    frames: BeadStates
    temperature: float
    force_noise: tuple[float, float] | None = None


def simulated(name: str, label: str, forces: bool | None, one_of: NDArray[np.float32] | None = None) -> LearningData:
    """Return the frames that a simulation has kept.

    one_of: the Cα f4[N,3] (Å) of a state that must be among them, in any pose. Raises ValueFault.
    """
    store = SimulationStore(name)
    molecule, _, options = store.start()
    states = store.states()
    protein, atoms = beads_of(molecule, states.coordinates[0])
    beads = states.coordinates[:, atoms]
    if one_of is not None and not _is_among(one_of, beads):
        raise ValueFault(
            f"the states of {label} are not in the simulation {name} that is kept ({store.folder}): another one of "
            f"that name has replaced it, or {label} was changed; simulate it again, or type 'create NEW, {label}' and "
            "learn from NEW, without forces"
        )
    mapped, noise = None, None
    if forces is not False:
        rows = range(0, len(states), CHUNK)
        force_map = ForceMap(molecule, atoms, (states.forces[k : k + CHUNK] for k in rows))
        mapped = np.concatenate([force_map(states.forces[k : k + CHUNK]) for k in rows]).astype(np.float32)
        noise = force_noise(states.forces[:, atoms], mapped)
    frames = BeadStates(protein, beads, mapped, states.replicas.astype(np.int64))
    return LearningData(label, frames, options.temperature, noise)


def _is_among(beads: NDArray[np.float32], frames: NDArray[np.float32]) -> bool:
    """Whether beads f4[N,3] (Å) are one of the frames [F,N,3], also after a rigid motion."""
    if beads.shape != frames.shape[1:]:
        return False
    shape, shapes = (np.linalg.norm(x - x.mean(-2, keepdims=True, dtype=np.float64), axis=-1) for x in (beads, frames))
    return bool(np.abs(shapes - shape).max(1).min() < SAME_FRAME)


def force_noise(forces: NDArray[np.float32], mapped: NDArray[np.float32]) -> tuple[float, float]:
    """Return the rms force on the axis of a Cα in kcal/mol/Å, before and after the map to beads."""
    return float(np.sqrt((forces**2).mean())), float(np.sqrt((mapped**2).mean()))


def of_frames(name: str, protein: Protein, beads: NDArray[np.float32], options: LearnOptions) -> LearningData:
    """Return frames [F,N,3] in Å without forces. Raises ValueFault where forces are wanted."""
    if options.forces:
        raise ValueFault(f"forces 1: none are known of {name}; only dsr_simulate keeps them: leave forces= out")
    return LearningData(name, BeadStates(protein, beads, None, np.zeros(len(beads), np.int64)), options.temperature)


def learn(
    data: Sequence[LearningData],
    options: LearnOptions,
    report: TrainingReport,
    check: Check,
    earlier: tuple[Potential, JsonObject] | None = None,
    device: torch.device = CPU,
    keep: Callable[[Potential, JsonObject], None] = lambda potential, record: None,
    log: Callable[[str], None] = lambda text: None,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Potential, JsonObject, tuple[str, ...]]:
    """Return a potential, the report of its training, and lines for the user.

    earlier: a potential of the same proteins and the report of its training, to go on with. device: computes; the
    potential is on the CPU again afterwards. keep: gets the potential and the report while it learns, every
    KEPT_SECONDS, at the end, and where it is cancelled after an epoch or an update; log gets a line about that. clock:
    tells the seconds of the budget. Raises ValueFault, and Cancelled once what was learned is kept.
    """
    _check(data)
    check()
    report(0.0, "priors")
    learner = _Learner(data, options, report, check, earlier, device, keep, clock)
    try:
        learner.train()
        if options.calibrate:
            learner.calibrate()
    except Cancelled:
        if learner.has_learned:
            learner.keep()
            log(learner.cancelled_text())
        raise
    learner.keep()
    return learner.potential.to(CPU), learner.record(), tuple(learner.lines())


class _Learner:
    """A potential that is being learned."""

    def __init__(
        self,
        data: Sequence[LearningData],
        options: LearnOptions,
        report: TrainingReport,
        check: Check,
        earlier: tuple[Potential, JsonObject] | None,
        device: torch.device,
        keep: Callable[[Potential, JsonObject], None],
        clock: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._data, self._options, self._report, self._check, self._keep = data, options, report, check, keep
        self._goes_on = earlier is not None
        torch.manual_seed(options.seed)
        starts: list[NDArray[np.float64] | None] = [None] * len(data)
        self._before: JsonObject = {}
        if earlier is None:
            temperature = data[0].temperature
            priors = Priors.fitted([(item.frames.protein, item.frames.beads) for item in data], temperature)
            self.potential = Potential(priors, GraphNetwork(*SIZES[options.preset]), temperature)
        else:
            self.potential, self._before = earlier
            _check_earlier(self.potential, data)
            starts = [*(protein.offsets for protein in self.potential.proteins)]
        self.potential.proteins[:] = [
            _uncalibrated(item, start, options.seed) for item, start in zip(data, starts, strict=True)
        ]
        self.potential.to(device)
        self._fraction = TRAINING_FRACTION if options.calibrate else 1.0
        self._training = Training((), 0.0, 0)
        self._gaps: dict[str, list[float]] = {}
        self._calibrated: list[str] = []
        self._flown_apart = 0
        self._kept = time.monotonic()

    def keep(self) -> None:
        """Hand over the potential as it is."""
        self._kept = time.monotonic()
        self._keep(self.potential, self.record())

    def train(self) -> None:
        """Train the network. Raises Cancelled."""
        options = self._options
        seconds = options.budget * self._fraction

        def trained(finished: float, training: Training) -> None:
            self._training = training
            last = training.epochs[-1]
            text = f"epoch {len(training.epochs)}: {last.training:.3f}, held out {last.held_out:.3f}, "
            text += f"priors {training.prior:.3f} kcal/mol/Å"
            left = (1.0 - finished) * seconds + (1.0 - self._fraction) * options.budget
            self._report.errors(last.training, last.held_out, training.prior)
            self._report(finished * self._fraction, "training", text, left)
            if time.monotonic() - self._kept > KEPT_SECONDS:
                self.keep()

        frames = [item.frames for item in self._data]
        self._training = train(self.potential, frames, options.seed, seconds, trained, self._check, self._clock)
        if self._training.cancelled:
            raise Cancelled("the training was cancelled")

    def calibrate(self) -> None:
        """Calibrate the ensemble of each protein. Raises Cancelled."""
        options, count = self._options, len(self._data)
        seconds = options.budget * (1.0 - self._fraction)
        for number, item in enumerate(self._data):
            self.keep()

            def calibrated(finished: float, gap: float, number: int = number, label: str = item.name) -> None:
                overall = (number + finished) / count
                text = f"{label}: gap of the averages {gap:.2f} deviations"
                self._report.gap(gap)
                fraction = self._fraction + overall * (1.0 - self._fraction)
                self._report(fraction, "calibration", text, (1.0 - overall) * seconds)

            trained = self.potential.proteins[number]
            offsets, outcome = calibrate(
                self.potential,
                item.frames,
                options.seed,
                seconds / count,
                calibrated,
                self._check,
                trained.offsets,
                self._clock,
            )
            self.potential.proteins[number] = dataclasses.replace(trained, offsets=offsets)
            self._gaps[item.name] = [round(gap, 4) for gap in outcome.gaps]
            self._flown_apart += outcome.flown_apart
            if outcome.cancelled:
                raise Cancelled("the calibration was cancelled")
            self._calibrated.append(item.name)

    @property
    def has_learned(self) -> bool:
        """Whether there is more than at the start."""
        return bool(self._training.epochs) or any(self._gaps.values())

    def record(self) -> JsonObject:
        """Return the curves of the training after those of the earlier one that it goes on with."""
        training, curve = self._training, _curve(self._before)
        epochs: list[JsonValue] = [[round(epoch.training, 4), round(epoch.held_out, 4)] for epoch in training.epochs]
        best = self._before.get("best") if curve and not training.best else len(curve) + training.best
        return {
            "kind": self._options.kind,
            "options": self._options.to_json(),
            "training": [*curve, *epochs],
            "prior": round(training.prior, 4),
            "best": best,
            "gaps": {name: list(values) for name, values in self._gaps.items()},
            "calibrated": list(self._calibrated),
            "frames": {item.name: len(item.frames.beads) for item in self._data},
            "forces": {item.name: item.frames.forces is not None for item in self._data},
        }

    def lines(self) -> list[str]:
        """Return lines for the user."""
        lines = _lines(self._data, self._training, self._gaps, self._flown_apart)
        if self._goes_on:
            lines.insert(0, f"goes on with the potential of {len(_curve(self._before))} epochs that was there")
        return lines

    def cancelled_text(self) -> str:
        """Say what a cancelled run has kept."""
        reached = f"cancelled after {len(self._training.epochs)} epochs; {_error_text(self._training)}"
        missing = [item.name for item in self._data if item.name not in self._calibrated]
        calibration = f"not calibrated to the end: {', '.join(missing)}" if missing else "calibrated"
        return f"{reached}; {calibration}. This much is kept, and resume=1 goes on"


def _uncalibrated(item: LearningData, offsets: NDArray[np.float64] | None, seed: int) -> Trained:
    """Return a protein with the offsets that it begins with."""
    frames = item.frames
    means, deviations = feature_statistics(frames)
    centres = frames.beads[k_centres(frames.beads, CENTRES, seed)]
    if offsets is None:
        offsets = np.zeros(len(means))
    return Trained(item.name, frames.protein, offsets, means, deviations, centres, _spacing(frames, centres))


def _curve(report: JsonObject) -> list[JsonValue]:
    """Return the errors of the epochs in a report, which anybody may have written."""
    curve = report.get("training")
    return curve[:MOST_KEPT_EPOCHS] if isinstance(curve, list) else []


def _check_earlier(potential: Potential, data: Sequence[LearningData]) -> None:
    """Raise ValueFault where a potential is of other proteins or of another temperature."""
    before = [protein.protein for protein in potential.proteins]
    if before != [item.frames.protein for item in data]:
        names = ", ".join(protein.name for protein in potential.proteins)
        data_names = ", ".join(item.name for item in data)
        raise ValueFault(
            f"resume 1: the potential was learned from {names}, in this order, and these are {data_names}; name "
            "the same proteins, or learn anew without resume=1"
        )
    if potential.temperature != data[0].temperature:
        raise ValueFault(
            f"resume 1: the potential is of {potential.temperature:g} K, and the data of {data[0].temperature:g} K"
        )


def _check(data: Sequence[LearningData]) -> None:
    for item in data:
        if len(item.frames.beads) < LEAST_FRAMES:
            raise ValueFault(
                f"{item.name}: {counted(len(item.frames.beads), 'frame')} to learn from; {LEAST_FRAMES} are the least, "
                "and some thousand are better"
            )
    kelvins = sorted({item.temperature for item in data})
    if len(kelvins) > 1:
        named = ", ".join(f"{item.name} {item.temperature:g} K" for item in data)
        raise ValueFault(f"the temperatures differ ({named}): a potential is of one temperature")


def _spacing(frames: BeadStates, centres: NDArray[np.float32]) -> float:
    chosen = np.unique(np.linspace(0, len(frames.beads) - 1, QUERIES).astype(np.int64))
    return float(np.quantile(nearest_distance(frames.beads[chosen], centres), 0.95))


def _lines(
    data: Sequence[LearningData], training: Training, gaps: dict[str, list[float]], flown_apart: int
) -> list[str]:
    lines = [
        f"{item.name}: {len(item.frames.beads)} frames of {len(item.frames.protein)} beads{_forces(item)}"
        for item in data
    ]
    lines.append(_error_text(training))
    for name, values in gaps.items():
        if values:
            first, last = values[0], float(np.mean(values[-5:]))
            change = f"{'fell' if last < first else 'rose'} from {first:.2f} to {last:.2f} deviations"
            lines.append(f"{name}: calibrated with the averages of its frames; their gap {change}")
    if not gaps:
        lines.append("not calibrated: the populations of its states are those of force matching, which may be far off")
    if flown_apart:
        lines.append(f"{flown_apart} replicas flew apart in the calibration and were started anew")
    return lines


def _error_text(training: Training) -> str:
    if not training.best:
        return "the network lowers no held-out error: it stays as it was, at first with no energy of its own"
    best = training.epochs[training.best - 1].held_out
    return f"held-out force error {best:.3f} kcal/mol/Å after epoch {training.best}, {training.prior:.3f} by priors"


def _forces(item: LearningData) -> str:
    if item.force_noise is None:
        return "; without forces, from the frames alone"
    before, after = item.force_noise
    return f"; the force map lowers the rms force from {before:.1f} to {after:.1f} kcal/mol/Å"
