"""Files of generators: the weights of a net, and the closed-form model of each protein that it was learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from pymol_dsr.shared.values import JsonObject, JsonValue

from .. import model_file
from ..model_file import GENERATOR, ModelError, Shapes
from .charts import CHARTS
from .frames import Frames
from .model import Generator, Network, Preset
from .prior import FEATURES, MEMORY, Normal, Prior
from .residues import Residues
from .selection import StepRatio
from .training import Measurement

MOST_PROTEINS = 100
MOST_RESIDUES = 400
MOST_KINDS = 100
MOST_MEASUREMENTS = 100_000
SIZES = {"width": (8, 512), "layers": (1, 24), "blocks": (1, 24), "neighbors": (1, 64), "batch": (1, 4096)}
STATE = ("weights", "now", "mean", "first", "second")
"""Tensors of each weight: the best one, and those that training goes on with."""
OTHER_CHAIN = 1_000
"""Places along the chain between a residue and one of the next chain."""
ROTATION_TOLERANCE = 1e-2
LONGEST_DIGEST = 128
TIMES = (1e-9, 1e12)
LENGTHS = {
    **dict.fromkeys(("true_mean", "drawn_mean"), (-20.0, 20.0)),
    **dict.fromkeys(("true_deviation", "drawn_deviation"), (1e-3, 20.0)),
}


@dataclass(frozen=True)
class KnownProtein:
    """A protein that a generator was learned from: residue names, and the number of the chain of each, from 0.

    steps: from state to state, that it was learned from. step: their mean length in Å, RMSD of Cα.
    """

    name: str
    residues: tuple[str, ...]
    chains: tuple[int, ...]
    steps: int
    step: float


@dataclass(frozen=True, eq=False)
class SavedGenerator:
    """A generator as its file has it.

    stride: from state to state of the training, in the unit of its times. picoseconds: the same, None where it is not
    known. digest: of the states that it was learned from. tensors: the state of its training. step_ratios: of each
    protein.
    """

    preset: Preset
    vocabulary: tuple[str, ...]
    proteins: tuple[KnownProtein, ...]
    priors: tuple[Prior, ...]
    residues: tuple[Residues, ...]
    step_ratios: tuple[StepRatio, ...]
    stride: float
    picoseconds: float | None
    digest: str
    curve: tuple[Measurement, ...]
    tensors: Mapping[str, Tensor]

    @property
    def best(self) -> Measurement:
        """The least measured ratio: that of the weights."""
        return min(self.curve, key=lambda measurement: measurement.ratio)

    def generator(self, number: int) -> Generator:
        """Return the generator of the protein with that number, from 0."""
        with torch.device("meta"):
            net = Network(len(self.vocabulary), self.preset)
        net.load_state_dict({name: self.tensors[f"weights.{name}"] for name in net.state_dict()}, assign=True)
        return Generator(net, self.priors[number], self.residues[number], self.step_ratios[number])


def save(writer: model_file.ModelWriter, saved: SavedGenerator) -> None:
    """Write a generator. Raises WriteError, and ModelError for one that is too large for a file."""
    data = to_bytes(saved)
    if len(data) > model_file.MAX_BYTES:
        raise ModelError(
            f"the file of {len(saved.proteins)} proteins would have {len(data)} bytes, and {model_file.MAX_BYTES} are "
            "the most: name fewer proteins, or smaller ones"
        )
    writer.write(data)


def to_bytes(saved: SavedGenerator) -> bytes:
    """Return the content of a file."""
    tensors = dict(saved.tensors)
    proteins: list[JsonValue] = []
    rows = zip(saved.proteins, saved.priors, saved.residues, saved.step_ratios, strict=True)
    for number, (known, prior, residues, steps) in enumerate(rows):
        for key, tensor in _protein_tensors(prior, residues).items():
            tensors[f"proteins.{number}.{key}"] = tensor.contiguous()
        proteins.append(
            {
                "name": known.name,
                "residues": list(known.residues),
                "chains": list(known.chains),
                "steps": known.steps,
                "step": known.step,
                "chart": prior.chart.name,
                "features": prior.axes.shape[1],
                "lengths": list(astuple(steps)),
            }
        )
    description: JsonObject = {
        **{key: getattr(saved.preset, key) for key in SIZES},
        "vocabulary": list(saved.vocabulary),
        "proteins": proteins,
        "stride": saved.stride,
        "picoseconds": saved.picoseconds,
        "digest": saved.digest,
        "curve": [[measurement.seconds, measurement.steps, measurement.ratio] for measurement in saved.curve],
    }
    return model_file.to_bytes(GENERATOR, tensors, description)


def load(name: str) -> SavedGenerator:
    """Return the generator of that name. Raises ModelError."""
    data = model_file.read(name, GENERATOR)
    try:
        return from_bytes(data)
    except ModelError as error:
        raise ModelError(f"{model_file.model_path(name)}: {error}") from error


def from_bytes(data: bytes) -> SavedGenerator:
    """Return the generator that a file holds. Raises ModelError."""
    description, tensors = model_file.parse(data, GENERATOR)
    preset = Preset(**{key: model_file.whole_number(description, key, *limits) for key, limits in SIZES.items()})
    vocabulary = model_file.texts(description, "vocabulary", MOST_KINDS)
    if len(set(vocabulary)) < len(vocabulary):
        raise ModelError("vocabulary has a residue twice")
    described = description.get("proteins")
    if not isinstance(described, list) or not 1 <= len(described) <= MOST_PROTEINS:
        raise ModelError(f"proteins are no list of 1 to {MOST_PROTEINS}")
    proteins = tuple(_protein(entry, vocabulary) for entry in described)
    charts = [_chart(entry) for entry in described]
    step_ratios = tuple(_step_ratio(entry) for entry in described)
    features = [model_file.whole_number(entry, "features", 1, FEATURES) for entry in described]
    # Takes no memory before the tensors are checked.
    with torch.device("meta"):
        of_net = model_file.shapes_of(Network(len(vocabulary), preset).state_dict())
    expected = {f"{prefix}.{name}": like for prefix in STATE for name, like in of_net.items()}
    for number, (known, chart, count) in enumerate(zip(proteins, charts, features, strict=True)):
        shapes = _protein_shapes(len(known.residues), chart, count)
        expected |= {f"proteins.{number}.{key}": like for key, like in shapes.items()}
    model_file.check_tensors(tensors, expected)
    restored = [
        _restored(tensors, number, known, vocabulary, chart)
        for number, (known, chart) in enumerate(zip(proteins, charts, strict=True))
    ]
    digest = description.get("digest")
    if not isinstance(digest, str) or len(digest) > LONGEST_DIGEST:
        raise ModelError("digest is no short text")
    return SavedGenerator(
        preset,
        vocabulary,
        proteins,
        tuple(prior for prior, _ in restored),
        tuple(residues for _, residues in restored),
        step_ratios,
        model_file.number(description, "stride", *TIMES),
        None if description.get("picoseconds") is None else model_file.number(description, "picoseconds", *TIMES),
        digest,
        _curve(description.get("curve")),
        {name: tensor for name, tensor in tensors.items() if not name.startswith("proteins.")},
    )


def residues_of(names: Sequence[str], chains: Sequence[int], vocabulary: Sequence[str], local: Tensor) -> Residues:
    """Return residues from their names and the numbers of their chains; local: f[R,3,3] in Å.

    Raises ValueError for a name that the vocabulary lacks.
    """
    numbers = torch.tensor(chains)
    # Residues of two chains are as far apart as can be.
    places = torch.arange(len(names)) + OTHER_CHAIN * numbers
    return Residues(
        torch.tensor([vocabulary.index(name) for name in names]), places, numbers[1:] == numbers[:-1], local
    )


def _protein_tensors(prior: Prior, residues: Residues) -> dict[str, Tensor]:
    return {
        "rotations": prior.mean.rotations,
        "origins": prior.mean.origins,
        "centre": prior.centre,
        "axes": prior.axes,
        "weights": prior.weights,
        "step": prior.step.root,
        "whole": prior.whole.root,
        "shift": prior.shift,
        "local": residues.local,
    }


def _protein_shapes(residues: int, chart: str, features: int) -> Shapes:
    size = 6 * residues
    inputs = MEMORY * size + CHARTS[chart].features_each * residues
    shapes: dict[str, tuple[int, ...]] = {
        "rotations": (residues, 3, 3),
        "origins": (residues, 3),
        "centre": (inputs,),
        "axes": (inputs, features),
        "weights": (features + 1, size),
        "step": (size, size),
        "whole": (size, size),
        "shift": (size,),
        "local": (residues, 3, 3),
    }
    return {key: (torch.float32, shape) for key, shape in shapes.items()}


def _restored(
    tensors: Mapping[str, Tensor], number: int, known: KnownProtein, vocabulary: Sequence[str], chart: str
) -> tuple[Prior, Residues]:
    """Return the closed-form model of a protein. Raises ModelError for rotations or covariances that are none."""
    protein_tensors = {key: tensors[f"proteins.{number}.{key}"] for key in _protein_shapes(1, chart, 1)}
    rotations = protein_tensors["rotations"]
    deviation = (rotations.transpose(-1, -2) @ rotations - torch.eye(3)).abs().max()
    if float(deviation) > ROTATION_TOLERANCE or bool((torch.linalg.det(rotations) < 0).any()):
        raise ModelError(f"proteins.{number}.rotations are no rotations")
    for key in ("step", "whole"):
        if not torch.allclose(protein_tensors[key], protein_tensors[key].T, atol=1e-3):
            raise ModelError(f"proteins.{number}.{key} is not symmetric")
    residues = residues_of(known.residues, known.chains, vocabulary, protein_tensors["local"])
    prior = Prior(
        CHARTS[chart](residues),
        Frames(rotations, protein_tensors["origins"]),
        protein_tensors["centre"],
        protein_tensors["axes"],
        protein_tensors["weights"],
        Normal.of_root(protein_tensors["step"]),
        Normal.of_root(protein_tensors["whole"]),
        protein_tensors["shift"],
    )
    return prior, residues


def _chart(described: Any) -> str:
    name = described.get("chart")
    if name not in tuple(CHARTS):
        raise ModelError(f"chart is {str(name)[:20]}, not one of {', '.join(CHARTS)}: learn the generator again")
    return str(name)


def _step_ratio(described: Any) -> StepRatio:
    """Return the step lengths of a protein. Raises ModelError."""
    names = [field.name for field in fields(StepRatio)]
    numbers = described.get("lengths")
    if not isinstance(numbers, list) or len(numbers) != len(names):
        raise ModelError(f"lengths are no list of {len(names)} numbers")
    values = dict(zip(names, numbers, strict=True))
    return StepRatio(*(model_file.number(values, name, *LENGTHS[name]) for name in names))


def _protein(described: Any, vocabulary: Sequence[str]) -> KnownProtein:
    if not isinstance(described, dict):
        raise ModelError("a protein is no JSON object")
    name, chains = described.get("name"), described.get("chains")
    if not isinstance(name, str) or len(name) > model_file.LONGEST_NAME:
        raise ModelError("the name of a protein is no short text")
    residues = model_file.texts(described, "residues", MOST_RESIDUES)
    if lacking := sorted(set(residues) - set(vocabulary)):
        raise ModelError(f"vocabulary lacks {lacking[0]}")
    if (
        not isinstance(chains, list)
        or len(chains) != len(residues)
        or not all(type(chain) is int and 0 <= chain < MOST_RESIDUES for chain in chains)
    ):
        raise ModelError(f"chains of {name} are no {len(residues)} numbers from 0")
    steps = model_file.whole_number(described, "steps", 1, 10**9)
    return KnownProtein(name, residues, tuple(chains), steps, model_file.number(described, "step", 0.0, 1e4))


def _curve(described: Any) -> tuple[Measurement, ...]:
    if not isinstance(described, list) or not 1 <= len(described) <= MOST_MEASUREMENTS:
        raise ModelError(f"curve is no list of 1 to {MOST_MEASUREMENTS}")
    curve = []
    for row in described:
        if not isinstance(row, list) or len(row) != 3:
            raise ModelError("curve has a row that is not of seconds, steps and ratio")
        values = dict(zip(("seconds", "steps", "ratio"), row, strict=True))
        seconds, steps = (
            model_file.number(values, "seconds", 0.0, 1e10),
            model_file.whole_number(values, "steps", 0, 10**9),
        )
        curve.append(Measurement(seconds, steps, model_file.number(values, "ratio", 0.0, 1e6)))
    return tuple(curve)
