"""One bar for whatever works: a fit from its first second on, a movie, a measurement, states that are generated."""

from __future__ import annotations

import time

from pymol.Qt import QtWidgets

from ..fits.fit import ENDED, RUNNING, Activity, Fit, Phase
from ..fits.timing import Stage
from ..sources.jobs import SourceJob
from .widgets import tone, wrapped_label

# From here on, the pace so far says how long the rest takes.
TRUSTED_FRACTION = 0.05


class ProgressLine(QtWidgets.QWidget):
    """A line of text and a bar, under all pages."""

    def __init__(self) -> None:
        super().__init__()
        self.text = wrapped_label()
        self.bar = QtWidgets.QProgressBar()
        self.bar.setRange(0, 1000)
        # The text has the percentage.
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(self.bar.fontMetrics().height())
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.text)
        layout.addWidget(self.bar)
        self.hide()

    def show_work(self, fits: list[Fit], sources: list[SourceJob], tasks: list[str], last: Fit | None) -> None:
        """Show how far the work is. tasks: titles of work that counts nothing; last: the fit to name when all rest."""
        busy = [fit for fit in fits if fit.activity]
        # The one whose turn it is.
        busy.sort(key=lambda fit: fit.phase is Phase.QUEUED)
        bad = False
        fraction: float | None = None
        if busy:
            text, fraction = progress_text(busy[0]), progress_fraction(busy[0])
        elif sources:
            status = sources[0].status
            # Until its first message, the molecule is read and prepared.
            text = f"{sources[0].name}: preparing …" if status is None else sources[0].line()
            fraction = None if status is None else status.fraction
        elif tasks:
            text = f"{tasks[0]} …"
        # The line below says that it was cancelled.
        elif last is not None and last.phase is not Phase.CANCELLED:
            text, fraction, bad = progress_text(last), float(last.phase is Phase.READY), last.phase is Phase.FAILED
        else:
            self.hide()
            return
        waiting = len(busy) + len(sources) - 1
        self.text.setText(f"{text}; {waiting} more" if waiting > 0 else text)
        self.text.setStyleSheet(tone("bad") if bad else "")
        self.bar.setValue(int(1000 * (fraction or 0.0)))
        self.bar.setVisible(fraction is not None and bool(busy or sources))
        self.show()


def progress_fraction(fit: Fit) -> float | None:
    """Return the fraction of the work of a fit that is over; None before it begins."""
    if fit.phase is Phase.QUEUED:
        return None
    if fit.activity is not Activity.FIT or fit.timing is None:
        return fit.fraction
    return fit.timing.fraction(_stage_fraction(fit), fit.seconds_left)


def progress_text(fit: Fit) -> str:
    """Return what a fit is at, with the percentage and the seconds left; the seconds of its stages where it is over."""
    if fit.activity is None and fit.phase is Phase.READY:
        summary = fit.timing.summary() if fit.timing is not None else ""
        return f"{fit.name} is ready" + (f": {summary}" if summary else "")
    if fit.activity is Activity.FIT and fit.timing is not None and fit.timing.stage is not None:
        stage = _stage_fraction(fit)
        counted = f" {round(stage * fit.count)} of {fit.count}" if fit.timing.stage is Stage.SURFACES else ""
        fraction, left = fit.timing.fraction(stage, fit.seconds_left), fit.timing.seconds_left(stage, fit.seconds_left)
        return f"{fit.name}: {fit.timing.stage.value}{counted}, {100 * fraction:.0f} %, {duration(left)} left"
    if fit.activity is Activity.LANDSCAPE:
        # Its backend tells no stages.
        return f"{fit.name}: {fit.activity}"
    if fit.phase in {Phase.QUEUED, *ENDED} or fit.activity is None:
        return f"{fit.name}: {fit.phase}"
    activity = fit.phase if fit.activity is Activity.FIT or fit.phase in RUNNING else fit.activity
    text = f"{fit.name}: {fit.stage or activity}, {100 * fit.fraction:.0f} %"
    if fit.fraction >= TRUSTED_FRACTION:
        text += f", {duration((time.monotonic() - fit.since) * (1.0 / fit.fraction - 1.0))} left"
    return text


def duration(seconds: float) -> str:
    """Write seconds as a user counts them: 40 s, 3 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _stage_fraction(fit: Fit) -> float:
    """Return the fraction of the present stage of a fit."""
    if fit.phase is Phase.SAVING:
        return 1.0
    return 0.0 if fit.phase is Phase.SAMPLING else fit.fraction
