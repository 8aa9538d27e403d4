"""Runs that were saved one after the other: said in one line, cut, and told apart in fits, movies and scores."""

from __future__ import annotations

import numpy as np
import pytest

from pymol_dsr.commands.evaluate import dsr_eval
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.session import session_of
from support.paths import CASES
from support.scene import coordinates, put
from support.session import refused
from support.shapes import turn


@pytest.fixture
def runs(backend):
    """`v`: three runs of villin, of 12 states each, turned and moved."""
    backend.load(str(CASES / "villin.pdb"), "v")
    backend.load_traj(str(CASES / "runs.xtc"), "v", state=1)
    assert backend.count_states("v") == 36
    return backend


@pytest.mark.system
def test_a_fit_of_three_runs_is_cut_between_them(runs, capsys):
    name = dsr_fit("v and resi 45-60", "1-36:2", name="v_dsr", preset="preview", _self=runs)
    lines = [line for line in capsys.readouterr().out.splitlines() if "jumps" in line]
    assert lines == [
        " v_dsr: the molecule jumps from state 11 to 13, 23 to 25: cut there into 3 runs, between which the nearer "
        "state is held; breaks=none blends them, breaks=11+23 cuts where you say"
    ]
    # Between the fitted states, better than holding the nearest one: also beside the cuts.
    left_out = (4, 8, 12, 16, 20, 24, 28)
    rows = dsr_eval(name, "4-28:4", baselines="hold", _self=runs)
    iou = {(row.state, row.method): row.iou for row in rows}
    field, held = (np.array([iou[state, method] for state in left_out]) for method in ("field", "hold nearest"))
    assert field.mean() > held.mean() + 0.02
    assert np.all(field > held - 0.05)
    dsr_movie(name, "11-13:0.25", resolution=1.5, triangles=2000, movie=0, _self=runs)
    frames = [coordinates(runs, f"{name}_atoms", state) for state in range(1, 10)]
    for state, atoms in enumerate(frames, 1):
        held_state = frames[0] if state <= 5 else frames[-1]
        np.testing.assert_allclose(atoms, held_state, atol=1e-3)


@pytest.mark.system
def test_the_user_says_where_to_cut(runs, capsys):
    line = refused(runs, dsr_fit, "v", "1-12", breaks="12", preset="preview")
    assert line == (
        "breaks 12: there is nothing to cut after it in the states 1 to 12; name the last state of a run that another "
        "one follows"
    )
    for breaks, expected in (("12", (12.0,)), ("none", None)):
        name = dsr_fit("v", "9-16", breaks=breaks, preset="preview", budget="1", name="said", _self=runs)
        assert session_of(runs).jobs.get(name).report.members()[""].breaks == expected
    assert "jumps" not in capsys.readouterr().out


@pytest.mark.system
def test_a_molecule_that_turns_far_between_states_is_named_with_a_remedy_that_works(backend, capsys):
    start = coordinates(backend, "pep", 1)
    for state, degrees in enumerate((0.0, 170.0, 10.0, 165.0, 15.0, 60.0), 1):
        put(backend, "pep", state, start @ turn(degrees).T)
    dsr_fit("pep and polymer", name="fit", preset="preview", breaks="none", _self=backend)
    lines = [line for line in capsys.readouterr().out.splitlines() if " turns " in line]
    assert lines == [
        " fit: warning: the molecule turns by 170 degrees from state 1 to 2, and by more than 90 in 3 other steps: how "
        "it turns between them is a guess; if turns are no matter, type 'intra_fit pep and polymer' and fit again"
    ]
    assert any("turns by 170" in line for line in session_of(backend).jobs.get("fit").warnings)
    dsr_fit("pep and polymer", name="cut", preset="preview", breaks="1+2+3+4", _self=backend)
    backend.do(lines[0].split("'")[1])
    backend.sync()
    dsr_fit("pep and polymer", name="fit", preset="preview", breaks="none", _self=backend)
    assert " turns " not in capsys.readouterr().out


@pytest.mark.system
@pytest.mark.parametrize("unwrap", [0, 1])
def test_intra_fit_is_no_remedy_for_docked_poses_nor_for_molecules_that_were_made_whole(backend, capsys, unwrap):
    cmd = backend
    for state in (1, 2, 3):
        cmd.create("pose", "pep", 1, 1)
        cmd.rotate("y", 150 * state, "pose", camera=0)
        cmd.create("poses", "pose", 1, state, discrete=0 if unwrap else 1)
        cmd.delete("pose")
    cmd.set_symmetry("poses", 100, 100, 100, 90, 90, 90, state=0)
    dsr_fit("poses", name="fit", preset="preview", breaks="none", unwrap=unwrap, _self=cmd)
    [line] = [line for line in capsys.readouterr().out.splitlines() if " turns " in line]
    assert line.endswith(": how it turns between them is a guess")
