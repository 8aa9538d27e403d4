"""The landscape of an ensemble, for dsr_ensemble: residues that its objects have in common, tables and text."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..shared import atomic_write, landscape_plot, messages, states
from ..shared.ensemble_options import LandscapeOptions
from ..shared.messages import LandscapeResult
from ..shared.tables import csv_bytes
from ..sources.atoms import MoleculeStates
from ..surfaces.source import ExtractError

# Chain (or segment), residue number and residue name.
ResidueKey = tuple[str, str, str]
CALPHA = "CA"
# The last residue of a chain has no O of that name in some force fields.
OXYGENS = ("O", "OT1", "O1", "OXT", "OT2")
MOST_MUTATED = 0.25
"""Fraction of the residues of mutants; objects with more that differ are other proteins."""
LEAST_RESIDUES = 4
LONGEST_LINK = 4.3
"""Å from a Cα to the next one, where their residues are bonded; 3.8 Å is usual."""
# Prolines of all kinds: their nitrogen has no hydrogen to bond with.
PROLINES = ("PRO", "HYP", "DPR")
# Characters of a list of states in a line.
LONGEST_STATES = 60
SCORES = {
    "rmsf_correlation": "RMSF r",
    "pairwise_rmsd": "pair RMSD",
    "pca_w2": "PCA W2",
    "js": "PCA JS",
    "transition_js": "trans. JS",
    "contact_jaccard": "contacts",
    "recall": "recall",
    "autocorrelation": "autocorr.",
    "broken": "broken",
    "clashes": "clashes",
}
"""Headings of the table against a reference, by the names of the scores."""


@dataclass(frozen=True, eq=False)
class ResidueStates:
    """The residues of one object in some states.

    keys: of L residues; places: i8[L,4], the atoms N, Cα, C and O of each among the object's, −1 where it has none.
    """

    atoms: MoleculeStates
    keys: tuple[ResidueKey, ...]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, atoms: MoleculeStates) -> ResidueStates:
        """Return the residues that have a Cα. Raises ExtractError for fewer than four."""
        atoms_of_residue: dict[ResidueKey, dict[str, int]] = {}
        for index, (chain, number, residue, name) in enumerate(atoms.atom_keys()):
            atoms_of_residue.setdefault((chain, number, residue), {}).setdefault(name, index)
        rows = {
            key: [names.get("N", -1), names[CALPHA], names.get("C", -1), _oxygen(names)]
            for key, names in atoms_of_residue.items()
            if CALPHA in names
        }
        if len(rows) < LEAST_RESIDUES:
            raise ExtractError(
                f"selection {atoms.selection}: it has {len(rows)} residues with a CA atom, and a landscape takes "
                f"{LEAST_RESIDUES} or more; of nucleic acids and ligands, dsr_occupancy shows the ensemble"
            )
        return cls(atoms, tuple(rows), np.array(list(rows.values()), np.int64))

    def chosen(self, keys: Sequence[ResidueKey]) -> ResidueStates:
        """Return some of the residues, in the order of their keys."""
        rows = {key: row for row, key in enumerate(self.keys)}
        return replace(self, keys=tuple(keys), places=self.places[[rows[key] for key in keys]])

    def coordinates(self, backbone: bool) -> NDArray[np.float32]:
        """Return f4[S,L,4,3] in Å of N, Cα, C and O, or f4[S,L,1,3] of the Cα."""
        places = self.places if backbone else self.places[:, 1:2]
        return np.asarray(self.atoms.coordinates[:, places], np.float32)


def _oxygen(names: Mapping[str, int]) -> int:
    return next((names[name] for name in OXYGENS if name in names), -1)


def in_common(objects: Sequence[ResidueStates]) -> tuple[list[ResidueStates], str]:
    """Return the objects with the residues that all of them have, and a line on what was left out, or none.

    Objects of the same sequence correspond in order, whatever their chains and numbers are. Mutants of few residues
    correspond by chain and number, with the mutated residues. Raises ExtractError for fewer than four residues in
    common.
    """
    sequences = {tuple(residue for _, _, residue in member.keys) for member in objects}
    if len(sequences) == 1:
        return list(objects), ""
    mutated = _mutated(objects)
    if mutated:
        return list(objects), f"mutated residues are compared, too, by their CA atoms: {', '.join(mutated)}"
    shared = set(objects[0].keys).intersection(*(member.keys for member in objects[1:]))
    keys = [key for key in objects[0].keys if key in shared]
    names = ", ".join(member.atoms.object for member in objects)
    if len(keys) < LEAST_RESIDUES:
        raise ExtractError(
            f"{names} have {len(keys)} residues in common (by chain, number and name), and {LEAST_RESIDUES} are "
            "needed; select the same residues of each, or give them the same chain with alter"
        )
    left = max(len(member.keys) for member in objects) - len(keys)
    return [member.chosen(keys) for member in objects], (
        f"{len(keys)} residues are in all of {names}; up to {left} others are left out"
    )


def _mutated(objects: Sequence[ResidueStates]) -> list[str]:
    """Return what differs between mutants of the same residues, as A:5 ALA/GLY; nothing where they are no mutants."""
    columns = list(zip(*(member.keys for member in objects), strict=False))
    if any(len(member.keys) != len(columns) for member in objects):
        return []
    if any(len({key[:2] for key in column}) > 1 for column in columns):
        return []
    names = {column[0][:2]: sorted({key[2] for key in column}) for column in columns}
    changed = [f"{chain}:{number} {'/'.join(kinds)}" for (chain, number), kinds in names.items() if len(kinds) > 1]
    return changed if len(changed) <= MOST_MUTATED * len(columns) else []


def request_of(
    objects: Sequence[ResidueStates], reference: Sequence[ResidueStates], options: LandscapeOptions
) -> messages.Landscape:
    """Return the message that asks for a landscape. A reference of one state in all is the native state alone."""
    everything = [*objects, *reference]
    backbone = all((member.places >= 0).all() for member in everything)
    is_native = sum(len(member.atoms.states) for member in reference) == 1
    further = [] if is_native else list(reference)
    first_known = reference[0] if reference else None
    return messages.Landscape(
        lengths=tuple(len(member.atoms.states) for member in objects),
        reference_lengths=tuple(len(member.atoms.states) for member in further),
        options=options,
        coordinates=np.concatenate([member.coordinates(backbone) for member in objects]),
        reference=np.concatenate([member.coordinates(backbone) for member in further]) if further else None,
        native=None if first_known is None else first_known.coordinates(False)[0, :, 0],
        follows=_follows(objects[0]),
        donors=np.array([residue not in PROLINES for _, _, residue in objects[0].keys], np.uint8),
    )


def _follows(residues: ResidueStates) -> NDArray[np.uint8]:
    """Mark the residues that follow the one before in their chain, nearer than LONGEST_LINK in the first state."""
    calpha = residues.coordinates(False)[0, :, 0].astype(np.float64)
    steps = np.linalg.norm(np.diff(calpha, axis=0), axis=1)
    same_chain = [before[0] == after[0] for before, after in zip(residues.keys, residues.keys[1:], strict=False)]
    return np.array([False, *(np.array(same_chain, bool) & (steps < LONGEST_LINK))], np.uint8)


@dataclass(frozen=True, eq=False)
class EnsembleLandscape:
    """The result of dsr_ensemble.

    states: object and state number of each row of `result`. residues: their keys. reference: names of its objects.
    costs: CPU seconds that the ensemble and the reference took to simulate, where both are known.
    """

    states: list[tuple[str, int]]
    residues: tuple[ResidueKey, ...]
    reference: str
    result: LandscapeResult
    costs: tuple[float, float] | None = None

    @classmethod
    def of(
        cls,
        objects: Sequence[ResidueStates],
        reference: Sequence[ResidueStates],
        result: LandscapeResult,
        costs: tuple[float, float] | None = None,
    ) -> EnsembleLandscape:
        """Return the result with the names of its states and residues."""
        named = [(member.atoms.object, state) for member in objects for state in member.atoms.states]
        return cls(named, objects[0].keys, "+".join(member.atoms.object for member in reference), result, costs)

    @property
    def acceleration(self) -> float | None:
        """Independent samples a CPU second, over those of the reference; None where the costs are not known."""
        samples, known = self.result.samples, self.result.reference_samples
        if self.costs is None or samples is None or not known:
            return None
        return (samples / self.costs[0]) / (known / self.costs[1])

    def members(self, macrostate: int) -> dict[str, list[int]]:
        """Return the states of a macrostate (from 0) by object."""
        states: dict[str, list[int]] = {}
        for (name, state), number in zip(self.states, self.result.macrostate.tolist(), strict=True):
            if number == macrostate:
                states.setdefault(name, []).append(state)
        return states

    def nearest(self, first: float, second: float) -> tuple[str, int]:
        """Return object and state nearest to a place on the two axes, each in units of its spread."""
        axes = self.result.axes
        spread = np.maximum(axes.std(axis=0), 1e-9)
        return self.states[int(np.argmin((((axes - [first, second]) / spread) ** 2).sum(axis=1)))]


def summary(landscape: EnsembleLandscape) -> Iterator[str]:
    """Yield the main results as lines of text."""
    result = landscape.result
    yield from heading(landscape)
    for number, macrostate in enumerate(result.macrostates):
        name, state = landscape.states[macrostate.place]
        members = "; ".join(
            f"{owner} {_short(states.format(list(map(float, numbers))))}"
            for owner, numbers in landscape.members(number).items()
        )
        yield (
            f"macrostate {number + 1}: {100 * macrostate.population:.0f} %, in its middle state {state} of {name}; "
            f"states of {members}"
        )
    yield from figures(landscape)
    yield from _score_table(result)


def heading(landscape: EnsembleLandscape) -> Iterator[str]:
    """Yield lines on what was computed."""
    result = landscape.result
    yield f"{result.kind} of the distances between CA atoms, {len(result.axes)} states" + (
        f", lag {result.lag}" if result.kind == "TICA" else ""
    )
    yield from result.notes


def figures(landscape: EnsembleLandscape) -> Iterator[str]:
    """Yield the figures of the whole ensemble as lines of text."""
    result = landscape.result
    scales = result.timescales
    if len(scales):
        row = int(np.argmin(np.abs(np.array(result.lags) - result.lag)))
        known = [f"{scale:.0f}" for scale in scales[row] if np.isfinite(scale)]
        yield f"implied time scales at a lag of {result.lags[row]}: {', '.join(known) or 'none'} states"
    native = f"the first state of {landscape.reference or landscape.states[0][0]}"
    low, high = result.rmsd.min(), result.rmsd.max()
    yield f"RMSD from {native}: {result.rmsd.mean():.2f} A on average, {low:.2f} to {high:.2f}"
    yield f"RMSF {result.rmsf.mean():.2f} A on average, {result.rmsf.max():.2f} at {_most_mobile(landscape)}"
    if result.helix is not None and result.strand is not None:
        yield f"helix {100 * result.helix.mean():.0f} %, strand {100 * result.strand.mean():.0f} % of the residues"
    runs = "" if result.run_floor is None else f", between its runs, {result.run_floor:.3f}"
    if result.js is not None:
        floor = "" if result.floor is None else f"; between the halves of the reference, {result.floor:.3f}{runs}"
        yield f"Jensen-Shannon divergence from {landscape.reference}: {result.js:.3f} bits{floor}"
    elif result.floor is not None:
        runs = "" if result.run_floor is None else f"; between each run and the others, {result.run_floor:.3f}"
        yield f"Jensen-Shannon divergence between the halves of the states: {result.floor:.3f} bits{runs}"
    if landscape.acceleration is not None and landscape.costs is not None:
        seconds, reference_seconds = landscape.costs
        yield (
            f"independent samples of the slowest axis: {result.samples:.1f} in {seconds:.3g} CPU s, "
            f"{landscape.reference}: {result.reference_samples:.1f} in {reference_seconds:.3g} CPU s; "
            f"{landscape.acceleration:.2g} times as many a CPU second, without the seconds of a training"
        )


def _whole_figures(landscape: EnsembleLandscape) -> Iterator[tuple[str, float]]:
    """Yield name and value of the figures of the whole ensemble that are known."""
    result = landscape.result
    cpu_seconds, known = landscape.costs or (None, None)
    for name, value in (
        ("js_bits", result.js),
        ("js_halves_bits", result.floor),
        ("js_runs_bits", result.run_floor),
        ("independent_samples", result.samples),
        ("reference_independent_samples", result.reference_samples),
        ("cpu_seconds", cpu_seconds),
        ("reference_cpu_seconds", known),
        ("acceleration", landscape.acceleration),
    ):
        if value is not None:
            yield name, value


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_STATES else f"{text[: LONGEST_STATES - 3]}..."


def _most_mobile(landscape: EnsembleLandscape) -> str:
    chain, number, residue = landscape.residues[int(np.argmax(landscape.result.rmsf))]
    return f"{chain}/{residue}`{number}"


def _score_table(result: LandscapeResult) -> Iterator[str]:
    columns = [key for key in SCORES if any(key in row.scores for row in result.rows)]
    if not columns:
        return
    yield "  ".join([f"{'':<9}", *(f"{SCORES[key]:>9}" for key in columns)])
    for row in result.rows:
        cells = [f"{row.scores[key]:>9.3f}" if key in row.scores else f"{'-':>9}" for key in columns]
        yield "  ".join([f"{row.method:<9}", *cells])


def write_landscape(path: str, landscape: EnsembleLandscape, title: str) -> list[str]:
    """Write the tables beside `path` (.csv), and the picture where matplotlib is there; return the paths.

    Raises OSError.
    """
    stem, result = os.path.splitext(path)[0], landscape.result
    written = [path]
    rows = zip(landscape.states, result.axes.tolist(), result.macrostate.tolist(), result.rmsd.tolist(), strict=True)
    atomic_write.replace(
        path,
        csv_bytes(
            ["object", "state", "axis_1", "axis_2", "macrostate", "rmsd"],
            ((name, state, *axes, macrostate + 1, rmsd) for (name, state), axes, macrostate, rmsd in rows),
        ),
    )
    columns = {
        "rmsf": result.rmsf,
        "helix": result.helix,
        "strand": result.strand,
        "reference_rmsf": result.reference_rmsf,
    }
    known = {name: values for name, values in columns.items() if values is not None}
    tables = {
        "residues": (
            ["chain", "resn", "resi", *known],
            [
                (chain, residue, number, *(float(values[row]) for values in known.values()))
                for row, (chain, number, residue) in enumerate(landscape.residues)
            ],
        ),
        "timescales": (
            ["lag", *(f"timescale_{number + 1}" for number in range(result.timescales.shape[1]))],
            [(lag, *row) for lag, row in zip(result.lags, result.timescales.tolist(), strict=True)],
        ),
        "scores": (
            ["method", *SCORES],
            [(row.method, *(row.scores.get(key, "") for key in SCORES)) for row in result.rows],
        ),
        "figures": (["figure", "value"], list(_whole_figures(landscape))),
    }
    for name, (heading, lines) in tables.items():
        if lines:
            written.append(f"{stem}_{name}.csv")
            atomic_write.replace(written[-1], csv_bytes(heading, lines))
    try:
        picture = landscape_plot.render(result, [number for _, number, _ in landscape.residues], title)
    except ImportError:
        return written
    written.append(f"{stem}.png")
    atomic_write.replace(written[-1], picture)
    return written
