"""Distances between atoms that a fit allows: the lattices of a fit cover all of them and the space between."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FARTHEST = 300.0
"""Å between two parts of what is fitted. Two peptides that part so far along the diagonal of a box are fitted in
minutes (docs/scale.md); molecules wrapped into the wrong box are farther apart, and mean a gap that nobody has."""


def gap_fault(atoms: NDArray[np.floating[Any]]) -> str:
    """Why atoms f4[A,3] (Å) lie too far apart, with the remedy; empty where they do not."""
    if len(atoms) < 2 or not np.linalg.norm(np.ptp(atoms, axis=0)) > FARTHEST:
        return ""
    centred = atoms.astype(np.float64) - atoms.mean(0, dtype=np.float64)
    # Along the principal axes, the longest of which leads from one part to the other.
    places = np.sort(centred @ np.linalg.eigh(centred.T @ centred)[1], axis=0)
    gap = float(np.diff(places, axis=0).max())
    if gap <= FARTHEST:
        return ""
    return (
        f"atoms are {gap:.0f} Å apart with nothing between them, and a fit takes {FARTHEST:g} Å at most: "
        "make the molecule whole across its periodic box, or select one of the parts"
    )
