"""What dsr_set keeps: how a backend is started, where it computes, where it keeps fits, how many surface
workers.

Kept in PyMOL's plugin preferences, and for the session only where those are not loaded (`pymol -cq`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from ..backend import process


class SettingsError(ValueError):
    """A key that does not exist or a value that can't be: one line for the user."""


def _backend(value: str) -> str:
    if value.strip():
        process.find_command(value)
    return value.strip()


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", value):
        raise SettingsError(f"device {value}: write auto, cpu, cuda or cuda:1")
    return value


def _folder(value: str) -> str:
    if not value:
        return value
    full = os.path.abspath(os.path.expanduser(value))
    if not os.path.isdir(full):
        raise SettingsError(f"folder {value}: {full} is not a folder")
    if not os.access(full, os.W_OK):
        raise SettingsError(f"folder {value}: {full} can't be written to")
    return full


def _workers(value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,2}", value) or int(value) > 64:
        raise SettingsError(f"workers {value}: a whole number from 0 (as many as cores, at most 8) to 64")
    return value


def _wait(value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,6}", value) or not 0 < int(value) <= 604_800:
        raise SettingsError(f"wait {value}: a whole number of seconds from 1 to 604800")
    return value


# key -> (default, check, what it is)
KEYS: dict[str, tuple[str, Callable[[str], str], str]] = {
    "backend": ("", _backend, "command that starts a backend, or default to look for one"),
    "device": ("auto", _device, "where a fit runs unless dsr_fit says: auto, cpu, cuda, cuda:1"),
    "folder": ("", _folder, "folder of finished fits, or nothing for ~/.pymol_dsr"),
    "workers": ("0", _workers, "surface processes at once, 0 for as many as cores, at most 8"),
    "wait": ("60", _wait, "most seconds for a backend to start, its place in a queue included"),
}
_memory: dict[str, str] = {}


def get(key: str) -> str:
    """The value of a key, its default where nothing was set."""
    _known(key)
    if key in _memory:
        return _memory[key]
    plugins = _loaded_plugins()
    stored = plugins.pref_get(f"dsr_{key}") if plugins else None
    return KEYS[key][0] if stored is None else str(stored)


def put(key: str, value: str) -> bool:
    """Set a key, `default` for its default; returns whether it will be there in the next session too.

    Raises SettingsError or LaunchError, and then changes nothing.
    """
    _known(key)
    if "\0" in value:
        raise SettingsError(f"{key}: the value has a character in it that no name may have")
    value = KEYS[key][0] if value == "default" else KEYS[key][1](value)
    _memory[key] = value
    plugins = _loaded_plugins()
    if plugins is None:
        return False
    plugins.pref_set(f"dsr_{key}", value)
    return True


def _known(key: str) -> None:
    if key not in KEYS:
        raise SettingsError(f"{key} is no setting; there are {', '.join(KEYS)}")


def _loaded_plugins() -> Any:
    from pymol import plugins

    # PyMOL reads the preferences when it looks for plugins, and writes all of them at once: writing before
    # that would replace the user's plugin folders with nothing.
    return plugins if plugins.plugins else None
