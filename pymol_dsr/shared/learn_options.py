"""Options of learning a potential, and of learning a generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .values import Options, Value

KINDS = ("potential",)
PRESETS = ("small", "large")


@dataclass(frozen=True)
class LearnOptions(Options):
    """Learning of a potential.

    forces: None uses them where they are known. budget: for training and calibration together. temperature: of frames
    whose simulation is not known.
    """

    kind: Annotated[str, Value("kind of model", choices=KINDS)] = "potential"
    forces: Annotated[bool | None, Value("learn from forces, not from frames alone", absent="auto")] = None
    calibrate: Annotated[bool, Value("make the averages of the ensemble those of the data")] = True
    temperature: Annotated[float, Value("temperature of frames without a simulation", unit="K", least=1, most=1000)] = (
        300.0
    )
    budget: Annotated[float, Value("most seconds to learn", unit="s", above=0, most=1e6)] = 300.0
    seed: Annotated[int, Value("seed of random numbers", least=0, most=2**31 - 1)] = 0
    preset: Annotated[str, Value("size of the network; large is for a GPU", choices=PRESETS)] = "small"
    resume: Annotated[bool, Value("go on with the potential of that name")] = False


@dataclass(frozen=True)
class GeneratorOptions(Options):
    """Learning of a generator. resume: goes on with the generator of that name, for `budget` seconds more."""

    preset: Annotated[str, Value("size of the net; large is for a GPU", choices=PRESETS)] = "small"
    budget: Annotated[float, Value("most seconds to learn", unit="s", above=0, most=1e6)] = 300.0
    seed: Annotated[int, Value("seed of random numbers", least=0, most=2**31 - 1)] = 0
    resume: Annotated[bool, Value("go on where the generator of that name was")] = False
