"""Stretches of time: jumps that are found, no false alarms, and nothing that crosses a cut."""

import numpy as np
import pytest
import torch
from dsr_backend.motion.kernels import TemporalKernel
from dsr_backend.motion.motion import Motion
from dsr_backend.motion.stretches import find_jumps, given_breaks
from dsr_backend.results.vertex_motion import normal_velocity
from MDAnalysis.lib.formats.libdcd import DCDFile
from MDAnalysis.lib.formats.libmdaxdr import XTCFile

from pymol_dsr.shared.options import FitOptions
from support.paths import CASES, ROOT
from support.scene import coordinates
from support.shapes import ball, cloud, fit, turn

DATA = ROOT / "benchmarks/data"


def positions(path):
    """f4[S,A,3] Å; MDAnalysis's own readers would leave an index beside the file."""
    if str(path).endswith(".dcd"):
        with DCDFile(str(path)) as file:
            return file.readframes().xyz
    with XTCFile(str(path)) as file:
        return np.stack([10.0 * frame.x for frame in file]).astype(np.float32)


def jumps(atoms, times=None):
    return find_jumps(atoms, np.arange(1.0, len(atoms) + 1) if times is None else np.asarray(times, float))


def superposed(atoms):
    """The states on the middle one, as intra_fit leaves them."""
    return Motion.from_states(np.arange(float(len(atoms))), atoms).atoms


def scene(motion, time):
    return np.asarray(motion.scene_atoms(time), np.float32)


# Jumps


def test_runs_one_after_the_other_are_told_apart():
    runs = positions(CASES / "runs.xtc")
    assert jumps(runs) == [12, 24]
    # Also where the user has superposed all states, so that the shape alone jumps.
    assert jumps(superposed(runs)) == [12, 24]


@pytest.mark.system
@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("name", ["trpcage_300k", "trpcage_450k", "villin_300k", "villin_450k"])
def test_a_simulation_is_one_stretch(name, step):
    atoms = positions(DATA / f"{name}.xtc")[::step]
    assert jumps(atoms) == [] == jumps(superposed(atoms))


def test_a_transition_is_one_stretch_in_even_and_uneven_strides():
    files = pytest.importorskip("MDAnalysisTests.datafiles")
    atoms = positions(files.DCD2)
    assert jumps(atoms) == []
    for states in ([*range(40), *range(59, 80, 2)], [0, 1, 2, 3, 5, 8, 12, 18, 27, 40, 60, 101]):
        assert jumps(atoms[states], np.array(states) + 1.0) == []


def test_an_ensemble_is_one_stretch_in_any_order(cmd):
    files = pytest.importorskip("MDAnalysisTests.datafiles")
    cmd.load(files.PDB_multiframe, "nmr")
    models = np.stack([coordinates(cmd, "nmr", state) for state in range(1, cmd.count_states("nmr") + 1)])
    rng = np.random.default_rng(0)
    assert jumps(models) == []
    assert all(jumps(models[rng.permutation(len(models))]) == [] for _ in range(30))


def test_a_state_that_strays_and_comes_back_is_no_cut():
    atoms = np.tile(cloud(), (12, 1, 1)) + 0.3 * np.random.default_rng(0).normal(size=(12, 60, 3))
    atoms[6] += 30.0
    assert jumps(atoms) == []
    atoms[7:] += 30.0
    assert jumps(atoms) == [6]


def test_a_structure_before_its_simulation_is_cut_off():
    atoms = positions(DATA / "villin_300k.xtc")[:20]
    atoms[0] += 40.0
    assert jumps(atoms) == [1]


def test_cuts_are_named_by_the_last_state_before_them():
    states = np.array([1.0, 3.0, 5.0, 7.0])
    assert given_breaks((3, 4, 5), states) == [2, 3]
    for wrong in (0, 7, 40):
        with pytest.raises(ValueError, match=f"breaks {wrong}: there is nothing to cut after it in the states 1 to 7"):
            given_breaks((wrong,), states)


# Across a cut


def test_no_weight_crosses_a_cut_and_the_nearer_state_is_held():
    kernel = TemporalKernel(np.arange(1.0, 13.0), breaks=(4, 9))
    for time in np.linspace(-2.0, 15.0, 171):
        used = np.flatnonzero(kernel.weights(float(time), 2.5))
        stretch = [range(4), range(4, 9), range(9, 12)][int(np.digitize(time, [4.5, 9.5], right=True))]
        assert set(used) <= set(stretch)
    for time, held in ((4.4, 3), (4.5, 3), (4.6, 4), (9.3, 8), (9.7, 9)):
        np.testing.assert_array_equal(kernel.weights(time, 2.5), np.eye(12)[held])
        assert kernel.smoothing_blend(time) == 0.0


def test_a_stretch_is_as_if_the_others_were_not_there():
    rng = np.random.default_rng(2)
    runs = [cloud() + rng.normal(size=(9, 1, 3)) + 0.2 * rng.normal(size=(9, 60, 3)) for _ in range(2)]
    runs[1] = runs[1] @ turn(120.0).T + 40.0
    states = np.arange(1.0, 19.0)
    joined = Motion.from_states(states, np.concatenate(runs).astype(np.float32), breaks=[9])
    joined.smooth = 1.5
    joined.choose_forecasts()
    for first, run in enumerate(runs):
        single = Motion.from_states(states[9 * first : 9 * first + 9], run.astype(np.float32))
        single.poses = type(single.poses)(single.poses.rotations, single.poses.translations, joined.poses.width)
        single.smooth = 1.5
        single.choose_forecasts()
        ends = (-1.0, 0.5) if first == 0 else (18.5, 21.0)
        for time in (*np.linspace(1.0, 9.0, 17) + 9 * first, *ends):
            np.testing.assert_allclose(scene(joined, time), scene(single, time), atol=5e-3)
            assert joined.expected_error(time) == pytest.approx(single.expected_error(time), abs=5e-3, nan_ok=True)
    np.testing.assert_array_equal(scene(joined, 9.4), scene(joined, 9.0))
    np.testing.assert_array_equal(scene(joined, 9.6), scene(joined, 10.0))


def test_each_stretch_has_a_reference_of_its_own_states():
    atoms = np.stack([cloud(seed=k // 4) + 0.01 * k for k in range(8)]).astype(np.float32)
    motion = Motion.from_states(np.arange(1.0, 9.0), atoms, breaks=[4])
    assert motion.atoms is not None and motion.references is not None and len(motion.references) == 2
    for number, references in enumerate((motion.atoms[:4], motion.atoms[4:])):
        assert any(np.array_equal(state, motion.references[number]) for state in references)
    # At rest on its reference, nothing is warped: also between the runs, where the nearer state is held.
    for time in (1.0, 4.4, 4.6, 8.0):
        aligned = motion.aligned_atoms(time)
        assert aligned is not None
        xi = motion.warp_from(aligned, motion.pose(time), time, torch.device("cpu"))(torch.tensor(scene(motion, time)))
        np.testing.assert_allclose(xi, motion.references[int(time > 4.5)], atol=0.1)


@pytest.fixture(scope="module")
def two_runs():
    """A ball that grows, then another that shrinks, 50 Å away."""
    atoms, separation = cloud(), np.array([50.0, 0.0, 0.0])
    radii = [*np.linspace(6.0, 7.0, 6), *np.linspace(8.5, 7.5, 6)]
    places = [np.zeros(3) if k < 6 else separation for k in range(12)]
    return [
        ball(k + 1.0, radius, centre, (atoms * radius / 6.0 + centre).astype("f4"), subdivisions=3)
        for k, (radius, centre) in enumerate(zip(radii, places, strict=True))
    ]


@pytest.mark.system
def test_a_fit_cuts_where_the_molecule_jumps_unless_told_not_to(two_runs):
    fitted = fit(two_runs)
    assert fitted.report["breaks"] == [6.0]
    x = torch.tensor([[0.0, 0.0, 0.0], [50.0, 0.0, 0.0]])
    for time, inside in ((6.4, [True, False]), (6.6, [False, True])):
        assert (fitted.at(time).distance(x) < 0.0).tolist() == inside
        held = fitted.at(round(time))
        np.testing.assert_array_equal(fitted.at(time).distance(x), held.distance(x))
    blended = fit(two_runs, breaks=())
    assert "breaks" not in blended.report
    assert np.abs(blended.at(6.4).distance(x) - blended.at(6.0).distance(x)).max() > 1.0
    with pytest.raises(ValueError, match="breaks 12: there is nothing to cut after it in the states 1 to 12"):
        fit(two_runs, breaks=(12,))


@pytest.mark.system
def test_the_speed_of_a_surface_does_not_see_the_next_run(two_runs):
    fitted = fit(two_runs)
    for time in (6.0, 6.2, 7.0):
        points = fitted.at(time).atoms
        assert np.abs(normal_velocity(fitted, time, points)).max() < 1.0
    assert not normal_velocity(fitted, 6.49, two_runs[5].points).any()


# Options


@pytest.mark.parametrize(
    ("text", "breaks"), [("", None), ("auto", None), ("none", ()), ("24+12", (12, 24)), ("12 + 24", (12, 24))]
)
def test_breaks_are_typed_as_states(text, breaks):
    options = FitOptions.parse(breaks=text)
    assert options.breaks == breaks
    assert FitOptions.from_json(options.to_json()) == options
    assert ("breaks" in options.to_json()) == (breaks is not None)


@pytest.mark.parametrize("text", ["12,24", "x", "1-5", "+", "0", "99999999999"])
def test_breaks_that_are_no_states_are_refused(text):
    with pytest.raises(ValueError, match="breaks"):
        FitOptions.parse(breaks=text)


def test_a_loop_is_not_cut():
    with pytest.raises(ValueError, match=r"breaks 12\+24: a loop has no cuts; leave loop= or breaks= out"):
        FitOptions(breaks=(12, 24), loop=True)
