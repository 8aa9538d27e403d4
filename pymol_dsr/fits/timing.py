"""The time that a fit takes: an estimate from its first second on, and the seconds of its stages at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum


class Stage(Enum):
    """A stage of a fit. The values are the words of messages."""

    SURFACES = "surfaces"
    FIT = "fit"


# Seconds for an atom in a state, measured with AdK (3341 atoms in 40 states) on two cores.
SURFACE_SECONDS = 0.6e-4
FIT_SECONDS = {"fast": 0.5e-4, "fine": 1.0e-4, "preview": 0.3e-4}
# Least seconds of a stage, however small the molecule is; measured with Trp-cage (304 atoms in 20 states).
LEAST_SECONDS = {Stage.SURFACES: 1.5, Stage.FIT: 3.0}
# Least part of its time so far that a stage goes on for: where it has taken longer than expected and does not say how
# far it is, and where it says that it is at its end.
OVERTIME, LAST = 0.25, 0.02
# Seconds of the 40 000 steps of preset paper on one core, until the backend says how long they take.
PAPER_SECONDS = 14_400.0
# From here on, the pace of a stage says how long it takes.
TRUSTED_FRACTION = 0.25
# Fits of less atoms times states are over too soon to tell how long a larger one takes.
LEAST_SIZE = 5_000


class Rates:
    """Seconds for an atom in a state, by stage and preset: those of the session's last fit, where there was one."""

    def __init__(self) -> None:
        self._rates: dict[tuple[Stage, str], float] = {}

    def seconds(self, stage: Stage, preset: str, size: int) -> float:
        """Return the seconds that a stage is likely to take. size: atoms times states."""
        usual = SURFACE_SECONDS if stage is Stage.SURFACES else FIT_SECONDS.get(preset)
        if usual is None:
            return PAPER_SECONDS
        return LEAST_SECONDS[stage] + size * self._rates.get(self._key(stage, preset), usual)

    def learn(self, stage: Stage, preset: str, size: int, seconds: float) -> None:
        """Take the pace of a stage that is over."""
        if size >= LEAST_SIZE:
            self._rates[self._key(stage, preset)] = max(0.0, seconds - LEAST_SECONDS[stage]) / size

    @staticmethod
    def _key(stage: Stage, preset: str) -> tuple[Stage, str]:
        # Surfaces take the same time for all presets.
        return stage, "" if stage is Stage.SURFACES else preset


@dataclass
class FitTiming:
    """The stages of one fit in time. size: atoms times states; budget: most seconds of training, None for no limit."""

    size: int
    preset: str
    rates: Rates
    budget: float | None = None
    clock: Callable[[], float] = time.monotonic
    stage: Stage | None = None
    seconds: dict[Stage, float] = field(default_factory=dict)
    _began: float = 0.0
    _largest: float = 0.0
    _first: tuple[float, float] | None = None
    """Seconds of the stage at its first sign of progress, and the fraction then."""

    def begin(self, stage: Stage) -> None:
        """Begin a stage, and end the one before it."""
        self._close()
        self.stage, self._began, self._first = stage, self.clock(), None

    def end(self) -> None:
        """End the last stage, and keep the pace of all for the next fit."""
        self._close()
        for stage, seconds in self.seconds.items():
            self.rates.learn(stage, self.preset, self.size, seconds)

    def _close(self) -> None:
        if self.stage is not None:
            self.seconds[self.stage] = self.clock() - self._began
        self.stage = None

    def seconds_left(self, fraction: float, known: float | None = None) -> float:
        """Return the seconds until the end. fraction: of this stage; known: what the backend says of the fit."""
        if self.stage is Stage.SURFACES:
            return self._left(Stage.SURFACES, fraction) + self._usual(Stage.FIT)
        if self.stage is Stage.FIT:
            return self._left(Stage.FIT, fraction) if known is None else known
        return 0.0 if self.seconds else self._usual(Stage.SURFACES) + self._usual(Stage.FIT)

    def fraction(self, fraction: float, known: float | None = None) -> float:
        """Return the fraction of the whole that is over, which never falls. Arguments as of `seconds_left`."""
        elapsed = sum(self.seconds.values()) + (self.clock() - self._began if self.stage is not None else 0.0)
        total = elapsed + self.seconds_left(fraction, known)
        self._largest = max(self._largest, elapsed / total if total > 0 else 0.0)
        return self._largest

    def summary(self) -> str:
        """Return the seconds of the stages that are over, as: surfaces 9 s, fit 18 s."""
        return ", ".join(f"{stage.value} {seconds:.0f} s" for stage, seconds in self.seconds.items())

    def _usual(self, stage: Stage) -> float:
        seconds = self.rates.seconds(stage, self.preset, self.size)
        return seconds if stage is Stage.SURFACES or self.budget is None else min(seconds, self.budget)

    def _left(self, stage: Stage, fraction: float) -> float:
        elapsed = self.clock() - self._began
        left = max(self._usual(stage) - elapsed, OVERTIME * elapsed)
        if fraction <= 0:
            return left
        # Programs start before, so the pace counts from here.
        self._first = self._first or (elapsed, fraction)
        seconds, gained = elapsed - self._first[0], fraction - self._first[1]
        if gained > 0:
            trust = min(1.0, gained / TRUSTED_FRACTION)
            left = (1.0 - trust) * left + trust * seconds / gained * (1.0 - fraction)
        return max(left, LAST * elapsed)
