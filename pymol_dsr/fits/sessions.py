"""Which fits the movies in a PyMOL session came from: written into the .pse, entered again when it is opened.

A session holds the loaded surfaces themselves, so they play without the plugin. Of the fit it holds a reference: where
its .dsr is and its SHA-256. What is stored is dicts, lists, texts and numbers, which a PyMOL without the plugin keeps
and ignores.
"""

from __future__ import annotations

import functools
import hashlib
import os
from typing import Any

from ..shared import text
from . import jobs
from .fit import Fit, JobError

FORMAT = "dsr session 1"
# The name under which PyMOL keeps it, in what it saves and restores for scripts.
KEY = "dsr"
# Of movies by the name of their object: fit, objects, command (the line that makes it again).
_movies: dict[str, dict[str, Any]] = {}
_hashes: dict[str, tuple[tuple[int, int], str]] = {}


def register(_self: Any) -> None:
    """Take part in PyMOL's saving and opening of sessions."""
    for tasks, task in (
        (_self._pymol._session_save_tasks, save),
        (_self._pymol._session_restore_tasks, restore),
    ):
        if task not in tasks:
            tasks.append(task)


def remember(object: str, fit: str, objects: list[str], command: str) -> None:
    """A movie was loaded as these objects of the scene."""
    _movies[object] = {"fit": fit, "objects": list(objects), "command": command}


def command_line(command: str, first: list[Any], named: dict[str, tuple[Any, Any]]) -> str:
    """The line to type, with those named arguments that differ from their default: {name: (value, default)}."""
    words = [str(one) for one in first if str(one)]
    words += [f"{name}={value}" for name, (value, default) in named.items() if str(value) != str(default)]
    return f"{command} {', '.join(words)}"


def save(session: dict[str, Any], *, _self: Any) -> bool:
    """Called by PyMOL with what it is about to write: add the fits of the movies that are in it."""
    _tell_apart(session.get("color_ext") or [])
    kept = session.get("session")
    if kept is None:
        return True
    there = {entry[0] for entry in session.get("names") or () if entry}
    found = {name: one for name, one in _movies.items() if there.intersection(one["objects"])}
    if not found:
        # A part of the scene takes no reference along that belongs to another.
        vars(kept).pop(KEY, None)
        return True
    fits = {one["fit"]: _reference(one["fit"]) for one in found.values()}
    for name, reference in fits.items():
        if not reference["sha256"]:
            where = f"its file {reference['path']} is not on this machine" if reference["path"] else "it has no file"
            _say(f" {name}: {where}, so the session can't name it; dsr_save {name}, {name}.dsr, then save again")
    setattr(kept, KEY, {"format": FORMAT, "fits": fits, "movies": found})
    return True


def _tell_apart(ramps: list[list[Any]]) -> None:
    """Give deleted ramps names: PyMOL 2.5 aborts when it opens a session with two that have none.

    A movie that was coloured three times leaves two bars behind that way.
    """
    taken = {entry[0] for entry in ramps if entry}
    for number, entry in enumerate(ramps):
        if entry and not entry[0]:
            name = f"_gone_{number}"
            while name in taken:
                name += "_"
            taken.add(name)
            entry[0] = name


def restore(session: dict[str, Any], *, _self: Any) -> bool:
    """Called by PyMOL when it has opened a session: enter the fits it names, to be loaded when they are used."""
    stored = getattr(_self._pymol.session, KEY, None)
    if stored is None:
        return True
    try:
        fits, found = _read(stored)
    except (KeyError, TypeError, ValueError) as error:
        _say(f" dsr: what this session says of its fits can't be read ({error}); dsr_load brings them back")
        return True
    _movies.update(found)
    for name, (path, digest) in fits.items():
        if name in jobs.jobs.fits:
            continue
        if not digest:
            _say(f" {name}: the session names no file of this fit; its surfaces play, dsr_load brings the fit back")
            continue
        fetch = functools.partial(_fetch, name, path, digest, _self)
        jobs.jobs.fits[name] = Fit(name, phase="stored", file=path, digest=digest, fetch=fetch)
        fault = _fault(path, digest)
        if fault:
            _say(f" {name}: {fault}; its surfaces play, and 'dsr_load FILE, {name}' brings the fit back")
        else:
            again = next((one["command"] for one in found.values() if one["fit"] == name), "")
            _say(f" {name}: from {path}, loaded when used" + (f"; made by: {again}" if again else ""))
    return True


def _say(line: str) -> None:
    # A session may be anybody's.
    print(text.strip_control_characters(line))


def _fetch(name: str, file: str, digest: str, _self: Any) -> tuple[str, bytes]:
    """Path and content of a fit's file, also where it lies beside the session now. Raises JobError."""
    beside = os.path.join(os.path.dirname(str(_self.get("session_file"))), os.path.basename(file))
    faults = []
    for path in dict.fromkeys([file, beside]):
        fault = _fault(path, digest)
        if not fault:
            with open(path, "rb") as stream:
                return path, stream.read()
        faults.append(fault)
    raise JobError(f"{name}: {faults[0]}; 'dsr_load FILE, {name}' brings the fit back")


def _reference(name: str) -> dict[str, str]:
    fit = jobs.jobs.fits.get(name)
    if fit is None:
        return {"path": "", "sha256": ""}
    # One that was never loaded is what the other session said of it, whatever the file is now.
    if fit.phase == "stored":
        return {"path": fit.file, "sha256": fit.digest}
    path = fit.file or str(fit.report.get("path") or "")
    if not path or not os.path.isfile(path):
        return {"path": path, "sha256": ""}
    path = os.path.abspath(path)
    return {"path": path, "sha256": _sha256(path)}


def _fault(path: str, digest: str) -> str:
    """What is wrong with the file, or nothing."""
    if not os.path.isfile(path):
        return f"its file {path} is missing"
    if _sha256(path) != digest:
        return f"its file {path} is not what it was when the session was saved (another SHA-256)"
    return ""


def _sha256(path: str) -> str:
    status = os.stat(path)
    state = (status.st_mtime_ns, status.st_size)
    # Parts of the scene are saved all the time, a state at a time by some.
    if _hashes.get(path, (None, ""))[0] != state:
        with open(path, "rb") as stream:
            _hashes[path] = (state, hashlib.sha256(stream.read()).hexdigest())
    return _hashes[path][1]


def _read(stored: Any) -> tuple[dict[str, tuple[str, str]], dict[str, dict[str, Any]]]:
    """Fits (path, digest) by name, and movies by object. Raises KeyError, TypeError or ValueError."""
    if stored["format"] != FORMAT:
        raise ValueError(f"format {stored['format']!r}, not {FORMAT!r}")
    fits = {}
    for name, one in dict(stored["fits"]).items():
        texts = (name, one["path"], one["sha256"])
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a fit that is not described by texts")
        fits[name] = (one["path"], one["sha256"])
    found = {}
    for name, one in dict(stored["movies"]).items():
        objects = [str(member) for member in one["objects"]]
        found[str(name)] = {"fit": str(one["fit"]), "objects": objects, "command": str(one["command"])}
    return fits, found
