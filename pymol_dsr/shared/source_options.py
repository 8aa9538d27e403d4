"""Options of trajectory sources: they continue, fill in and sample the states of a molecule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .values import Options, Value, ValueFault, shown

TASKS = ("continue", "fill", "sample")
FRAMES = {"continue": 20, "fill": 10, "sample": 50}
"""States that a task generates unless another number is given; with `fill`, between each two."""
TASK_METHODS = {
    "continue": (
        "auto",
        "hold",
        "straight",
        "damped",
        "trend",
        "drift",
        "dmd",
        "ar",
        "analog",
        "ou",
        "gaussian",
        "bootstrap",
        "net",
    ),
    "fill": ("auto", "hold", "straight", "elastic", "analog", "minimised", "targeted", "net"),
    "sample": ("auto", "bootstrap", "gaussian", "ou", "net"),
}
"""Methods of each task."""
METHODS = tuple(dict.fromkeys(method for methods in TASK_METHODS.values() for method in methods))
"""Methods of all tasks."""


def check_method(task: str, method: object) -> None:
    """Check that a task has a method, by its name. Raises ValueFault, which lists the methods that it has."""
    methods = TASK_METHODS[task]
    if method not in methods:
        fault = f"method {method} can't {task}" if method in METHODS else f"method {shown(method)}"
        raise ValueFault(f"{fault}: choose one of {', '.join(methods)}")


@dataclass(frozen=True)
class GenerateOptions(Options):
    """States to generate from those of a molecule.

    method: auto takes the one that predicts held-out states best. model: a generator that was learned, for method net;
    None to train one. frames: of each replica; with `fill`, between each two neighbouring states. ordered: whether the
    states are a time series; None decides by their autocorrelation.
    """

    task: Annotated[str, Value("states after the last one, between them, or like them", choices=TASKS)]
    method: Annotated[str, Value("method that generates the states", choices=METHODS)] = "auto"
    model: Annotated[
        str | None, Value("learned generator, for method net; none to train one", names="a generator", absent="none")
    ] = None
    frames: Annotated[int, Value("states to generate", least=1, most=100_000)] = 20
    replicas: Annotated[int, Value("independent continuations", least=1, most=1000)] = 1
    ordered: Annotated[bool | None, Value("the states follow each other in time", absent="auto")] = None
    sample: Annotated[bool, Value("a path with fluctuations, not the mean path")] = False
    refine: Annotated[bool, Value("minimise the energy of each state")] = False
    seed: Annotated[int, Value("seed of random numbers", least=0, most=2**31 - 1)] = 0

    def check_together(self) -> None:
        """Check that the method uses a model. Raises ValueFault."""
        if self.model and self.method != "net":
            raise ValueFault(f"model {self.model}: method {self.method} uses none; say method=net, model={self.model}")


@dataclass(frozen=True)
class MorphOptions(Options):
    """A morph from structure to structure.

    frames: from each structure to the next, both counted.
    """

    frames: Annotated[int, Value("states from each structure to the next, both counted", least=3, most=10_000)] = 30
    align: Annotated[bool, Value("superpose the structures on the part that moves least")] = True
    surface: Annotated[bool, Value("also fit the surface, and load its movie")] = True
