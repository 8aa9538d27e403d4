"""The entry point of the generator: tasks, methods, refusals."""

import dataclasses

import numpy as np
import pytest
from dsr_backend.motion import statistics
from dsr_backend.sources import continuation, energy_paths, net, sampling
from dsr_backend.sources.contract import Trajectory
from dsr_backend.sources.generate import TASKS, generate
from dsr_backend.sources.generator import learn
from dsr_backend.sources.topology import Topology

from pymol_dsr.shared.source_options import TASK_METHODS, GenerateOptions
from pymol_dsr.shared.values import ValueFault
from support.molecules import backbone_molecule, bent_helix, helix

MOLECULE = backbone_molecule(8)
TOPOLOGY = Topology.of(MOLECULE)
BODY = helix(8)
# Radians that the molecule bends from state to state.
BEND = 0.02


class Reports:
    """Keeps what a source reports."""

    def __init__(self) -> None:
        self.fractions: list[float] = []
        self.states: list[np.ndarray] = []

    def __call__(self, fraction, phase, text="", seconds_left=None):
        self.fractions.append(fraction)

    def frames(self, coordinates):
        self.states.extend(coordinates)


def bending(times):
    return np.stack([bent_helix(8, BEND * time) for time in times])


def trajectory(count, size=0.02, seed=0, times=None):
    noise = size * np.random.default_rng(seed).normal(size=(count, *BODY.shape))
    states = bending(np.arange(count)) + noise
    return Trajectory(states.astype(np.float32), np.arange(1.0, count + 1) if times is None else times)


def models(count):
    noise = 0.2 * np.random.default_rng(1).normal(size=(count, *BODY.shape))
    return Trajectory((BODY + noise).astype(np.float32), np.arange(1.0, count + 1))


def run(*trajectories, **options):
    reports = Reports()
    result = generate(MOLECULE, trajectories, GenerateOptions(**options), reports, lambda: None)
    assert np.array(reports.states) == pytest.approx(result.coordinates)
    assert reports.fractions == sorted(reports.fractions)
    return result


def test_a_steady_motion_is_continued_with_whole_bonds_and_a_table():
    result = run(trajectory(40), task="continue", frames=10)
    assert result.method != "hold" and result.times.tolist() == list(range(41, 51))
    truth = trajectory(50, 0.0).coordinates[40:]
    held = statistics.rmsd_to(truth, trajectory(40).coordinates[-1])
    assert (statistics.rmsd_to(result.coordinates, truth)[4:] < 0.6 * held[4:]).all()
    lengths = statistics.bond_lengths(trajectory(40).coordinates, TOPOLOGY.bonds).mean(0)
    assert statistics.broken_bonds(result.coordinates, TOPOLOGY.bonds, lengths) == 0.0
    assert {row.method for row in result.table} >= {"hold", "straight", result.method}
    assert any("transition" in note for note in result.notes)


def test_uneven_times_are_continued_at_the_median_gap():
    times = np.concatenate([np.arange(0.0, 20.0, 2.0), np.arange(20.0, 60.0, 1.0)])
    states = bending(0.5 * times).astype(np.float32)
    result = run(Trajectory(states, times), task="continue", frames=5, method="straight")
    assert result.times.tolist() == [60.0, 61.0, 62.0, 63.0, 64.0]
    assert statistics.rmsd_to(result.coordinates, bending(0.5 * result.times)).max() < 0.05


def test_replicas_of_a_method_that_draws_differ_and_seeds_repeat_them():
    options = {"task": "continue", "method": "ou", "frames": 4, "replicas": 2}
    first, repeated = run(trajectory(30), **options), run(trajectory(30), **options)
    assert (first.coordinates == repeated.coordinates).all()
    assert (first.coordinates[:4] != first.coordinates[4:]).any()
    assert first.times.tolist() == [31, 32, 33, 34] * 2
    assert "all 2 replicas are the same" in run(trajectory(30), **{**options, "method": "hold"}).notes[-1]


def test_copies_of_one_state_are_not_sampled():
    copies = Trajectory(np.repeat(models(1).coordinates, 20, 0), np.arange(1.0, 21.0))
    with pytest.raises(ValueFault, match=r"^the 20 states are identical: give states that differ$"):
        run(copies, task="sample", frames=5)


def test_states_that_begin_with_copies_of_one_are_sampled():
    coordinates = models(30).coordinates.copy()
    coordinates[:24] = coordinates[0]
    assert len(run(Trajectory(coordinates, np.arange(1.0, 31.0)), task="sample", frames=5).coordinates) == 5


def test_models_are_not_continued_but_sampled():
    with pytest.raises(ValueFault, match=r"not a time series.*dsr_sample.*ordered=1"):
        run(models(40), task="continue")
    with pytest.raises(ValueFault, match="ordered=0"):
        run(trajectory(40), task="continue", ordered=False)
    assert len(run(models(40), task="continue", ordered=True, frames=5).coordinates) == 5
    result = run(models(40), task="sample", frames=30)
    assert result.method in ("bootstrap", "gaussian", "ou") and len(result.coordinates) == 30
    assert {row.method for row in result.table} == {"bootstrap", "gaussian", "ou"}


@pytest.mark.parametrize("method", ["gaussian", "ou"])
def test_samples_fluctuate_as_the_known_states_with_whole_bonds(method):
    known = models(60).coordinates
    drawn = run(models(60), task="sample", method=method, frames=200).coordinates
    assert statistics.rmsf(drawn).mean() == pytest.approx(statistics.rmsf(known).mean(), rel=0.1)
    lengths = statistics.bond_lengths(known, TOPOLOGY.bonds).mean(0)
    assert statistics.broken_bonds(drawn, TOPOLOGY.bonds, lengths) <= statistics.broken_bonds(
        known, TOPOLOGY.bonds, lengths
    )


def test_no_horizon_is_longer_than_the_tested_one():
    with pytest.raises(ValueFault, match=r"frames=33: 30 states are enough .* 32 frames at most; ask for frames=32"):
        run(trajectory(30), task="continue", frames=33)
    assert len(run(trajectory(30), task="continue", frames=20).coordinates) == 20
    assert len(run(trajectory(30), trajectory(90, seed=4), task="continue", frames=50).coordinates) == 50
    assert len(run(trajectory(30), task="continue", frames=60, method="straight").coordinates) == 60


def test_states_between_are_tested_on_held_out_ones():
    result = run(trajectory(9), task="fill", frames=3)
    assert result.method == "straight"
    assert result.times[:4].tolist() == [1.25, 1.5, 1.75, 2.25] and len(result.times) == 8 * 3
    rows = {row.method: row.scores["RMSD (A)"] for row in result.table}
    assert rows["straight"] < rows["hold"]


def test_two_far_states_are_joined_elastically_and_near_ones_straight():
    first = trajectory(1).coordinates
    far = (BODY @ np.diag([1.0, 1.0, 2.5]))[None].astype(np.float32)
    times = np.array([1.0, 2.0])
    result = run(Trajectory(np.concatenate([first, far]), times), task="fill", frames=4)
    assert result.method == "elastic" and "untested" in result.notes[0]
    near = Trajectory(np.concatenate([first, first + 0.1]), times)
    assert run(near, task="fill", frames=4).method == "straight"


def test_the_trajectory_itself_is_known_for_its_steps_and_not_for_the_way():
    known = trajectory(60)
    ends = Trajectory(known.coordinates[[10, 20]], known.times[[10, 20]])
    assert run(ends, known, task="fill", frames=9, sample=True).method == "straight"
    assert run(ends, trajectory(60, seed=3), task="fill", frames=9).method == "analog"


def test_a_path_with_fluctuations_has_their_steps_and_needs_known_ones():
    known = trajectory(60, 0.2, seed=8)
    ends = Trajectory(known.coordinates[[10, 20]], known.times[[10, 20]])
    drawn = run(ends, known, task="fill", frames=9, sample=True, method="straight", seed=3)
    full_path = np.concatenate([ends.coordinates[:1], drawn.coordinates, ends.coordinates[1:]])
    trace = TOPOLOGY.trace
    assert statistics.step_rmsd(full_path[:, trace]) == pytest.approx(
        statistics.step_rmsd(known.coordinates[:, trace]), rel=0.15
    )
    with pytest.raises(ValueFault, match=r"sample=1.*2 states are too few"):
        run(ends, task="fill", frames=9, sample=True)


@pytest.mark.parametrize(
    "states, options, fault",
    [
        (30, {"task": "continue", "method": "analog"}, r"there is none .*load one"),
        (30, {"task": "sample", "method": "dmd"}, "can't sample: choose auto, bootstrap, gaussian, ou, net"),
        (
            30,
            {"task": "fill", "method": "dmd"},
            "can't fill: choose auto, hold, straight, elastic, analog, minimised, targeted, net",
        ),
        (1, {"task": "continue"}, "there is 1 state"),
        (1, {"task": "fill"}, "there is 1"),
        (2, {"task": "sample"}, "three known ones or more, not like 2: give more states"),
        (30, {"task": "continue", "method": "net"}, "400 steps from state to state or more.*there are 29"),
    ],
)
def test_what_can_not_be_generated_is_refused_with_what_can(states, options, fault):
    with pytest.raises(ValueFault, match=fault):
        run(trajectory(states), **options)


@pytest.mark.system
def test_a_net_is_trained_and_generates_by_all_tasks(monkeypatch):
    monkeypatch.setattr(net, "SECONDS", 0.0)
    noise = np.zeros((420, *BODY.shape))
    for k in range(1, 420):
        noise[k] = 0.9 * noise[k - 1] + 0.05 * np.random.default_rng(k).normal(size=BODY.shape)
    known = Trajectory((BODY + noise).astype(np.float32), np.arange(420.0))
    lengths = statistics.bond_lengths(known.coordinates, TOPOLOGY.bonds).mean(0)
    known_breaks = statistics.broken_bonds(known.coordinates, TOPOLOGY.bonds, lengths)
    ends = Trajectory(known.coordinates[[10, 14]], known.times[[10, 14]])
    for trajectories, options, count in (
        ([known], {"task": "continue", "frames": 4, "replicas": 2}, 8),
        ([ends, known], {"task": "fill", "frames": 3}, 3),
        ([known], {"task": "sample", "frames": 5}, 5),
    ):
        result = run(*trajectories, method="net", **options)
        assert result.method == "net" and len(result.coordinates) == count == len(result.times)
        assert np.isfinite(result.coordinates).all()
        assert statistics.broken_bonds(result.coordinates, TOPOLOGY.bonds, lengths) <= known_breaks
        assert "adds nothing" in result.notes[1] and result.table[0].scores["held-out loss / prior"] == 1.0


def test_parts_of_a_trajectory_that_are_even_in_time_are_learned_from():
    times = np.array([0.0, 2.0, 4.0, 9.0, 11.0, 13.01, 20.0])
    known = Trajectory(np.arange(7 * 24 * 3, dtype=np.float32).reshape(7, 24, 3), times)
    runs = net.even_runs(known, 2.0)
    assert [len(run) for run in runs] == [3, 3, 1]
    assert runs[1] == pytest.approx(known.coordinates[3:6])


def test_a_molecule_without_backbone_or_of_too_many_residues_is_refused_by_the_net():
    bare = dataclasses.replace(MOLECULE, names=("P", *MOLECULE.names[1:]))
    with pytest.raises(ValueFault, match="N, CA and C of every residue, and 1 lack some, the first one ALA 1"):
        net.backbone_of(bare, Topology.of(bare))
    no_backbone = dataclasses.replace(MOLECULE, names=("P",) * len(MOLECULE))
    with pytest.raises(ValueFault, match="none"):
        net.backbone_of(no_backbone, Topology.of(no_backbone))
    long = learn.ProteinStates("long", ("ALA",) * 401, (0,) * 401, [np.zeros((1000, 401, 3, 3), np.float32)])
    with pytest.raises(ValueFault, match=r"long has 401 residues .* from 4 to 400"):
        learn.ensure_learnable([long])


def test_a_cancelled_source_stops():
    class Stopped(Exception):
        pass

    def check():
        raise Stopped

    for task in ("continue", "fill", "sample"):
        with pytest.raises(Stopped):
            generate(MOLECULE, [trajectory(30)], GenerateOptions(task=task), Reports(), check)


def test_the_methods_of_each_task_are_those_that_the_backend_has():
    backend_methods = {
        "continue": ("auto", *continuation.METHODS, "net"),
        "fill": ("auto", "hold", "straight", "elastic", "analog", *energy_paths.METHODS, "net"),
        "sample": ("auto", *sampling.SAMPLERS, "net"),
    }
    assert backend_methods == TASK_METHODS and TASKS.keys() == TASK_METHODS.keys()
