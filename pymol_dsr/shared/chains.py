"""Chains of residues, told apart by their labels and by gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST_PEPTIDE_BOND = 2.0
"""Å from C to the next N. The bond has 1.33 Å, and atoms that are not bonded keep 2.7 Å or more."""
LONGEST_CALPHA_STEP = 5.5
"""Å from one Cα to the next. Bonded residues have 2.9 (cis) or 3.8 Å; where one between them is missing, 5.4 (helix) to
7.3 Å (strand)."""


def chain_numbers(labels: Sequence[str], distances: NDArray[np.floating[Any]], longest: float) -> tuple[int, ...]:
    """Return the number from 0 of the chain of each residue: one begins at another label, and after a gap.

    labels: chains of R residues. distances: f[R-1] in Å to the next one. longest: in Å; more is a gap.
    """
    texts = np.asarray(labels)
    begins = (np.asarray(distances) > longest) | (texts[1:] != texts[:-1])
    return tuple(np.cumsum([0, *begins])[: len(texts)].tolist())
