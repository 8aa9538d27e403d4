"""A fit as it is asked for, with the record of it that lets it go on after an interruption."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ..shared import states
from ..shared.options import FitOptions, StartOptions
from ..shared.values import JsonObject, Record, Value
from ..surfaces.source import Source


@dataclass(frozen=True)
class SourcesRecord(Record):
    """The sources of a fit, for the backend to keep with their surfaces: `asked` of `open`."""

    states: Annotated[tuple[str, ...], Value("states of each source, as texts")] = ()
    coordinates: Annotated[tuple[str, ...], Value("SHA-256 of the coordinates of each source")] = ()


@dataclass(frozen=True)
class AskedFit(SourcesRecord):
    """The sources with the options of their fit: `asked` of an interrupted fit."""

    config: Annotated[JsonObject, Value("options of the fit")] = dataclasses.field(default_factory=dict)
    family: Annotated[str | None, Value("fit that it starts from")] = None
    frozen: Annotated[bool, Value("the network of the family stays as it is")] = False


@dataclass(frozen=True)
class FitRequest:
    """A fit to run. sources: one for each of its trajectories."""

    sources: Sequence[Source]
    options: FitOptions
    start: StartOptions

    def record(self) -> SourcesRecord:
        """Return the states as text, and a digest of the coordinates, of each source."""
        return SourcesRecord(
            tuple(states.format(source.states) for source in self.sources),
            tuple(digest(source) for source in self.sources),
        )


def digest(source: Source) -> str:
    """Return the SHA-256 of the coordinates in all states."""
    sha = hashlib.sha256()
    for state in source.states:
        sha.update(np.ascontiguousarray(source.coordinates[state], "<f4").tobytes())
    return sha.hexdigest()
