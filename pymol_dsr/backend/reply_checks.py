"""The one door for what a backend says: held against what was asked, before anything of PyMOL sees it.

A backend may be another machine's, another version's, or broken: sizes, types, indices and numbers that PyMOL's own
code would follow blindly are checked here, and texts lose what a terminal would obey. Arrays and values that nobody
asked for are left alone; nobody looks at them.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..shared.text import AnswerError

# Å. Past it, lengths in single precision have no digits left.
FAR = 1e7
# Of one mesh where the request names no number; a movie may hold a quarter of it in all.
MOST_TRIANGLES = 20_000_000
MOST_ATOMS = 10_000_000
MOST_STATES = 100_000
MOST_STATE = 10**9


PHASES = ("surfaces", "sampling", "fit", "saving")
# The rule of the backend, too: what may be a file name, a word of a command and a key.
_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,79}")
_INDICES = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?", re.ASCII)

Arrays = Mapping[str, np.ndarray]
Shapes = Mapping[str, "tuple[int, ...]"]


# Answers


def check(
    method: str, params: Mapping[str, Any], sent: Shapes, result: Mapping[str, Any], arrays: Arrays, atoms: int | None
) -> None:
    """Raises AnswerError unless the answer is one to this request.

    sent: shapes of the arrays that went with the request, by name. atoms: how many were fitted, or None where that is
    not known.
    """
    known = _CHECKS.get(method)
    if known is not None:
        known(params, sent, result, arrays, atoms)


def preview(asked: Mapping[str, Any], params: Mapping[str, Any], arrays: Arrays, atoms: int | None) -> None:
    """Raises AnswerError unless an event `preview` is what was asked for when the fit was opened."""
    _surface(asked, arrays, atoms)


def progress(params: Mapping[str, Any]) -> dict[str, Any]:
    """What an event `progress` says: phase, fraction (0 to 1), device; loss, seconds_left, step and checkpoint
    (or None). Raises AnswerError.
    """
    phase = params.get("phase")
    if phase not in PHASES:
        raise AnswerError(f"phase {_short(phase)} is not one of {', '.join(PHASES)}")
    return {
        "phase": phase,
        "fraction": min(1.0, max(0.0, _number(params, "fraction"))),
        "loss": _maybe(params, "loss"),
        "seconds_left": _maybe(params, "seconds_left"),
        "device": str(params.get("device") or "")[:80],
        "step": _maybe(params, "step"),
        "checkpoint": _maybe(params, "checkpoint"),
    }


def device(params: Mapping[str, Any]) -> dict[str, Any]:
    """What an event `device` says, without what is of another type than it should be."""
    known: dict[str, Any] = {
        key: params[key] for key in ("device", "name", "torch") if isinstance(params.get(key), str)
    }
    known |= {key: params[key] for key in ("memory_gb", "threads") if _is_number(params.get(key))}
    return known


def atom_indices(text: str) -> np.ndarray:
    """Indices from 1 that a states text such as 1-300+310-320:2 names, i4[A]. Raises AnswerError.

    As `states.parse`, in bounded memory: a file of a few bytes can name a thousand million.
    """
    parts, count = [], 0
    for item in text.split("+"):
        match = _INDICES.fullmatch(item.strip())
        if match is None:
            raise AnswerError(f"its atoms are {_short(item)}, not indices as 1-300+310")
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if not 1 <= first <= last or not step:
            raise AnswerError(f"its atoms are {_short(item)}: they count from 1 and rise")
        count += (last - first) // step + 1
        if count > MOST_ATOMS:
            raise AnswerError(f"its atoms are more than {MOST_ATOMS}")
        parts.append(np.arange(first, last + 1, step, dtype=np.int32))
    found = np.concatenate(parts)
    if len(np.unique(found)) != count:
        raise AnswerError("some of its atoms are named twice")
    return found


def _mesh(params: Mapping[str, Any], sent: Shapes, result: Mapping[str, Any], arrays: Arrays, atoms: Any) -> None:
    for key in ("area", "volume"):
        _number(result, key)
    _extrapolated(result)
    atoms = _surface(params, arrays, atoms)
    count = len(arrays["points"])
    if "near" in arrays or "shares" in arrays:
        near, shares = _array(arrays, "near", "<i4", (count, None)), _array(arrays, "shares", "<f4", (count, None))
        if near.shape != shares.shape or not 1 <= near.shape[1] <= 64:
            raise AnswerError(f"near has shape {list(near.shape)}, shares {list(shares.shape)}")
        _within("near", near, atoms)
        _finite("shares", shares, 1.01)
    if "velocity" in arrays:
        _no_infinity("velocity", _array(arrays, "velocity", "<f4", (count,)))
    if "excursions" in arrays:
        _no_infinity("excursions", _array(arrays, "excursions", "<f4", (atoms,)))


def _surface(params: Mapping[str, Any], arrays: Arrays, atoms: int | None) -> int | None:
    """Check a mesh with the atoms that go with it; their number as far as it is known then."""
    most = params.get("triangles") or MOST_TRIANGLES
    points = _array(arrays, "points", "<f4", (None, 3))
    faces = _array(arrays, "faces", "<i4", (None, 3))
    for name, array, limit in (("points", points, 3 * most), ("faces", faces, most)):
        if len(array) > limit:
            raise AnswerError(f"it has {len(array)} {name}, and {most} triangles are the most")
    _finite("points", points, FAR)
    _finite("normals", _array(arrays, "normals", "<f4", (len(points), 3)), 1.01)
    _within("faces", faces, len(points))
    if "atoms" in arrays:
        positions = _array(arrays, "atoms", "<f4", (atoms, 3))
        _finite("atoms", positions, FAR)
        atoms = len(positions)
    if "nearest" in arrays:
        _within("nearest", _array(arrays, "nearest", "<i4", (len(points),)), atoms)
    return atoms


def _paint(params: Mapping[str, Any], sent: Shapes, result: Mapping[str, Any], arrays: Arrays, atoms: Any) -> None:
    count = sent["points"][0]
    if count:
        _no_infinity("velocity", _array(arrays, "velocity", "<f4", (count,)))
    elif "excursions" in arrays or atoms is not None:
        _no_infinity("excursions", _array(arrays, "excursions", "<f4", (atoms,)))


def _grid(params: Mapping[str, Any], sent: Shapes, result: Mapping[str, Any], arrays: Arrays, atoms: Any) -> None:
    _extrapolated(result)
    values = _array(arrays, "values", "<f4", (None, None, None))
    if min(values.shape) < 2:
        raise AnswerError(f"values have shape {list(values.shape)}, less than 2 nodes one way")
    _finite("values", values, FAR)
    if not 0.0 < _number(result, "spacing") < FAR:
        raise AnswerError(f"spacing is {result['spacing']}")
    origin = result.get("origin")
    if not isinstance(origin, list) or len(origin) != 3 or not all(_is_number(c) and abs(c) < FAR for c in origin):
        raise AnswerError(f"origin is {_short(origin)}, not three numbers")


def _measure(params: Mapping[str, Any], sent: Shapes, result: Mapping[str, Any], arrays: Arrays, atoms: Any) -> None:
    for key in ("time", "area", "volume", "speed"):
        _number(result, key)
    for key in ("selection_area", "selection_volume", "pocket_volume"):
        _maybe(result, key)
    _extrapolated(result)
    area = _array(arrays, "area", "<f4", (None,))
    _array(arrays, "speed", "<f4", area.shape)
    if len(area) and atoms is not None and len(area) != atoms:
        raise AnswerError(f"area is of {len(area)} atoms, and {atoms} were fitted")
    for name in ("area", "speed"):
        _finite(name, arrays[name], np.inf)


def _compare(params: Mapping[str, Any], sent: Shapes, result: Mapping[str, Any], arrays: Arrays, atoms: Any) -> None:
    for key in ("iou", "chamfer_l1", "chamfer_sq", "nc"):
        if key not in result:
            raise AnswerError(f"{key} is missing")
        _maybe(result, key)


def _file(params: Mapping[str, Any], sent: Shapes, result: Mapping[str, Any], arrays: Arrays, atoms: Any) -> None:
    if not len(_array(arrays, "file", "|u1", (None,))):
        raise AnswerError("the file is empty")


def _open(params: Mapping[str, Any], sent: Shapes, result: Mapping[str, Any], arrays: Arrays, atoms: Any) -> None:
    there = result.get("states") or []
    names = params.get("trajectories")
    if names and there:
        if not isinstance(there, dict) or any(name not in there for name in names):
            raise AnswerError(f"states are {_short(there)}, not those of {', '.join(map(str, names))}")
        there = [one for name in names for one in (there[name] if isinstance(there[name], list) else [None])]
    if not isinstance(there, list) or not all(map(_is_number, there)):
        raise AnswerError(f"states are {_short(there)}, not numbers")


def _report(params: Mapping[str, Any], sent: Shapes, result: Mapping[str, Any], arrays: Arrays, atoms: Any) -> None:
    report = result.get("report")
    if not isinstance(report, dict):
        raise AnswerError(f"the report is {_short(report)}, not an object")
    members = report.get("trajectories")
    if members is None:
        _fitted(report)
        _source(report.get("source"))
        return
    if not isinstance(members, dict) or not members:
        raise AnswerError(f"its trajectories are {_short(members)}, not an object")
    for name, one in members.items():
        if not _NAME.fullmatch(name):
            raise AnswerError(f"a trajectory is named {_short(name)}: letters, digits and _ . + -, no dot in front")
        if not isinstance(one, dict):
            raise AnswerError(f"the report of {name} is {_short(one)}, not an object")
        _fitted(one)
    _about(report)
    source = report.get("source") or {}
    sources = source.get("trajectories") if isinstance(source, dict) else source
    if not isinstance(sources or {}, dict):
        raise AnswerError(f"its source is {_short(source)}, not an object")
    for one in (sources or {}).values():
        _source(one)


def _fitted(report: Mapping[str, Any]) -> None:
    _about(report)
    states = report.get("states")
    if not isinstance(states, list) or not 0 < len(states) <= MOST_STATES or not all(map(_is_number, states)):
        raise AnswerError(f"its states are {_short(states)}, not 1 to {MOST_STATES} numbers")
    if any(not before < after for before, after in itertools.pairwise(states)):
        raise AnswerError(f"its states are {_short(states)}, which do not rise")
    if not 0 < states[0] <= states[-1] <= MOST_STATE:
        raise AnswerError(f"its states are {states[0]} to {states[-1]}, not above 0 and at most {MOST_STATE}")


def _about(report: Mapping[str, Any]) -> None:
    for key in ("path", "device", "preset"):
        if not isinstance(report.get(key), (str, type(None))):
            raise AnswerError(f"its {key} is {_short(report[key])}, not a text")
    for key in ("seconds", "smooth"):
        _maybe(report, key)


def _source(source: Any) -> None:
    if not isinstance(source or {}, dict):
        raise AnswerError(f"its source is {_short(source)}, not an object")
    for key, value in (source or {}).items():
        if key in ("object", "selection", "atoms") and not isinstance(value, (str, type(None))):
            raise AnswerError(f"its source says {key} is {_short(value)}, not a text")
    if (source or {}).get("atoms"):
        atom_indices(source["atoms"])


_CHECKS: dict[str, Callable[[Mapping[str, Any], Shapes, Mapping[str, Any], Arrays, Any], None]] = {
    "mesh": _mesh,
    "paint": _paint,
    "grid": _grid,
    "measure": _measure,
    "compare": _compare,
    "save": _file,
    "export": _file,
    "open": _open,
    "fit": _report,
    "load": _report,
}


# Parts of answers


def _array(arrays: Arrays, name: str, dtype: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """The array of that name, which must have this type and shape (None: any length)."""
    if name not in arrays:
        raise AnswerError(f"the array {name} is missing")
    array = arrays[name]
    if array.dtype.str != dtype or len(array.shape) != len(shape):
        raise AnswerError(f"{name} is {array.dtype.str} {list(array.shape)}, not {dtype} of {len(shape)} dimensions")
    if any(wanted is not None and length != wanted for length, wanted in zip(array.shape, shape, strict=True)):
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise AnswerError(f"{name} has shape {list(array.shape)}, not [{wanted}]")
    return array


def _finite(name: str, array: np.ndarray, most: float) -> None:
    # No NaN passes the comparison.
    if array.size and not max(-float(array.min()), float(array.max())) < most:
        bad = array.ravel()[int(np.argmax(~(np.abs(array.ravel()) < most)))]
        raise AnswerError(f"{name} has the value {bad:g} in it")


def _no_infinity(name: str, array: np.ndarray) -> None:
    if np.isinf(array).any():
        raise AnswerError(f"{name} has infinite values in it")


def _within(name: str, array: np.ndarray, count: int | None) -> None:
    if array.size and (array.min() < 0 or (count is not None and array.max() >= count)):
        raise AnswerError(f"{name} has indices from {array.min()} to {array.max()}, of {count} that there are")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _number(told: Mapping[str, Any], key: str) -> float:
    if not _is_number(told.get(key)):
        raise AnswerError(f"{key} is {_short(told.get(key))}, not a number")
    return float(told[key])


def _maybe(told: Mapping[str, Any], key: str) -> float | None:
    """A number, or None for null: what is not finite."""
    return None if told.get(key) is None else _number(told, key)


def _extrapolated(result: Mapping[str, Any]) -> None:
    if not isinstance(result.get("extrapolated"), bool):
        raise AnswerError(f"extrapolated is {_short(result.get('extrapolated'))}, not true or false")
    _maybe(result, "expected_error")


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, (list, dict)) or len(value) < 20 else repr(list(value)[:20])
    return text if len(text) <= 60 else f"{text[:57]}…"
