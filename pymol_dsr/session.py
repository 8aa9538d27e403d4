"""The plugin's state in one PyMOL: settings, fits, loaded movies, trajectory sources, windows."""

from __future__ import annotations

from typing import Any, Protocol

from .analysis.measures import Measurement
from .fits.fit import Fit
from .fits.jobs import Jobs, SourceEvent
from .fits.pse import PseReferences
from .runtime.install import Installer
from .runtime.settings import Settings
from .scene.command_queues import CommandQueues
from .scene.kept_movies import KeptMovies
from .scene.light_sessions import LightSessions
from .scene.molecules import Molecules
from .sources.jobs import Sources

# A copy of the package that PyMOL's plugin manager loaded under another name has a session of its own.
KEY = __name__


class Windows(Protocol):
    """The plugin's windows, where PyMOL has a window."""

    def show_panel(self) -> None:
        """Show the window of the menu entry."""

    def show_measurement(
        self, measured: Measurement, fitted_range: tuple[float, float], title: str, name: str, molecule: str = ""
    ) -> None:
        """Open a window for a measurement of the fit `name` of a molecule. fitted_range: its first and last state."""


class Session:
    """All that the plugin keeps for one PyMOL; `session_of` finds it."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.jobs = Jobs(self.settings, self._take_source_event, self._follow_loaded)
        self.references = PseReferences(self.jobs, self._follow_names)
        self.movies = KeptMovies(self.jobs, self.references.rename)
        self.light = LightSessions(self.references, self.movies, self.settings)
        self.molecules = Molecules(self.jobs, self.movies)
        self.sources = Sources(self.jobs)
        self.queues = CommandQueues(self.jobs)
        self.installer = Installer()
        self.windows: Windows | None = None

    # The calls among parts that know nothing of each other.

    def _take_source_event(self, event: SourceEvent) -> None:
        self.sources.take_event(event)

    def _follow_loaded(self, fit: Fit) -> None:
        self.molecules.follow_loaded(fit)

    def _follow_names(self, _self: Any) -> None:
        self.movies.follow_names(_self)
        self.light.prune(_self)


def session_of(_self: Any) -> Session:
    """Return the session of a PyMOL, made at the first call.

    _self: `pymol.cmd`, the `cmd` of a `pymol2.PyMOL`, or the proxy of either that PyMOL hands to commands.
    """
    # Not getattr: a pymol2.PyMOL answers for what it lacks with the attributes of the global one.
    state = vars(_self._pymol)
    if KEY not in state:
        set_session(Session(), _self)
    session: Session = state[KEY]
    return session


def set_session(session: Session, _self: Any) -> None:
    """Give a PyMOL this session; the one it had before must be closed."""
    vars(_self._pymol)[KEY] = session
    session.references.attach(_self)
    session.light.attach(_self)
    session.molecules.attach(_self)
    session.sources.attach(_self)


def close_session(_self: Any) -> None:
    """End the backend and drop the session of a PyMOL; the next call of `session_of` makes another."""
    session = vars(_self._pymol).pop(KEY, None)
    if session is not None:
        session.references.detach(_self)
        session.light.detach(_self)
        session.sources.detach(_self)
        session.sources.close()
        session.installer.cancel()
        session.jobs.close()
