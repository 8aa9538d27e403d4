"""A plain neural field to compare with: a multiresolution hash encoding of (x, y, z, t) and a small MLP (Instant-NGP,
Müller et al. 2022), trained on exact signed distances.

It has no motion, no modes and no smoothing in time: between the states it is what the encoding makes of the fourth
dimension. Tables of a few key frames in (x, y, z), mixed linearly in time, were worse in the same time and number of
parameters (AdK, 40 states, 3 million parameters, 40 s on one core: 14 % of the points within 1 Å of the surface on the
wrong side with 20 or 40 key frames, 12.5 % with time as the fourth dimension).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from dsr_backend.fields.base import Field, FieldAtTime, scene_box
from dsr_backend.fitting.config import PRESETS, Preset
from dsr_backend.geometry.triangle_mesh import TriangleMesh
from dsr_backend.geometry.unit_cube import UnitCube
from dsr_backend.motion.motion import Motion
from dsr_backend.runtime.device import choose_device, limit_threads
from dsr_backend.surfaces.surface import Surface
from torch import nn

PRIMES = (1, 2_654_435_761, 805_459_861, 3_674_653_429)
LEVELS, FEATURES, HIDDEN = 8, 2, 64
# Å between nodes of the first and the last level, and cells in time.
SPACINGS = (16.0, 1.0)
TIMES = (8, 40)
BATCH, RATE = 8192, 1e-2
# Å: distances beyond say no more than on which side a point is; a distance counts by 1 / (|d| + NEAR).
CLAMP, NEAR = 4.0, 0.3
# Samples per Å² of surface, off it by Gaussians of these widths in Å, and samples in the box for each of them.
DENSITY, WIDTHS, UNIFORM = 9.0, (0.3, 1.0), 0.08


class Lookup(torch.autograd.Function):
    """Σ of weight f4[N,C] · table f4[rows,F] [index i8[N,C]] → f4[N,F]; torch's own way back sorts, which is slow."""

    @staticmethod
    def forward(ctx, table: torch.Tensor, index: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(index, weight)
        ctx.shape = table.shape
        return nn.functional.embedding_bag(index, table, per_sample_weights=weight, mode="sum")

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        index, weight = ctx.saved_tensors
        rows, features = ctx.shape
        columns = [
            gradient.new_zeros(rows).scatter_add_(0, index.view(-1), (weight * gradient[:, k : k + 1]).view(-1))
            for k in range(features)
        ]
        return torch.stack(columns, 1), None, None


class HashGrid(nn.Module):
    """f(x, t) in Å; see the module's text."""

    def __init__(self, low: torch.Tensor, high: torch.Tensor, parameters: int) -> None:
        """low, high: f4[3] Å, the box that the levels fill; parameters: how many there may be in all."""
        super().__init__()
        self.register_buffer("low", low)
        self.register_buffer("extent", high - low)
        fractions = np.linspace(0.0, 1.0, LEVELS)
        self.spacings = [SPACINGS[0] * (SPACINGS[1] / SPACINGS[0]) ** fraction for fraction in fractions]
        self.slots = [max(1, round(TIMES[0] * (TIMES[1] / TIMES[0]) ** fraction)) for fraction in fractions]
        self.shapes = [
            [*(int(length / spacing) + 2 for length in (high - low).tolist()), slots + 1]
            for spacing, slots in zip(self.spacings, self.slots, strict=True)
        ]
        self.mlp = nn.Sequential(
            nn.Linear(LEVELS * FEATURES + 1, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(),
            nn.Linear(HIDDEN, 1),
        )  # fmt: skip
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        room = (parameters - sum(weight.numel() for weight in self.mlp.parameters())) // FEATURES
        longest = _longest(sizes, room)
        self.rows = [min(size, longest) for size in sizes]
        self.table = nn.Parameter(1e-4 * (2.0 * torch.rand(sum(self.rows), FEATURES) - 1.0))

    def forward(self, x: torch.Tensor, fraction: torch.Tensor) -> torch.Tensor:
        """f f4[N] Å at x f4[N,3] Å and times f4[N] from 0 (first training state) to 1 (last)."""
        inside = torch.minimum((x - self.low).clamp_min(0.0), self.extent)
        indices, weights = [], []
        start = 0
        for spacing, slots, shape, rows in zip(self.spacings, self.slots, self.shapes, self.rows, strict=True):
            position = torch.cat([inside / spacing, fraction[:, None] * slots], 1)
            cell = torch.minimum(position.long(), torch.tensor(shape, device=x.device) - 2)
            offset = position - cell
            index = x.new_zeros((len(x), 1), dtype=torch.int64)
            weight = x.new_ones(len(x), 1)
            hashed, stride = rows < np.prod(shape), 1
            for axis, length in enumerate(shape):
                ends = torch.stack([cell[:, axis], cell[:, axis] + 1], 1)[:, None]
                if hashed:
                    index = (index[:, :, None] ^ (ends * PRIMES[axis])).view(len(x), -1)
                else:
                    index = (index[:, :, None] + ends * stride).view(len(x), -1)
                stride *= length
                corner_weights = torch.stack([1.0 - offset[:, axis], offset[:, axis]], 1)[:, None]
                weight = (weight[:, :, None] * corner_weights).view(len(x), -1)
            indices.append(start + (index % rows if hashed else index))
            weights.append(weight)
            start += rows
        corners = indices[0].shape[1]
        index, weight = (torch.stack(tensors, 1).view(-1, corners) for tensors in (indices, weights))
        features = Lookup.apply(self.table, index, weight).view(len(x), -1)
        return self.mlp(torch.cat([features, fraction[:, None]], 1))[:, 0]


def _longest(sizes: Sequence[int], room: int) -> int:
    """The rows of the longest table with which tables for levels of these sizes together have room."""
    low, high = 0, max(0, room)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if sum(min(size, middle) for size in sizes) <= room else (low, middle - 1)
    if low < 1:
        raise ValueError(f"there is room for {room} rows in {len(sizes)} levels; give more parameters")
    return low


class HashField(Field):
    """A trained HashGrid as a field. As with preset `paper`, atoms are known only to bound meshes."""

    kind = "hashgrid"

    def __init__(self, network: HashGrid, motion: Motion, frame: UnitCube, extent: np.ndarray, report: dict) -> None:
        self.network, self.motion, self.frame, self.extent, self.report = network, motion, frame, extent, report
        self.smooth, self.clearance = 0.0, 3.0
        self.device = network.table.device

    def at_motion_time(self, time: float, smooth: float | None) -> HashSlice:
        first, last = self.time_range
        atoms = self.motion.scene_atoms(time, 0.0)
        return HashSlice(
            time=time,
            extrapolated=self.motion.kernel.lead(time) != 0.0,
            expected_error=self.motion.expected_error(time),
            atoms=atoms,
            box=scene_box(atoms, self.clearance, self.extent),
            device=self.device,
            field=self,
            fraction=float(np.clip((time - first) / (last - first), 0.0, 1.0)),
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        return self.network.state_dict()


@dataclass(eq=False)
class HashSlice(FieldAtTime):
    """One time of a HashField. share: 0 at the first training state, 1 at the last."""

    field: HashField
    fraction: float

    def evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return self.field.network(x, x.new_full((len(x),), self.fraction))


def samples_of(
    surface: Surface, clearance: float, seed: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Points f4[N,3] (Å) near the surface and in the box around it, and their signed distances f4[N] (Å)."""
    generator = torch.Generator().manual_seed(seed)
    mesh = TriangleMesh(surface.points, surface.faces, device)
    count = max(2_000, int(DENSITY * float(mesh.areas.sum())) // 2 * 2)
    width = torch.tensor(WIDTHS).repeat(count // 2)[:, None]
    near_surface = mesh.sample(count, generator)[0] + (width * torch.randn(count, 3, generator=generator)).to(device)
    low, high = surface.points.min(0) - clearance, surface.points.max(0) + clearance
    fraction = torch.rand(max(1_000, int(UNIFORM * count)), 3, generator=generator).to(device)
    spread = torch.as_tensor(low, device=device) + fraction * torch.as_tensor(high - low, device=device)
    x = torch.cat([near_surface, spread])
    return x, mesh.signed_distance(x)


def fit(
    surfaces: Sequence[Surface],
    parameters: int,
    seconds: float = np.inf,
    device: str = "auto",
    seed: int = 0,
    most_steps: float = np.inf,
) -> HashField:
    """Train on samples near the surfaces, for `seconds` in all, sampling counted in, or for `most_steps`."""
    started = time.perf_counter()
    chosen, numbers = choose_device(device), PRESETS["fast"]
    assert isinstance(numbers, Preset)
    threads = limit_threads()
    points, distances = [], []
    for number, surface in enumerate(surfaces):
        x, distance = samples_of(surface, numbers.clearance, number, chosen)
        points.append(x)
        distances.append(distance)
    states = np.array([surface.state for surface in surfaces])
    fractions = (states - states[0]) / (states[-1] - states[0])
    owner = torch.cat(
        [torch.full((len(sample),), float(s), device=chosen) for sample, s in zip(points, fractions, strict=True)]
    )
    x, distance = torch.cat(points), torch.cat(distances)
    torch.manual_seed(seed)
    network = HashGrid(x.amin(0).cpu(), x.amax(0).cpu(), parameters).to(chosen)
    rates = (RATE, 0.25 * RATE)
    optimiser = torch.optim.Adam(
        [{"params": [network.table]}, {"params": network.mlp.parameters()}], betas=(0.9, 0.99), eps=1e-12, fused=True
    )
    steps = 0
    while (progress := max((time.perf_counter() - started) / seconds, steps / most_steps)) < 1.0 or not steps:
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * 0.5 * (1.0 + np.cos(np.pi * min(1.0, progress)))
        picked = torch.randint(len(x), (BATCH,), device=chosen)
        truth = distance[picked]
        error = (network(x[picked], owner[picked]) - truth.clamp(-CLAMP, CLAMP)).abs()
        optimiser.zero_grad(set_to_none=True)
        (error / (truth.abs() + NEAR)).mean().backward()
        optimiser.step()
        steps += 1
    network.requires_grad_(False)
    atoms = [surface.atoms for surface in surfaces if surface.atoms is not None]
    motion = Motion.from_states(states, np.stack(atoms) if atoms else None, align=False)
    low = np.min([surface.points.min(0) for surface in surfaces], 0)
    high = np.max([surface.points.max(0) for surface in surfaces], 0)
    report = {
        "preset": "hashgrid",
        "device": str(chosen),
        "threads": threads,
        "seconds": round(time.perf_counter() - started, 2),
        "steps": steps,
        "parameters": sum(weight.numel() for weight in network.parameters()),
    }
    frame = UnitCube.of([surface.points for surface in surfaces])
    return HashField(network, motion, frame, np.stack([low - 1.0, high + 1.0]), report)
