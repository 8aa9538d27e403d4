"""Fields and labels as a user types into them and reads them."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("PyQt5")
pytest.importorskip("pymol.Qt")
from pymol.Qt import QtCore, QtWidgets
from PyQt5 import QtTest

from pymol_dsr.panel.widgets import spin, wrapped_label

# PyQt5's stubs take its static methods for others.
QTEST: Any = QtTest.QTest
NAME = "a_peptide_whose_name_is_as_long_as_those_of_files_that_a_simulation_writes"


@pytest.fixture
def app(monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    return QtWidgets.QApplication.instance() or QtWidgets.QApplication([])


@pytest.fixture(params=["C", "pt_BR"])
def locale(request, app):
    before = QtCore.QLocale()
    QtCore.QLocale.setDefault(QtCore.QLocale(request.param))
    yield request.param
    QtCore.QLocale.setDefault(before)


@pytest.mark.parametrize("typed", ["0,5", "0.5", ",5", ".5"])
@pytest.mark.parametrize("suffix", ["", " states", ", predicted"])
def test_a_number_has_a_point_or_a_comma_in_all_countries(locale, typed, suffix):
    field = spin(0.0, 100.0, 0.1, 1, suffix)
    field.selectAll()
    QTEST.keyClicks(field.lineEdit(), typed)
    field.interpretText()
    assert field.value() == 0.5
    assert field.text() == f"0.5{suffix}"


@pytest.mark.parametrize("typed", ["1,000", "1.000", "1000"])
def test_a_whole_number_is_not_cut_at_its_thousands(locale, typed):
    field = spin(1.0, 1e6, 60.0, 0, " s")
    field.selectAll()
    QTEST.keyClicks(field.lineEdit(), typed)
    field.interpretText()
    assert field.value() == 1000.0


def test_a_number_has_no_separators_of_thousands(locale):
    field = spin(0.0, 1e6, 1.0, 1)
    field.setValue(25000.5)
    assert field.text() == "25000.5"


def form_with(label):
    """A form with the label between two fields, as wide as the window of the plugin."""
    page = QtWidgets.QWidget()
    form = QtWidgets.QFormLayout(page)
    form.addRow("States", QtWidgets.QLineEdit())
    form.addRow("", label)
    form.addRow("Preset", QtWidgets.QLineEdit())
    page.resize(375, form.totalHeightForWidth(375))
    page.show()
    QtWidgets.QApplication.processEvents()
    return page


def test_a_wrapped_line_is_as_high_as_its_text(app):
    label = wrapped_label("load a molecule with several states first")
    # Kept: a form that is deleted deletes the label.
    page = form_with(label)
    assert label.height() == label.heightForWidth(label.width())
    assert page.isVisible()


def test_a_wrapped_line_asks_for_no_width(app):
    label = wrapped_label(f"{NAME}_dsr: the movie is loaded")
    page = form_with(label)
    assert page.minimumSizeHint().width() < 345
