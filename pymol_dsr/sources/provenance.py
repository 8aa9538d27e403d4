"""The origin of generated states: kept with their objects, in PyMOL's session files too.

The title of each generated state begins with `GENERATED_TITLE`; PyMOL keeps titles in copies and in session files. The
whole provenance is kept by the name of the object.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from ..runtime.session_tasks import SessionTasks
from ..scene.molecules import generated_name
from ..shared import states
from ..shared.messages import FitReport
from ..shared.text import AnswerError, strip_control_characters
from ..shared.values import JsonObject, plain
from ..surfaces.selections import GENERATED_TITLE, generated_states
from ..surfaces.source import Source

# The name under which PyMOL keeps them, among the values that it saves and restores for scripts.
KEY = "dsr_sources"
# Limits of a session file that anybody may have written.
MOST_OBJECTS, LONGEST = 1_000, 1_000_000
CPU_PLATFORMS = ("CPU", "Reference")


class Provenance(SessionTasks):
    """The provenance of generated objects, by name."""

    def __init__(self) -> None:
        self._objects: dict[str, JsonObject] = {}

    def put(self, name: str, provenance: JsonObject) -> None:
        """Keep the provenance of an object."""
        self._objects[name] = plain(provenance)

    def get(self, name: str, _self: Any) -> JsonObject | None:
        """Return the provenance of an object; that of its titles where no other is known, None where it has none."""
        generated = generated_states(name, _self)
        if not generated:
            return None
        return self._known(name, _self) or {"title": title_of(name, generated[0], _self)}

    def _known(self, name: str, _self: Any) -> JsonObject | None:
        """Return what was kept of an object, which may have another name since; session files have that one."""
        return self._objects.get(generated_name(name, _self)) or self._objects.get(name)

    def simulation_seconds(self, name: str, _self: Any) -> float | None:
        """Return the CPU seconds that the states of an object took to simulate; None where that is not known.

        Replicas share those of their run by their numbers of states. Runs that were resumed or computed by a GPU have
        no known ones.
        """
        origin = self.get(name, _self) or {}
        seconds, count = _above_0(origin.get("cpu_seconds")), _above_0(origin.get("generated_states"))
        if origin.get("kind") != "simulate" or origin.get("resumed") or seconds is None or count is None:
            return None
        if origin.get("platform", CPU_PLATFORMS[0]) not in CPU_PLATFORMS:
            return None
        return seconds * len(generated_states(name, _self)) / count

    def noted(self, source: Source, _self: Any) -> Source:
        """Return the source of a fit with the origin of its states, where some were generated."""
        generated = sorted(set(generated_states(source.object, _self)) & set(source.states))
        if not generated:
            return source
        origin = {"generated": states.format(generated), **(self.get(source.object, _self) or {})}
        return dataclasses.replace(source, provenance=origin)

    def save(self, session: dict[str, Any], *, _self: Any) -> bool:
        """Add the provenance of the objects in `session`, which PyMOL is about to write."""
        values = session.get("session")
        if values is not None:
            saved = {entry[0] for entry in session.get("names") or () if entry}
            saved_origins = {name: origin for name in sorted(saved) if (origin := self._known(name, _self))}
            if saved_origins:
                setattr(values, KEY, saved_origins)
            else:
                vars(values).pop(KEY, None)
        return True

    def restore(self, session: dict[str, Any], *, _self: Any) -> bool:
        """Enter what an opened session file says."""
        value = getattr(_self._pymol.session, KEY, None)
        if value is None:
            return True
        try:
            self._objects.update(read_provenance(value))
        except ValueError as error:
            print(f" dsr: the origin of generated states can't be read from this session: {error}")
        return True


def _above_0(value: Any) -> float | None:
    # It may come from a session file that anybody has written.
    return float(value) if type(value) in (int, float) and 0 < value < math.inf else None


def read_provenance(value: Any) -> dict[str, JsonObject]:
    """Return provenance by object, from the value in a session file, which anybody may have written.

    Raises ValueError for what is no table of JSON objects, or too long.
    """
    if not isinstance(value, dict) or len(value) > MOST_OBJECTS:
        raise ValueError(f"it is no table of at most {MOST_OBJECTS} objects")
    for name, origin in value.items():
        if not isinstance(name, str) or not isinstance(origin, dict):
            raise ValueError("an object's is no table")
    try:
        written = json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"it holds what no JSON has ({type(error).__name__})") from error
    if len(written) > LONGEST:
        raise ValueError(f"it has {len(written)} characters, and {LONGEST} are the most")
    try:
        restored: dict[str, JsonObject] = strip_control_characters(json.loads(written))
    except AnswerError as error:
        raise ValueError(str(error)) from error
    return restored


def title_of(name: str, state: int, _self: Any) -> str:
    """Return the title of a generated state without the mark."""
    return str(strip_control_characters(str(_self.get_title(name, state)).removeprefix(GENERATED_TITLE)))


def describe(origin: JsonObject) -> str:
    """Say in a few words where states come from, as `continue by hold`."""
    if "kind" in origin and "method" in origin:
        return f"{origin['kind']} by {origin['method']}"
    return str(origin.get("title") or "an unknown source")


def is_path(origin: JsonObject | None) -> bool:
    """Return whether states are a path between known ones: the side chains that turn in its middle are no jump."""
    if origin is None:
        return False
    # Copies have the titles alone, which begin with the kind.
    return origin.get("kind") == "fill" or str(origin.get("title", "")).startswith("fill: ")


def describe_fit(report: FitReport, trajectory: str) -> str:
    """Return the origin of the states of one trajectory of a fit, as `generated: fill by hold`; empty for true ones.

    trajectory: its name, empty for a single one.
    """
    source = report.sources().get(trajectory)
    return f"generated: {describe(source.provenance)}" if source is not None and source.provenance else ""
