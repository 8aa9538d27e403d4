"""Messages of the control lane, which the backend answers at once: greeting, state of fits, cancelling, the end."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from ..values import JsonObject, Record, Value
from .base import Lane, Request, Result

PHASES = ("surfaces", "sampling", "fit", "saving", "ready")
"""Phases of a fit in the backend."""
DETACHED_PHASES = ("starting", *PHASES, "failed", "cancelled")
"""Phases of a fit in a process of its own."""

FitName = Annotated[str, Value("name of the fit", names="a fit")]
Fraction = Annotated[float, Value("how far the fit is, 0 to 1")]
Step = Annotated[int | None, Value("step of what the phase counts", least=0, most=10**12)]
Steps = Annotated[int | None, Value("steps of the phase in all", least=0, most=10**12)]
Loss = Annotated[float | None, Value("loss of the training", unit="Å")]
SecondsLeft = Annotated[
    float | None, Value("estimate of the time to the end of the fit", unit="s", least=-1e10, most=1e10)
]


@dataclass(frozen=True)
class FitStatus(Record):
    """The state of a fit."""

    phase: Annotated[str, Value("what is done", choices=PHASES)]
    fraction: Fraction
    step: Step = None
    steps: Steps = None
    loss: Loss = None
    seconds_left: SecondsLeft = None
    device: Annotated[str | None, Value("device that computes", sparse=True)] = None
    checkpoint: Annotated[
        int | None, Value("step of the last checkpoint, of preset `paper`", sparse=True, least=0, most=10**12)
    ] = None


@dataclass(frozen=True)
class DetachedStatus(Record):
    """The state of a detached fit, as its process writes it once a second."""

    phase: Annotated[str, Value("what is done, or the end", choices=DETACHED_PHASES)]
    fraction: Fraction
    step: Step = None
    steps: Steps = None
    loss: Loss = None
    seconds_left: SecondsLeft = None
    device: Annotated[str | None, Value("device that computes")] = None
    pid: Annotated[int, Value("id of its process", least=0, most=2**40)] = 0
    host: Annotated[str, Value("machine of its process")] = ""
    started: Annotated[float, Value("when it started, since 1970", unit="s")] = 0.0
    updated: Annotated[float, Value("when this was written, since 1970", unit="s")] = 0.0
    message: Annotated[str, Value("why it failed")] = ""


@dataclass(frozen=True)
class InterruptedFit(Record):
    """A fit whose surfaces wait in the folder of fits."""

    surfaces: Annotated[int, Value("surfaces that are there", least=0, most=10**9)]
    step: Annotated[int | None, Value("step of the training's checkpoint", least=0, most=10**12)] = None
    source: Annotated[JsonObject, Value("`source` of its `open`")] = dataclasses.field(default_factory=dict)
    trajectories: Annotated[tuple[str, ...], Value("names of its trajectories; none for a single one")] = ()
    asked: Annotated[JsonObject, Value("`asked` of its `open`, with `config`, `family` and `frozen`")] = (
        dataclasses.field(default_factory=dict)
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class HelloResult(Result):
    """The backend's greeting."""

    protocol: Annotated[int, Value("version of the protocol")]
    version: Annotated[str, Value("version of the package")] = ""
    python: Annotated[str, Value("version of Python")] = ""
    pid: Annotated[int | None, Value("id of the process")] = None
    packed: Annotated[bool, Value("it can unpack arrays")] = False
    packages: Annotated[tuple[str, ...], Value("optional packages that are installed there")] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Hello(Request[HelloResult]):
    """Greets the backend, before anything else; the event `device` follows when torch is imported."""

    METHOD = "hello"
    LANE = Lane.CONTROL
    RESULT = HelloResult

    protocol: Annotated[int, Value("version of the protocol")]
    version: Annotated[str, Value("version of the package")]
    packed: Annotated[bool, Value("the line is slow: pack large arrays")] = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Done(Result):
    """The request is done; nothing else is told."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Ping(Request[Done]):
    """Asks for a sign of life."""

    METHOD = "ping"
    LANE = Lane.CONTROL
    RESULT = Done


@dataclass(frozen=True, eq=False, kw_only=True)
class StatusResult(Result):
    """The state of the backend."""

    busy: Annotated[str | None, Value("method that is under way")] = None
    fits: Annotated[dict[str, FitStatus], Value("fits in memory, by name", names="a fit")] = dataclasses.field(
        default_factory=dict
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Status(Request[StatusResult]):
    """Asks what is under way and how far each fit is."""

    METHOD = "status"
    LANE = Lane.CONTROL
    RESULT = StatusResult


@dataclass(frozen=True, eq=False, kw_only=True)
class DetachedResult(Result):
    """Detached fits in the folder of fits."""

    fits: Annotated[dict[str, DetachedStatus], Value("detached fits by name", names="a fit")]


@dataclass(frozen=True, eq=False, kw_only=True)
class Detached(Request[DetachedResult]):
    """Asks how far detached fits are."""

    METHOD = "detached"
    LANE = Lane.CONTROL
    RESULT = DetachedResult


@dataclass(frozen=True, eq=False, kw_only=True)
class StopResult(Result):
    """The answer to `stop`."""

    stopped: Annotated[bool, Value("the fit was under way")]


@dataclass(frozen=True, eq=False, kw_only=True)
class Stop(Request[StopResult]):
    """Asks a detached fit to end."""

    METHOD = "stop"
    LANE = Lane.CONTROL
    RESULT = StopResult

    fit: FitName


@dataclass(frozen=True, eq=False, kw_only=True)
class InterruptedResult(Result):
    """Fits that were interrupted and are not under way."""

    fits: Annotated[dict[str, InterruptedFit], Value("interrupted fits by name", names="a fit")]


@dataclass(frozen=True, eq=False, kw_only=True)
class Interrupted(Request[InterruptedResult]):
    """Asks for the fits that `open` with `resume` goes on with."""

    METHOD = "interrupted"
    LANE = Lane.CONTROL
    RESULT = InterruptedResult


@dataclass(frozen=True, eq=False, kw_only=True)
class CancelResult(Result):
    """The answer to `cancel`."""

    cancelled: Annotated[bool, Value("the request was waiting or under way")]


@dataclass(frozen=True, eq=False, kw_only=True)
class Cancel(Request[CancelResult]):
    """Ends a request that waits or is under way; that one is then answered with the error `cancelled`."""

    METHOD = "cancel"
    LANE = Lane.CONTROL
    RESULT = CancelResult

    target: Annotated[int | None, Value("id of the request")] = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Shutdown(Request[Done]):
    """Ends the process, after the answer."""

    METHOD = "shutdown"
    LANE = Lane.CONTROL
    RESULT = Done
