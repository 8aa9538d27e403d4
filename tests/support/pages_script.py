"""Runs inside a real PyMOL window (see test_gui.py): every page of the docked window where it is narrow or low."""

import os
from typing import Any

from pymol import cmd
from pymol.Qt import QtCore, QtGui, QtWidgets

from support.window_steps import OUT, clipped, run, squeezed, window

# Sizes of the window in points, with the width of the panel; twice as many pixels at 200 %.
SIZES = {"640x480": (640, 480, 340), "1280x720": (1280, 720, 375)}
IS_DARK = os.environ.get("QT_SCALE_FACTOR") == "2"
if IS_DARK:
    SIZES = {"1280x720 at 200 %": (640, 360, 375)}
report: dict[str, Any] = {"sideways": [], "clipped": [], "squeezed": [], "widths": {}}
# Heights of the window in points, among them those in which the bar of a page decides whether its rows wrap.
HEIGHTS = range(480, 800, 16)
# A word that is wider than the window of the plugin.
NAME = "a_peptide_whose_name_is_as_long_as_those_of_files_that_a_simulation_writes"
TEXTS = ("2,479 Å³, 1,368 Å² · exact", "2,497 Å³, 1,303 Å² · calm · colours 0.5 to 2.5 Å per state")


def darken():
    """Give PyMOL's window the colours of a dark desktop, which what is made later takes over."""
    palette = QtGui.QPalette()
    role = QtGui.QPalette.ColorRole
    for name, shade in (("Window", "#2b2b2b"), ("Base", "#1e1e1e"), ("Button", "#3a3a3a")):
        palette.setColor(getattr(role, name), QtGui.QColor(shade))
    for name in ("WindowText", "Text", "ButtonText"):
        palette.setColor(getattr(role, name), QtGui.QColor("white"))
    QtWidgets.QApplication.setStyle("Fusion")
    QtWidgets.QApplication.setPalette(palette)
    # PyMOL's style sheet keeps the colours of the application from it.
    window().setPalette(palette)


def steps():
    import pymol_dsr
    from pymol_dsr.fits.fit import Fit, Phase, Trajectory
    from pymol_dsr.session import session_of
    from pymol_dsr.shared.messages import FitReport

    cmd.fab("ACDEF", "a_peptide_with_a_long_name", ss=1)
    session: Any = session_of(cmd)
    names = ["the_first_of_two_runs", "the_second_of_two_runs"]
    listed = [Trajectory(name, name, f"%{name}", None, [1.0, 1000.0]) for name in names]
    report_of_fit = FitReport(preset="fast")
    session.jobs.fits["family_of_two"] = Fit("family_of_two", listed, phase=Phase.READY, report=report_of_fit)
    if IS_DARK:
        darken()
    pymol_dsr.open_panel()
    yield 500
    panel = session.windows.panel
    for name, (width, height, panel_width) in SIZES.items():
        window().resize(width, height)
        for title, page in zip(panel.tabs.titles(), panel.tabs.pages(), strict=True):
            panel.tabs.setCurrentWidget(page)
            panel.poll()
            panel.say(f"{NAME}_dsr: the movie is loaded")
            window().resizeDocks([panel], [panel_width], QtCore.Qt.Orientation.Horizontal)
            yield 150
            area = page.parent().parent()
            label = f"{title} {name}"
            needed, available = page.minimumSizeHint().width(), area.viewport().width()
            report["widths"][label] = (panel.width(), available, needed)
            if area.horizontalScrollBar().maximum() > 0 or needed > available:
                report["sideways"].append(f"{label}: {needed} > {available}")
            report["squeezed"] += [f"{label}: {text}" for text in squeezed(page)]
            report["clipped"] += [f"{label}: {text}" for text in clipped(page)]
            panel.grab().save(os.path.join(OUT, f"page-{title.replace(' ', '-')}-{name.replace(' ', '')}.png"))
    yield from at_all_heights(panel)


def at_all_heights(panel):
    """The longest page, whose text changes."""
    page = panel.play
    panel.tabs.setCurrentWidget(page)
    for height in HEIGHTS:
        window().resize(1280, height)
        window().resizeDocks([panel], [389], QtCore.Qt.Orientation.Horizontal)
        for text in TEXTS:
            page.message.setText(text)
            yield 60
            report["squeezed"] += [f"{height} points high: {name}" for name in squeezed(page)]


run(steps(), report)
