"""Names of fits: every command finds a fit by the name that was given, and nothing of the user's is replaced."""

from __future__ import annotations

import pytest

from pymol_dsr.commands.arguments import fit_of
from pymol_dsr.commands.files import dsr_load
from pymol_dsr.commands.fit import dsr_fit, prepare_fit
from pymol_dsr.commands.manage import dsr_cancel, dsr_delete, dsr_status
from pymol_dsr.commands.measure import dsr_measure
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.commands.restore import dsr_restore
from pymol_dsr.fits.fit import Phase
from pymol_dsr.scene.kept_movies import KeptMovie
from pymol_dsr.session import session_of
from pymol_dsr.shared.messages import FitReport
from pymol_dsr.shared.options import FieldOptions, FitOptions, StartOptions
from support.session import ready, refused


@pytest.mark.system
def test_a_fit_is_found_by_the_name_that_was_given(backend):
    # PyMOL keeps single letters for its selections and writes B_ for B.
    assert dsr_fit("pep", "1-3", name="B", preset="preview", async_=0, _self=backend) == "B_"
    dsr_movie("B", "1-2", async_=0, _self=backend)
    assert "B_" in backend.get_names("objects")
    assert dsr_status("B", _self=backend) == dsr_status("B_", _self=backend)
    dsr_cancel("B", _self=backend)


def test_a_blank_in_a_name_becomes_what_pymol_makes_of_it_everywhere(plugin, capsys):
    """As in `create my pep, pep`, whose object is my_pep."""
    session, options = session_of(plugin), (FitOptions(), StartOptions())
    assert prepare_fit(session, "pep", "1-3", "my fit", *options, plugin)[0] == "my_fit"
    ready(plugin, "my_fit", "")
    assert dsr_status("my fit", _self=plugin) == ["my_fit: ready, states 1+3 of pep"]
    capsys.readouterr()
    dsr_cancel("my fit", quiet=0, _self=plugin)
    dsr_delete("my fit", quiet=0, _self=plugin)
    assert capsys.readouterr().out.splitlines() == [" my_fit: nothing to stop", " my_fit: deleted"]
    assert refused(plugin, dsr_restore, "my fit") == "there is no coarse movie my_fit (there: none)"


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


@pytest.mark.parametrize("name", ["*", "../up", "x" * 81, "con", "NUL.x", "\x1b[.\n"])
def test_names_that_no_file_may_have_are_refused_before_a_backend_starts(plugin, name, tmp_path):
    (tmp_path / "a.dsr").write_bytes(b"a fit")
    for make in (
        lambda: refused(plugin, dsr_fit, "pep", "1-3", name=name, async_=0),
        lambda: refused(plugin, dsr_load, str(tmp_path / "a.dsr"), name),
    ):
        line = make()
        assert line.startswith("name ") and ("use 1 to 80 letters" in line or "Windows has a device" in line), line
        assert line.isprintable() and session_of(plugin).jobs.connection.running is None
    assert session_of(plugin).jobs.fits == {}


def test_objects_whose_names_no_trajectory_may_have_are_refused_before_a_backend_starts(plugin):
    plugin.create("a^1", "pep")
    line = refused(plugin, dsr_fit, "pep+a^1", "1-3", name="both", async_=0)
    assert line.startswith("a trajectory can't be named a^1: use 1 to 80 letters")
    assert session_of(plugin).jobs.connection.running is None


def test_two_names_that_pymol_writes_alike_do_not_replace_each_other(plugin):
    first_fit = ready(plugin, "B_", "")
    line = refused(plugin, dsr_fit, "pep", "1-3", name="B", async_=0)
    assert line == "name B: PyMOL writes it B_, which there is; name=B_ replaces that fit, any other name keeps it"
    assert session_of(plugin).jobs.fits == {"B_": first_fit}


def test_two_files_whose_names_pymol_writes_alike_do_not_replace_each_other(plugin, tmp_path):
    ready(plugin, "a_b", "").file = "/elsewhere/a_b.dsr"
    (tmp_path / "a b.dsr").write_bytes(b"a fit")
    line = refused(plugin, dsr_load, str(tmp_path / "a b.dsr"))
    assert line.endswith("a b.dsr: PyMOL writes it a_b, as /elsewhere/a_b.dsr; give another name=")


def test_names_that_differ_in_case_only_are_refused(plugin):
    ready(plugin, "Fit", "")
    line = refused(plugin, dsr_fit, "pep", "1-3", name="fit", async_=0)
    assert line == "name fit: the fit Fit differs in case only; give another name, or Fit"


def test_a_lost_fit_is_not_waited_for(plugin):
    fit = ready(plugin, "one", "")
    fit.phase, fit.error = Phase.FAILED, "lost at step 3; dsr_resume one goes on"
    assert refused(plugin, dsr_movie, "one") == "one: failed: lost at step 3; dsr_resume one goes on"


def test_a_movie_and_one_still_to_be_loaded_wait_for_their_fit(plugin):
    session = session_of(plugin)
    family, single = ready(plugin, "fam", "one", "two"), ready(plugin, "fit", "")
    session.movies.by_name["mine"] = KeptMovie("mine", single, single.trajectories[0], FieldOptions())
    names = ("fit", "mine", "fam_one", "fam_one_two", "fam_three", "other")
    assert [fit_of(session, name) for name in names] == ["fit", "fit", "fam", "fam", "fam_three", "other"]
    assert family.family


@pytest.mark.parametrize(("preset", "is_noted"), [("preview", True), ("paper", False)])
def test_a_family_without_a_network_gives_its_preset_alone_and_says_so(plugin, capsys, preset, is_noted):
    ready(plugin, "fam", "one", "two").report = FitReport(preset=preset)
    start = StartOptions(family="fam", frozen=True)
    prepare_fit(session_of(plugin), "pep", "1-3", "", FitOptions(preset=preset), start, plugin)
    line = f" dsr_fit: preset {preset} has no network to start from: fam gives its preset alone\n"
    assert (line in capsys.readouterr().out) == is_noted


def test_a_file_is_loaded_under_no_name_of_a_molecule(plugin, tmp_path):
    """Its movie takes the name of the fit, and would take the molecule's place."""
    path = tmp_path / "fit.dsr"
    path.write_text("This is not read.")
    line = "name pep: the scene has a molecule of that name; give another with name=, or delete it"
    assert refused(plugin, dsr_load, str(path), "pep") == line
    assert session_of(plugin).jobs.connection.running is None
