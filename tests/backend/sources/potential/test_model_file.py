"""Files of potentials: what is written comes back, and what somebody else has written is not trusted."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import safetensors.torch
import torch
from dsr_backend.sources import model_file
from dsr_backend.sources.model_file import ModelError, ModelWriter, model_path
from dsr_backend.sources.potential.beads import Protein
from dsr_backend.sources.potential.model_file import from_bytes, load, save, to_bytes
from dsr_backend.sources.potential.network import GraphNetwork
from dsr_backend.sources.potential.potential import OptimizerState, Potential, Trained, features
from dsr_backend.sources.potential.priors import Priors

from pymol_dsr.shared import atomic_write
from support.energies import energies
from support.forged_models import NO_MODELS, Bomb

PROTEIN = Protein(("ALA", "GLY", "ALA", "VAL", "ALA"), (0,) * 5)


@pytest.fixture(scope="module")
def potential() -> Potential:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    beads = np.cumsum(rng.normal(0, 2.2, (300, 5, 3)), 1).astype(np.float32)
    network = GraphNetwork(1, 8)
    torch.nn.init.normal_(network.last.weight)
    model = Potential(Priors.fitted([(PROTEIN, beads)], 300.0), network, 300.0)
    count = 2 * 4 + 2 + 1 + 3 * 6
    model.proteins.append(
        Trained("five", PROTEIN, rng.normal(size=count), np.zeros(count), np.ones(count), beads[:9], 1.5)
    )
    return model


def changed(data: bytes, description=None, tensors=None) -> bytes:
    """The file with other values in its description, or other tensors."""
    length = int.from_bytes(data[:8], "little")
    texts = json.loads(data[8 : 8 + length])["__metadata__"]
    described = {**json.loads(texts["potential"]), **(description or {})}
    all_tensors = {**safetensors.torch.load(data), **(tensors or {})}
    remaining = {name: tensor for name, tensor in all_tensors.items() if tensor is not None}
    return safetensors.torch.save(remaining, {**texts, "potential": json.dumps(described)})


def test_a_model_of_before_stays_however_often_the_new_one_is_written(tmp_path) -> None:
    path = tmp_path / "five.dsrm"
    path.write_bytes(b"of last week")
    writer = ModelWriter(path)
    for data in (b"after a minute", b"after two", b"finished"):
        writer.write(data)
        assert path.read_bytes() == data
        assert atomic_write.previous_of(path).read_bytes() == b"of last week"


def test_a_potential_comes_back_as_it_was(potential, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    save(model_path("five"), potential, {"best": 3})
    reloaded, report = load("five")
    x = torch.as_tensor(potential.proteins[0].centres)
    offsets = torch.as_tensor(potential.proteins[0].offsets)
    assert torch.equal(*(energies(model, x, PROTEIN, offsets) for model in (reloaded, potential)))
    assert (
        reloaded.proteins[0].protein == PROTEIN and reloaded.proteins[0].spacing == 1.5 and reloaded.temperature == 300
    )
    assert report == {"best": 3}
    with pytest.raises(ModelError, match=r"there is no potential six .* known are five: dsr_learn makes one"):
        load("six")
    with pytest.raises(ModelError, match=r"there is no generator six .* known are none: dsr_learn makes one"):
        model_file.read("six", model_file.GENERATOR)


def test_a_file_without_features_of_a_fold_has_none_of_their_energy() -> None:
    protein = Protein(("ALA",) * 13, (0,) * 13)
    rng = np.random.default_rng(0)
    beads = np.cumsum(rng.normal(0, 2.2, (100, 13, 3)), 1).astype(np.float32)
    model = Potential(Priors.fitted([(protein, beads)], 300.0), GraphNetwork(1, 8), 300.0)
    count = features(torch.as_tensor(beads[:1]), protein).shape[1]
    offsets, fold = rng.normal(size=count), 11 + 3 * 6
    model.proteins.append(Trained("longer", protein, offsets, np.zeros(count), np.ones(count), beads[:9], 1.5))
    arrays = [f"proteins.0.{key}" for key in ("offsets", "means", "deviations")]
    data = to_bytes(model, {})
    before = {name: safetensors.torch.load(data)[name][:-fold].clone() for name in arrays}
    reloaded, _ = from_bytes(changed(data, tensors=before))
    np.testing.assert_array_equal(reloaded.proteins[0].offsets, [*offsets[:-fold], *[0.0] * fold])
    with pytest.raises(ModelError, match="means"):
        from_bytes(changed(data, tensors={arrays[0]: before[arrays[0]]}))


def test_the_state_of_the_training_comes_back_and_is_checked(potential) -> None:
    named = {name: tensor.detach() for name, tensor in potential.network.named_parameters()}
    squares = {name: tensor.square() for name, tensor in named.items()}
    with_optimizer = dataclasses.replace(potential, optimizer=OptimizerState(3, 90, named, named, squares))
    data = to_bytes(with_optimizer, {})
    state = from_bytes(data)[0].optimizer
    assert state is not None and (state.epochs, state.steps) == (3, 90)
    assert all(torch.equal(state.second[name], squares[name]) for name in named)
    key = "optimizer.second.last.weight"
    with pytest.raises(ModelError, match="a second moment of its optimizer is below 0"):
        from_bytes(changed(data, tensors={key: -torch.ones_like(squares["last.weight"])}))
    for description in ({"optimizer": 3}, {"optimizer": {"epochs": -1, "steps": 0}}):
        with pytest.raises(ModelError, match=r"no JSON object|epochs is -1"):
            from_bytes(changed(data, description))
    with pytest.raises(ModelError, match=f"lacks the tensor {key}"):
        from_bytes(changed(data, tensors={key: None}))


@pytest.mark.parametrize("data", NO_MODELS)
def test_files_of_something_else_are_refused_unread(data) -> None:
    with pytest.raises(ModelError):
        from_bytes(data)


def test_a_pickle_of_torch_is_refused_unread(tmp_path) -> None:
    torch.save({"weights": Bomb()}, tmp_path / "bomb")
    with pytest.raises(ModelError, match="no file of a potential"):
        from_bytes((tmp_path / "bomb").read_bytes())


@pytest.mark.parametrize(
    "description, message",
    [
        ({"layers": 10**9}, "layers is 1000000000, not within 1 and 8"),
        ({"width": 1.5}, "width is 1.5, not a whole number"),
        ({"temperature": -1}, "temperature is -1"),
        ({"proteins": []}, "proteins are no list"),
        ({"proteins": [{"name": "x", "residues": ["ALA"] * 10_000, "chains": [0] * 10_000}]}, "10000 residues"),
        ({"proteins": [{"name": "x", "residues": 3, "chains": []}]}, "no short texts"),
        ({"proteins": ["x"]}, "no JSON object"),
        ({"width": 9}, "is needed"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(potential, description, message) -> None:
    with pytest.raises(ModelError, match=message):
        from_bytes(changed(to_bytes(potential, {}), description))


@pytest.mark.parametrize(
    "tensors, message",
    [
        ({"priors.bonds": torch.full((21, 21, 2), float("nan"))}, "priors.bonds has numbers that are not within"),
        ({"priors.bonds": torch.full((21, 21, 2), 1e30)}, "not within"),
        ({"priors.bonds": torch.zeros(21, 21, 3)}, "is needed"),
        ({"priors.bonds": torch.zeros(21, 21, 2, dtype=torch.int64)}, "is needed"),
        ({"network.last.bias": None}, "lacks the tensor network.last.bias"),
        ({"extra": torch.zeros(1)}, "extra"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(potential, tensors, message) -> None:
    with pytest.raises(ModelError, match=message):
        from_bytes(changed(to_bytes(potential, {}), tensors=tensors))


def test_a_cut_or_huge_file_is_refused(potential, tmp_path, monkeypatch) -> None:
    data = to_bytes(potential, {})
    with pytest.raises(ModelError, match="whole file"):
        from_bytes(data[:-1])
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    monkeypatch.setattr(model_file, "MAX_BYTES", 100)
    save(model_path("five"), potential, {})
    with pytest.raises(ModelError, match="100 are the most"):
        load("five")
