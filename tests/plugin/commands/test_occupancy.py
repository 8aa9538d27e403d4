"""dsr_occupancy in real PyMOL: of surfaces, of a fit, of several objects; what it shows, says and refuses."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pymol_dsr.backend.process import BackendError
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.occupancy import apart_line, dsr_occupancy, parse_weights
from pymol_dsr.fits.fit import Activity
from pymol_dsr.session import session_of
from pymol_dsr.shared.messages import OccupancyResult
from support.paths import ROOT
from support.scene import coordinates, idtf_points, put
from support.session import ready, refused


@pytest.fixture
def colored(peptide):
    peptide.color("green", "pep")
    return peptide


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("nope", 'selection nope: Invalid selection name "nope"'),
        ("pep, 9", "9 is past the end"),
        ("pep, 1", "an ensemble has two states at least"),
        ("pep, levels=0", "levels 0: it must be above 0 and at most 100"),
        ("pep, levels=50 50", "levels: 50 is given twice"),
        ("pep, resolution=0", "resolution 0: it must lie between 0.2 and 10"),
        ("pep, weights=1 2", "weights: there are 2 for 6 states; give one for each"),
        ("pep, weights=a b", "weights a b: they are neither numbers nor a text file of numbers"),
        ("pep, weights=0 0 0 0 0 0", "they must be 0 or more, and not all 0"),
        ("pep, color=nocolour", "color nocolour: it must be spread or a colour of PyMOL"),
        ("pep, as_=dots", "as_ dots: choose one of surface, map"),
        ("pep, by=cluster", "by cluster: choose one of all, macrostate"),
        ("pep, by=macrostate, weights=1 2 3 4 5 6", "weights: with by=macrostate all states of a macrostate count"),
        ("pep, object=pep", "the name pep is taken by a molecule"),
        ("pep, object=one", "object one: a fit has that name"),
        ("pep, trajectory=a", "trajectory a: pep is no fit"),
        ("one, trajectory=a", "one is a fit of one trajectory"),
    ],
)
def test_mistakes_are_one_line_and_start_nothing(plugin, capfd, arguments, message):
    jobs = session_of(plugin).jobs
    ready(plugin, "one", "")
    plugin.do(f"dsr_occupancy {arguments}")
    errors = [text for text in capfd.readouterr().out.splitlines() if text.startswith(" Error: ")]
    assert len(errors) == 1 and message in errors[0], errors
    assert jobs.connection.running is None and list(jobs.fits) == ["one"] and not jobs.fits["one"].activity


def test_weights_come_from_words_or_a_file(tmp_path):
    assert parse_weights("") is None and parse_weights(" 1 0.5  2 ") == (1.0, 0.5, 2.0)
    assert parse_weights([1, 0.5, 2]) == parse_weights("[1, 0.5, 2]") == (1.0, 0.5, 2.0)
    file = tmp_path / "weights.txt"
    file.write_text("# of clusters\n1, 2\n3 # the last\n")
    assert parse_weights(str(file)) == (1.0, 2.0, 3.0)


def result_of(rmsd, superposed):
    no_points = np.zeros((0, 3), np.float32)
    return OccupancyResult(
        states=2,
        volume=1.0,
        rmsd=rmsd,
        rmsd_superposed=superposed,
        origin=(0.0, 0.0, 0.0),
        spacing=1.0,
        surfaces=(),
        points=no_points,
        normals=no_points,
        faces=no_points.astype(np.int32),
        spread=no_points[:, 0],
    )


def test_states_that_tumble_are_named_and_those_that_change_are_not():
    assert "8.0 A from the first state, and 1.0 A after" in str(apart_line(result_of(8.0, 1.0)))
    for raw, superposed in ((8.0, 7.0), (1.2, 0.4), (None, None)):
        assert apart_line(result_of(raw, superposed)) is None


def number_after(text, words):
    return float(re.findall(rf"{re.escape(words)} ?([0-9.]+)", text)[0])


@pytest.mark.system
def test_an_ensemble_of_surfaces_then_of_a_fit(backend, capfd):
    cmd = backend
    cmd.translate([30, 0, 0], object="pep", camera=0)
    group = dsr_occupancy("pep", levels="10 50 90", quiet=0, async_=0, _self=cmd)
    output = capfd.readouterr().out
    names = [f"pep_occupancy_{level}" for level in (90, 50, 10)]
    assert group == "pep_occupancy" and cmd.get_type(group) == "object:group"
    assert [cmd.get_type(name) for name in names] == ["object:cgo"] * 3
    assert [cmd.get_setting_float("cgo_transparency", name) for name in names] == pytest.approx([0, 0.7, 0.7])
    assert cmd.get_type("pep_occupancy_bar_spread_A") == "object:ramp"
    # It lies where the molecule is shown, at every state.
    cmd.disable("pep")
    cmd.set("state", 4)
    drawn_points = idtf_points(cmd)
    middle = coordinates(cmd, "pep", 1).mean(0) + np.array([30.0, 0.0, 0.0])
    assert np.linalg.norm(drawn_points.mean(0) - middle) < 3.0
    volumes = [number_after(output, f"{level} %:") for level in (10, 50, 90)]
    mean = number_after(output, "volume of a state")
    assert volumes[0] > volumes[1] > volumes[2] and volumes[0] > mean > volumes[2]
    assert volumes[1] == pytest.approx(mean, rel=0.05)
    assert "not superposed" not in output
    # The ensemble is no fit, and leaves none behind.
    assert not session_of(cmd).jobs.fits

    dsr_fit("pep", preset="preview", name="field", async_=0, _self=cmd)
    capfd.readouterr()
    assert dsr_occupancy("field", quiet=0, async_=0, _self=cmd) == "field_occupancy"
    fit_output = capfd.readouterr().out
    assert [number_after(fit_output, f"{level} %:") for level in (10, 50, 90)] == pytest.approx(volumes, rel=0.06)
    assert not session_of(cmd).jobs.fits["field"].activity

    # As a map: the fraction of the states, whose isosurfaces are the levels.
    assert dsr_occupancy("field", "1-6:0.5", as_="map", color="red", levels="50", async_=0, _self=cmd)
    assert cmd.get_type("field_occupancy_map") == "object:map"
    assert cmd.get_type("field_occupancy_50") == "object:surface"
    # One state of eleven is 0.09.
    assert float(cmd.isolevel("field_occupancy_50", 0, query=1)) == pytest.approx(5.5 / 11)

    # Replicas, one of them turned away: pooled, and the warning says so.
    cmd.create("other", "pep", 1, 1)
    turned = coordinates(cmd, "other", 1)
    turned[:, [0, 1]] = turned[:, [1, 0]] * [1, -1]
    put(cmd, "other", 1, turned + 4.0)
    dsr_occupancy("pep+other", weights="1 1 1 1 1 1 2", quiet=0, async_=0, _self=cmd)
    pooled = capfd.readouterr().out
    assert "levels of 7 states loaded" in pooled and "warning: the states are not superposed" in pooled


@pytest.mark.system
def test_macrostates_are_groups_of_their_own(backend, capfd):
    pytest.importorskip("deeptime", reason="extra simulate")
    cmd = backend
    folder = ROOT / "benchmarks" / "data"
    cmd.load(str(folder / "trpcage_300k.pdb"), "cage")
    cmd.load_traj(str(folder / "trpcage_450k.xtc"), "cage", state=1)
    cmd.intra_fit("cage and name CA")
    stem = dsr_occupancy("cage", "1-40", by="macrostate", resolution=2.0, quiet=0, async_=0, _self=cmd)
    output = capfd.readouterr().out
    assert stem == "cage_occupancy"
    counts = [int(count) for count in re.findall(r"3 levels of (\d+) states loaded", output)]
    groups = [name for name in cmd.get_names("all") if re.fullmatch(r"cage_occupancy_macro\d", name)]
    assert len(groups) == len(counts) >= 2 and {cmd.get_type(name) for name in groups} == {"object:group"}
    # Each state belongs to one macrostate at most.
    assert 25 < sum(counts) <= 40
    assert not session_of(cmd).jobs.fits


@pytest.mark.system
def test_a_cancelled_ensemble_leaves_the_name_free(backend, monkeypatch):
    jobs = session_of(backend).jobs
    # One surface, then the user stops it.
    original = jobs.connection.wait

    def wait(fit, call, *args):
        result = original(fit, call, *args)
        fit.stop.set()
        return result

    with monkeypatch.context() as patch:
        patch.setattr(jobs.connection, "wait", wait)
        assert "cancelled" in refused(backend, dsr_occupancy, "pep", async_=0)
    assert not jobs.fits and "pep_occupancy" not in backend.get_names("all")
    dsr_occupancy("pep", "1+2", levels="50", resolution=1.5, async_=0, _self=backend)
    assert "pep_occupancy_50" in backend.get_names("all")


def test_surfaces_of_a_selection_are_entered_as_its_occupancy_and_not_as_a_fit(plugin, monkeypatch):
    jobs, activities = session_of(plugin).jobs, []

    def no_backend(*args):
        activities.append(jobs.fits["pep_occupancy"].activity)
        raise BackendError("lost", "there is no backend")

    monkeypatch.setattr(jobs.connection, "backend", no_backend)
    assert "there is no backend" in refused(plugin, dsr_occupancy, "pep")
    assert activities == [Activity.OCCUPANCY] and not jobs.fits
