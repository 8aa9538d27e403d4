"""Coarse-grained potentials: forces, invariances, dynamics, training and calibration on short runs of ten alanines."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from dsr_backend.runtime.errors import Cancelled
from dsr_backend.sources.potential import calibrate, langevin, train
from dsr_backend.sources.potential.beads import TYPES, ForceMap, Protein, beads_of, k_centres
from dsr_backend.sources.potential.forces import ClosedForces
from dsr_backend.sources.potential.langevin import Langevin
from dsr_backend.sources.potential.learn import SIZES, LearningData, learn
from dsr_backend.sources.potential.model_file import from_bytes, to_bytes
from dsr_backend.sources.potential.network import GraphNetwork
from dsr_backend.sources.potential.potential import Potential, far_pairs, features
from dsr_backend.sources.potential.priors import BOLTZMANN, Priors, cosines
from dsr_backend.sources.potential.simulate import blocks
from dsr_backend.sources.potential.train import BeadStates
from scipy.spatial.transform import Rotation

from pymol_dsr.shared.learn_options import LearnOptions
from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.values import ValueFault
from support.energies import energies, forces
from support.paths import ROOT
from support.pretend_gpu import DEVICE, pretend_gpu
from support.silent_report import Silent

pytestmark = pytest.mark.system

ALANINES = Protein(("ALA",) * 10, (0,) * 10)
TEMPERATURE = 350.0


def ignore(*_: Any) -> None:
    pass


@pytest.fixture(scope="module")
def frames() -> BeadStates:
    """Frames of ten alanines, every fifth of 4.7 ns, with mapped forces."""
    with np.load(ROOT / "benchmarks" / "data" / "ala10_350k.npz") as data:
        return BeadStates(ALANINES, data["ca"], data["forces"].astype(np.float32), data["run"].astype(np.int64))


@pytest.fixture(scope="module")
def priors(frames) -> Priors:
    return Priors.fitted([(ALANINES, frames.beads)], TEMPERATURE)


@pytest.fixture
def potential(priors) -> Potential:
    """Priors, and a network with random weights."""
    torch.manual_seed(1)
    network = GraphNetwork()
    torch.nn.init.normal_(network.last.weight)
    return Potential(priors, network, TEMPERATURE)


def double(potential: Potential, frames: BeadStates, count: int = 2) -> torch.Tensor:
    potential.module().double()
    return torch.as_tensor(frames.beads[:count], dtype=torch.float64)


def test_forces_are_the_slope_of_the_energy(potential, frames) -> None:
    x = double(potential, frames)
    offsets = torch.linspace(-1, 1, features(x, ALANINES).shape[1], dtype=torch.float64)
    slope = forces(potential, x, ALANINES, offsets)
    for bead, axis in ((0, 0), (4, 1), (9, 2)):
        shift = torch.zeros_like(x)
        shift[:, bead, axis] = 1e-4
        ends = [energies(potential, x + sign * shift, ALANINES, offsets).detach() for sign in (1, -1)]
        torch.testing.assert_close(slope[:, bead, axis], (ends[1] - ends[0]) / 2e-4, rtol=1e-4, atol=1e-4)


def test_fold_is_told_by_beads_far_apart_in_a_chain_and_in_different_ones(frames) -> None:
    assert far_pairs(Protein(("ALA",) * 11, (0,) * 11)).tolist() == [[0, 6], [0, 9], [3, 9]]
    two_chains = Protein(("ALA",) * 11, (0,) * 6 + (1,) * 5)
    assert far_pairs(two_chains).tolist() == [[0, 6], [0, 9], [3, 6], [3, 9]] and not len(far_pairs(ALANINES))
    x = torch.as_tensor(np.concatenate([frames.beads[:4], frames.beads[:4, :1] + 5.0], 1))
    closer = features(0.5 * x, two_chains)[:, -12:] - features(x, two_chains)[:, -12:]
    assert bool((closer > 0.0).all())


def test_forces_in_closed_form_are_the_same_with_a_fold(potential, frames) -> None:
    protein = Protein(("ALA",) * 13, (0,) * 13)
    x = double(potential, frames, 8)
    x = torch.cat([x, x[:, :3] + torch.tensor([6.0, 7.0, 8.0])], 1)
    offsets = torch.linspace(-1, 1, features(x, protein).shape[1], dtype=torch.float64)
    closed = ClosedForces(potential, protein, offsets)
    torch.testing.assert_close(closed(x), forces(potential, x, protein, offsets), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("chains", [(0,) * 10, (0,) * 6 + (1,) * 4])
def test_forces_in_closed_form_are_the_same(potential, frames, chains) -> None:
    """Also where two beads do not see each other, and where one replica has them near and another one far."""
    protein = Protein(("ALA", "GLY", *("ALA",) * 8), chains)
    potential.network = GraphNetwork(3, 8)
    torch.nn.init.normal_(potential.network.last.weight)
    x = double(potential, frames, 8)
    x[:, 9] += 12.0
    x[0, :3] += 9.0
    offsets = torch.linspace(-1, 1, features(x, protein).shape[1], dtype=torch.float64)
    closed = ClosedForces(potential, protein)
    for weights in (None, offsets, 2.0 * offsets):
        closed.set_offsets(weights)
        torch.testing.assert_close(closed(x), forces(potential, x, protein, weights), rtol=1e-5, atol=1e-4)
    # A replica that has flown apart does not disturb the others.
    lost = x.clone()
    lost[1, 4] = math.nan
    torch.testing.assert_close(closed(lost)[2:], closed(x)[2:])


def test_the_energy_is_that_of_the_turned_molecule_and_not_of_its_mirror_image(potential, frames) -> None:
    x = double(potential, frames)
    turn = torch.as_tensor(Rotation.from_euler("xyz", [0.3, -2.0, 1.0]).as_matrix())
    energy = energies(potential, x, ALANINES)
    torch.testing.assert_close(energies(potential, x @ turn.T + 7.0, ALANINES), energy)
    mirrored = x * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    pairs, types = torch.as_tensor(ALANINES.pairs), torch.as_tensor(ALANINES.types)
    torch.testing.assert_close(potential.network(mirrored, types, pairs), potential.network(x, types, pairs))
    assert (energies(potential, mirrored, ALANINES) - energy).abs().min() > 1e-3


def test_dihedrals_change_slowly_where_three_beads_lie_in_a_line(frames) -> None:
    """A dihedral angle is none there; forces without limit would tear the chain in one step."""
    x = torch.as_tensor(frames.beads[:1], dtype=torch.float64).repeat(6, 1, 1)
    along = x[:, 4] - x[:, 3]
    for row, shift in enumerate((1e-6, 1e-4, 1e-3, 1e-2, 0.1, 0.5)):
        x[row, 5:] += x[row, 4] + along[row] - x[row, 5] + shift
    x.requires_grad_(True)
    waves = features(x, ALANINES)[:, : 7 * 4]
    for wave in waves.T:
        slope = torch.autograd.grad(wave.sum(), x, retain_graph=True)[0]
        assert slope.abs().max() < 10.0


def test_equal_beads_may_be_renumbered_in_the_network_and_types_matter(potential, frames) -> None:
    x = double(potential, frames)
    pairs, types = torch.as_tensor(ALANINES.pairs), torch.as_tensor(ALANINES.types)
    order = torch.randperm(10)
    torch.testing.assert_close(potential.network(x[:, order], types, pairs), potential.network(x, types, pairs))
    changed_types = types.clone()
    changed_types[3] += 1
    assert (potential.network(x, changed_types, pairs) - potential.network(x, types, pairs)).abs().max() > 1e-3


def test_without_friction_the_energy_stays(potential, frames, monkeypatch) -> None:
    x = double(potential, frames, 4)
    monkeypatch.setattr(langevin, "FRICTION", 0.0)

    def drift(step: float, steps: int) -> float:
        monkeypatch.setattr(langevin, "STEP", step)
        generator = torch.Generator().manual_seed(0)
        dynamics = Langevin(lambda at: forces(potential, at, ALANINES), x, TEMPERATURE, generator)

        def total() -> torch.Tensor:
            return energies(potential, dynamics.x, ALANINES).detach() + 6.0 * dynamics.v.square().sum((1, 2))

        first = total()
        dynamics.run(steps)
        return float((total() - first).abs().max())

    # The error of the integrator falls with the square of its step.
    assert drift(0.5, 200) < 0.05
    assert drift(0.5, 200) < 0.3 * drift(2.0, 50)


def test_the_prior_alone_has_the_temperature_and_the_bonds_of_the_data(priors, frames, monkeypatch) -> None:
    monkeypatch.setattr(langevin, "STEP", 3.0)
    potential = Potential(priors, GraphNetwork(), TEMPERATURE)

    def force(x: torch.Tensor) -> torch.Tensor:
        x = x.detach().requires_grad_(True)
        return -torch.autograd.grad(priors.energy(x, ALANINES).sum(), x)[0]

    starts = torch.as_tensor(frames.beads[k_centres(frames.beads, 64, 0)])
    dynamics = Langevin(force, starts, TEMPERATURE, torch.Generator().manual_seed(0))
    bonds = torch.as_tensor(ALANINES.runs(2))
    lengths, temperatures = [], []
    dynamics.run(300)
    for _ in range(40):
        dynamics.run(10)
        lengths.append((dynamics.x[:, bonds[:, 0]] - dynamics.x[:, bonds[:, 1]]).norm(dim=-1))
        temperatures.append(float(langevin.MASS * dynamics.v.square().mean() / BOLTZMANN))
    measured = np.linalg.norm(np.diff(frames.beads, axis=1), axis=2)
    assert np.mean(temperatures) == pytest.approx(TEMPERATURE, rel=0.05)
    assert float(torch.cat(lengths).mean()) == pytest.approx(measured.mean(), abs=0.02)
    assert float(torch.cat(lengths).std()) == pytest.approx(measured.std(), rel=0.15)
    assert not dynamics.flown_apart(bonds).any() and potential.thermal == BOLTZMANN * TEMPERATURE


def test_training_lowers_the_held_out_error_and_keeps_the_best_epoch(priors, frames, monkeypatch) -> None:
    torch.manual_seed(0)
    potential = Potential(priors, GraphNetwork(1, 24), TEMPERATURE)
    monkeypatch.setattr(train, "MOST_EPOCHS", 3)
    reports: list[train.Training] = []
    outcome = train.train(potential, [frames], 0, 60.0, lambda _, so_far: reports.append(so_far), ignore)
    assert [len(report.epochs) for report in reports] == [1, 2, 3]
    assert outcome.epochs[outcome.best - 1].held_out == min(epoch.held_out for epoch in outcome.epochs) < outcome.prior

    # A rate that makes the error worse and worse: the weights are those from before.
    before = {name: tensor.clone() for name, tensor in potential.network.state_dict().items()}
    monkeypatch.setattr(train, "RATE", 3.0)
    repeated = train.train(potential, [frames], 0, 60.0, ignore, ignore)
    best = repeated.best
    assert best == 0 or repeated.epochs[best - 1].held_out < repeated.prior
    if best == 0:
        for name, tensor in potential.network.state_dict().items():
            assert torch.equal(tensor, before[name])


def test_held_out_frames_are_whole_blocks_of_each_run(frames) -> None:
    held_out = train.split(frames)
    assert 0.15 < held_out.mean() < 0.25
    changes = np.flatnonzero(np.diff(held_out.astype(int)))
    assert len(changes) <= 10 * len(np.unique(frames.runs))


def test_frames_without_forces_are_learned_from_their_noise(priors, frames, monkeypatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(train, "MOST_EPOCHS", 3)
    potential = Potential(priors, GraphNetwork(1, 24), TEMPERATURE)
    coordinates_only = BeadStates(ALANINES, frames.beads, None, frames.runs)
    outcome = train.train(potential, [coordinates_only], 0, 60.0, ignore, ignore)
    assert outcome.epochs[outcome.best - 1].held_out < outcome.prior
    # The priors lack little but the noise itself: bonds are stiff, and the network must not take that back.
    assert outcome.prior < 2.0 * potential.thermal / train.NOISE


def test_an_epoch_of_few_frames_has_as_many_steps_as_one_of_many(priors, frames, monkeypatch) -> None:
    monkeypatch.setattr(train, "MOST_EPOCHS", 1)
    monkeypatch.setattr(train, "LEAST_BATCHES", 10)
    steps = []
    for count in (100, 200):
        potential = Potential(priors, GraphNetwork(1, 8), TEMPERATURE)
        small = BeadStates(ALANINES, frames.beads[:count], None, np.zeros(count, np.int64))
        train.train(potential, [small], 0, 60.0, ignore, ignore)
        assert potential.optimizer is not None
        steps.append(potential.optimizer.steps)
    assert steps == [10, 10]


def test_a_hundred_values_of_a_kind_of_angle_are_enough_for_it(frames) -> None:
    glycine = Protein((*("ALA",) * 5, "GLY", *("ALA",) * 4), (0,) * 10)
    chosen = frames.beads[:100]
    angle = cosines(torch.as_tensor(chosen, dtype=torch.float64), glycine.runs(3)[4:5])
    priors = Priors.fitted([(ALANINES, frames.beads), (glycine, chosen)], TEMPERATURE)
    assert float(priors.angles[TYPES.index("GLY"), 1]) == pytest.approx(float(angle.mean()), abs=1e-5)


def test_large_proteins_are_calibrated_by_fewer_replicas() -> None:
    counts = [calibrate.replicas_of(Protein(("ALA",) * count, (0,) * count)) for count in (4, 10, 35, 150)]
    assert counts == [64, 64, 16, 8]


def test_a_calibration_goes_on_with_the_replicas_that_have_not_flown_apart(priors, frames, monkeypatch) -> None:
    for name, value in {"REPLICAS": 4, "SETTLE": 10, "BLOCK": 10, "MOST_UPDATES": 5}.items():
        monkeypatch.setattr(calibrate, name, value)

    def one_is_lost(dynamics: Langevin, bonds: torch.Tensor) -> torch.Tensor:
        return torch.tensor([True, False, False, False])

    def spoilt(x: torch.Tensor, protein: Protein) -> torch.Tensor:
        values = features(x, protein)
        if len(values) == 4:
            values[0] = math.nan
        return values

    potential = Potential(priors, GraphNetwork(1, 8), TEMPERATURE)
    monkeypatch.setattr(Langevin, "flown_apart", one_is_lost)
    monkeypatch.setattr(calibrate, "features", spoilt)
    offsets, outcome = calibrate.calibrate(potential, frames, 0, 60.0, ignore, ignore)
    assert len(outcome.gaps) == 5 and outcome.flown_apart == 5
    assert np.isfinite(outcome.gaps).all() and np.isfinite(offsets).all()


@pytest.mark.parametrize("seconds, updates", [(3.0, 4), (60.0, 5)])
def test_a_calibration_that_loses_all_replicas_ends(priors, frames, monkeypatch, seconds, updates) -> None:
    """By its time, or with an error where that is long."""
    for name, value in {"REPLICAS": 4, "SETTLE": 10, "BLOCK": 10}.items():
        monkeypatch.setattr(calibrate, name, value)
    calls = 0

    def all_are_lost(dynamics: Langevin, bonds: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        assert calls < 10
        return torch.ones(4, dtype=torch.bool)

    monkeypatch.setattr(Langevin, "flown_apart", all_are_lost)
    potential = Potential(priors, GraphNetwork(1, 8), TEMPERATURE)
    ticks = itertools.count()
    calibration = functools.partial(
        calibrate.calibrate, potential, frames, 0, seconds, ignore, ignore, clock=lambda: float(next(ticks))
    )
    if updates == 5:
        with pytest.raises(ValueFault, match=r"0 of 4 replicas held together in 5 updates .* calibrate=0"):
            calibration()
    else:
        assert calibration()[1] == calibrate.Calibration((), 4 * updates)
    assert calls == updates


def test_a_calibration_halves_the_gap_of_the_features(priors, frames, monkeypatch) -> None:
    for name, value in {"REPLICAS": 32, "SETTLE": 300, "BLOCK": 30, "MOST_UPDATES": 14}.items():
        monkeypatch.setattr(calibrate, name, value)
    potential = Potential(priors, GraphNetwork(1, 8), TEMPERATURE)
    offsets, outcome = calibrate.calibrate(potential, frames, 0, 60.0, ignore, ignore)
    assert np.mean(outcome.gaps[-5:]) < 0.5 * outcome.gaps[0]
    assert offsets.shape == (7 * 4 + 7 + 6 + 3 * 6,)


def test_replicas_far_from_the_data_begin_again_there(priors, frames, monkeypatch) -> None:
    settings = {"REPLICAS": 32, "SETTLE": 300, "BLOCK": 10, "MOST_UPDATES": 4, "RATE": 0.0}
    for name, value in settings.items():
        monkeypatch.setattr(calibrate, name, value)
    potential = Potential(priors, GraphNetwork(1, 8), TEMPERATURE)
    monkeypatch.setattr(calibrate, "FAR_GAP", 0.1)
    gaps = calibrate.calibrate(potential, frames, 0, 60.0, ignore, ignore)[1].gaps
    monkeypatch.setattr(calibrate, "FAR_GAP", 10.0)
    persistent = calibrate.calibrate(potential, frames, 0, 60.0, ignore, ignore)[1].gaps
    assert gaps[0] == persistent[0] and max(gaps[1:]) < 0.7 * min(persistent)


def test_the_force_map_takes_off_noise_and_keeps_whole_forces() -> None:
    rng = np.random.default_rng(0)
    names = ("N", "CA", "HA", "C") * 4
    elements = ("N", "C", "H", "C") * 4
    bonds = [(4 * r, 4 * r + 1) for r in range(4)] + [(4 * r + 1, 4 * r + k) for r in range(4) for k in (2, 3)]
    bonds += [(4 * r + 3, 4 * r + 4) for r in range(3)]
    residues = tuple(str(r) for r in range(4) for _ in range(4))
    molecule = Molecule(
        names, ("ALA",) * 16, residues, ("A",) * 16, elements, np.array(bonds, np.int32), np.zeros(16, bool)
    )
    coordinates = np.cumsum(np.full((16, 3), 0.5), 0)
    protein, atoms = beads_of(molecule, coordinates)
    assert protein == Protein(("ALA",) * 4, (0,) * 4) and atoms.tolist() == [1, 5, 9, 13]
    # Each C pulls at its Cα: a spring, whose force is noise for the bead.
    spring = rng.normal(0, 20, (500, 4, 3))
    bead_forces = rng.normal(0, 1, (500, 4, 3))
    forces = np.zeros((500, 16, 3))
    forces[:, 1::4] = bead_forces + spring
    forces[:, 3::4] = -spring
    mapped = ForceMap(molecule, atoms, iter([forces[:250], forces[250:]]))(forces)
    assert np.abs(mapped - bead_forces).mean() < 0.2
    # The force on a hydrogen is its heavy atom's.
    forces = np.zeros((1, 16, 3))
    forces[0, 2] = 1.0
    deuterated = dataclasses.replace(molecule, elements=("N", "C", "D", "C") * 4)
    for topology in (molecule, deuterated):
        np.testing.assert_allclose(ForceMap(topology, atoms, iter([forces]))(forces)[0, 0], 1.0)


def test_a_potential_is_not_learned_from_too_few_frames_or_two_temperatures(frames) -> None:
    six_frames = BeadStates(ALANINES, frames.beads[:6], None, frames.runs[:6])
    options = LearnOptions()
    with pytest.raises(ValueFault, match="pep: 6 frames to learn from; 100 are the least"):
        learn([LearningData("pep", six_frames, 300.0)], options, Silent(), ignore)
    two_temperatures = [LearningData("one", frames, 300.0), LearningData("two", frames, 350.0)]
    with pytest.raises(ValueFault, match="one 300 K, two 350 K"):
        learn(two_temperatures, options, Silent(), ignore)


def test_learning_goes_on_with_a_potential_of_the_same_proteins_alone(frames, monkeypatch) -> None:
    monkeypatch.setattr(train, "MOST_EPOCHS", 3)
    data = [LearningData("ala", frames, TEMPERATURE)]
    options = LearnOptions(calibrate=False, budget=60)
    first, report, _ = learn(data, options, Silent(), ignore)
    weights = {name: tensor.clone() for name, tensor in first.module().state_dict().items()}
    longer, whole_report, lines = learn(data, options, Silent(), ignore, (first, report))
    curve = held_out_errors(whole_report)
    assert len(curve) == 6 and curve[:3] == held_out_errors(report) and min(curve[3:]) < min(curve[:3])
    best = whole_report["best"]
    assert isinstance(best, int) and curve[best - 1] == min(curve)
    assert lines[0] == "goes on with the potential of 3 epochs that was there" and len(longer.proteins) == 1
    assert torch.equal(longer.priors.bonds, weights["priors.bonds"])
    assert not torch.equal(longer.network.last.weight, weights["network.last.weight"])

    glycine = BeadStates(Protein(("GLY", *("ALA",) * 9), (0,) * 10), frames.beads, None, frames.runs)
    with pytest.raises(ValueFault, match="learned from ala, in this order, and these are gly"):
        learn([LearningData("gly", glycine, TEMPERATURE)], options, Silent(), ignore, (longer, whole_report))
    with pytest.raises(ValueFault, match="the potential is of 350 K, and the data of 300 K"):
        learn([LearningData("ala", frames, 300.0)], options, Silent(), ignore, (longer, whole_report))


@pytest.mark.parametrize(
    "gaps, change", [((0.5, 0.25), "fell from 0.50 to 0.38"), ((0.5, 0.7), "rose from 0.50 to 0.60")]
)
def test_learning_says_whether_the_gap_fell(frames, monkeypatch, gaps, change) -> None:
    def calibrated(potential: Potential, *_: Any) -> tuple[Any, calibrate.Calibration]:
        return potential.proteins[0].offsets, calibrate.Calibration(gaps, 0)

    monkeypatch.setattr(train, "MOST_EPOCHS", 1)
    monkeypatch.setattr("dsr_backend.sources.potential.learn.calibrate", calibrated)
    every_eighth = BeadStates(ALANINES, frames.beads[::8], frames.forces[::8], frames.runs[::8])
    lines = learn([LearningData("ala", every_eighth, TEMPERATURE)], LearnOptions(), Silent(), ignore)[2]
    assert any(f"their gap {change} deviations" in line for line in lines)


def test_a_cancelled_training_keeps_what_it_learned_and_goes_on_with_its_optimizer(frames, monkeypatch) -> None:
    monkeypatch.setattr(calibrate, "SETTLE", 10)
    monkeypatch.setattr(train, "LEAST_BATCHES", 1)
    data = [LearningData("ala", BeadStates(ALANINES, frames.beads[::4], None, frames.runs[::4]), TEMPERATURE)]

    def cancelled_at(phase: str, earlier: Any = None) -> tuple[Potential, Any, str]:
        """The potential and the report in the file of a learning that is cancelled in a phase, and what is said."""
        files: list[bytes] = []
        reported: list[str] = []
        lines: list[str] = []

        class Watched(Silent):
            def __call__(self, fraction: float, phase: str, text: str = "", seconds_left: float | None = None) -> None:
                reported.append(phase)

        def check() -> None:
            if reported.count(phase) == 2:
                raise Cancelled

        with pytest.raises(Cancelled):
            learn(
                data,
                LearnOptions(budget=30),
                Watched(),
                check,
                earlier,
                keep=lambda potential, record: files.append(to_bytes(potential, record)),
                log=lines.append,
            )
        return *from_bytes(files[-1]), lines[0]

    first, report, text = cancelled_at("training")
    assert len(report["training"]) == 2 and report["calibrated"] == [] and first.optimizer is not None
    assert re.match(
        "cancelled after 2 epochs; held-out force error .* not calibrated to the end: ala. .* resume=1", text
    )
    assert first.optimizer.epochs == 2 and first.optimizer.steps == 2 * math.ceil(0.8 * len(data[0].frames.beads) / 256)
    first_steps = first.optimizer.steps
    moments = {name: moment.clone() for name, moment in first.optimizer.second.items()}

    monkeypatch.setattr(train, "MOST_EPOCHS", 1)
    steps_of: list[int] = []
    adam = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW) -> None:
        steps_of.extend(int(state["step"]) for state in self.state.values())
        adam(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    longer, whole_report, text = cancelled_at("calibration", (first, report))
    assert min(steps_of) >= first_steps
    assert "not calibrated to the end: ala" in text and len(whole_report["gaps"]["ala"]) == 2
    assert len(whole_report["training"]) == 3 and longer.optimizer is not None and longer.optimizer.epochs == 3
    assert longer.proteins[0].offsets.any()
    assert any(not torch.equal(moments[name], moment) for name, moment in longer.optimizer.second.items())


def held_out_errors(report: Any) -> list[float]:
    """The held-out errors of the epochs."""
    return [held_out for _, held_out in report["training"]]


def test_a_potential_is_learned_and_computes_on_another_device(priors, frames, monkeypatch) -> None:
    monkeypatch.setattr(train, "MOST_EPOCHS", 1)
    for name, value in {"REPLICAS": 4, "SETTLE": 10, "BLOCK": 10, "MOST_UPDATES": 2}.items():
        monkeypatch.setattr(calibrate, name, value)
    every_eighth = BeadStates(ALANINES, frames.beads[::8], frames.forces[::8], frames.runs[::8])
    with pretend_gpu():
        potential, _, _ = learn(
            [LearningData("ala", every_eighth, TEMPERATURE)], LearnOptions(), Silent(), ignore, None, DEVICE
        )
        assert potential.device.type == "cpu"
        starts = torch.as_tensor(every_eighth.beads[:4])
        offsets = torch.as_tensor(potential.proteins[0].offsets)
        on_cpu = forces(potential, starts, ALANINES, offsets)
        on_device = forces(potential.to(DEVICE), starts.to(DEVICE), ALANINES, offsets.to(DEVICE))
        torch.testing.assert_close(on_device.cpu(), on_cpu)


def test_a_large_potential_has_the_size_of_the_literature() -> None:
    network = GraphNetwork(*SIZES["large"])
    assert (network.layers, network.width) == (4, 128)


def test_chains_end_at_gaps_and_small_molecules_are_refused() -> None:
    protein = Protein(("ALA", "GLY", "HIE", "MSE", "ALA"), (0, 0, 0, 1, 1))
    assert protein.runs(2).tolist() == [[0, 1], [1, 2], [3, 4]] and protein.runs(3).tolist() == [[0, 1, 2]]
    assert protein.types.tolist() == [0, 7, 8, 20, 0]
    assert Protein(("ASH", "GLH", "LYN", "CYM"), (0,) * 4).types.tolist() == [
        TYPES.index(n) for n in ("ASP", "GLU", "LYS", "CYS")
    ]
    with pytest.raises(ValueFault, match="3 residues: a potential can be of 4 to 150"):
        Protein(("ALA",) * 3, (0,) * 3)


def test_centres_lie_apart(frames) -> None:
    chosen = frames.beads[k_centres(frames.beads, 8, 0)]
    ends = np.linalg.norm(chosen[:, 0] - chosen[:, -1], axis=1)
    end_distances = np.linalg.norm(frames.beads[:, 0] - frames.beads[:, -1], axis=1)
    assert ends.std() > end_distances.std() and not math.isclose(ends.min(), ends.max())


@pytest.mark.parametrize("steps", [1, 2, 10, 15, 25, 100])
def test_a_state_comes_after_as_many_steps_as_its_time_says(steps) -> None:
    lengths = list(blocks(steps, 10))
    assert sum(lengths) == steps and max(lengths) <= 10
