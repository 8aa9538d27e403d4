"""Landscapes whose answer is known: a chain that jumps between two shapes, and states without an order."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from dsr_backend.results.landscape import landscape
from dsr_backend.runtime.errors import Cancelled

from pymol_dsr.shared.ensemble_options import LandscapeOptions
from pymol_dsr.shared.values import ValueFault

pytest.importorskip("deeptime", reason="extra simulate")
RESIDUES = 12
LEAVING = (0.02, 0.06)
"""Probabilities to leave the first and the second shape from one state to the next."""


def shapes():
    """A straight chain and one that folds back, Cα f8[2,L,3] Å."""
    straight = np.zeros((RESIDUES, 3))
    straight[:, 0] = 3.8 * np.arange(RESIDUES)
    folded = straight.copy()
    half = RESIDUES // 2
    folded[half:, 0] = straight[half - 1 :: -1, 0][: RESIDUES - half]
    folded[half:, 1] = 6.0
    return np.stack([straight, folded])


def jumping(count=3000, seed=0, noise=0.3):
    """States f4[S,L,1,3] of a chain that jumps between both shapes, and the shape of each."""
    rng = np.random.default_rng(seed)
    path = np.zeros(count, int)
    for step in range(1, count):
        leaves = rng.random() < LEAVING[path[step - 1]]
        path[step] = 1 - path[step - 1] if leaves else path[step - 1]
    states = shapes()[path] + noise * rng.normal(size=(count, RESIDUES, 3))
    return states[:, :, None].astype(np.float32), path


@pytest.fixture(scope="module")
def two_states():
    states, path = jumping()
    return landscape([states], LandscapeOptions(states=2, lag=3)), path


def test_macrostates_are_the_two_shapes(two_states):
    result, path = two_states
    assert result.kind == "TICA" and result.lag == 3 and not result.notes
    # The shape that is left less often has the larger population, and the first number.
    assert (result.macrostate == path).mean() > 0.99
    expected = LEAVING[1] / sum(LEAVING)
    assert [macrostate.population for macrostate in result.macrostates] == pytest.approx(
        [expected, 1 - expected], abs=0.06
    )
    assert [path[macrostate.place] for macrostate in result.macrostates] == [0, 1]


def test_implied_time_scales_are_those_of_the_jumps(two_states):
    result, _ = two_states
    expected = -1.0 / math.log(1.0 - sum(LEAVING))
    slowest = result.timescales[result.lags <= 8, 0]
    assert slowest == pytest.approx(expected, rel=0.25)
    # There is no other slow motion.
    assert np.nanmax(result.timescales[result.lags <= 3, 1]) < 0.4 * expected


def test_the_free_energy_has_a_well_for_each_shape(two_states):
    result, path = two_states
    assert np.nanmin(result.free_energy) == 0.0
    wells = [result.free_energy[tuple(bins_of(result, path == shape))] for shape in (0, 1)]
    assert wells[0] < wells[1] < 4.0 and np.isnan(result.free_energy).any()


def bins_of(result, chosen):
    middle = np.median(result.axes[chosen], axis=0)
    return [int(np.searchsorted(result.edges[k], middle[k]) - 1) for k in (0, 1)]


def test_rmsd_and_rmsf(two_states):
    result, path = two_states
    # The first state is the native one.
    assert result.rmsd[0] == pytest.approx(0.0, abs=1e-3)
    assert result.rmsd[path == 0].max() < 1.5 < result.rmsd[path == 1].min()
    assert result.rmsf.shape == (RESIDUES,) and result.helix is None is result.strand
    native = shapes()[1].astype(np.float32)
    states, path = jumping(200)
    from_native = landscape([states], LandscapeOptions(states=2), native=native)
    assert from_native.rmsd[path == 1].max() < 1.5 < from_native.rmsd[path == 0].min()


@pytest.mark.system
def test_a_reference_gives_axes_scores_and_a_floor():
    reference, _ = jumping(600, seed=1)
    alike, _ = jumping(600, seed=2)
    one_shape = np.tile(shapes()[1][:, None], (200, 1, 1, 1))
    one_shape = (one_shape + 0.3 * np.random.default_rng(3).normal(size=one_shape.shape)).astype(np.float32)
    follows = np.arange(RESIDUES) > 0
    options = LandscapeOptions(states=2, lag=3)
    good = landscape([alike], options, reference=[reference], follows=follows)
    bad = landscape([one_shape], options, reference=[reference], follows=follows)
    assert good.js < 0.15 < 0.4 < bad.js and good.floor < 0.15 and good.floor == pytest.approx(bad.floor, abs=0.02)
    assert list(good.scores) == ["ensemble", "bootstrap", "hold"]
    assert good.scores["ensemble"].js < bad.scores["ensemble"].js
    assert good.scores["ensemble"].rmsf_correlation > 0.9 and 0.0 < good.scores["ensemble"].broken < 1.0
    assert good.reference_rmsf is not None and len(good.reference_axes) == 600


@pytest.mark.parametrize("runs", [(2,), (1, 1), (2, 1)])
def test_two_shapes_as_a_reference_are_one_axis_and_the_ensemble_gives_the_other(runs):
    """Two states of one object, an object each, and one of the shapes twice."""
    states, path = jumping(200)
    known = np.split(shapes()[[0, 1, 0]][: sum(runs), :, None], np.cumsum(runs)[:-1])
    result = landscape([states], LandscapeOptions(states=2), reference=known)
    assert result.kind == "PCA" and not len(result.lags) and "axis 1 is that line" in result.notes[0]
    low, high = sorted(result.reference_axes[:2, 0])
    assert high - low > 20.0 and np.abs(result.reference_axes[:, 1]).max() < 1e-9
    # The states lie near the shape that they have, on the first axis, and apart on the second.
    nearest = np.abs(result.axes[:, :1] - result.reference_axes[:2, 0]).argmin(axis=1)
    assert (nearest == path).all()
    assert result.axes[:, 1].std() > 0.3
    assert math.isnan(result.floor) == (runs == (1, 1))


def test_states_of_two_shapes_alone_have_one_axis():
    states = np.repeat(shapes(), 6, 0)[:, :, None].astype(np.float32)
    result = landscape([states], LandscapeOptions(states=2))
    assert "axis 2 is empty" in result.notes[0] and not result.axes[:, 1].any()
    assert [macrostate.population for macrostate in result.macrostates] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("count, kind, message", [(2, "reference", "the 2 states of the reference are identical"),
                                                (12, "ensemble", "the 12 states are identical")])  # fmt: skip
def test_states_that_are_all_the_same_have_no_axes(count, kind, message):
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    copies = np.repeat(shapes()[1:, :, None], count, 0)
    # Turned, they are the same but for rounding.
    copies[1] = copies[1] @ turn.T
    series, reference = (jumping(60)[0], [copies]) if kind == "reference" else (copies, [])
    with pytest.raises(ValueError, match=f"{message} and have no axes; .*a reference that moves"):
        landscape([series.astype(np.float32)], LandscapeOptions(), reference=reference)


def test_chains_that_are_too_short_for_a_secondary_structure_have_none():
    rng = np.random.default_rng(0)
    for residues in (5, 6):
        states = np.cumsum(0.3 * rng.normal(size=(40, residues, 4, 3)), 0) + 3 * rng.normal(size=(residues, 4, 3))
        result = landscape([states], LandscapeOptions(states=2))
        assert (result.helix is None) == (residues == 5) == (result.strand is None)


def test_states_without_an_order_have_no_markov_model():
    states, path = jumping(400)
    shuffled = states[np.random.default_rng(0).permutation(len(states))]
    result = landscape([shuffled], LandscapeOptions(states=2))
    assert result.kind == "PCA" and not len(result.lags) and "not taken as a time series" in result.notes[0]
    assert [macrostate.population for macrostate in result.macrostates] == pytest.approx(
        [(path == 0).mean(), (path == 1).mean()], abs=0.01
    )
    # The user knows better.
    assert landscape([shuffled], LandscapeOptions(states=2, ordered="1")).kind == "TICA"
    assert landscape([states], LandscapeOptions(states=2, ordered="0")).kind == "PCA"


def test_a_path_that_does_not_return_has_no_populations_of_a_markov_model():
    rng = np.random.default_rng(0)
    first, last = shapes()
    fraction = np.linspace(0, 1, 80)[:, None, None]
    states = (1 - fraction) * first + fraction * last + 0.05 * rng.normal(size=(80, RESIDUES, 3))
    result = landscape([states[:, :, None].astype(np.float32)], LandscapeOptions(states=3))
    assert result.kind == "TICA" and not len(result.lags)
    assert "the states do not return" in result.notes[0]
    assert sum(macrostate.population for macrostate in result.macrostates) == pytest.approx(1.0)


def test_too_few_states_for_so_many_macrostates_are_said_as_that():
    states, _ = jumping(30)
    result = landscape([states], LandscapeOptions(states=8, lag=1, ordered="1"))
    assert not len(result.lags)
    assert (
        "the states are too few for 8 macrostates: they make" in result.notes[0]
        and "do not return" not in result.notes[0]
    )


def test_runs_that_differ_have_a_floor_of_their_own():
    alike = [jumping(1500, seed=seed)[0] for seed in (1, 2, 3)]
    options = LandscapeOptions(states=2, lag=3)
    single_run, several = landscape(alike[:1], options), landscape(alike, options)
    assert math.isnan(single_run.run_floor) and 0.0 <= several.run_floor < 0.1
    # Two runs that never meet.
    shape = shapes()[:, :, None] + 0.3 * np.random.default_rng(0).normal(size=(300, 2, RESIDUES, 1, 3))
    disjoint = landscape([shape[:, 0], shape[:, 1]], LandscapeOptions(states=2, ordered="0"))
    assert disjoint.run_floor > 0.9 and disjoint.floor < 0.3
    # One run that changes its shape halfway.
    joined = landscape([np.concatenate([shape[:, 0], shape[:, 1]])], LandscapeOptions(states=2, ordered="0"))
    assert joined.floor > 0.9


def test_several_runs_are_not_joined_end_to_start():
    first, _ = jumping(300, seed=4)
    second, _ = jumping(300, seed=5)
    result = landscape([first, second], LandscapeOptions(states=2, lag=2))
    assert len(result.axes) == 600 and result.lags.max() <= 300 // 4


@pytest.mark.parametrize(
    "states, options, message",
    [
        (np.zeros((5, 12, 1, 3)), {}, "4 residues and 10 states at least, and here are 12 and 5"),
        (np.zeros((50, 3, 1, 3)), {}, "here are 3 and 50"),
        (jumping(40)[0], {"lag": 20, "ordered": "1"}, "lag 20: the shortest series has 40 states"),
    ],
)
def test_refusals(states, options, message):
    with pytest.raises(ValueError, match=message):
        landscape([states.astype(np.float32)], LandscapeOptions(**options))


def test_options():
    assert LandscapeOptions.parse(lag="auto", states="3").lag is None
    with pytest.raises(ValueFault, match="states 1: it must lie between 2 and 20"):
        LandscapeOptions.parse(states="1")


def test_it_stops_when_it_is_cancelled():
    with pytest.raises(Cancelled):
        landscape([jumping(60)[0]], LandscapeOptions(), cancelled=lambda: True)


def test_a_missing_package_is_named_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "deeptime.clustering", None)
    with pytest.raises(ValueError, match=r'needs deeptime.*pip install "pymol-dsr\[simulate\]"'):
        landscape([jumping(60)[0]], LandscapeOptions())


@pytest.mark.filterwarnings("ignore:DCDReader:DeprecationWarning")
def test_secondary_structure_is_that_of_mdanalysis_in_which_prolines_give_no_hydrogen_bond():
    mda = pytest.importorskip("MDAnalysis", minversion="2.10", reason="before, prolines gave hydrogen bonds")
    dssp = pytest.importorskip("MDAnalysis.analysis.dssp")
    files = pytest.importorskip("MDAnalysisTests.datafiles")
    adk = mda.Universe(files.PSF, files.DCD)
    residues = adk.select_atoms("protein").residues
    backbone = [
        [r.atoms[np.isin(r.atoms.names, n)][0].ix for n in (["N"], ["CA"], ["C"], ["O", "OT1"])] for r in residues
    ]
    states = np.stack([adk.atoms.positions[backbone] for _ in adk.trajectory[::9]])
    donors = residues.resnames != "PRO"
    known = dssp.DSSP(adk.select_atoms("protein")).run(step=9).results.dssp
    result = landscape([states], LandscapeOptions(states=2), donors=donors)
    for letter, fractions in (("H", result.helix), ("E", result.strand)):
        assert fractions is not None and fractions == pytest.approx((known == letter).mean(0))
    taken_for_donors = landscape([states], LandscapeOptions(states=2)).strand
    assert taken_for_donors is not None and result.strand is not None
    assert result.strand[26] == 0.0 and taken_for_donors[26] > 0.5, "proline 27"
