"""Settings that dsr_set keeps: the backend's command, the device, the folder of fits, workers, sessions, patience.

They are kept in PyMOL's plugin preferences, and for the session only where those are not loaded (`pymol -cq`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..backend import process


class SettingsError(ValueError):
    """A key that does not exist, or a value that a key can't have: one line for the user."""


@dataclass(frozen=True)
class Setting:
    """One key of dsr_set. check: returns the value to keep, or raises SettingsError or LaunchError."""

    default: str
    check: Callable[[str], str]
    description: str


def check_backend(value: str) -> str:
    """Return the command that starts a backend, if its program is on this machine. Raises LaunchError."""
    if value.strip():
        process.find_command(value)
    return value.strip()


def check_device(value: str) -> str:
    """Return the name of a device as torch writes it, or auto. Raises SettingsError."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", value):
        raise SettingsError(f"device {value}: write auto, cpu, cuda or cuda:1")
    return value


def check_folder(value: str) -> str:
    """Return the whole path of a folder that can be written to, or nothing. Raises SettingsError."""
    if not value:
        return value
    full = os.path.abspath(os.path.expanduser(value))
    if not os.path.isdir(full):
        raise SettingsError(f"folder {value}: {full} is not a folder")
    if not os.access(full, os.W_OK):
        raise SettingsError(f"folder {value}: {full} can't be written to")
    return full


def check_workers(value: str) -> str:
    """Return a number of surface processes. Raises SettingsError."""
    if not re.fullmatch(r"[0-9]{1,2}", value) or int(value) > 64:
        raise SettingsError(f"workers {value}: write a whole number from 0 (as many as cores, at most 8) to 64")
    return value


def check_wait(value: str) -> str:
    """Return a number of seconds, up to a week. Raises SettingsError."""
    if not re.fullmatch(r"[0-9]{1,6}", value) or not 0 < int(value) <= 604_800:
        raise SettingsError(f"wait {value}: write a whole number of seconds from 1 to 604800")
    return value


def check_session(value: str) -> str:
    """Return how session files hold movies. Raises SettingsError."""
    if value not in ("light", "full"):
        raise SettingsError(f"session {value}: write light (coarse, made again on opening) or full (every mesh inside)")
    return value


KEYS: dict[str, Setting] = {
    "backend": Setting("", check_backend, "command that starts a backend, or default to look for one"),
    "device": Setting("auto", check_device, "where a fit runs unless dsr_fit says: auto, cpu, cuda, cuda:1"),
    "folder": Setting("", check_folder, "folder of finished fits, or nothing for ~/.pymol_dsr"),
    "workers": Setting("0", check_workers, "surface processes at once, 0 for as many as cores, at most 8"),
    "session": Setting("light", check_session, "movies in session files: light (made again on opening) or full"),
    "wait": Setting("60", check_wait, "most seconds for a backend to start, its place in a queue included"),
}


class Settings:
    """The values of the keys: those set in this session, then PyMOL's preferences, then the defaults."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def get(self, key: str) -> str:
        """Return the value of a key, its default where nothing was set. Raises SettingsError for an unknown key."""
        setting = _setting(key)
        if key in self._values:
            return self._values[key]
        plugins = _loaded_plugins()
        preference = plugins.pref_get(f"dsr_{key}") if plugins else None
        return setting.default if preference is None else str(preference)

    def put(self, key: str, value: str) -> bool:
        """Set a key, `default` for its default; returns whether it will be set in the next session too.

        Raises SettingsError or LaunchError, and then changes nothing.
        """
        setting = _setting(key)
        if "\0" in value:
            raise SettingsError(f"{key}: the value has a character in it that no name may have")
        value = setting.default if value == "default" else setting.check(value)
        self._values[key] = value
        plugins = _loaded_plugins()
        if plugins is None:
            return False
        plugins.pref_set(f"dsr_{key}", value)
        return True

    @property
    def workers(self) -> int:
        """Surface processes at once; 0 for as many as cores."""
        return int(self.get("workers"))

    @property
    def wait(self) -> float:
        """Most seconds for a backend to start."""
        return float(self.get("wait"))

    def backend_command(self) -> list[str]:
        """Return the command that starts a backend, the one that was set or the one that is installed.

        Raises LaunchError.
        """
        return process.find_command(self.get("backend") or None)


def _setting(key: str) -> Setting:
    if key not in KEYS:
        raise SettingsError(f"{key} is no setting; there are {', '.join(KEYS)}")
    return KEYS[key]


def _loaded_plugins() -> Any:
    from pymol import plugins

    # PyMOL reads the preferences when it looks for plugins, and writes all of them at once: writing before
    # that would replace the user's plugin folders with nothing.
    return plugins if plugins.plugins else None
