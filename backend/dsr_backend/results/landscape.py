"""The landscape of an ensemble: slow axes, free energy, Markov model, macrostates, and the comparison with a reference.

Distances between Cα atoms describe a state. Where the states are in order of time, TICA finds the slowest axes, and a
Markov model the macrostates; states without an order have the principal components of their distances as axes. deeptime
and MDAnalysis are optional packages, which `landscape_modules` imports.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.ensemble_options import LandscapeOptions
from pymol_dsr.shared.spacing import evenly_spaced

from ..motion.statistics import autocorrelation, rmsd_to, rmsf, thinned
from ..runtime.errors import Cancelled
from .ensemble_metrics import (
    EnsembleScores,
    baseline_rows,
    compare_ensembles,
    independent_samples,
    jensen_shannon,
)
from .macrostates import (
    SCALES,
    SEED,
    Floats,
    Macrostate,
    clustered_macrostates,
    markov_macrostates,
    numbered_macrostates,
)

INSTALL = 'pip install "pymol-dsr[simulate]"'
# Residues whose distances are used, evenly spaced along the chain; more distances say little more.
MOST_RESIDUES = 40
# Components of the distances that TICA gets, and states for each of them.
MOST_COMPONENTS, STATES_PER_COMPONENT = 20, 10
# Slow axes that microstates are of.
MOST_AXES = 4
# Distances that differ by less (Å) are the same: files have three digits, and a turned copy is as much off.
SAME = 1e-3
# Axes of the map.
PLANE = 2
# With a lower autocorrelation from one state to the next, the states are no time series.
IN_ORDER = 0.2
# Bins along each axis of the free energy, at least and at most.
FEWEST_BINS, MOST_BINS = 10, 40
# Bins along each axis of a Jensen–Shannon divergence: of finer ones many would hold no state.
COMPARED_BINS = 10
# States whose secondary structure is assigned.
MOST_ASSIGNED = 300
# Residues that MDAnalysis's DSSP takes at least.
LEAST_ASSIGNED = 6
CALPHA, BACKBONE = 1, 4
HELIX, STRAND = "H", "E"
# Å.
NITROGEN_TO_HYDROGEN = 1.01


@dataclass(frozen=True, eq=False)
class Landscape:
    """The landscape of S states of L residues.

    kind: `TICA` or `PCA`; lag: of TICA and the Markov model, in states. axes: f8[S,2], the states on the first two
    axes; edges: f8[2,B+1] of the bins; free_energy: f8[B,B] in kT, NaN where no state is. macrostate: i8[S] from 0,
    −1 for a state outside the Markov model; macrostates by falling population. lags: i8[K] and timescales f8[K,M],
    in states, NaN where there is none; none without a Markov model. rmsd: f8[S] Å to the native state. rmsf: f8[L] Å.
    helix, strand: f8[L], fractions of the states; None where only Cα atoms are known. reference_axes: f8[R,2];
    reference_rmsf: f8[L] Å, None without a reference. scores: rows by method against the reference. js:
    Jensen–Shannon divergence (bits) from the reference in the plane, NaN without one; floor: that between the halves of
    the reference, or of the ensemble; run_floor: its mean between each run and the others, NaN for a single run.
    samples, reference_samples: independent samples of the slowest axis, NaN where the states are no time series.
    notes: lines for the user.
    """

    kind: str
    lag: int
    axes: NDArray[np.float64]
    edges: NDArray[np.float64]
    free_energy: NDArray[np.float64]
    macrostate: NDArray[np.int64]
    macrostates: tuple[Macrostate, ...]
    lags: NDArray[np.int64]
    timescales: NDArray[np.float64]
    rmsd: NDArray[np.float64]
    rmsf: NDArray[np.float64]
    helix: NDArray[np.float64] | None
    strand: NDArray[np.float64] | None
    reference_axes: NDArray[np.float64]
    reference_rmsf: NDArray[np.float64] | None
    scores: dict[str, EnsembleScores]
    js: float
    floor: float
    run_floor: float
    samples: float
    reference_samples: float
    notes: tuple[str, ...]


def landscape_modules() -> SimpleNamespace:
    """Return what is needed of deeptime and MDAnalysis. Raises ValueError with the pip command where one is missing."""
    try:
        # Optional, and slow to import.
        from deeptime.clustering import KMeans
        from deeptime.decomposition import TICA
        from deeptime.markov import TransitionCountEstimator
        from deeptime.markov.msm import MaximumLikelihoodMSM
        from MDAnalysis.analysis.dssp.pydssp_numpy import assign
    except ImportError as error:
        raise ValueError(f"a landscape needs {error.name or 'deeptime'}, where the backend runs: {INSTALL}") from error
    return SimpleNamespace(
        KMeans=KMeans, TICA=TICA, Counts=TransitionCountEstimator, Markov=MaximumLikelihoodMSM, assign=assign
    )


def landscape(
    series: Sequence[Floats],
    options: LandscapeOptions,
    reference: Sequence[Floats] = (),
    native: Floats | None = None,
    follows: NDArray[np.bool_] | None = None,
    donors: NDArray[np.bool_] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Landscape:
    """Return the landscape of series of states f[S,L,K,3] (Å), one for each trajectory.

    K: 1 for Cα, or 4 for N, Cα, C, O. reference: series of the same residues, whose axes are taken. native: Cα f[L,3],
    the first state unless it is given. follows: bool[L], whether a residue is bonded to the one before. donors:
    bool[L], whether its nitrogen has a hydrogen, as prolines have not. Raises ValueError for too few states or
    residues, or where packages are missing, and Cancelled.
    """
    modules = landscape_modules()
    count, residues = sum(map(len, series)), series[0].shape[1]
    _ensure_enough(count, residues)
    pairs = _pairs(residues)
    ensemble, known = _Group.of(series, pairs), _Group.of(reference, pairs) if reference else None
    notes: list[str] = []
    axes = _axes(ensemble, known, options, modules, notes)
    placed = [axes.projection(x) for x in ensemble.distances]
    known_placed = [axes.projection(x) for x in known.distances] if known else []
    _check(cancelled)
    model = None
    if axes.ordered and ensemble.shortest > 2 * axes.lag:
        model = markov_macrostates(placed, axes.lag, options.states, modules, notes)
    if model is None:
        model = clustered_macrostates(placed, options.states, modules)
    _check(cancelled)
    plane = np.concatenate(placed)[:, :2]
    known_plane = np.concatenate(known_placed)[:, :2] if known else np.zeros((0, 2))
    together = np.concatenate([plane, known_plane])
    edges = _edges(together, int(np.clip(math.sqrt(count / 4.0), FEWEST_BINS, MOST_BINS)))
    coarse = _edges(together, COMPARED_BINS)
    pooled = np.concatenate(ensemble.alphas)
    lag = axes.lag if axes.ordered else None
    scores = _scores(ensemble.alphas, known.alphas, follows, lag, cancelled) if known else {}
    has_hydrogen = np.ones(residues, bool)
    for mask in (follows, donors):
        has_hydrogen &= True if mask is None else mask
    helix, strand = _secondary_structure(series, has_hydrogen, modules)
    return Landscape(
        kind="TICA" if axes.ordered else "PCA",
        lag=axes.lag,
        axes=plane,
        edges=edges,
        free_energy=_free_energy(_histogram(plane, edges, model.weights)),
        macrostate=model.assignment,
        macrostates=numbered_macrostates(plane, model),
        lags=np.array(model.lags, np.int64),
        timescales=np.array(model.timescales, np.float64).reshape(len(model.lags), SCALES),
        rmsd=rmsd_to(pooled, pooled[0] if native is None else native),
        rmsf=rmsf(pooled),
        helix=helix,
        strand=strand,
        reference_axes=known_plane,
        reference_rmsf=rmsf(np.concatenate(known.alphas)) if known else None,
        scores=scores,
        js=jensen_shannon(_histogram(plane, coarse), _histogram(known_plane, coarse)) if known else math.nan,
        floor=_halves_floor(known_placed or placed, coarse),
        run_floor=_run_floor(known_placed or placed, coarse),
        samples=independent_samples([x[:, 0] for x in placed]) if axes.ordered else math.nan,
        reference_samples=independent_samples([x[:, 0] for x in known_placed]) if axes.ordered and known else math.nan,
        notes=tuple(notes),
    )


@dataclass(frozen=True, eq=False)
class _Group:
    """Series of an ensemble or of its reference: their Cα f8[S,L,3] (Å), and the distances f8[S,P] (Å) of pairs."""

    alphas: list[NDArray[np.float64]]
    distances: list[Floats]

    @classmethod
    def of(cls, series: Sequence[Floats], pairs: tuple[NDArray[np.int64], NDArray[np.int64]]) -> _Group:
        """Return the group of series f[S,L,K,3] (Å)."""
        alphas = [_calpha(states) for states in series]
        return cls(alphas, [_distances(x, pairs) for x in alphas])

    @property
    def shortest(self) -> int:
        """States of the shortest series."""
        return min(map(len, self.alphas))


@dataclass(frozen=True, eq=False)
class _Axes:
    """Axes of a landscape. ordered: whether its states are a time series; lag: in states."""

    ordered: bool
    lag: int
    projection: _Projection


def _axes(
    ensemble: _Group, known: _Group | None, options: LandscapeOptions, modules: SimpleNamespace, notes: list[str]
) -> _Axes:
    """Return the axes of the reference `known`, or of the ensemble without one, and add to the notes.

    Raises ValueError for states without axes, and for a lag that a series is too short for.
    """
    source = known or ensemble
    principal = _Principal.of(source.distances)
    _ensure_motion(principal, source.alphas, known is not None)
    is_line = principal.rank < PLANE
    ordered = not is_line and (options.ordered == "1" or (options.ordered == "auto" and _is_in_order(source.alphas)))
    if is_line and known:
        notes.append(
            "the states of the reference lie on one line: axis 1 is that line, axis 2 the largest motion of the "
            "ensemble across it, if any; no Markov model"
        )
    elif is_line:
        notes.append("the states lie on one line, so axis 2 is empty; no Markov model")
    elif not ordered:
        notes.append("the states are not taken as a time series: principal components, and no Markov model")
    if is_line:
        principal = principal.with_second(ensemble.distances)
    lag = _lag(options.lag, min(source.shortest, ensemble.shortest), ordered)
    return _Axes(ordered, lag, _Projection.of(principal, source.distances, lag if ordered else 0, modules))


def _ensure_enough(states: int, residues: int) -> None:
    """Raise ValueError for too few states or residues."""
    if residues < 4 or states < 10:
        raise ValueError(
            f"a landscape takes 4 residues and 10 states at least, and here are {residues} and {states}; "
            "choose more; an occupancy takes any number of both"
        )


def _ensure_motion(principal: _Principal, states: Sequence[Floats], is_reference: bool) -> None:
    """Raise ValueError for states that are all the same, which have no axes."""
    if not principal.rank:
        owner, remedy = (
            ("of the reference", "name one of them alone, which is the native state, or a reference that moves")
            if is_reference
            else ("", "choose states of a motion, or a reference that moves")
        )
        count = sum(map(len, states))
        raise ValueError(f"{' '.join(f'the {count} states {owner}'.split())} are identical and have no axes; {remedy}")


def _scores(
    alphas: Sequence[Floats],
    reference_alphas: Sequence[Floats],
    follows: NDArray[np.bool_] | None,
    lag: int | None,
    cancelled: Callable[[], bool],
) -> dict[str, EnsembleScores]:
    """Return the rows of the comparison by method. lag: in states, None for states that are no time series."""
    pooled, known = np.concatenate(alphas), np.concatenate(reference_alphas)
    bonds = None if follows is None else np.stack([np.flatnonzero(follows) - 1, np.flatnonzero(follows)], 1)
    in_time = lag is not None and len(alphas) == 1 and len(reference_alphas) == 1
    ensemble = compare_ensembles(pooled, known, bonds=bonds, ordered=in_time, lag=lag or 1)
    _check(cancelled)
    baselines = baseline_rows(known, known, len(pooled), bonds=bonds, ordered=in_time, lag=lag or 1, seed=SEED)
    return {"ensemble": ensemble, **baselines}


def _check(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled("cancelled while a landscape was computed")


def _calpha(states: Floats) -> NDArray[np.float64]:
    """Return the Cα atoms f8[S,L,3] of states f[S,L,K,3]."""
    return np.asarray(states[:, :, 1 if states.shape[2] == BACKBONE else 0], np.float64)


def _is_in_order(series: Sequence[NDArray[np.float64]]) -> bool:
    """Whether states resemble the one before more than any other."""
    return bool(autocorrelation(series, [1])[0] >= IN_ORDER)


def _lag(lag: int | None, count: int, ordered: bool) -> int:
    """Return the lag in states. Raises ValueError where a series of `count` states is too short for the one asked."""
    if lag is None:
        return max(1, min(20, count // 50))
    if ordered and 2 * lag >= count:
        raise ValueError(
            f"lag {lag}: the shortest series has {count} states, and more than twice the lag are needed; give "
            f"{max(1, (count - 1) // 2)} or less, or more states"
        )
    return lag


def _pairs(residues: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the residues (i, j) whose distances are used: two apart or more, of at most MOST_RESIDUES."""
    chosen = np.array(evenly_spaced(range(residues), MOST_RESIDUES), np.int64)
    i, j = np.triu_indices(len(chosen), 1)
    separated = chosen[j] - chosen[i] > 1
    return chosen[i][separated], chosen[j][separated]


def _distances(states: NDArray[np.float64], pairs: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Floats:
    """Return the distances f8[S,P] (Å) of Cα atoms f8[S,L,3]."""
    i, j = pairs
    lengths: Floats = np.linalg.norm(states[:, i] - states[:, j], axis=2)
    return lengths


@dataclass(frozen=True, eq=False)
class _Principal:
    """Principal components of distances f[S,P]: their mean f8[P], and unit vectors f8[P,C], the largest first."""

    mean: Floats
    components: Floats

    @property
    def rank(self) -> int:
        """Number of directions in which the states differ."""
        return int(self.components.shape[1])

    @classmethod
    def of(cls, series: Sequence[Floats]) -> _Principal:
        """Return the components of all states, at least two where the states are not on one line."""
        pooled = np.concatenate(series)
        mean = pooled.mean(0)
        _, sizes, axes = np.linalg.svd(pooled - mean, full_matrices=False)
        least = max(1e-6 * sizes[0], SAME * math.sqrt(len(pooled)))
        count = min(MOST_COMPONENTS, max(PLANE, len(pooled) // STATES_PER_COMPONENT), int((sizes > least).sum()))
        return cls(mean, axes[:count].T)

    def with_second(self, series: Sequence[Floats]) -> _Principal:
        """Return a line with the largest motion of these states across it, or with a vector of zeros without one."""
        deviations = np.concatenate(series) - self.mean
        deviations = deviations - deviations.mean(0)
        across = _Principal.of([deviations - (deviations @ self.components) @ self.components.T])
        second = across.components[:, :1] if across.rank else np.zeros_like(self.components)
        return _Principal(self.mean, np.concatenate([self.components, second], axis=1))


@dataclass(frozen=True, eq=False)
class _Projection:
    """From distances f[S,P] to slow axes or principal components f8[S,D].

    principal: of the distances; model: deeptime's TICA of its components, or None.
    """

    principal: _Principal
    model: Any

    @classmethod
    def of(cls, principal: _Principal, series: Sequence[Floats], lag: int, modules: SimpleNamespace) -> _Projection:
        """Return the principal components of all distances, and with a lag their slow combinations."""
        mean, components = principal.mean, principal.components
        if not lag:
            return cls(_Principal(mean, components[:, :MOST_AXES]), None)
        covariance = modules.TICA.covariance_estimator(lagtime=lag)
        for states in series:
            x = (states - mean) @ components
            if len(x) > lag:
                covariance.partial_fit((x[:-lag], x[lag:]))
        model = modules.TICA(dim=min(MOST_AXES, principal.rank), scaling="kinetic_map").fit(covariance).fetch_model()
        return cls(principal, model)

    def __call__(self, distances: Floats) -> NDArray[np.float64]:
        x = (distances - self.principal.mean) @ self.principal.components
        return np.asarray(x if self.model is None else self.model.transform(x), np.float64)


def _edges(plane: Floats, bins: int) -> NDArray[np.float64]:
    """Return the edges f8[2,B+1] of bins over all points f[N,2]."""
    low, high = plane.min(0), plane.max(0)
    margin = np.maximum(1e-6, 0.02 * (high - low))
    return np.stack([np.linspace(low[k] - margin[k], high[k] + margin[k], bins + 1) for k in (0, 1)])


def _histogram(
    plane: Floats, edges: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    counts: NDArray[np.float64] = np.histogram2d(plane[:, 0], plane[:, 1], bins=[*edges], weights=weights)[0]
    return counts


def _free_energy(populations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the free energy f8[B,B] (kT) above its minimum from the population f8[B,B] of bins, NaN for empty ones."""
    with np.errstate(divide="ignore"):
        energy = -np.log(populations / populations.max())
    return np.where(np.isfinite(energy), energy, np.nan)


def _halves_floor(placed: Sequence[Floats], edges: NDArray[np.float64]) -> float:
    """Return the divergence (bits) between the first halves of all runs f[S,D] and the second ones.

    NaN for runs of one state, which have no halves.
    """
    if max(map(len, placed)) < 2:
        return math.nan
    first_half = np.sum([_histogram(run[: len(run) // 2, :2], edges) for run in placed], 0)
    second_half = np.sum([_histogram(run[len(run) // 2 :, :2], edges) for run in placed], 0)
    return jensen_shannon(first_half, second_half)


def _run_floor(placed: Sequence[Floats], edges: NDArray[np.float64]) -> float:
    """Return the mean divergence (bits) of each run f[S,D] from the others; NaN for a single one."""
    if len(placed) < 2:
        return math.nan
    counts = [_histogram(run[:, :2], edges) for run in placed]
    pooled = np.sum(counts, 0)
    return float(np.mean([jensen_shannon(run_counts, pooled - run_counts) for run_counts in counts]))


def _secondary_structure(
    series: Sequence[Floats], has_hydrogen: NDArray[np.bool_], modules: SimpleNamespace
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Return how often each residue is helix and strand, f8[L] each, by DSSP.

    has_hydrogen: bool[L], of each nitrogen, which bonds by it. None where only Cα atoms are known, or for fewer
    residues than DSSP takes.
    """
    if series[0].shape[2] != BACKBONE or series[0].shape[1] < LEAST_ASSIGNED:
        return None, None
    states = thinned(np.concatenate(list(series)), MOST_ASSIGNED)
    letters = np.stack([_letters(modules.assign(_with_hydrogens(state, has_hydrogen))) for state in states])
    return (letters == HELIX).mean(0), (letters == STRAND).mean(0)


def _with_hydrogens(state: Floats, has_hydrogen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return N, Cα, C, O and hydrogen f8[L,5,3] (Å) of a state f[L,4,3].

    A hydrogen lies in the plane of its peptide bond, where DSSP puts it by itself. One that a nitrogen does not have
    lies on it, where it makes no hydrogen bond.
    """
    backbone = np.asarray(state, np.float64)
    nitrogen, alpha, carbon = backbone[1:, 0], backbone[1:, 1], backbone[:-1, 2]
    directions = sum(
        step / np.linalg.norm(step, axis=1, keepdims=True) for step in (nitrogen - carbon, nitrogen - alpha)
    )
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    hydrogens = backbone[:, 0].copy()
    hydrogens[1:] += has_hydrogen[1:, None] * NITROGEN_TO_HYDROGEN * directions
    return np.concatenate([backbone, hydrogens[:, None]], axis=1)


def _letters(assigned: NDArray[Any]) -> NDArray[np.str_]:
    """Return the letters [L] of DSSP's one-hot table [L,3] of loop, helix and strand."""
    letters: NDArray[np.str_] = np.array(["-", HELIX, STRAND])[np.argmax(assigned, axis=-1)]
    return letters
