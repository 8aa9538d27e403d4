"""The report of a fit, and the molecules that it is of."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from ..names import is_name, rule_against
from ..values import JsonObject, JsonValue, Record, Value, ValueFault, shown

MOST_STATES = 100_000
MOST_STATE = 10**9
MOST_ATOMS = 10_000_000
# Characters, as all sources of a family go in one message of 1 MB.
LONGEST_IDS = 20_000

_INDICES = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?", re.ASCII)


@dataclass(frozen=True)
class AtomIdentity(Record):
    """The identity of the atoms of a trajectory, as their indices change with the object."""

    count: Annotated[int, Value("atoms of the whole object", least=1, most=MOST_ATOMS)]
    elements: Annotated[str, Value("SHA-256 of their elements")]
    labels: Annotated[str, Value("SHA-256 of their segments, chains, residues and names")]
    order: Annotated[
        str | None, Value("SHA-256 of PyMOL's ID of each; none where the object has an ID twice", sparse=True)
    ] = None
    ids: Annotated[
        str | None,
        Value("PyMOL's ID of each + 1, as 1-300+310; none where the list is long", longest=None, sparse=True),
    ] = None

    def atom_ids(self) -> list[int] | None:
        """Return PyMOL's ID of each atom; None where they are not kept. Raises ValueFault."""
        return (parse_atom_indices(self.ids) - 1).tolist() if self.ids else None

    def short(self) -> AtomIdentity:
        """Return what a message takes: a long list of IDs is left out, and its atoms are checked but not found."""
        return self if len(self.ids or "") <= LONGEST_IDS else dataclasses.replace(self, ids=None)

    def check_together(self) -> None:
        """Check that the IDs can be read. Raises ValueFault."""
        self.atom_ids()


@dataclass(frozen=True)
class MoleculeSource(Record):
    """The atoms that a trajectory is of: the plugin finds them again in the scene. The backend only keeps it."""

    object: Annotated[str | None, Value("object in PyMOL")] = None
    selection: Annotated[str | None, Value("selection that was fitted", longest=None)] = None
    atoms: Annotated[str | None, Value("indices of the atoms from 1, as 1-300+310", longest=None)] = None
    settings: Annotated[JsonObject | None, Value("surface settings of the object")] = None
    unwrap: Annotated[bool | None, Value("molecules that the periodic box cuts were made whole", sparse=True)] = None
    provenance: Annotated[
        JsonObject | None, Value("origin of the states, where some of them were generated", sparse=True)
    ] = None
    radius: Annotated[
        float | None,
        Value("mean van der Waals radius of the atoms, absent in older files", unit="Å", sparse=True),
    ] = None
    identity: Annotated[AtomIdentity | None, Value("identity of the atoms, absent in older files", sparse=True)] = None

    def atom_indices(self) -> NDArray[np.int32] | None:
        """Return the indices of the atoms, i4[A] from 1; None where it names none. Raises ValueFault."""
        return parse_atom_indices(self.atoms) if self.atoms else None


@dataclass(frozen=True)
class TrajectoryReport(Record):
    """The report of one fitted trajectory."""

    states: Annotated[tuple[float, ...], Value("numbers of the fitted states, rising")]
    preset: Annotated[str | None, Value("kind of fit")] = None
    device: Annotated[str | None, Value("device that computed")] = None
    threads: Annotated[int | None, Value("threads of the CPU")] = None
    seconds: Annotated[float | None, Value("time of the fit", unit="s", least=0, most=1e10)] = None
    steps: Annotated[int | None, Value("steps of the training")] = None
    loss: Annotated[float | None, Value("last loss of the training", unit="Å")] = None
    seed: Annotated[int | None, Value("seed of random numbers")] = None
    parameters: Annotated[int | None, Value("numbers of the field")] = None
    samples: Annotated[int | None, Value("training samples")] = None
    atoms: Annotated[int | None, Value("atoms that are known")] = None
    area: Annotated[float | None, Value("mean area of the surfaces", unit="Å²")] = None
    smooth: Annotated[float | None, Value("width of the smoothing between states", unit="states")] = None
    smooth_atoms: Annotated[float | None, Value("width of the smoothing of the atoms' motion", unit="states")] = None
    smooth_beyond: Annotated[float | None, Value("width of the smoothing past the last state", unit="states")] = None
    smooth_chosen_by: Annotated[str | None, Value("how the widths were chosen, in words")] = None
    sigma: Annotated[float | None, Value("width of the kernel of the atoms' motion", unit="Å")] = None
    level_offset: Annotated[float | None, Value("level that stands for the surface", unit="Å", key="lift")] = None
    spatial_width: Annotated[float | None, Value("width of the smoothing in space between states", unit="Å")] = None
    held_out_iou: Annotated[
        float | None,
        Value("IoU of held-out states and their prediction, near their surfaces", least=0, most=1),
    ] = None
    breaks: Annotated[
        tuple[float, ...] | None, Value("last states before the cuts, rising; none without cuts", sparse=True)
    ] = None
    loop: Annotated[
        bool | None, Value("the first state follows the last one again, so that no time is past them", sparse=True)
    ] = None
    forecast: Annotated[str | None, Value("how motion goes on past the last state, in words")] = None
    path: Annotated[str | None, Value("file that the backend keeps", longest=4096)] = None

    def check_together(self) -> None:
        """Check that the states rise and are state numbers. Raises ValueFault."""
        if not 0 < len(self.states) <= MOST_STATES:
            raise ValueFault(f"states: there are {len(self.states)}, not 1 to {MOST_STATES}")
        for before, after in itertools.pairwise(self.states):
            if not before < after:
                raise ValueFault(f"states: {after:g} comes after {before:g}, so they do not rise")
        if not 0 < self.states[0] <= self.states[-1] <= MOST_STATE:
            raise ValueFault(
                f"states: they are {self.states[0]:g} to {self.states[-1]:g}, not above 0 and at most {MOST_STATE}"
            )


@dataclass(frozen=True)
class FitReport(Record):
    """The report of a fit: of one trajectory, or of a family with a report of each of its trajectories.

    whole: the report as the backend has sent it, with keys that are not listed here.
    """

    preset: Annotated[str | None, Value("kind of fit")] = None
    device: Annotated[str | None, Value("device that computed")] = None
    seconds: Annotated[float | None, Value("time of the fit", unit="s", least=0, most=1e10)] = None
    steps: Annotated[int | None, Value("steps of the training")] = None
    parameters: Annotated[int | None, Value("numbers of the field")] = None
    seed: Annotated[int | None, Value("seed of random numbers")] = None
    path: Annotated[
        str | None, Value("file that the backend keeps; null where it could not be written", longest=4096)
    ] = None
    trajectories: Annotated[
        dict[str, TrajectoryReport] | None, Value("of a family: the report of each trajectory, by name")
    ] = None
    source: Annotated[JsonObject | None, Value("`source` of `open`")] = None
    whole: Annotated[JsonObject, "not a key of its own"] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FitReport:
        """Return the report that a JSON object holds. Raises ValueFault."""
        report = dataclasses.replace(super().from_json(data), whole=dict(data))
        if report.trajectories is None:
            # For the check of its states.
            report.members()
        return report

    def to_json(self) -> JsonObject:
        """Return the report as the backend has made it."""
        return self.whole

    def check_together(self) -> None:
        """Check the names of trajectories and the sources. Raises ValueFault."""
        if self.trajectories is not None:
            if not self.trajectories:
                raise ValueFault("trajectories: there are none")
            for name in self.trajectories:
                if not is_name(name):
                    raise ValueFault(f"a trajectory can't be named {name[:100]!r}: {rule_against(name)}")
        self.sources()

    def members(self) -> dict[str, TrajectoryReport]:
        """Return the report of each trajectory by name; that of a single one under the empty name.

        Raises ValueFault.
        """
        if self.trajectories is not None:
            return self.trajectories
        return {"": TrajectoryReport.from_json(self.whole)}

    def sources(self) -> dict[str, MoleculeSource]:
        """Return the molecule of each trajectory by name, as far as it is known. Raises ValueFault."""
        return molecule_sources(self.source or {}, tuple(self.trajectories or ()))


def molecule_sources(source: Mapping[str, JsonValue], names: Sequence[str]) -> dict[str, MoleculeSource]:
    """Return the molecules in the `source` of a fit, by trajectory; that of a single one under the empty name.

    names: the trajectories, none for a single one; those whose molecule is not known are left out. Raises ValueFault.
    """
    if not names:
        return {"": MoleculeSource.from_json(source)}
    molecules = source.get("trajectories") or {}
    if not isinstance(molecules, dict):
        raise ValueFault("source: its trajectories are not an object")
    sources = {}
    for name in names:
        if name in molecules:
            molecule = molecules[name] or {}
            if not isinstance(molecule, dict):
                raise ValueFault(f"source: that of {name[:80]} is not an object")
            sources[name] = MoleculeSource.from_json(molecule)
    return sources


def parse_atom_indices(text: str) -> NDArray[np.int32]:
    """Return the indices from 1 that a states text such as 1-300+310-320:2 names, i4[A]. Raises ValueFault.

    As `states.parse`, in bounded memory: a file of a few bytes can name a thousand million.
    """
    ranges, count = [], 0
    for item in text.split("+"):
        match = _INDICES.fullmatch(item.strip())
        if match is None:
            raise ValueFault(f"its atoms are {shown(repr(item))}, not indices as 1-300+310")
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if not 1 <= first <= last or not step:
            raise ValueFault(f"its atoms are {shown(repr(item))}: they count from 1 and rise")
        count += (last - first) // step + 1
        if count > MOST_ATOMS:
            raise ValueFault(f"its atoms are more than {MOST_ATOMS}")
        ranges.append(np.arange(first, last + 1, step, dtype=np.int32))
    indices = np.concatenate(ranges)
    if len(np.unique(indices)) != count:
        raise ValueFault("some of its atoms are named twice")
    return indices
