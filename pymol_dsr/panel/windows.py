"""Opens the plugin's windows and holds them: Qt drops a window that nothing in Python holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymol import gui

from ..analysis.measures import Measurement
from ..session import Session

if TYPE_CHECKING:
    from .measures_window import MeasuresWindow
    from .window import Panel


class Windows:
    """The window of the menu entry and those of dsr_measure, made when they are first shown."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.panel: Panel | None = None
        self.measures: list[MeasuresWindow] = []

    def show_panel(self) -> None:
        """Open the window of the menu entry, or bring the open one to the front."""
        # It needs Qt, which a PyMOL without a window may lack.
        from .window import Panel

        if self.panel is None:
            window = gui.get_qtwindow()
            self.panel = Panel(self._session, window)
            self.panel.dock(window)
        self.panel.show()
        self.panel.raise_()
        self.panel.activateWindow()

    def show_measurement(
        self, measured: Measurement, fitted_range: tuple[float, float], title: str, name: str, molecule: str = ""
    ) -> None:
        """Open a window for a measurement of the fit `name` of a molecule; others stay open."""
        # It needs Qt, which a PyMOL without a window may lack.
        from .measures_window import MeasuresWindow

        window = MeasuresWindow(gui.get_qtwindow(), measured, fitted_range, title, name, molecule)
        self.measures.append(window)
        window.finished.connect(lambda _: self.measures.remove(window))
        window.show()
