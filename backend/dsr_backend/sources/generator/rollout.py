"""States from a trained generator, one after the other: continued, filled in, or drawn alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .frames import Frames, atoms_of, frames_of
from .model import HISTORY, Generator

Mend = Callable[[Tensor], Tensor]
"""Projection of backbone atoms f[B,R,3,3] (residue, atom N CA C, axis; Å) onto known bond lengths."""


def continue_states(
    model: Generator,
    history: list[Frames],
    frames: int,
    mend: Mend,
    generator: torch.Generator,
    check: Callable[[], None] = lambda: None,
    times: Sequence[float] = (),
) -> Tensor:
    """Return backbone atoms f[B,F,R,3,3] (Å) of states after a history of frames [B,R], one gap apart.

    times: of the history, in gaps; without them its states are one gap apart.
    """
    known, built = list(history[-HISTORY:]), []
    moments = [*times][-HISTORY:] or [float(k) for k in range(len(known))]
    for _ in range(frames):
        check()
        context = model.after(known, times=moments)
        atoms = mend(atoms_of(model.draw(context, generator), model.residues.local))
        built.append(atoms)
        known = [*known[-HISTORY + 1 :], frames_of(atoms)]
        moments = [*moments[-HISTORY + 1 :], moments[-1] + 1.0]
    return torch.stack(built, 1)


def fill_states(
    model: Generator,
    first: Frames,
    last: Frames,
    frames: int,
    mend: Mend,
    generator: torch.Generator,
    check: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return backbone atoms f[B,F,R,3,3] (Å) of states between first and last frames [B,R], which are known first."""
    known, built = [first], []
    for k in range(frames):
        check()
        context = model.after(known, last, frames + 1 - k)
        atoms = mend(atoms_of(model.draw(context, generator), model.residues.local))
        built.append(atoms)
        known = [*known[-HISTORY + 1 :], frames_of(atoms)]
    return torch.stack(built, 1)


def sample_states(model: Generator, count: int, mend: Mend, generator: torch.Generator) -> Tensor:
    """Return backbone atoms f[count,R,3,3] (Å) of states of the ensemble, each drawn alone."""
    return mend(atoms_of(model.draw(model.alone(count), generator), model.residues.local))
