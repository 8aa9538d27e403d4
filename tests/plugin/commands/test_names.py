"""Names of fits: every command finds a fit by the name that was given, and nothing of the user's is replaced."""

from __future__ import annotations

import pytest

from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.manage import dsr_cancel, dsr_status
from pymol_dsr.commands.measure import dsr_measure
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.session import session_of
from support.session import ready, refused


def test_a_fit_is_found_by_the_name_that_was_given(backend):
    # PyMOL keeps single letters for its selections and writes B_ for B.
    assert dsr_fit("pep", "1-3", name="B", preset="preview", async_=0, _self=backend) == "B_"
    dsr_movie("B", "1-2", async_=0, _self=backend)
    assert "B_" in backend.get_names("objects")
    assert dsr_status("B", _self=backend) == dsr_status("B_", _self=backend)
    dsr_cancel("B", _self=backend)


@pytest.mark.parametrize("look_up", [dsr_movie, dsr_measure, dsr_cancel])
def test_unknown_names_are_said_as_pymol_writes_them(plugin, look_up):
    ready(plugin, "b_", "")
    assert refused(plugin, look_up, "q").startswith("there is no fit q_")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda cmd: cmd.create("taken", "pep"), "molecule"),
        (lambda cmd: cmd.select("taken", "pep"), "selection"),
        (lambda cmd: cmd.map_new("taken", "gaussian", 1.0, "pep"), "map"),
        (lambda cmd: cmd.load_cgo([7.0, 0.0, 0.0, 0.0, 1.0], "taken"), "cgo"),
    ],
)
def test_a_name_of_something_else_is_refused_before_the_fit(plugin, make, kind):
    make(plugin)
    line = refused(plugin, dsr_fit, "pep", "1-3", name="taken", async_=0)
    assert line == f"name taken: the scene has a {kind} of that name; give another with name=, or delete it"
    assert session_of(plugin).jobs.fits == {}
    assert "taken" in plugin.get_names("all")
