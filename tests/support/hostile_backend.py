"""A backend that fits nothing and answers with what would harm PyMOL.

Until the request `ping` has named a fault, it answers as a good one does: with a tetrahedron around the origin, and of
133 atoms.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from pymol_dsr.shared import frames
from pymol_dsr.shared.frames import read_frame, write_frame
from pymol_dsr.shared.version import VERSION

Answer = tuple[dict[str, Any], dict[str, Any]]

ATOMS = 133
POINTS = np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]], "<f4")
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], "<i4")
ESCAPE = "\x1b]0;owned\x07\x1b[2J\r\n\u202eevil"
out, requests = sys.stdout.buffer, sys.stdin.buffer
SOURCE = {"object": "pep", "selection": "pep", "atoms": f"1-{ATOMS}"}
report: dict[str, Any] = {"states": [1, 2, 3], "seconds": 1.0, "device": "cpu", "path": None, "source": SOURCE}


def good(method: str, params: dict[str, Any], arrays: dict[str, Any]) -> Answer:
    if method == "hello":
        return {"protocol": frames.PROTOCOL, "version": VERSION, "python": "3", "pid": 1}, {}
    if method in ("fit", "load"):
        return {"report": report}, {}
    mesh_report = {
        "extrapolated": False,
        "expected_error": None,
        "area": 10.0,
        "volume": 2.0,
        "time": params.get("time"),
    }
    if method == "mesh":
        return mesh_report, {
            "points": POINTS,
            "normals": POINTS / np.float32(3**0.5),
            "faces": FACES,
            "nearest": np.arange(4, dtype="<i4"),
            "atoms": np.zeros((ATOMS, 3), "<f4"),
            "near": np.zeros((4, 2), "<i4"),
            "shares": np.full((4, 2), 0.5, "<f4"),
        }
    if method == "grid":
        x = np.linspace(-4, 4, 17)
        values = np.sqrt(x[:, None, None] ** 2 + x[:, None] ** 2 + x**2) - 2
        return {**mesh_report, "origin": [-4, -4, -4], "spacing": params.get("resolution", 0.5)}, {
            "values": values.astype("<f4")
        }
    if method == "paint":
        count = len(arrays["points"])
        return {}, {"velocity": np.ones(count, "<f4")} if count else {"excursions": np.ones(ATOMS, "<f4")}
    if method == "measure":
        unmeasured = {"selection_area": None, "selection_volume": None, "pocket_volume": None}
        ones_of_atoms = np.ones(ATOMS, "<f4")
        return {**mesh_report, **unmeasured, "speed": 0.1}, {"area": ones_of_atoms, "speed": ones_of_atoms}
    if method in ("save", "export"):
        return {}, {"file": np.frombuffer(b"content", np.uint8)}
    return {"states": []} if method == "open" else {}, {}


def put(method: str, **change: Any) -> tuple[str, Callable[[Answer], Answer]]:
    """A fault of one method: these values and arrays instead; ... takes one away, a function gets what was there."""

    def altered(answer: Answer) -> Answer:
        result, arrays = dict(answer[0]), dict(answer[1])
        for name, value in change.items():
            in_result = name in result and not callable(value) and not isinstance(value, np.ndarray)
            target = arrays if not in_result and (name in arrays or isinstance(value, np.ndarray)) else result
            if value is ...:
                del target[name]
            else:
                target[name] = value(target[name]) if callable(value) else value
        return result, arrays

    return method, altered


def fit_report(**change: Any) -> tuple[str, Callable[[Answer], Answer]]:
    """A fault of the report of a fit."""
    return "load", lambda answer: ({"report": {**report, **change}}, {})


def at(index: Any, value: float) -> Callable[[Any], Any]:
    def changed(array: Any) -> Any:
        array = array.copy()
        array[index] = value
        return array

    return changed


MESH = {
    "no faces array": put("mesh", faces=...),
    "no points array": put("mesh", points=...),
    "no normals": put("mesh", normals=...),
    "NaN in points": put("mesh", points=at((2, 1), np.nan)),
    "infinity in points": put("mesh", points=at((2, 1), np.inf)),
    "points in another galaxy": put("mesh", points=at((2, 1), 3e38)),
    "NaN in normals": put("mesh", normals=at((0, 0), np.nan)),
    "long normals": put("mesh", normals=at((0, 0), 1e30)),
    "fewer normals than points": put("mesh", normals=lambda a: a[:3]),
    "face past the points": put("mesh", faces=at((3, 2), 4)),
    "face far past the points": put("mesh", faces=at((3, 2), 2**31 - 1)),
    "negative face": put("mesh", faces=at((0, 0), -1)),
    "faces of four corners": put("mesh", faces=np.zeros((4, 4), "<i4")),
    "flat faces": put("mesh", faces=np.zeros(12, "<i4")),
    "faces as fractions": put("mesh", faces=lambda a: a.astype("<f4")),
    "faces as i8": put("mesh", faces=lambda a: a.astype("<i8")),
    "points as f8": put("mesh", points=lambda a: a.astype("<f8")),
    "points in a plane": put("mesh", points=lambda a: a[:, :2].copy()),
    "more triangles than asked for": put("mesh", faces=np.zeros((60_000, 3), "<i4")),
    "more points than triangles have": put("mesh", points=np.zeros((160_000, 3), "<f4")),
    "nearest past the atoms": put("mesh", nearest=at(0, ATOMS)),
    "negative nearest": put("mesh", nearest=at(0, -1)),
    "nearest of another length": put("mesh", nearest=lambda a: a[:3]),
    "other atoms than fitted": put("mesh", atoms=np.zeros((ATOMS + 1, 3), "<f4"), nearest=at(0, ATOMS)),
    "atoms that are not numbers": put("mesh", atoms=at((3, 0), np.nan)),
    "blend past the atoms": put("mesh", near=at((0, 0), 2**31 - 1)),
    "blend of nothing": put("mesh", near=np.zeros((4, 0), "<i4"), shares=np.zeros((4, 0), "<f4")),
    "blend without shares": put("mesh", shares=...),
    "shares that are not numbers": put("mesh", shares=at((0, 0), np.nan)),
    "extrapolated as a text": put("mesh", extrapolated="yes"),
    "expected error as a list": put("mesh", expected_error=[1]),
    "area as a text": put("mesh", area="large"),
    "area past everything": put("mesh", area=1e308),
    "area below nothing": put("mesh", area=-1e308),
    "volume past everything": put("mesh", volume=-1e308),
    "an expected error below nothing": put("mesh", expected_error=-1.0),
    "of another time": put("mesh", time=1e6),
}
GRID = {
    "no values": put("grid", values=...),
    "a flat grid": put("grid", values=np.zeros((9, 9), "<f4")),
    "a grid of one node": put("grid", values=np.zeros((1, 1, 1), "<f4")),
    "an empty grid": put("grid", values=np.zeros((0, 9, 9), "<f4")),
    "NaN in the grid": put("grid", values=at((0, 0, 0), np.nan)),
    "no spacing": put("grid", spacing=0),
    "negative spacing": put("grid", spacing=-1.0),
    "spacing as a text": put("grid", spacing="1"),
    "a finer grid than asked for": put("grid", spacing=0.25),
    "origin of two": put("grid", origin=[0, 0]),
    "origin as a text": put("grid", origin="here"),
    "origin in another galaxy": put("grid", origin=[1e300, 0, 0]),
}
PAINT = {
    "velocity of another length": put("paint", velocity=np.ones(3, "<f4")),
    "no velocity": put("paint", velocity=...),
    "infinite velocity": put("paint", velocity=at(0, np.inf)),
    "velocity past everything": put("paint", velocity=at(0, 3e38)),
    "velocity as i4": put("paint", velocity=lambda a: a.astype("<i4")),
}
MEASURE = {
    "area of other atoms": put("measure", area=np.ones(3, "<f4"), speed=np.ones(3, "<f4")),
    "no area": put("measure", area=...),
    "speed as a text": put("measure", speed="fast"),
    "an atom's area past everything": put("measure", area=at(0, 3e38)),
    "an atom's area that is no number": put("measure", area=at(0, np.nan)),
    "speed past everything": put("measure", speed=1e308),
    "volume of another galaxy": put("measure", volume=1e300),
    "measures of another time": put("measure", time=1e6),
    "time that is none": put("measure", time=None),
    "volume of a selection as a list": put("measure", selection_volume=[]),
}
FILES = {
    "no file": put("save", file=...),
    "an empty file": put("save", file=np.zeros(0, np.uint8)),
    "a file of numbers": put("save", file=np.zeros(9, "<f8")),
}
REPORTS = {
    "no report": ("load", lambda answer: ({}, {})),
    "a report that is a text": ("load", lambda answer: ({"report": "fine"}, {})),
    "states as texts": fit_report(states=["1"]),
    "no states": fit_report(states=[]),
    "states that fall": fit_report(states=[3, 2, 1]),
    "a state past all numbers": fit_report(states=[1, 10**15]),
    "a path that is a number": fit_report(path=7),
    "seconds as a text": fit_report(seconds="soon"),
    "seconds past everything": fit_report(seconds=1e308),
    "source that is a text": fit_report(source="../../x"),
    "atoms that are a list": fit_report(source={"object": "pep", "atoms": [1, 2]}),
    "a thousand million atoms": fit_report(source={"object": "pep", "atoms": "1-999999999"}),
    "atoms that are no indices": fit_report(source={"object": "pep", "atoms": "../../x"}),
    "atoms twice": fit_report(source={"object": "pep", "atoms": "1-5+3"}),
    "trajectories as a list": fit_report(trajectories=["a"]),
    "a trajectory with a path for a name": fit_report(trajectories={"../../x": report}),
    "a trajectory that is a text": fit_report(trajectories={"a": "b"}),
}
assert not set(MESH) & set(MEASURE), "one name, one fault"
FAULTS = {**MESH, **GRID, **PAINT, **MEASURE, **FILES, **REPORTS}


def say(header: dict[str, Any], arrays: dict[str, Any] | None = None) -> None:
    write_frame(out, header, arrays)


def event(name: str, params: dict[str, Any], arrays: dict[str, Any] | None = None) -> None:
    say({"kind": "event", "event": name, "params": params}, arrays)


def noise() -> None:
    """Events that are wrong, of nobody, or too many."""
    event("device", {"device": ["cuda"], "name": ESCAPE, "memory_gb": "much", "threads": {}})
    event("log", {"text": ESCAPE + "x" * 500_000})
    event("log", {"text": {"a": 1}})
    event("log", {})
    event("no such event", {"fit": "a"}, {"points": POINTS})
    for fit in ("nobody", "../../x", None, 7, "a"):
        event("progress", {"fit": fit, "phase": "ready", "fraction": 1.0})
        event("progress", {"fit": fit, "phase": "fit", "fraction": "half", "loss": "low", "seconds_left": []})
        event("progress", {"fit": fit, "phase": "fit", "fraction": -1e300, "loss": 1e300})
        event("preview", {"fit": fit, "time": 1.0, "final": False}, {"points": POINTS, "faces": FACES + 99})
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    event("log", {"text": deep})
    for number in range(5_000):
        event("log", {"text": f"line {number}"})
        event("progress", {"fit": "a", "phase": "fit", "fraction": 0.5})


def main() -> None:
    name, method, change = "", "", lambda answer: answer
    while (frame := read_frame(requests)) is not None:  # type: ignore[arg-type]
        header, arrays = frame
        requested, number = header["method"], header["id"]
        if requested == "ping":
            name = header["params"]["fault"]
            method, change = FAULTS.get(name, ("", lambda answer: answer))
        if requested == "mesh" and name == "long device":
            event(
                "device", {"device": "cuda", "name": "x" * 100_000, "memory_gb": 1.0, "threads": 1, "torch": "y" * 9999}
            )
        if requested == "mesh" and name == "error with escape sequences":
            say({"kind": "error", "id": number, "code": ESCAPE, "message": ESCAPE + "x" * 100_000})
        elif requested == "mesh" and name == "answers what nobody asked":
            say({"kind": "reply", "id": 999_999, "result": {}})
        elif requested == "mesh" and name == "asks itself":
            say({"kind": "request", "id": number, "method": ESCAPE, "params": {}})
        else:
            if requested == "mesh" and name == "noise":
                noise()
            answer = good(requested, header["params"], arrays)
            result, result_arrays = change(answer) if requested == method else answer
            say({"kind": "reply", "id": number, "result": result}, result_arrays)
        if requested == "shutdown":
            return


if __name__ == "__main__":
    main()
