"""The state of a training of preset paper: everything that a checkpoint must hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...fields.paper import Network
from ..config import PaperPreset
from .points import Batches

# Checks that the reported loss is the mean of.
FINAL_CHECKS = 5


@dataclass(frozen=True)
class Stage:
    """A stage of the training, from one fraction (0 to 1) of the preset's steps, or of the budget, to another.

    whole_network: train the network too, and not only the codes.
    """

    start: float
    end: float
    whole_network: bool


class TrainingState:
    """The network, the codes, the optimiser and the random numbers of one stage.

    step: steps done in this stage; earlier_steps: steps of earlier stages; rate_factor: 1, or 0.5 after a loss that was
    not finite; pending: losses f4[] since the last check; means: mean losses of all checks.
    """

    def __init__(
        self, network: Network, codes: torch.Tensor, states: int, preset: PaperPreset, seed: int, earlier_steps: int
    ) -> None:
        """network: its trained weights require gradients; codes: z f4[trajectories,latent]; states: their number."""
        self.network, self.codes, self._preset = network, codes, preset
        self._seed, self.earlier_steps, self.step = seed, earlier_steps, 0
        codes.requires_grad_(True)
        self.parameters = [codes, *(weight for weight in network.parameters() if weight.requires_grad)]
        self._snapshot = self._copy()
        self.optimiser, self.rate_factor = _adam(self.parameters, preset), 1.0
        self.generator = torch.Generator(codes.device).manual_seed(seed + earlier_steps)
        self.batches = Batches(states, preset.states, self.generator)
        self.pending: list[torch.Tensor] = []
        self.means: list[float] = []

    @property
    def total_steps(self) -> int:
        """The steps done in all stages."""
        return self.earlier_steps + self.step

    @property
    def loss(self) -> float:
        """The mean loss of the last checks."""
        return float(np.mean(self.means[-FINAL_CHECKS:]))

    def set_rates(self, fraction: float) -> None:
        """Set the learning rates for a fraction (0 to 1) of the stage; they are halved in equal intervals."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["first"] * self.rate_factor * 0.5 ** int(fraction * (self._preset.halvings + 1))

    def check(self) -> float:
        """Return the mean of the pending losses, NaN if a weight is not finite, and clear them.

        A finite mean is recorded, and the parameters are kept for `roll_back`. The host waits for the device.
        """
        # A weight that is not finite makes the sum not finite: a single value from the device tells all.
        total = torch.stack([tensor.detach().sum() for tensor in self.parameters]).sum()
        mean = float(torch.stack(self.pending).mean() + 0.0 * total)
        self.pending = []
        if np.isfinite(mean):
            self.means.append(mean)
            self._snapshot = self._copy()
        return mean

    def is_finite(self) -> bool:
        """Return whether all parameters are finite."""
        return bool(torch.stack([tensor.detach().sum() for tensor in self.parameters]).sum().isfinite())

    def roll_back(self) -> None:
        """Return to the parameters of the last check, with a new optimiser at half the rates."""
        with torch.no_grad():
            for tensor, value in zip(self.parameters, self._snapshot, strict=True):
                tensor.copy_(value)
        self.optimiser, self.rate_factor = _adam(self.parameters, self._preset), 0.5

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all tensors of the state by their names in a checkpoint."""
        tensors = {"z": self.codes} | {f"network.{name}": value for name, value in self.network.state_dict().items()}
        for number, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{name}": value for name, value in moments.items()}
        tensors["left"] = self.batches.remaining
        tensors["generator"] = self.generator.get_state()
        tensors["recent"] = torch.stack(self.pending) if self.pending else torch.empty(0)
        return tensors

    def values(self) -> dict[str, Any]:
        """Return all other values of the state by their keys in a checkpoint."""
        return {
            "before": self.earlier_steps,
            "step": self.total_steps,
            "slower": self.rate_factor,
            "means": self.means[-FINAL_CHECKS:],
            "device": self.codes.device.type,
        }

    def restore(self, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
        """Take over the tensors and values of a checkpoint.

        After a checkpoint of another type of device, other random numbers follow. The field then differs no more than
        with another seed.
        """
        self.earlier_steps, self.step = values["before"], values["step"] - values["before"]
        self.rate_factor, self.means = values["slower"], values["means"]
        network = {
            name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")
        }
        self.network.load_state_dict(network)
        with torch.no_grad():
            self.codes.copy_(tensors["z"])
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("adam."):
                _, number, moment = name.split(".")
                moments.setdefault(int(number), {})[moment] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self._snapshot = self._copy()
        self.pending = list(tensors["recent"].to(self.codes.device))
        self.batches.remaining = tensors["left"].to(self.codes.device)
        if values["device"] == self.codes.device.type:
            self.generator.set_state(tensors["generator"])
        else:
            self.generator.manual_seed(self._seed + self.total_steps)

    def _copy(self) -> list[torch.Tensor]:
        return [tensor.detach().clone() for tensor in self.parameters]


def _adam(parameters: Sequence[torch.Tensor], preset: PaperPreset) -> torch.optim.Adam:
    """Return the optimiser of the codes, which come first, and the weights; `first` is a group's initial rate."""
    groups: list[dict[str, Any]] = [{"params": parameters[:1], "first": preset.latent_rate}]
    if len(parameters) > 1:
        groups.append({"params": parameters[1:], "first": preset.rate})
    return torch.optim.Adam(groups)
