"""Very many times of a fit of few states are asked about first."""

from __future__ import annotations

import pytest
from pymol import CmdException

from pymol_dsr.commands.arguments import requested_times
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.fits.fit import Trajectory
from pymol_dsr.session import session_of
from support.session import ready, refused

MANY = "1-3:0.00005"


@pytest.mark.system
def test_very_many_times_of_three_states_are_asked_about_once():
    trajectory = Trajectory("", "pep", "pep", None, [1.0, 2.0, 3.0])
    for text in (MANY, "1-3:0.0001"):
        with pytest.raises(CmdException, match=rf"states {text}: they are \d+ times, and the fit is of 3 states; give"):
            requested_times(trajectory, text)
        assert len(requested_times(trajectory, text)) > 10_000


@pytest.mark.parametrize(("states", "text"), [(3, "1-3:0.001"), (2000, "1-2000:0.1")])
def test_many_times_that_may_well_be_meant_are_not_asked_about(states, text):
    trajectory = Trajectory("", "pep", "pep", None, [float(state) for state in range(1, states + 1)])
    assert requested_times(trajectory, text)


def test_a_command_asks_before_a_backend_starts(plugin):
    ready(plugin, "fit", "", states=(1.0, 2.0, 3.0))
    line = refused(plugin, dsr_movie, "fit", MANY)
    assert line.endswith("times, and the fit is of 3 states; give the command again if that is meant")
    assert session_of(plugin).jobs.connection.running is None
