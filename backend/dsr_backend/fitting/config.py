"""What a fit is asked to do, and the numbers behind each preset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..motion.time_axis import TimeAxis


@dataclass(frozen=True)
class Preset:
    """Numbers of the field `fast`. Lengths in Å.

    `spacing` is the distance between nodes of the fine lattice; the coarse one, which fills the whole box, is
    `coarse_factor` times wider. `density` counts training samples per Å² of surface. `decoder_steps` of Adam
    train the MLP on `batch` samples each. `latent` numbers tell trajectories apart that are fitted together.
    """

    spacing: float
    coarse_factor: int = 4
    band: float = 2.0
    density: float = 9.0
    near_sigma: float = 0.3
    far_sigma: float = 1.0
    uniform_share: float = 0.08
    clearance: float = 8.0
    smoothness: float = 0.05
    ridge: float = 1e-3
    iterations: int = 24
    max_values: int = 12_000_000
    static_channels: int = 2
    latent: int = 8
    hidden: int = 24
    decoder_steps: int = 300
    batch: int = 16_384
    rate: float = 4e-3


@dataclass(frozen=True)
class PaperPreset:
    """Numbers of the field `paper`, as the DSR paper prints them where it does (section 3.2).

    Printed: `layers` hidden layers of `width` units and `latent` numbers z; the loss's `eikonal` λ, `normals` τ (0
    fits points alone) and `code` α; `neighbours`, k of the distribution D. `uniform` points of D per local one are
    IGR's, whose distribution it is, and so are the `radius` of the first sphere and the halving of the rates.

    Ours: a step takes `points` points of each of `states` states, `cpu_points` on a CPU, where more and smaller steps
    get farther in a given time; `rate` and `latent_rate` are Adam's for θ and z at the start, halved `halvings` times,
    evenly over the `steps` or over the budget; a new trajectory of a known family has the share `search` of them for z
    alone.
    """

    width: int = 512
    layers: int = 8
    latent: int = 192
    radius: float = 1.0
    eikonal: float = 0.1
    normals: float = 1.0
    code: float = 1e-3
    neighbours: int = 50
    uniform: float = 0.125
    states: int = 4
    points: int = 2048
    cpu_points: int = 64
    steps: int = 40_000
    rate: float = 1e-3
    latent_rate: float = 1e-2
    halvings: int = 4
    search: float = 0.25


# `fast` and `preview` are numbers of the field fast, a Preset; `paper` is a PaperPreset.
PRESETS: dict[str, Any] = {
    "fast": Preset(spacing=1.0),
    "preview": Preset(spacing=1.4, density=5.0, iterations=12, decoder_steps=150),
    "paper": PaperPreset(),
}


@dataclass(frozen=True)
class FitConfig:
    """A fit as the user asked for it.

    `smooth` is the width in states of the temporal kernel between the states (None: chosen by holding out
    training states); `seed` is 0 to 2³¹ − 1; `budget` caps the seconds of decoder training; `align` takes the
    rigid motion of the whole molecule out of the field and puts it back on the result; `loop`: the first state follows
    the last one again; `times` are those of state 1, 2, 3, … where they are uneven, in any unit (None: even).
    """

    preset: str = "fast"
    smooth: float | None = None
    seed: int = 0
    budget: float | None = None
    device: str = "auto"
    align: bool = True
    loop: bool = False
    times: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        # Types too: the values come over the wire as JSON.
        if not isinstance(self.preset, str) or self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r} is not known; choose one of {', '.join(PRESETS)}")
        if self.smooth is not None and not (_is_number(self.smooth) and 0.0 <= self.smooth <= 100.0):
            raise ValueError(f"smooth={self.smooth!r} must lie between 0 and 100 states, or be auto")
        if self.budget is not None and not (_is_number(self.budget) and self.budget > 0.0):
            raise ValueError(f"budget={self.budget!r} must be a number of seconds above 0")
        if not (isinstance(self.seed, int) and not isinstance(self.seed, bool) and 0 <= self.seed < 2**31):
            raise ValueError(f"seed={self.seed!r} must be a whole number from 0 to {2**31 - 1}")
        if not isinstance(self.device, str):
            raise ValueError(f"device={self.device!r} must be auto, cpu or cuda")
        for name, value in (("align", self.align), ("loop", self.loop)):
            if not isinstance(value, bool):
                raise ValueError(f"{name}={value!r} must be true or false")
        if self.times is not None:
            if not isinstance(self.times, list | tuple) or not all(_is_number(time) for time in self.times):
                raise ValueError("times must be a list of numbers, one for each state")
            # Over the wire a tuple is a list.
            object.__setattr__(self, "times", TimeAxis(self.times).times)

    def clock(self, states: Iterable[float]) -> TimeAxis | None:
        """When the states to fit are; None where they are even. Raises ValueError for a state without a time."""
        if self.times is None:
            return None
        without = [state for state in states if not 1.0 <= state <= len(self.times)]
        if without:
            raise ValueError(
                f"there are {len(self.times)} times, one for each state, and none for state {without[0]:g}"
            )
        return TimeAxis(self.times)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> FitConfig:
        """Build from a JSON object; ValueError names keys that are not known."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise ValueError(f"config has no {', '.join(unknown)}; it knows {', '.join(sorted(known))}")
        return cls(**data)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
