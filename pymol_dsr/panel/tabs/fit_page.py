"""Pages on one of the fits that are ready."""

from __future__ import annotations

from typing import Any

from pymol.Qt import QtWidgets

from ...fits.fit import Activity, Fit, Phase, Trajectory
from ...fits.jobs import Jobs
from ..widgets import narrow, offer, wrapped_label

NO_FIT = "no surface is open: Make surface makes one, My surfaces opens an earlier one"


class FitPage(QtWidgets.QWidget):
    """A page that works on a fit that is ready, or on one trajectory of a family, with a button that also cancels.

    activity: what the fit is busy with meanwhile; verb: the button's text. Subclasses draw.
    """

    def __init__(self, panel: Any, activity: Activity, verb: str) -> None:
        super().__init__()
        self.panel, self._activity, self._verb = panel, activity, verb
        self.jobs: Jobs = panel.session.jobs
        self._listed: list[Fit] = []
        self.fit, self.trajectory = QtWidgets.QComboBox(), QtWidgets.QComboBox()
        for combo in (self.fit, self.trajectory):
            narrow(combo)
        self.button = QtWidgets.QPushButton(verb)
        self.form = QtWidgets.QFormLayout()
        self.missing = wrapped_label(NO_FIT)
        self.form.addRow("Sur&face", self.fit)
        self.form.addRow("", self.missing)
        self.form.addRow("T&rajectory", self.trajectory)
        self._trajectory_label = self.form.labelForField(self.trajectory)
        self.form.setFieldGrowthPolicy(QtWidgets.QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)

    def follow_choices(self) -> None:
        """Show what is chosen from now on; called once the page is complete."""
        self.fit.currentIndexChanged.connect(self._choose)
        self.trajectory.currentIndexChanged.connect(self.draw)
        self._choose()

    def draw(self) -> None:
        """Show the figures of the chosen fit and trajectory."""
        raise NotImplementedError

    def poll(self) -> None:
        """Show whether the fit is being worked on."""
        fit = self.current()
        working = fit is not None and fit.activity is self._activity
        self.button.setEnabled(fit is not None and (working or not fit.activity))
        self.button.setText("Cancel" if working else self._verb)

    def fit_or_cancel(self) -> Fit | None:
        """Return the chosen fit, to work on; None without one, and where it is worked on, which is cancelled."""
        fit = self.current()
        if fit is not None and fit.activity is self._activity:
            self.jobs.cancel(fit.name)
            return None
        return fit

    def refresh(self) -> None:
        """Offer the fits that are ready; keep the one that is chosen."""
        ready = [fit for fit in self.jobs.listed() if fit.phase is Phase.READY]
        if list(map(id, ready)) != list(map(id, self._listed)):
            self._listed = ready
            offer(self.fit, [fit.name for fit in ready], self.fit.currentText())
            self._choose()

    def choose(self, name: str) -> None:
        """Take the fit of that name."""
        self.refresh()
        self.fit.setCurrentIndex(self.fit.findText(name))

    def current(self) -> Fit | None:
        """Return the chosen fit."""
        return self.jobs.fits.get(self.fit.currentText())

    def current_trajectory(self) -> Trajectory | None:
        """Return the chosen trajectory of the chosen fit."""
        fit = self.current()
        return None if fit is None else fit.trajectory(self.trajectory.currentText() if fit.family else "")

    def _choose(self) -> None:
        fit = self.current()
        names = [t.name for t in fit.trajectories] if fit is not None and fit.family else []
        offer(self.trajectory, names)
        for widget in (self.trajectory, self._trajectory_label):
            widget.setVisible(bool(names))
        self.missing.setVisible(fit is None)
        self.poll()
        self.draw()
