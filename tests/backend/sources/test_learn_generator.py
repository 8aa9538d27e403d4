"""Learning a generator: its file, which nobody is trusted with, its curve, and how it goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from dsr_backend.motion.statistics import step_rmsd
from dsr_backend.runtime.errors import Cancelled
from dsr_backend.sources import model_file as shared_file
from dsr_backend.sources.generator import learn as learning
from dsr_backend.sources.generator import model_file, training
from dsr_backend.sources.generator.learn import ProteinStates, Spacing, learn
from dsr_backend.sources.generator.model import PRESETS
from dsr_backend.sources.model_file import ModelError, ModelWriter

from pymol_dsr.shared.learn_options import GeneratorOptions
from pymol_dsr.shared.values import ValueFault
from support.forged_models import NO_MODELS
from support.molecules import helix

RESIDUES = 5
NAMES = ("ALA", "GLY", "ALA", "VAL", "ALA")
NO_CHAINS = (0,) * RESIDUES


class Reports(list):
    """The texts of a training's progress."""

    def __call__(self, fraction, phase, text="", seconds_left=None):
        self.append(text)

    def errors(self, training, held_out, baseline=None):
        assert training > 0 and held_out > 0

    def gap(self, deviations):
        raise AssertionError("a generator is not calibrated")

    def frames(self, coordinates):
        raise AssertionError("a training makes no states")


def states(count=260, seed=0, residues=RESIDUES, size=0.1):
    """Backbones f4[count,R,3,3] that relax to a helix with a memory."""
    rng, body = np.random.default_rng(seed), helix(residues)
    by = np.zeros((count, *body.shape))
    for k in range(1, count):
        by[k] = 0.9 * by[k - 1] + 0.4 * size * rng.normal(size=body.shape)
    return (body + by).astype(np.float32).reshape(count, residues, 3, 3)


PROTEIN = {
    **{"name": "x", "residues": ["ALA"] * 5, "chains": [0] * 5, "steps": 9, "step": 1.0},
    **{"chart": "rigid", "features": 9, "lengths": [0, 1, 0, 1]},
}
ONE = ProteinStates("five", NAMES, NO_CHAINS, [states(seed=0), states(seed=1)])
ANOTHER = ProteinStates("seven", ("GLY",) * 7, (0,) * 4 + (1,) * 3, [states(120, 2, 7)])


def stopping(after):
    """A check that cancels once it was asked so often."""
    left = [after]

    def check():
        left[0] -= 1
        if left[0] < 0:
            raise Cancelled("stop")

    return check


@pytest.fixture
def brief(monkeypatch):
    """Two examples of each draw: a measurement takes no time."""
    monkeypatch.setattr(training, "MEASURED", (1, 2))


@pytest.fixture
def saved(brief, tmp_path):
    return learned(tmp_path / "net.dsrm", [ONE, ANOTHER]).saved


def learned(path, proteins, report=None, check=lambda: None, log=lambda text: None, **options):
    chosen = GeneratorOptions(**{"budget": 0.01, **options})
    return learn(proteins, chosen, Spacing(2.0, 0.5), path, Reports() if report is None else report, check, "cpu", log)


def changed(data: bytes, description=None, tensors=None) -> bytes:
    """The file with other values in its description, or other tensors."""
    length = int.from_bytes(data[:8], "little")
    texts = json.loads(data[8 : 8 + length])["__metadata__"]
    described = {**json.loads(texts["generator"]), **(description or {})}
    merged = {**safetensors.torch.load(data), **(tensors or {})}
    present = {name: tensor for name, tensor in merged.items() if tensor is not None}
    return safetensors.torch.save(present, {**texts, "generator": json.dumps(described)})


def test_a_generator_comes_back_as_it_was(saved, tmp_path):
    restored = model_file.from_bytes((tmp_path / "net.dsrm").read_bytes())
    assert restored.proteins == saved.proteins and restored.vocabulary == ("ALA", "GLY", "VAL")
    assert (restored.stride, restored.picoseconds) == (2.0, 0.5) and restored.curve == saved.curve
    for number in range(2):
        generators = [saved.generator(number), restored.generator(number)]
        context = generators[0].alone(3)
        drawn = [net.draw(context, torch.Generator().manual_seed(1)).origins for net in generators]
        assert drawn[0].numpy() == pytest.approx(drawn[1].numpy(), abs=1e-4)
    assert restored.generator(1).residues.linked.tolist() == [True, True, True, False, True, True]


@pytest.mark.parametrize("data", NO_MODELS)
def test_files_of_something_else_are_refused_unread(data):
    with pytest.raises(ModelError, match="no file of a generator"):
        model_file.from_bytes(data)


def test_a_potential_is_no_generator_and_is_not_written_over(tmp_path):
    data = safetensors.torch.save({"weights": torch.zeros(3)}, {"format": "dsr potential 1", "potential": "{}"})
    with pytest.raises(ModelError, match="this is a potential, not a generator; dsr_simulate"):
        model_file.from_bytes(data)
    (tmp_path / "net.dsrm").write_bytes(data)
    with pytest.raises(ModelError, match="holds a potential: give the generator another name"):
        learned(tmp_path / "net.dsrm", [ONE])
    assert (tmp_path / "net.dsrm").read_bytes() == data


@pytest.mark.parametrize(
    "description, message",
    [
        ({"width": 10**9}, "width is 1000000000, not within"),
        ({"layers": 1.5}, "layers is 1.5, not a whole number"),
        ({"width": 64}, "is needed"),
        ({"vocabulary": ["ALA", "GLY"]}, "vocabulary lacks VAL"),
        ({"vocabulary": "ALA"}, "vocabulary are no list"),
        ({"proteins": []}, "proteins are no list"),
        ({"proteins": ["x"]}, "no JSON object"),
        ({"proteins": [{"name": "x", "residues": ["ALA"] * 401, "chains": [0] * 401}]}, "residues are no list"),
        ({"stride": 0}, "stride is 0"),
        ({"picoseconds": "1"}, "picoseconds is 1"),
        ({"curve": []}, "curve is no list"),
        ({"curve": [[0, 0, None]]}, "ratio is None"),
        ({"digest": 1}, "digest is no short text"),
        ({"proteins": [PROTEIN | {"chart": None}]}, "chart is None, not one of rigid, internal: learn"),
        ({"proteins": [PROTEIN | {"chart": "round"}]}, "chart is round, not one of rigid, internal"),
        ({"proteins": [PROTEIN | {"lengths": [0, 1, 0]}]}, "lengths are no list of 4 numbers"),
        ({"proteins": [PROTEIN | {"lengths": [0, -1, 0, 1]}]}, "true_deviation is -1"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(saved, description, message):
    with pytest.raises(ModelError, match=message):
        model_file.from_bytes(changed(model_file.to_bytes(saved), description))


@pytest.mark.parametrize(
    "tensors, message",
    [
        ({"weights.encoder.kind.weight": torch.full((3, 48), float("nan"))}, "not within"),
        ({"proteins.0.axes": torch.full((60, 77), 1e30)}, "is needed|not within"),
        ({"proteins.0.step": torch.zeros(30, 31)}, "is needed"),
        ({"proteins.0.step": torch.triu(torch.ones(30, 30))}, "step is not symmetric"),
        ({"proteins.1.rotations": torch.zeros(7, 3, 3)}, "no rotations"),
        ({"proteins.1.rotations": -torch.eye(3).repeat(7, 1, 1)}, "no rotations"),
        ({"mean.decoder.leave.bias": None}, "lacks the tensor mean.decoder.leave.bias"),
        ({"extra": torch.zeros(1)}, "extra"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(saved, tensors, message):
    with pytest.raises(ModelError, match=message):
        model_file.from_bytes(changed(model_file.to_bytes(saved), tensors=tensors))


def test_a_cut_or_huge_file_is_refused(saved, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="whole file"):
        model_file.from_bytes(model_file.to_bytes(saved)[:-1])
    monkeypatch.setattr(shared_file, "MAX_BYTES", 100)
    with pytest.raises(ModelError, match=r"of 2 proteins would have \d+ bytes, and 100 are the most"):
        model_file.save(ModelWriter(tmp_path / "huge.dsrm"), saved)


def test_trajectories_of_one_protein_belong_together_and_each_protein_has_its_baseline(brief, tmp_path):
    separate = [ProteinStates(f"run{k}", NAMES, NO_CHAINS, [run]) for k, run in enumerate(ONE.runs)]
    result = learned(tmp_path / "net.dsrm", [*separate, ANOTHER])
    assert [(protein.name, protein.steps) for protein in result.saved.proteins] == [("run0", 518), ("seven", 119)]
    assert "run0: 518 steps in 2 trajectories of 5 residues" in result.notes
    assert result.saved.proteins[0].step == pytest.approx(step_rmsd(ONE.runs[0][:, :, 1]), rel=0.1)
    assert result.saved.priors[0].shift.shape != result.saved.priors[1].shift.shape


def test_the_curve_of_the_held_out_error_is_reported_shown_at_the_end_and_kept(tmp_path, brief):
    report = Reports()
    result = learned(tmp_path / "net.dsrm", [ONE], report, budget=0.3)
    assert result.saved.curve[0].ratio == 1.0 and len(result.saved.curve) > 1
    assert "of the baseline's error on held-out states" in report[-1]
    assert any(line.startswith("held-out error over the baseline's: 1.000 ") for line in result.notes)
    assert model_file.from_bytes((tmp_path / "net.dsrm").read_bytes()).curve == result.saved.curve
    assert len(result.report["curve"]) == len(result.saved.curve)
    assert result.saved.best.ratio == min(point.ratio for point in result.saved.curve)


def test_a_cancelled_training_keeps_its_net_and_goes_on(tmp_path, brief):
    path, lines = tmp_path / "net.dsrm", list[str]()
    with pytest.raises(Cancelled):
        learned(path, [ONE], check=stopping(6), log=lines.append, budget=1e6)
    cancelled = model_file.from_bytes(path.read_bytes())
    assert (
        cancelled.curve[-1].steps == 5 and "cancelled after 5 steps of training" in lines[0] and str(path) in lines[0]
    )
    on = learned(path, [ONE], budget=0.01, resume=True).saved
    assert on.curve[: len(cancelled.curve)] == cancelled.curve and on.curve[-1].steps > 5
    assert on.best.ratio <= cancelled.best.ratio
    for name in ("first", "second", "mean"):
        key = f"{name}.decoder.leave.weight"
        assert cancelled.tensors[key].abs().max() > 0 and not torch.equal(cancelled.tensors[key], on.tensors[key])


def test_means_moments_and_steps_of_a_training_come_back(brief):
    first, second = (
        training.Training([learning.protein_runs(ONE, sorted(set(NAMES)))], 3, PRESETS["small"]) for _ in range(2)
    )
    first.run(1e9, most_steps=3)
    second.go_on(first.tensors(), first.curve, first.step_ratios)
    written, restored = first.tensors(), second.tensors()
    for name in written:
        assert name.startswith("now.") or torch.equal(written[name], restored[name]), name
    second.run(1e9, most_steps=2)
    assert (first.steps, second.steps) == (3, 5)


def test_resuming_needs_the_same_states_and_preset(tmp_path, brief):
    path = tmp_path / "net.dsrm"
    with pytest.raises(ValueFault, match="there is no generator net to go on with"):
        learned(path, [ONE], resume=True)
    learned(path, [ONE])
    with pytest.raises(ValueFault, match=r"net was learned from other states \(518 steps of five\)"):
        learned(path, [ProteinStates("five", NAMES, NO_CHAINS, [states(500, 4)])], resume=True)
    with pytest.raises(ValueFault, match="has the preset small, not large: ask for preset=small"):
        learned(path, [ONE], resume=True, preset="large")


@pytest.mark.parametrize(
    "proteins, fault",
    [
        ([ANOTHER], "400 steps from state to state or more, .* there are 119"),
        ([ONE, ProteinStates("few", NAMES, (0, 0, 0, 1, 1), [states(50)])], "few: 49 steps .* leave it out"),
        ([ProteinStates("short", NAMES[:3], (0,) * 3, [states(500, 0, 3)])], "short has 3 residues"),
        ([ProteinStates("bits", NAMES, NO_CHAINS, [states(11)] * 60)], "there are 0"),
    ],
)
def test_what_can_not_be_learned_from_is_refused_with_what_can(tmp_path, proteins, fault):
    with pytest.raises(ValueFault, match=fault):
        learned(tmp_path / "net.dsrm", proteins)
    assert not list(tmp_path.iterdir())


def test_a_protein_that_is_held_out_is_measured_and_not_learned_from(brief):
    vocabulary = sorted({*NAMES, "GLY"})
    unseen = ProteinStates("seven", ANOTHER.residues, ANOTHER.chains, ANOTHER.runs, unseen=True)
    lesson = training.Training(
        [learning.protein_runs(protein, vocabulary) for protein in (ONE, unseen)], 3, PRESETS["small"]
    )
    measured = []

    def ratio(pairs, seed):
        measured.append(pairs)
        return 1.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "held_out_ratio", ratio)
        lesson.run(1e9, most_steps=2)
    assert [len(model.residues.kinds) for pairs in measured for model, _ in pairs] == [7]
    assert learning.hold_out(["b", "a"]) == set() and learning.hold_out("gfedcba") == {"c"}


def test_the_large_preset_takes_two_steps_on_a_processor(brief):
    data = learning.protein_runs(ONE, sorted(set(NAMES)))
    lesson = training.Training([data], 3, PRESETS["large"])
    lesson.run(1e9, most_steps=2)
    assert lesson.steps == 2 and np.isfinite(lesson.curve[-1].ratio)
    assert sum(value.numel() for value in lesson.net.parameters()) > 1e6
