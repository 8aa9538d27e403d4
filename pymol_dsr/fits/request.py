"""A fit as it is asked for, with the record of it that lets it go on after an interruption."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..shared import states
from ..shared.options import FitOptions, StartOptions
from ..surfaces.source import Source


@dataclass(frozen=True)
class FitRequest:
    """A fit to run. sources: one for each of its trajectories."""

    sources: Sequence[Source]
    options: FitOptions
    start: StartOptions

    def record(self) -> dict[str, Any]:
        """States as text and a digest of the coordinates of each source, which the backend keeps with the surfaces."""
        return {
            "states": [states.format(source.states) for source in self.sources],
            "coordinates": [digest(source) for source in self.sources],
        }


def digest(source: Source) -> str:
    """SHA-256 of the coordinates in all states."""
    sha = hashlib.sha256()
    for state in source.states:
        sha.update(np.ascontiguousarray(source.coordinates[state], "<f4").tobytes())
    return sha.hexdigest()
