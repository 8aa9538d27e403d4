"""Forces of a potential in closed form: a third of the time of those by automatic differentiation, or less.

The filters of the network depend on a distance alone, so they come from a table.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch.nn.functional import linear, silu

from ...runtime.parallel import one_thread_each
from .beads import Protein
from .network import CUTOFF
from .potential import (
    CONTACT,
    CONTACT_SEPARATIONS,
    DIHEDRAL_WAVES,
    FAR_CONTACTS,
    FAR_SOFTNESS,
    HISTOGRAM,
    SOFTNESS,
    Potential,
    far_feature_count,
    far_pairs,
    fold_feature_count,
    histogram_range,
)
from .priors import EXPONENT, STRAIGHT

KNOTS = 2048
"""Knots of the table of filters. Between two of them, a Taylor series of second order has an error below 1e-6."""
TINY = 1e-12
MANY_DISTANCES = 20_000
"""Distances at a step from which a second thread pays. With fewer, threads wait for each other: on a busy machine,
steps of 64 × 10 beads took five times the processor seconds.
"""


class ClosedForces:
    """Forces on the beads of replicas of one protein. The potential's network and priors must stay as they are."""

    def __init__(self, potential: Potential, protein: Protein, offsets: torch.Tensor | None = None) -> None:
        """offsets: [K] of the calibration."""
        self._chain = _Chain(potential, protein)
        self._pairs = _Pairs(potential, protein)
        self._network = _Network(potential, protein)
        self._radius: torch.Tensor | None = None
        self._count = len(protein)
        self._far_count, self._fold_count = far_feature_count(protein), fold_feature_count(protein)
        self.set_offsets(offsets)

    @contextmanager
    def suitable_threads(self, replicas: int) -> Iterator[None]:
        """Let torch use one thread inside the block, where so many replicas are few."""
        if replicas * len(self._pairs.first) >= MANY_DISTANCES:
            yield
            return
        with one_thread_each():
            yield

    def set_offsets(self, offsets: torch.Tensor | None) -> None:
        """Change the weights [K] of the features."""
        if offsets is None:
            return
        offsets = offsets.to(self._pairs.radii)
        waves = len(self._chain.prior_waves) * 2 * DIHEDRAL_WAVES
        self._chain.add_waves(offsets[:waves])
        fold, far = len(offsets) - self._fold_count, len(offsets) - self._far_count
        self._pairs.set_contacts(offsets[waves : fold - HISTOGRAM], offsets[far:])
        self._radius = offsets[fold - HISTOGRAM : fold]
        if fold < far:
            self._chain.angle_weights = offsets[fold:far, None]

    @torch.no_grad()
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return forces [R,N,3] in kcal/mol/Å on beads [R,N,3] in Å."""
        beads = x.transpose(0, 1).contiguous()
        slope = torch.zeros_like(beads)
        self._chain.add_slope(beads, slope)
        if self._radius is not None:
            centred = beads - beads.mean(0)
            radius = (centred.square().sum((0, 2)) / self._count + TINY).sqrt()
            slope_of_radius = _histogram_slope(radius, self._radius, *histogram_range(self._count))
            slope += (slope_of_radius / (self._count * radius))[:, None] * centred
        first, second = self._pairs.first, self._pairs.second
        vectors = beads.index_select(0, first) - beads.index_select(0, second)
        distance = (vectors.square().sum(-1) + TINY).sqrt()
        slopes = self._pairs.slopes(distance)
        near = (distance < CUTOFF).any(1)
        if bool(near.all()):
            slopes += self._network.slopes(distance, first, second)
        else:
            slopes[near] += self._network.slopes(distance[near], first[near], second[near])
        pull = (slopes / distance)[..., None] * vectors
        slope.index_add_(0, first, pull)
        slope.index_add_(0, second, pull, alpha=-1.0)
        return slope.neg_().transpose(0, 1)


class _Chain:
    """Bonds, angles and dihedrals, of vectors [B,R,3] along the chain."""

    def __init__(self, potential: Potential, protein: Protein) -> None:
        priors, device, dtype = potential.priors, potential.device, potential.network.last.weight.dtype
        types = torch.as_tensor(protein.types, device=device)
        bonds, angles, dihedrals = (torch.as_tensor(protein.runs(length), device=device) for length in (2, 3, 4))
        self._first, self._second = bonds.T.contiguous()
        self._strength, self._length = (
            priors.bonds[types[self._first], types[self._second]].to(dtype)[:, None].unbind(-1)
        )
        # The number of the bond that begins at each bead.
        bond_at = torch.full((len(protein),), -1, device=device)
        bond_at[self._first] = torch.arange(len(bonds), device=device)
        self._angles = bond_at[angles[:, :2]].T.contiguous()
        self.angle_weights: torch.Tensor | None = None
        self._stiffness, self._cosine = priors.angles[types[angles[:, 1]]].to(dtype)[:, None].unbind(-1)
        self._dihedrals = bond_at[dihedrals[:, :3]].T.contiguous()
        self.prior_waves = priors.dihedrals[types[dihedrals[:, 1]], types[dihedrals[:, 2]]].to(dtype)
        self._waves = self.prior_waves.T[:, :, None].contiguous()

    def add_waves(self, offsets: torch.Tensor) -> None:
        """Set the weights of waves that come to those of the priors, [D·2·DIHEDRAL_WAVES]."""
        waves = self.prior_waves.clone()
        waves[:, : 2 * DIHEDRAL_WAVES] += offsets.reshape(len(waves), -1)
        self._waves = waves.T[:, :, None].contiguous()

    def add_slope(self, beads: torch.Tensor, slope: torch.Tensor) -> None:
        """Add the slopes of the energy with the beads [N,R,3]."""
        vectors = beads.index_select(0, self._second) - beads.index_select(0, self._first)
        squares = vectors.square().sum(-1)
        lengths = (squares + TINY).sqrt()
        pull = (self._strength * (1.0 - self._length / lengths))[..., None] * vectors
        if self._angles.shape[1]:
            self._add_angles(vectors, squares, pull)
        if self._dihedrals.shape[1]:
            self._add_dihedrals(vectors, lengths, pull)
        slope.index_add_(0, self._second, pull)
        slope.index_add_(0, self._first, pull, alpha=-1.0)

    def _add_angles(self, vectors: torch.Tensor, squares: torch.Tensor, pull: torch.Tensor) -> None:
        before, after = self._angles
        a, b = vectors.index_select(0, before), vectors.index_select(0, after)
        a_square, b_square = squares.index_select(0, before), squares.index_select(0, after)
        product = a_square * b_square + TINY
        norm = product.rsqrt()
        cosine = -(a * b).sum(-1) * norm
        strength = self._stiffness * (cosine - self._cosine)
        if self.angle_weights is not None:
            strength = strength + self.angle_weights
        across, along = (-strength * norm)[..., None], -strength * cosine / product
        pull.index_add_(0, before, across * b + (along * b_square)[..., None] * a)
        pull.index_add_(0, after, across * a + (along * a_square)[..., None] * b)

    def _add_dihedrals(self, vectors: torch.Tensor, lengths: torch.Tensor, pull: torch.Tensor) -> None:
        before, middle, after = self._dihedrals
        a, b, c, length = (
            vectors.index_select(0, before),
            vectors.index_select(0, middle),
            vectors.index_select(0, after),
            lengths.index_select(0, middle),
        )
        first_normal, last_normal = torch.linalg.cross(a, b), torch.linalg.cross(b, c)
        first_square, last_square = first_normal.square().sum(-1), last_normal.square().sum(-1)
        inverse = (first_square * last_square + STRAIGHT**2).rsqrt()
        height = (a * last_normal).sum(-1)
        cosine = (first_normal * last_normal).sum(-1) * inverse
        sine = length * height * inverse
        by_cosine, by_sine = self._wave_slopes(cosine, sine)
        by_size = -(by_cosine * cosine + by_sine * sine) * inverse * inverse
        by_cosine, by_sine = by_cosine * inverse, by_sine * inverse
        by_height = (by_sine * length)[..., None]
        by_first = by_cosine[..., None] * last_normal + (by_size * last_square)[..., None] * first_normal
        by_last = (
            by_cosine[..., None] * first_normal + (by_size * first_square)[..., None] * last_normal + by_height * a
        )
        pull.index_add_(0, before, by_height * last_normal + torch.linalg.cross(b, by_first))
        pull.index_add_(0, after, torch.linalg.cross(by_last, b))
        by_middle = torch.linalg.cross(by_first, a) + torch.linalg.cross(c, by_last)
        pull.index_add_(0, middle, by_middle + (by_sine * height / length)[..., None] * b)

    def _wave_slopes(self, cosine: torch.Tensor, sine: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the slopes of all waves with cosine and sine: z ↦ n·zⁿ⁻¹ for each wave zⁿ."""
        real, imaginary = torch.ones_like(cosine), torch.zeros_like(sine)
        by_cosine, by_sine = torch.zeros_like(cosine), torch.zeros_like(sine)
        for number in range(len(self._waves) // 2):
            a, b = (number + 1) * self._waves[2 * number], (number + 1) * self._waves[2 * number + 1]
            by_cosine = by_cosine + a * real + b * imaginary
            by_sine = by_sine + b * real - a * imaginary
            real, imaginary = real * cosine - imaginary * sine, imaginary * cosine + real * sine
        return by_cosine, by_sine


class _Pairs:
    """Repulsion and contacts, of distances [P,R]."""

    def __init__(self, potential: Potential, protein: Protein) -> None:
        device = potential.device
        self.first, self.second = torch.as_tensor(protein.pairs, device=device).T.contiguous()
        kinds = np.clip(protein.separations - 2, 0, 1)
        radii = potential.priors.repulsion[torch.as_tensor(kinds, device=device)].to(potential.network.last.weight)
        # Neighbours do not push each other off.
        self.radii = torch.where(torch.as_tensor(protein.separations >= 2, device=device), radii, 0.0)[:, None]
        number_of = {pair: number for number, pair in enumerate(map(tuple, protein.pairs.tolist()))}
        self._near = [
            torch.tensor([number_of[run[0], run[-1]] for run in protein.runs(separation + 1).tolist()], device=device)
            for separation in CONTACT_SEPARATIONS
        ]
        self._near = [pairs.long() for pairs in self._near if len(pairs)]
        far = [number_of[pair] for pair in map(tuple, far_pairs(protein).tolist())]
        self._far = torch.tensor(far, device=device, dtype=torch.int64)
        self._contacts: list[torch.Tensor] = []
        self._fractions: list[torch.Tensor] = []
        self._nearness: list[torch.Tensor] = []

    def set_contacts(self, offsets: torch.Tensor, far_offsets: torch.Tensor) -> None:
        """Set the weights of contacts, and then of the histograms of each kind of them; and those of far pairs."""
        sizes = [len(pairs) for pairs in self._near]
        groups = torch.split(offsets, [*sizes, *[HISTOGRAM] * len(sizes)])
        self._contacts = [group[:, None] for group in groups[: len(sizes)]]
        self._fractions = list(groups[len(sizes) :])
        self._nearness = (
            [weights[:, None] for weights in far_offsets.chunk(len(FAR_CONTACTS))] if len(self._far) else []
        )

    def slopes(self, distance: torch.Tensor) -> torch.Tensor:
        """Return the slopes [P,R] of the energy with the distances."""
        slopes = -EXPONENT * (self.radii / distance) ** EXPONENT / distance
        for pairs, weights, fraction in zip(self._near, self._contacts, self._fractions, strict=False):
            contact = torch.sigmoid((CONTACT - distance[pairs]) / SOFTNESS)
            weights = weights + _histogram_slope(contact.mean(0), fraction, 0.0, 1.0) / len(pairs)
            slopes.index_add_(0, pairs, weights * contact * (contact - 1.0) / SOFTNESS)
        for contact_distance, weights in zip(FAR_CONTACTS, self._nearness, strict=False):
            contact = torch.sigmoid((contact_distance - distance[self._far]) / FAR_SOFTNESS)
            slopes.index_add_(0, self._far, weights * contact * (contact - 1.0) / FAR_SOFTNESS)
        return slopes


@dataclass(frozen=True, eq=False)
class _Update:
    """The two linear maps that change a bead after its messages."""

    weight: torch.Tensor
    bias: torch.Tensor
    last_weight: torch.Tensor
    last_bias: torch.Tensor

    @classmethod
    def of(cls, named: Mapping[str, torch.Tensor], prefix: str) -> _Update:
        """Return those of a layer, of all parameters by their names."""
        return cls(*(named[f"{prefix}.{key}"] for key in ("0.weight", "0.bias", "2.weight", "2.bias")))


class _Network:
    """The graph network, with its filters in a table."""

    def __init__(self, potential: Potential, protein: Protein) -> None:
        network = potential.network
        self._table = _filter_table(potential)
        self._layers, self._width = network.layers, network.width
        with torch.no_grad():
            types = torch.as_tensor(protein.types, device=potential.device)
            self._embedding = network.embedding(types)[:, None].clone()
        named = {name: parameter.detach() for name, parameter in network.named_parameters()}
        layers = range(network.layers)
        self._sources = [named[f"sources.{layer}.weight"] for layer in layers]
        self._updates = [_Update.of(named, f"updates.{layer}") for layer in layers]
        self._energies, self._energy_bias = named["energies.0.weight"], named["energies.0.bias"]
        self._last = named["last.weight"][0]

    def slopes(self, distance: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return the slopes [P,R] of the energy with the distances of pairs."""
        # The last knot is also for distances that are no number, of a replica that has flown apart.
        position = torch.where(distance < CUTOFF, distance * ((KNOTS - 1) / CUTOFF), float(KNOTS - 1))
        knot = position.round()
        shift = ((position - knot) * (CUTOFF / (KNOTS - 1)))[..., None]
        rows = self._table.index_select(0, knot.long().flatten())
        value, slope, curvature = rows.view(*knot.shape, 3, -1).unbind(-2)
        filters = torch.addcmul(value, shift, torch.addcmul(slope, shift, curvature, value=0.5))
        filter_slopes = torch.addcmul(slope, shift, curvature)
        h = self._embedding.expand(-1, distance.shape[1], -1)
        layers_before = []
        for layer, (weight, source, update) in enumerate(
            zip(torch.split(filters, self._width, -1), self._sources, self._updates, strict=True)
        ):
            sent = (h[:, :1] if layer == 0 else h) @ source.T
            sent = sent.expand_as(h)
            at_first, at_second = sent.index_select(0, first), sent.index_select(0, second)
            received = h.new_zeros(h.shape).index_add_(0, first, weight * at_second)
            received.index_add_(0, second, weight * at_first)
            hidden = linear(received, update.weight, update.bias)
            layers_before.append((weight, at_first, at_second, hidden))
            h = h + linear(silu(hidden), update.last_weight, update.last_bias)
        by_h = (_silu_slope(linear(h, self._energies, self._energy_bias)) * self._last) @ self._energies
        total = torch.zeros_like(distance)
        for layer in reversed(range(self._layers)):
            weight, at_first, at_second, hidden = layers_before[layer]
            update = self._updates[layer]
            by_received = (by_h @ update.last_weight * _silu_slope(hidden)) @ update.weight
            by_first, by_second = by_received.index_select(0, first), by_received.index_select(0, second)
            slope = filter_slopes.narrow(-1, layer * self._width, self._width)
            total += (slope * torch.addcmul(by_first * at_second, by_second, at_first)).sum(-1)
            if layer:
                by_sent = h.new_zeros(h.shape).index_add_(0, second, weight * by_first)
                by_sent.index_add_(0, first, weight * by_second)
                by_h = by_h + by_sent @ self._sources[layer]
        return total


def _filter_table(potential: Potential) -> torch.Tensor:
    """Return the filters at all knots with their two derivatives, [KNOTS,3·layers·width]."""
    network = copy.deepcopy(potential.network).cpu().double()
    distances = torch.linspace(0.0, CUTOFF, KNOTS, dtype=torch.float64)
    with torch.no_grad():
        values = torch.cat(network.filtered(distances), -1).numpy()
    spline = CubicSpline(distances.numpy(), values)
    table = np.stack([values, *(spline(distances.numpy(), order) for order in (1, 2))], 1)
    # Beads farther apart do not see each other.
    table[-1] = 0.0
    return torch.as_tensor(table).to(potential.network.last.weight).flatten(1)


def _silu_slope(x: torch.Tensor) -> torch.Tensor:
    gate = torch.sigmoid(x)
    return gate * (1.0 + x * (1.0 - gate))


def _histogram_slope(values: torch.Tensor, weights: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Return the slope [R] of a weighted soft histogram with its values [R]."""
    width = (high - low) / (HISTOGRAM - 1)
    places = torch.linspace(low, high, HISTOGRAM, dtype=values.dtype, device=values.device)
    shifted = (values[:, None] - places) / width
    return (weights * torch.exp(-0.5 * shifted**2) * shifted).sum(1) / -width
