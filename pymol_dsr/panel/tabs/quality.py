"""The page Quality: a fit against PyMOL's own surfaces, state by state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from pymol.Qt import QtWidgets

from ...analysis import evaluation
from ...analysis.evaluation import StateScores
from ...commands.evaluate import evaluate_fit
from ...commands.running import Runner
from ...fits.fit import Activity, Fit
from ...shared import plots
from ...shared.options import BASELINES, EvaluationOptions, FieldOptions
from ...shared.plots import BLUE
from ...shared.scoring import FIELD, TRAINING
from ..charts import Chart, Line, Plot
from ..widgets import flow, narrow, save_table, wrapped_label
from .fit_page import FitPage

WORDS = {"iou": "overlap (IoU)", "nc": "direction (NC)"}
METRICS = {
    **{name: WORDS.get(name, quantity.title) for name, quantity in plots.METRICS.items()},
    "rmsd": plots.RMSD.title,
}
# For overlap and direction.
SCALE = "1 is perfect; 0.99: as PyMOL's own"
ALL_FITTED = "<br>All of these states were fitted; simple methods stand beside states between and after them"
EMPTY = "Compare shows how near the surface is to PyMOL's own, state by state"


class QualityTab(FitPage):
    """Compares a fit with PyMOL's surfaces, and draws the scores."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel, Activity.EVALUATION, "Compare")
        self.rows: WeakKeyDictionary[Fit, dict[str, list[StateScores]]] = WeakKeyDictionary()
        """By fit and name of the trajectory, empty for a single one."""
        self.states = QtWidgets.QLineEdit()
        self.states.setPlaceholderText("fitted range, and 20 after it")
        self.states.setToolTip("States to compare, as 1-100:5; PyMOL's surface of each has to be made")
        self.beside = {key: QtWidgets.QCheckBox(baseline.label) for key, baseline in BASELINES.items()}
        for key, box in self.beside.items():
            box.setChecked(key in EvaluationOptions().baselines)
            box.setToolTip(BASELINES[key].hint)
        self.save = QtWidgets.QPushButton("Save table …")
        self.save.setToolTip("Write the scores as .csv; Compare comes first")
        self.save.setEnabled(False)
        self.metric = QtWidgets.QComboBox()
        for metric, label in METRICS.items():
            self.metric.addItem(label, metric)
        self.chart = Chart(170, EMPTY)
        self.means = wrapped_label()

        self.form.addRow("&States", self.states)
        self.form.addRow("Beside it", flow(*self.beside.values()))
        narrow(self.metric)
        layout = QtWidgets.QVBoxLayout(self)
        layout.addLayout(self.form)
        layout.addLayout(flow(self.button, self.metric, self.save))
        layout.addWidget(self.chart, 1)
        layout.addWidget(self.means)

        self.follow_choices()
        self.metric.currentIndexChanged.connect(self.draw)
        self.button.clicked.connect(self.compare)
        self.save.clicked.connect(self.save_table)

    def compare(self) -> None:
        """Compare the fit with surfaces by PyMOL, or cancel that."""
        fit = self.fit_or_cancel()
        if fit is None:
            return
        name, trajectory = fit.name, self.trajectory.currentText()
        options = EvaluationOptions(tuple(key for key, box in self.beside.items() if box.isChecked()))
        field, session, cmd = FieldOptions(trajectory=trajectory), self.panel.session, self.panel.cmd
        text = self.states.text().strip()
        self.panel.say("")

        def work() -> Any:
            return evaluate_fit(session, name, text, field, options, Runner("dsr_eval"), cmd)

        def show_rows(rows: list[StateScores]) -> None:
            self.rows.setdefault(fit, {})[trajectory] = rows
            self.draw()

        self.panel.run(f"{name}: its evaluation", work, show_rows)

    def save_table(self) -> None:
        """Ask for a file, and write the scores."""
        rows = self._rows()

        def write(path: str) -> list[str]:
            evaluation.write_scores(path, rows)
            return [path]

        save_table(self, f"{self.fit.currentText()}.csv", write, self.panel.say)

    def draw(self) -> None:
        """Show the scores of the chosen fit."""
        rows = self._rows()
        self.save.setEnabled(bool(rows))
        metric = self.metric.currentData()
        fit = self.current()
        if fit is not None and rows:
            fitted = fit.trajectory(self.trajectory.currentText()).states
            self.chart.show_plot(plot_of(rows, metric, (min(fitted), max(fitted))))
        else:
            self.chart.show_plot(Plot(empty=EMPTY))
        scale = SCALE if rows and metric in WORDS else ""
        lacks = (
            rows and all(row.method == FIELD for row in rows) and any(box.isChecked() for box in self.beside.values())
        )
        self.means.setText(means_of(rows, metric) + scale + (ALL_FITTED if lacks else ""))

    def _rows(self) -> list[StateScores]:
        fit = self.current()
        return [] if fit is None else self.rows.get(fit, {}).get(self.trajectory.currentText(), [])


def plot_of(rows: Sequence[StateScores], metric: str, fitted_range: tuple[float, float]) -> Plot:
    """One metric over the states: the field, what is beside it, the fitted range shaded."""
    shaded = (*fitted_range, "fitted range")
    field_rows = [r for r in rows if r.method == FIELD]
    if metric == "rmsd":
        return Plot((Line("", _points(field_rows, metric), BLUE),), "state", METRICS[metric], shaded)
    lines = []
    for baseline in BASELINES.values():
        chosen = [r for r in rows if r.method == baseline.method]
        if chosen:
            lines.append(Line(baseline.method, _points(chosen, metric), baseline.color, baseline.line != "-"))
    unfitted = [r for r in field_rows if r.group != TRAINING]
    if unfitted:
        lines.append(Line("field", _points(unfitted, metric), BLUE))
    fitted = [r for r in field_rows if r.group == TRAINING]
    if fitted:
        lines.append(Line("field, fitted", _points(fitted, metric), dots=True))
    return Plot(tuple(lines), "state", METRICS[metric], shaded)


def means_of(rows: Sequence[StateScores], metric: str) -> str:
    """Means of a metric by group and method, as rich text."""
    if not rows:
        return ""
    groups = list(dict.fromkeys(r.group for r in rows))
    methods = list(dict.fromkeys(r.method for r in rows))
    head = "".join(f"<td align=right>&nbsp;&nbsp;{method}</td>" for method in methods)
    body = ""
    for group in groups:
        cells = ""
        for method in methods:
            values = [getattr(r, metric) for r in rows if r.group == group and r.method == method]
            finite = [v for v in values if v == v]
            mean = f"{sum(finite) / len(finite):.4f}" if finite else "–"
            cells += f"<td align=right>&nbsp;&nbsp;{mean}</td>"
        body += f"<tr><td>{group}</td>{cells}</tr>"
    return f"<table><tr><td><b>mean</b></td>{head}</tr>{body}</table>"


def _points(rows: Sequence[StateScores], metric: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(r.state), float(getattr(r, metric))) for r in sorted(rows, key=lambda r: r.state))
