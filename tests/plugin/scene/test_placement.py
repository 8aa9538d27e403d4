"""Display matrices of objects, where several objects meet, in a real PyMOL."""

from __future__ import annotations

import numpy as np
import pytest

from pymol_dsr.commands.morph import dsr_morph
from pymol_dsr.commands.occupancy import dsr_occupancy
from support.session import ready, refused


@pytest.fixture
def warned(plugin, capsys):
    """A function that runs a command which is refused, and returns the warnings that it printed before."""
    plugin.create("two", "pep")

    def run(function, *arguments, **options):
        capsys.readouterr()
        refused(plugin, function, *arguments, **options)
        return [line for line in capsys.readouterr().out.splitlines() if "warning" in line]

    return run


def test_several_objects_that_are_shown_elsewhere_than_their_coordinates_are_named(plugin, warned):
    # Both are refused after the line: for weights of other states, and as both structures are the same.
    commands = (
        lambda: warned(dsr_occupancy, "pep+two", weights="1 2"),
        lambda: warned(dsr_morph, "pep", "two", align=0),
    )
    assert [command() for command in commands] == [[], []]
    plugin.translate([30, 40, 0], object="two", camera=0)
    line = (
        "warning: two is shown elsewhere than its coordinates say: its display matrix moves it by 50.0 A, which does "
        "not count here; 'reset two' shows it where its coordinates are"
    )
    titles = ("dsr_occupancy", "dsr_morph")
    assert [command() for command in commands] == [[f" {title}: {line}"] for title in titles]
    assert warned(dsr_morph, "pep", "two") == [], "structures that are superposed may be shown anywhere"
    plugin.translate([30, 40, 0], object="pep", camera=0)
    assert [command() for command in commands] == [[], []], "both are moved alike"
    plugin.do("reset two")
    plugin.do("reset pep")
    plugin.sync()
    assert [command() for command in commands] == [[], []]


def test_members_of_a_family_that_are_shown_elsewhere_are_named(plugin, warned):
    fit = ready(plugin, "fam", "pep", "two")
    for trajectory in fit.trajectories:
        trajectory.atoms = np.arange(plugin.count_atoms("pep"), dtype=np.int32)
    plugin.translate([30, 40, 0], object="two", camera=0)
    # Refused after the line, for weights of other states.
    assert ["two is shown elsewhere" in line for line in warned(dsr_occupancy, "fam", weights="1 2")] == [True]
    assert warned(dsr_occupancy, "fam", trajectory="two", weights="1 2 3") == [], "alone it may be shown anywhere"
