"""Rigid frames of residues (N, CA, C), and the increments between them in local frames.

A frame is a rotation f[...,R,3,3] with its axes in columns and an origin f[...,R,3] in Å. An increment f[...,R,6] holds
a shift in Å and a rotation vector times 3 Å, both in the axes of the first frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ROTATION_LENGTH = 3.0
"""Å per radian: a turn moves the atoms around CA by about this much."""
_SMALL = 1e-6


@dataclass(frozen=True, eq=False)
class Frames:
    """Rotations f[...,R,3,3] and origins f[...,R,3] in Å of residues."""

    rotations: Tensor
    origins: Tensor

    def __getitem__(self, index: Any) -> Frames:
        return Frames(self.rotations[index], self.origins[index])

    def map(self, function: Callable[[Tensor], Tensor]) -> Frames:
        """Return the frames after a function of each of the two tensors, which changes leading dimensions only."""
        return Frames(function(self.rotations), function(self.origins))

    def expand(self, count: int) -> Frames:
        """Return `count` times the same frames, [count,R] of [R]."""
        return self.map(lambda tensor: tensor.expand(count, *tensor.shape))

    @classmethod
    def stack(cls, states: Sequence[Frames], dim: int) -> Frames:
        """Return the frames of several states along a new dimension."""
        return cls(torch.stack([s.rotations for s in states], dim), torch.stack([s.origins for s in states], dim))

    @classmethod
    def cat(cls, states: Sequence[Frames], dim: int = 0) -> Frames:
        """Return the frames of several states along an old dimension."""
        return cls(torch.cat([s.rotations for s in states], dim), torch.cat([s.origins for s in states], dim))


def frames_of(backbone: Tensor) -> Frames:
    """Return the frames of atoms N, CA and C, f[...,R,3,3] in Å (residue, atom, axis)."""
    n, alpha, c = backbone.unbind(-2)
    first = torch.nn.functional.normalize(c - alpha, dim=-1)
    third = torch.nn.functional.normalize(torch.linalg.cross(first, n - alpha), dim=-1)
    return Frames(torch.stack([first, torch.linalg.cross(third, first), third], -1), alpha)


def atoms_of(frames: Frames, local: Tensor) -> Tensor:
    """Return atoms f[...,R,P,3] (Å) of frames from their local coordinates f[R,P,3]."""
    return torch.einsum("...rij,rpj->...rpi", frames.rotations, local) + frames.origins[..., None, :]


def local_atoms(frames: Frames, atoms: Tensor) -> Tensor:
    """Return local coordinates f[...,R,P,3] (Å) of atoms f[...,R,P,3] in frames."""
    return torch.einsum("...rji,...rpj->...rpi", frames.rotations, atoms - frames.origins[..., None, :])


def rotation_vectors(rotations: Tensor) -> Tensor:
    """Return rotation vectors f[...,3] (radians) of rotations f[...,3,3], below half a turn."""
    trace = rotations.diagonal(dim1=-2, dim2=-1).sum(-1)
    skew = torch.stack(
        [
            rotations[..., 2, 1] - rotations[..., 1, 2],
            rotations[..., 0, 2] - rotations[..., 2, 0],
            rotations[..., 1, 0] - rotations[..., 0, 1],
        ],
        -1,
    )
    sine = 0.5 * skew.norm(dim=-1)
    angle = torch.atan2(sine, 0.5 * (trace - 1.0))
    factor = torch.where(sine > _SMALL, 0.5 * angle / sine.clamp_min(_SMALL), torch.full_like(sine, 0.5))
    return factor[..., None] * skew


def rotations_of(vectors: Tensor) -> Tensor:
    """Return rotations f[...,3,3] of rotation vectors f[...,3] (radians)."""
    angle = (vectors**2).sum(-1).clamp_min(_SMALL**2).sqrt()[..., None, None]
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*vectors.shape[:-1], 3, 3)
    identity = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    return identity + torch.sin(angle) / angle * skew + (1.0 - torch.cos(angle)) / angle**2 * (skew @ skew)


def increments(first: Frames, second: Frames) -> Tensor:
    """Return the increments f[...,R,6] from frames to others."""
    inverse = first.rotations.transpose(-1, -2)
    shift = (inverse @ (second.origins - first.origins)[..., None])[..., 0]
    return torch.cat([shift, ROTATION_LENGTH * rotation_vectors(inverse @ second.rotations)], -1)


def moved(frames: Frames, by: Tensor) -> Frames:
    """Return the frames after increments f[...,R,6]."""
    shift = (frames.rotations @ by[..., :3, None])[..., 0]
    return Frames(frames.rotations @ rotations_of(by[..., 3:] / ROTATION_LENGTH), frames.origins + shift)


def superposed(moving: Frames, fixed: Frames) -> Frames:
    """Return frames moved rigidly as a whole so that their origins lie on those of others."""
    a, b = moving.origins, fixed.origins
    centre_a, centre_b = a.mean(-2, keepdim=True), b.mean(-2, keepdim=True)
    u, _, vt = torch.linalg.svd((a - centre_a).transpose(-1, -2) @ (b - centre_b))
    sign = torch.sign(torch.linalg.det(u @ vt))
    u = torch.cat([u[..., :2], u[..., 2:] * sign[..., None, None]], -1)
    turn = u @ vt
    return Frames(turn.transpose(-1, -2)[..., None, :, :] @ moving.rotations, (a - centre_a) @ turn + centre_b)
