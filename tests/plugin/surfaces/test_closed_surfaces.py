"""Surfaces need an inside: those without one are refused, open ones are warned of, each with a remedy that works."""

from __future__ import annotations

import re

import pymol2
import pytest

from pymol_dsr.commands.files import dsr_surfaces
from pymol_dsr.surfaces import extract, workers
from pymol_dsr.surfaces.source import ExtractError
from support.paths import CASES

HELIX = str(CASES / "helix.pdb")


@pytest.fixture
def helix():
    """A PyMOL with the object `hlx`."""
    with pymol2.PyMOL() as session:
        session.cmd.feedback("disable", "all", "everything")
        session.cmd.load(HELIX, "hlx")
        yield session.cmd


def warnings_of_surfaces(cmd):
    """Surfaces of one state, and the lines that computing them adds."""
    source = extract.read_source("hlx", "1-2", _self=cmd)
    before = len(source.warnings)
    surfaces = list(workers.compute_surfaces(source, 1))
    assert len(surfaces) == 2
    return source.warnings[before:]


@pytest.mark.parametrize("owner", ["", "hlx"])
def test_a_surface_without_an_inside_is_refused(helix, owner):
    helix.set("solvent_radius", 0, owner)
    with pytest.raises(ExtractError) as error:
        warnings_of_surfaces(helix)
    line = str(error.value)
    assert re.match(r"state \d: PyMOL's surface of hlx encloses -\d+ A\^3 and has no inside ", line)
    assert line.endswith("(solvent_radius is 0; 'set solvent_radius, 1.4, hlx' gives closed surfaces)")
    helix.set("solvent_radius", 1.4, "hlx")
    assert warnings_of_surfaces(helix) == []


def test_an_open_surface_is_one_warning(helix):
    helix.set("solvent_radius", 0.1)
    (line,) = warnings_of_surfaces(helix)
    assert re.fullmatch(
        r"state \d: \d\d % of the edges of PyMOL's surface of hlx are open, so that its inside is uncertain "
        r"\(solvent_radius is 0.1; 'set solvent_radius, 1.4, hlx' gives closed surfaces\)",
        line,
    )


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"solvent_radius": 0.2}, "solvent_radius is 0.2; 'set solvent_radius, 1.4, hlx' gives"),
        ({"surface_quality": -1}, "surface_quality is -1; 'set surface_quality, 0, hlx' gives"),
        (
            {"solvent_radius": 0.8, "surface_quality": -1},
            "solvent_radius is 0.8, surface_quality is -1; "
            "'set solvent_radius, 1.4, hlx' and 'set surface_quality, 0, hlx' give",
        ),
    ],
)
def test_a_closed_surface_that_leaves_atoms_out_is_one_warning(helix, settings, named):
    for key, value in settings.items():
        helix.set(key, value)
    (line,) = warnings_of_surfaces(helix)
    assert re.fullmatch(
        r"state \d: PyMOL's surface of hlx encloses \d\d % of the volume of its atoms' spheres, so that its inside is "
        rf"uncertain \({re.escape(named)} closed surfaces\)",
        line,
    )
    for order in re.findall(r"'(set [^']*)'", line):
        helix.do(order)
    helix.sync()
    assert warnings_of_surfaces(helix) == []


def test_pymols_usual_surfaces_are_closed(helix):
    assert warnings_of_surfaces(helix) == []


def test_dsr_surfaces_prints_the_warning(plugin, tmp_path, capsys):
    plugin.load(HELIX, "hlx")
    plugin.set("solvent_radius", 0.1, "hlx")
    dsr_surfaces("hlx", str(tmp_path / "hlx.npz"), states="1-2", async_=0, _self=plugin)
    assert "dsr_surfaces: warning: state" in capsys.readouterr().out
