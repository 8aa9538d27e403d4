"""The checkpoint of a simulation by a learned potential, in the folder of the simulation of that name.

It holds the beads of all states so far, velocities, and the state of the random numbers. On one machine, a run that
goes on from it is the same as one without a stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pymol_dsr.shared import atomic_write
from pymol_dsr.shared.simulation_options import MOST_STATES
from pymol_dsr.shared.values import JsonObject, ValueFault

from .. import model_file
from ..model_file import ModelError, ModelKind
from ..simulation.store import simulations_folder

KIND = ModelKind("bead simulation", "dsr_simulate SELECTION, model=NAME, resume=1")
FILE = "beads.safetensors"
ANEW = "simulate anew without resume=1"
LONGEST_STATE = 2**20
"""Bytes of the random numbers' state at most."""


@dataclass(frozen=True, eq=False)
class BeadCheckpoint:
    """Where a run goes on.

    beads: f4[F,R,N,3] (Å) of the states so far. velocities: f4[R,N,3] at the last of them. random: state of the random
    numbers of that kind of device. flown_apart: replicas that were started anew.
    """

    beads: NDArray[np.float32]
    velocities: torch.Tensor
    random: torch.Tensor
    device: str
    flown_apart: int


def checkpoint_path(name: str) -> Path:
    """Return the path of the checkpoint of a simulation."""
    return simulations_folder() / name / FILE


def save(path: Path, checkpoint: BeadCheckpoint, run: JsonObject) -> None:
    """Write a checkpoint. run: says which run it is. Raises WriteError."""
    tensors = {
        "beads": torch.as_tensor(checkpoint.beads),
        "velocities": checkpoint.velocities.detach().cpu().clone(),
        "random": checkpoint.random.cpu().clone(),
    }
    described: JsonObject = {
        "run": run,
        "states": len(checkpoint.beads),
        "random": len(checkpoint.random),
        "device": checkpoint.device,
        "flown_apart": checkpoint.flown_apart,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write.replace(path, model_file.to_bytes(KIND, tensors, described))


def load(path: Path, replicas: int, count: int, run: JsonObject) -> BeadCheckpoint:
    """Return the checkpoint of a run of replicas of so many beads. Raises ValueFault for none, or another run's."""
    if not path.is_file():
        raise ValueFault(f"there is no checkpoint {path}; {ANEW}")
    try:
        description, tensors = model_file.parse(path.read_bytes(), KIND)
        earlier_run = description.get("run")
        if not isinstance(earlier_run, dict):
            raise ModelError("it does not say of which run it is")
        for key, value in run.items():
            if earlier_run.get(key) != value:
                raise ModelError(f"{key} {value}: the run that goes on has {str(earlier_run.get(key))[:100]}")
        states = model_file.whole_number(description, "states", 1, MOST_STATES)
        length = model_file.whole_number(description, "random", 1, LONGEST_STATE)
        flown_apart = model_file.whole_number(description, "flown_apart", 0, 10**9)
        shapes = {
            "beads": (torch.float32, (states, replicas, count, 3)),
            "velocities": (torch.float32, (replicas, count, 3)),
            "random": (torch.uint8, (length,)),
        }
        model_file.check_tensors(tensors, shapes)
    except (ModelError, OSError) as error:
        raise ValueFault(f"{path}: {error}; {ANEW}") from error
    device = str(description.get("device"))
    return BeadCheckpoint(tensors["beads"].numpy(), tensors["velocities"], tensors["random"], device, flown_apart)
