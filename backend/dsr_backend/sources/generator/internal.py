"""Internal coordinates of a backbone: dihedrals, angles and lengths of the bonds from residue to residue.

Row i of coordinates f[...,R,6] is the link from residue i to the next one: psi, omega, phi, the angles CA-C-N and
C-N-CA (radians times 3 Å), and the length C-N in Å. Where the two are not bonded, it is the pose of the next one, as
an increment. The last row is 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .frames import ROTATION_LENGTH, Frames, atoms_of, frames_of, increments, moved
from .residues import Residues

DIHEDRALS = 3
PERIOD = 2.0 * math.pi * ROTATION_LENGTH
ANGLES = (0.3, math.pi - 0.1)
"""Radians. Beyond these, dihedrals mean nothing."""
SHORTEST = 0.5
"""Å. Least length of a bond."""


def link_coordinates(frames: Frames, residues: Residues) -> Tensor:
    """Return the internal coordinates f[...,R,6] of frames [...,R]."""
    atoms = atoms_of(frames, residues.local)
    n, alpha, c = atoms[..., :-1, :, :].unbind(-2)
    next_n, next_alpha, next_c = atoms[..., 1:, :, :].unbind(-2)
    turns = [
        dihedral(n, alpha, c, next_n),
        dihedral(alpha, c, next_n, next_alpha),
        dihedral(c, next_n, next_alpha, next_c),
        angle(alpha, c, next_n),
        angle(c, next_n, next_alpha),
    ]
    length = (next_n - c).norm(dim=-1, keepdim=True)
    bonded = torch.cat([ROTATION_LENGTH * torch.stack(turns, -1), length], -1)
    first = Frames(frames.rotations[..., :-1, :, :], frames.origins[..., :-1, :])
    second = Frames(frames.rotations[..., 1:, :, :], frames.origins[..., 1:, :])
    links = torch.where(residues.linked[:, None], bonded, increments(first, second))
    return torch.cat([links, torch.zeros_like(links[..., :1, :])], -2)


def differences(second: Tensor, first: Tensor, residues: Residues) -> Tensor:
    """Return internal coordinates f[...,R,6] minus others; dihedrals go the shorter way round."""
    plain = second - first
    wrapped = torch.remainder(plain + 0.5 * PERIOD, PERIOD) - 0.5 * PERIOD
    return torch.where(dihedral_rows(residues), wrapped, plain)


def dihedral_rows(residues: Residues) -> Tensor:
    """Return which numbers of coordinates are dihedrals, bool[R,6]."""
    rows = torch.zeros(len(residues.local), 6, dtype=torch.bool, device=residues.local.device)
    rows[:-1, :DIHEDRALS] = residues.linked[:, None]
    return rows


def chained(coordinates: Tensor, residues: Residues) -> Frames:
    """Return the frames [...,R] of internal coordinates f[...,R,6]; the first residue lies at the origin."""
    links = coordinates[..., :-1, :]
    steps = _relative(links, residues)
    rotation = torch.eye(3, dtype=links.dtype, device=links.device).expand(*links.shape[:-2], 3, 3)
    origin = links.new_zeros(*links.shape[:-2], 3)
    rotations, origins = [rotation], [origin]
    for link in range(links.shape[-2]):
        origin = origin + (rotation @ steps.origins[..., link, :, None])[..., 0]
        rotation = rotation @ steps.rotations[..., link, :, :]
        rotations.append(rotation)
        origins.append(origin)
    return Frames(torch.stack(rotations, -3), torch.stack(origins, -2))


def dihedral_features(frames: Frames, residues: Residues) -> Tensor:
    """Return cosines and sines f[B,R,12] of the dihedrals of each residue's links, to the next one and from the last.

    Where there is no bond, they are 0.
    """
    turns = link_coordinates(frames, residues)[..., :DIHEDRALS] / ROTATION_LENGTH
    present = dihedral_rows(residues)[:, :DIHEDRALS]
    ahead = torch.cat([turns.cos() * present, turns.sin() * present], -1)
    behind = torch.cat([torch.zeros_like(ahead[..., :1, :]), ahead[..., :-1, :]], -2)
    return torch.cat([ahead, behind], -1)


def dihedral(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Return the dihedrals f[...] (radians) of four points f[...,3] each."""
    first, axis, last = b - a, c - b, d - c
    normal, second_normal = torch.linalg.cross(first, axis), torch.linalg.cross(axis, last)
    sine = (first * second_normal).sum(-1) * axis.norm(dim=-1)
    return torch.atan2(sine, (normal * second_normal).sum(-1))


def angle(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return the angles f[...] (radians) at the second of three points f[...,3] each."""
    first, second = a - b, c - b
    return torch.atan2(torch.linalg.cross(first, second).norm(dim=-1), (first * second).sum(-1))


def placed(a: Tensor, b: Tensor, c: Tensor, length: Tensor, turn: Tensor, torsion: Tensor) -> Tensor:
    """Return points f[...,3] after three others: their distance from c, the angle at c, and the dihedral (radians)."""
    along = torch.nn.functional.normalize(c - b, dim=-1)
    across = torch.nn.functional.normalize(torch.linalg.cross(b - a, along), dim=-1)
    upright = torch.linalg.cross(across, along)
    turn, torsion = turn[..., None], torsion[..., None]
    direction = -turn.cos() * along + turn.sin() * (torsion.cos() * upright + torsion.sin() * across)
    point: Tensor = c + length[..., None] * direction
    return point


def _relative(links: Tensor, residues: Residues) -> Frames:
    """Return the frames [...,R-1] of the next residues in those of their own, of links f[...,R-1,6]."""
    psi, omega, phi, at_c, at_n = (links[..., :5] / ROTATION_LENGTH).unbind(-1)
    at_c, at_n = at_c.clamp(*ANGLES), at_n.clamp(*ANGLES)
    local = residues.local.expand(*links.shape[:-2], *residues.local.shape)
    n, alpha, c = local[..., :-1, :, :].unbind(-2)
    own_n, own_alpha, own_c = local[..., 1:, :, :].unbind(-2)
    next_n = placed(n, alpha, c, links[..., 5].clamp_min(SHORTEST), at_c, psi)
    next_alpha = placed(alpha, c, next_n, (own_alpha - own_n).norm(dim=-1), at_n, omega)
    inner = angle(own_n, own_alpha, own_c)
    next_c = placed(c, next_n, next_alpha, (own_c - own_alpha).norm(dim=-1), inner, phi)
    bonded = frames_of(torch.stack([next_n, next_alpha, next_c], -2))
    unbent = Frames(torch.eye(3, dtype=links.dtype, device=links.device).expand_as(bonded.rotations), 0.0 * alpha)
    loose = moved(unbent, links)
    linked = residues.linked
    return Frames(
        torch.where(linked[:, None, None], bonded.rotations, loose.rotations),
        torch.where(linked[:, None], bonded.origins, loose.origins),
    )
