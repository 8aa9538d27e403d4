"""References from PyMOL's session files (.pse) to the fits that their movies came from.

A session file names the fit by the path and the SHA-256 of its .dsr, and holds its content where the movies are coarse
(scene.light_sessions). All this is dicts, lists, texts and numbers, which a PyMOL without the plugin keeps and ignores.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..runtime.session_tasks import SessionTasks
from ..shared import packed_bytes, text
from ..shared.frames import MAX_PAYLOAD
from ..shared.names import is_name, rule_against
from ..shared.reading import ReadError, file_state, read_file, sha256_of
from ..shared.values import shown
from .fit import Fit, JobError, Phase
from .jobs import Jobs

FORMAT = "dsr session 1"
# The name under which PyMOL keeps the references, among the values that it saves and restores for scripts.
KEY = "dsr"
# A key that sessions of the whole scene have alone.
WHOLE = "settings"
# MB of meshes that are named when a session is saved.
LARGE = 20.0
# Limits for a session file, which anybody may have written.
MOST_ENTRIES = 1_000
LONGEST_PATH = 4_096
_SHA256 = re.compile(r"[0-9a-f]{64}|")


@dataclass(frozen=True)
class MovieReference:
    """A movie in the scene: the name of its fit, its objects, and the command line that makes it again."""

    fit: str
    objects: list[str]
    command: str


@dataclass(frozen=True)
class FitReference:
    """Where the .dsr of a fit is; both are empty where it has no file on this machine."""

    path: str
    sha256: str


class PseReferences(SessionTasks):
    """Writes the references into session files, and enters the fits of a session file that is opened."""

    def __init__(self, jobs: Jobs, follow_names: Callable[[Any], None]) -> None:
        """follow_names: called before the names of a scene are written; it calls `rename` for changed ones."""
        self._jobs, self._follow_names = jobs, follow_names
        self.movies: dict[str, MovieReference] = {}
        """By the name of the movie's object."""
        self.megabytes: dict[str, float] = {}
        """The size of the meshes of each movie in a session file, where it is known."""
        self.own_movie = ""
        """Digest of the movie (mset) that was set up last, which another one may replace."""
        self.contents: dict[str, str] = {}
        """Packed contents of fits (shared.packed_bytes), by their SHA-256."""
        self._hashes: dict[str, tuple[tuple[int, int], str]] = {}

    def add_movie(self, object: str, fit: str, objects: list[str], command: str, megabytes: float = 0.0) -> None:
        """Enter a movie that was loaded as these objects of the scene. megabytes: of its meshes in a session file."""
        self.megabytes[object] = megabytes
        self.movies[object] = MovieReference(fit, list(objects), command)

    def movies_in_scene(self, fit: str, _self: Any) -> dict[str, str]:
        """Return the command that made each movie of a fit of which the scene has an object, by name."""
        self._follow_names(_self)
        present = set(_self.get_names("objects"))
        return {
            name: movie.command
            for name, movie in self.movies.items()
            if movie.fit == fit and present.intersection(movie.objects)
        }

    def rename(self, object: str, name: str) -> None:
        """Follow an object of a movie to another name."""
        for key, movie in list(self.movies.items()):
            if object in movie.objects:
                objects = [name if member == object else member for member in movie.objects]
                del self.movies[key]
                if key == object:
                    self.megabytes[name] = self.megabytes.pop(key, 0.0)
                self.movies[name if key == object else key] = dataclasses.replace(movie, objects=objects)

    def save(self, session: dict[str, Any], *, _self: Any) -> bool:
        """Add the fits of the movies in `session`, which PyMOL is about to write."""
        name_deleted_ramps(session.get("color_ext") or [])
        self._follow_names(_self)
        values = session.get("session")
        if values is None:
            return True
        saved = {entry[0] for entry in session.get("names") or () if entry}
        movies = {name: movie for name, movie in self.movies.items() if saved.intersection(movie.objects)}
        if not movies:
            # A file with another part of the scene must not name fits that are not in it.
            vars(values).pop(KEY, None)
            return True
        fits = {}
        for name in dict.fromkeys(movie.fit for movie in movies.values()):
            fits[name], reason = self.reference(name)
            if not fits[name].sha256:
                _print(f" {name}: {reason}, so the session can't name it; dsr_save {name}, {name}.dsr, then save again")
        described = {"format": FORMAT, "fits": _as_dicts(fits), "movies": _as_dicts(movies), "movie": self.own_movie}
        setattr(values, KEY, described)
        return True

    def say_size(self, name: str, reason: str) -> None:
        """Print the size of a movie's meshes in the session file that is being written, where it is large.

        reason: why they are kept, empty where the user wants it.
        """
        size = self.megabytes.get(name, 0.0)
        if size >= LARGE:
            _print(
                f" {name}: its meshes take {size:.0f} MB of this session{', since ' * bool(reason)}{reason}; "
                f"'delete {name}' before you save leaves them out, and '{self.movies[name].command}' makes them again"
            )

    def pack(self, digest: str, name: str) -> str:
        """Return the packed content of a fit with this SHA-256, or an empty text where its file is another one."""
        if digest not in self.contents:
            fit = self.fit(name)
            path = "" if fit is None else fit.file or fit.report.path or ""
            try:
                data = read_file(path, MAX_PAYLOAD)
            except ReadError:
                return ""
            if hashlib.sha256(data).hexdigest() != digest:
                return ""
            self.contents[digest] = packed_bytes.pack(data)
        return self.contents[digest]

    def restore(self, session: dict[str, Any], *, _self: Any) -> bool:
        """Enter the fits that an opened session file names; each is loaded when it is used."""
        value = getattr(_self._pymol.session, KEY, None)
        if value is None:
            return True
        try:
            fits, movies = read_references(value)
            self.contents |= read_contents(value)
        except ValueError as error:
            _print(f" dsr: what this session says of its fits can't be read ({error}); dsr_load brings them back")
            return True
        self.movies.update(movies)
        self.own_movie = str(value.get("movie", ""))
        for name, reference in fits.items():
            if name in self._jobs.fits:
                continue
            path, digest = reference.path, reference.sha256
            if not digest:
                _print(
                    f" {name}: the session names no file of this fit; its surfaces play, dsr_load brings the fit back"
                )
                continue
            self.enter(name, reference, _self)
            is_inside = digest in self.contents
            fault = "" if is_inside else self.fault(reference)
            if fault:
                _print(f" {name}: {fault}; its surfaces play, and 'dsr_load FILE, {name}' brings the fit back")
            else:
                command = next((movie.command for movie in movies.values() if movie.fit == name), "")
                origin = "inside this session" if is_inside else f"from {path}"
                _print(f" {name}: {origin}, loaded when used" + (f"; made by: {command}" if command else ""))
        return True

    def enter(self, name: str, reference: FitReference, _self: Any) -> None:
        """Enter a fit that is loaded when it is used."""
        fetch = functools.partial(self._fetch, name, reference, _self)
        self._jobs.fits[name] = Fit(name, phase=Phase.STORED, file=reference.path, digest=reference.sha256, fetch=fetch)

    def fault(self, reference: FitReference) -> str:
        """Return the reason why the file can't be used, or an empty text; nothing of the file is read."""
        try:
            file_state(reference.path, MAX_PAYLOAD)
        except ReadError as error:
            return f"its file {error}"
        return ""

    def _fetch(self, name: str, reference: FitReference, _self: Any) -> tuple[str, bytes]:
        """Return path and content of a fit: from the session, or from its file, which may lie beside the session now.

        Raises JobError.
        """
        if reference.sha256 in self.contents:
            return reference.path, self._unpacked(name, reference.sha256)
        folder = os.path.dirname(str(_self.get("session_file")))
        faults = []
        for path in dict.fromkeys([reference.path, os.path.join(folder, os.path.basename(reference.path))]):
            try:
                data = read_file(path, MAX_PAYLOAD)
            except ReadError as error:
                faults.append(f"its file {error}")
                continue
            if hashlib.sha256(data).hexdigest() == reference.sha256:
                return path, data
            faults.append(f"its file {path} is not what it was when the session was saved (another SHA-256)")
        raise JobError(f"{name}: {faults[0]}; 'dsr_load FILE, {name}' brings the fit back")

    def _unpacked(self, name: str, digest: str) -> bytes:
        """Return the content of a fit that came with a session file. Raises JobError."""
        try:
            data = packed_bytes.unpack(self.contents[digest], MAX_PAYLOAD)
        except ValueError as error:
            raise JobError(f"{name}: its fit in the session file is damaged ({error})") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise JobError(f"{name}: its fit in the session file is damaged (another SHA-256)")
        return data

    def fit(self, name: str) -> Fit | None:
        """Return the fit of that name whose movies are in the scene, not one that is to replace it."""
        fit = self._jobs.fits.get(name)
        while fit is not None and fit.replaces is not None:
            # The movie is of the fit before the one that is under way.
            fit = fit.replaces
        return fit

    def digest_of(self, fit: Fit) -> str:
        """Return the SHA-256 of a fit's file, empty where there is none."""
        return self._reference_of(fit)[0].sha256

    def reference(self, name: str) -> tuple[FitReference, str]:
        """Return where the file of a fit is, and the reason where it can't be named."""
        fit = self.fit(name)
        return (FitReference("", ""), "it has no file") if fit is None else self._reference_of(fit)

    def _reference_of(self, fit: Fit) -> tuple[FitReference, str]:
        # A fit that was not loaded, or came with a session, keeps its reference, whatever the file is now.
        if fit.phase is Phase.STORED or fit.digest in self.contents:
            return FitReference(fit.file, fit.digest), "it has no file"
        path = fit.file or fit.report.path or ""
        if not path:
            return FitReference("", ""), "it has no file"
        path = os.path.abspath(path)
        try:
            return FitReference(path, self._sha256(path)), ""
        except ReadError as error:
            return FitReference(path, ""), f"its file {error}"

    def _sha256(self, path: str) -> str:
        """Return the SHA-256 of the file of a fit. Raises ReadError."""
        state = file_state(path, MAX_PAYLOAD)
        # PyMOL calls `save` often, also for a single object or state.
        if self._hashes.get(path, (None, ""))[0] != state:
            self._hashes[path] = (state, sha256_of(path, MAX_PAYLOAD))
        return self._hashes[path][1]


def command_line(command: str, arguments: list[Any], named: dict[str, tuple[Any, Any]]) -> str:
    """Return the line to type, with those named arguments that differ from their default: {name: (value, default)}."""
    words = [str(argument) for argument in arguments if str(argument)]
    words += [f"{name}={value}" for name, (value, default) in named.items() if str(value) != str(default)]
    return f"{command} {', '.join(words)}"


def word_of(value: Any) -> str:
    """Return a value as a user types it: 0 and 1 for False and True, 25 for 25.0, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    return str(value)


def name_deleted_ramps(ramps: list[list[Any]]) -> None:
    """Give deleted ramps names: PyMOL 2.5 aborts when it opens a session with two that have none.

    A movie that was coloured three times leaves two of them behind.
    """
    known_names = {entry[0] for entry in ramps if entry}
    for number, entry in enumerate(ramps):
        if entry and not entry[0]:
            name = f"_gone_{number}"
            while name in known_names:
                name += "_"
            known_names.add(name)
            entry[0] = name


def read_references(value: Any) -> tuple[dict[str, FitReference], dict[str, MovieReference]]:
    """Return fits by name and movies by object, from the value in a session file, which anybody may have written.

    Texts lose their control characters. Raises ValueError for names that are none, and for what is too long.
    """
    record = _fields(value, "what it says", ("format", "fits", "movies"))
    if record["format"] != FORMAT:
        raise ValueError(f"format {shown(record['format'])!r}, not {FORMAT!r}")
    fits = {}
    for name, entry in _entries(record["fits"], "its fits").items():
        fields = _fields(entry, name, ("path", "sha256"))
        sha256 = _text(fields["sha256"], f"the SHA-256 of {name}")
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"the SHA-256 of {name} is {shown(sha256)}, not 64 digits")
        fits[_name(name)] = FitReference(_text(fields["path"], f"the path of {name}", LONGEST_PATH), sha256)
    movies = {}
    for name, entry in _entries(record["movies"], "its movies").items():
        fields = _fields(entry, name, ("fit", "objects", "command"))
        members = fields["objects"]
        if not isinstance(members, list) or len(members) > MOST_ENTRIES:
            raise ValueError(f"the objects of {name} are no list of at most {MOST_ENTRIES}")
        objects = [_text(member, f"an object of {name}") for member in members]
        command = _text(fields["command"], f"the command of {name}")
        movies[name] = MovieReference(_name(fields["fit"]), objects, command)
    return fits, movies


def read_contents(value: Any) -> dict[str, str]:
    """Return packed contents of fits by SHA-256, from the value in a session file. Raises ValueError."""
    contents = {}
    for digest, packed in _entries(value.get("contents", {}), "its contents").items():
        # PyMOL's pickles for old versions read texts as bytes.
        words = packed.decode("ascii", "replace") if isinstance(packed, bytes) else packed
        if not isinstance(words, str) or not digest or not _SHA256.fullmatch(digest):
            raise ValueError("the content of a fit is no text under a SHA-256")
        contents[digest] = words
    return contents


def _entries(value: Any, noun: str) -> dict[str, Any]:
    """Return a dict by printable names. Raises ValueError."""
    if not isinstance(value, dict) or len(value) > MOST_ENTRIES:
        raise ValueError(f"{noun} are no table of at most {MOST_ENTRIES}")
    return {_text(name, f"a name among {noun}"): entry for name, entry in value.items()}


def _fields(value: Any, noun: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return a dict with these keys. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"{noun} is no table")
    if missing := [key for key in keys if key not in value]:
        raise ValueError(f"{noun} has no {missing[0]}")
    return value


def _name(value: Any) -> str:
    """Return the name of a fit. Raises ValueError."""
    if not is_name(value):
        raise ValueError(f"a fit can't be named {shown(value)!r}: {rule_against(value)}")
    return str(value)


def _text(value: Any, noun: str, longest: int = text.LONGEST_LINE) -> str:
    """Return a text, printable and of bounded length. Raises ValueError."""
    if not isinstance(value, str) or len(value) > longest:
        raise ValueError(f"{noun} is no text of at most {longest} characters")
    return str(text.strip_control_characters(value))


def _as_dicts(references: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: dict(vars(reference)) for name, reference in references.items()}


def _print(line: str) -> None:
    # The text may come from anybody's session file.
    print(f" {text.one_line(line)}")
