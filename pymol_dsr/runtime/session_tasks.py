"""Tasks that PyMOL calls when it writes or opens a session file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class SessionTasks(ABC):
    """Base of all that the plugin keeps in session files. They are called in the order in which they were attached."""

    @abstractmethod
    def save(self, session: dict[str, Any], *, _self: Any) -> bool:
        """Add to `session`, which PyMOL is about to write; return True, or PyMOL says that it failed."""

    @abstractmethod
    def restore(self, session: dict[str, Any], *, _self: Any) -> bool:
        """Take from `session`, which PyMOL has opened; return True, or PyMOL says that it failed."""

    def attach(self, _self: Any) -> None:
        """Have PyMOL call `save` and `restore` with its session files."""
        _self._pymol._session_save_tasks.append(self.save)
        _self._pymol._session_restore_tasks.append(self.restore)

    def detach(self, _self: Any) -> None:
        """Undo `attach`."""
        _self._pymol._session_save_tasks.remove(self.save)
        _self._pymol._session_restore_tasks.remove(self.restore)
