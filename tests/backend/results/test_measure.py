"""Measures of a surface: areas, volumes and pockets of balls, whose answers are known."""

from functools import partial

import numpy as np
import pytest
from dsr_backend.results import measure
from dsr_backend.results.measure import measure_surface
from dsr_backend.results.mesh import extract_mesh
from dsr_backend.runtime.errors import Cancelled, RequestError
from dsr_backend.server.job import Job
from dsr_backend.server.worker import Worker
from dsr_backend.surfaces.surface import Surface

from support.shapes import ball, cloud, fit

RADIUS, APART = 6.0, 14.0


def two_balls(state, separation):
    """Balls of 6 Å whose centres lie `apart` Å from each other along x, with 60 atoms in each."""
    balls = [ball(state, RADIUS, (side * separation / 2, 0, 0)) for side in (-1, 1)]
    atoms = np.concatenate([cloud() + np.array([side * separation / 2, 0, 0]) for side in (-1, 1)])
    # On the equators, at the corners of squares that face each other.
    corners = [(side * separation / 2, y, z) for side in (-1, 1) for y in (-4, 4) for z in (-4, 4)]
    return Surface(
        state,
        np.concatenate([b.points for b in balls]),
        np.concatenate([b.normals for b in balls]),
        np.concatenate([balls[0].faces, balls[1].faces + len(balls[0].points)]),
        np.concatenate([atoms, corners]),
    )


@pytest.fixture(scope="module")
def pair():
    """Two balls that part by 1 Å a state, from 14 Å between their centres."""
    return fit([two_balls(k, APART + k - 1) for k in (1, 2, 3)], align=False)


def left_mask(field):
    """The atoms of the ball on the left."""
    return field.motion.atoms[0][:, 0] < 0


def corners(field):
    """The eight corners of the box between the balls, 8 Å wide and high."""
    mask = np.zeros(field.motion.atoms.shape[1], bool)
    mask[-8:] = True
    return mask


def box_without_balls(separation):
    """Å³ of a box from one ball's centre to the other's, 8 Å wide and high, outside both."""
    h = 0.05
    y = np.arange(-4 + h / 2, 4, h)
    # Where both fill less than a half of the box, each takes a cap of its own.
    reach = np.sqrt(np.maximum(0.0, RADIUS**2 - y[:, None] ** 2 - y[None, :] ** 2))
    assert reach.max() < separation / 2
    return 64.0 * separation - 2.0 * float(reach.sum()) * h**2


@pytest.mark.system
@pytest.mark.parametrize("time", [1.0, 2.5])
def test_two_balls_have_the_area_and_the_volume_of_two(pair, time):
    measured = measure_surface(pair, time)
    assert measured.area == pytest.approx(2 * 4 * np.pi * RADIUS**2, rel=0.01)
    assert measured.volume == pytest.approx(2 * 4 / 3 * np.pi * RADIUS**3, rel=0.01)
    assert not measured.extrapolated and measured.expected_error == 0.0
    assert measured.selection_area is measured.selection_volume is measured.pocket_volume is None


def test_atoms_share_the_whole_area(pair):
    measured = measure_surface(pair, 2.0)
    assert measured.atom_area.sum() == pytest.approx(measured.area, rel=1e-4)
    assert (measured.atom_speed[measured.atom_area == 0.0] == 0.0).all()
    assert np.average(measured.atom_speed, weights=measured.atom_area) == pytest.approx(measured.speed, rel=1e-4)


def test_parting_balls_move_by_the_mean_of_their_cosine(pair):
    # Each by 0.5 Å a state along x; the mean of |cos| over a sphere is a half.
    measured = measure_surface(pair, 2.0)
    assert measured.speed == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("time", [1.0, 2.5])
@pytest.mark.parametrize("resolution", [0.5, 1.0])
def test_a_selection_has_one_ball_for_its_share(pair, time, resolution):
    measured = measure_surface(pair, time, selection=left_mask(pair), resolution=resolution)
    assert measured.selection_area == pytest.approx(4 * np.pi * RADIUS**2, rel=0.01)
    assert measured.selection_volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.01)


def test_what_is_selected_and_what_is_not_add_up(pair):
    larger_atoms = np.arange(pair.motion.atoms.shape[1]) % 3 == 0
    radii = np.where(larger_atoms, 1.9, 1.2).astype(np.float32)
    inner, outer = (measure_surface(pair, 2.0, selection=mask, radii=radii) for mask in (larger_atoms, ~larger_atoms))
    assert inner.selection_area + outer.selection_area == pytest.approx(inner.area, rel=1e-4)
    assert inner.selection_volume + outer.selection_volume == pytest.approx(inner.volume, rel=0.01)
    # Larger spheres have more: they are nearer.
    assert inner.selection_volume > 1.2 * measure_surface(pair, 2.0, selection=larger_atoms).selection_volume


@pytest.mark.parametrize(("selected_radius", "other_radius"), [(1.2, 1.9), (3.0, 1.0)])
def test_blocks_that_are_skipped_hold_nothing(pair, monkeypatch, selected_radius, other_radius):
    """Also where a large sphere is nearest to places that a small one's centre is far nearer to."""
    chosen = np.arange(pair.motion.atoms.shape[1]) % 7 == 0
    radii = np.where(chosen, selected_radius, other_radius).astype(np.float32)
    masks = {"selection": chosen, "pocket": corners(pair), "radii": radii, "resolution": 0.25}
    quick = measure_surface(pair, 2.0, **masks)
    monkeypatch.setattr(measure, "BLOCK", 1)
    monkeypatch.setattr(measure, "SLACK", 1e9)
    slow = measure_surface(pair, 2.0, **masks)
    assert quick.selection_volume == pytest.approx(slow.selection_volume, rel=0.01)
    assert quick.pocket_volume == pytest.approx(slow.pocket_volume, rel=0.01)


@pytest.mark.parametrize("time", [1.0, 1.5, 3.0])
def test_a_pocket_is_what_the_balls_leave_of_the_box_between_its_atoms(pair, time):
    measured = measure_surface(pair, time, pocket=corners(pair))
    assert measured.pocket_volume == pytest.approx(box_without_balls(APART + time - 1), rel=0.02)


def test_a_pocket_that_is_filled_is_empty(pair):
    inside = left_mask(pair) & ~corners(pair)
    assert measure_surface(pair, 2.0, pocket=inside).pocket_volume < 1.0


@pytest.mark.system
def test_a_growing_ball_moves_as_it_grows_and_one_state_does_not_move():
    growing = fit([ball(k, 5.0 + 0.5 * k) for k in (1, 3, 5)])
    measured = measure_surface(growing, 3.0)
    assert measured.speed == pytest.approx(0.5, abs=0.05)
    assert measured.atom_area.shape == measured.atom_speed.shape == (0,)
    resting = fit([ball(1, atoms=cloud())])
    assert measure_surface(resting, 1.0).speed == 0.0


def test_a_surface_that_is_gone_measures_nothing(pair, monkeypatch):
    monkeypatch.setattr(measure, "extract_mesh", lambda *a, **k: extract_mesh(*a, **{**k, "level": -20.0}))
    measured = measure_surface(pair, 2.0, selection=left_mask(pair))
    assert (measured.area, measured.volume, measured.speed, measured.selection_area) == (0.0, 0.0, 0.0, 0.0)
    assert measured.atom_area.sum() == 0.0


def test_extrapolated_times_say_so(pair):
    assert measure_surface(pair, 3.5, resolution=1.0).extrapolated


def test_what_cannot_be_measured_is_said(pair):
    count = pair.motion.atoms.shape[1]
    no_atoms, wrong_count, two_atoms = np.zeros(count, bool), np.ones(3, bool), np.arange(count) < 2
    flat = corners(pair) & left_mask(pair)
    bare = fit([ball(1)])
    for field, options, message in (
        (pair, {"selection": no_atoms}, f"selection: it holds none of the fit's {count} atoms"),
        (pair, {"pocket": wrong_count}, rf"pocket has shape \[3\], the fit has {count} atoms"),
        (pair, {"pocket": two_atoms}, "pocket: 2 atoms enclose no space at state 1; choose at least 4"),
        (pair, {"pocket": flat}, "pocket: 4 atoms enclose no space at state 1; .* not lie in a plane"),
        (bare, {"selection": no_atoms}, "selection: this fit has no atoms"),
        (pair, {"resolution": 0.0}, "resolution 0.0: it must lie between"),
        (pair, {"radii": np.ones(3, np.float32)}, r"radii have shape \[3\]"),
    ):
        with pytest.raises(ValueError, match=message):
            measure_surface(field, 1.0, **{"resolution": 1.0, **options})


@pytest.mark.parametrize("mask", ["selection", "pocket"])
def test_it_can_be_cancelled_to_the_end(pair, mask):
    polls = []

    def later(after=np.inf):
        polls.append(1)
        return len(polls) > after

    options = {mask: left_mask(pair), "resolution": 1.0}
    measure_surface(pair, 2.0, **options, cancelled=later)
    count = len(polls)
    for after in (0, count - 1):
        polls.clear()
        with pytest.raises(Cancelled):
            measure_surface(pair, 2.0, **options, cancelled=partial(later, after))


def test_the_wire_method_gives_the_same(pair):
    worker = Worker()
    worker.state.fitted.put("pair", pair)
    mask = left_mask(pair).astype(np.uint8)
    params = {"fit": "pair", "time": 2.5, "resolution": 1.0, "smooth": 0.5}
    job = Job(1, "measure", params, {"selection": mask}, None)
    result, arrays = worker.methods["measure"](job)
    measured = measure_surface(pair, 2.5, selection=left_mask(pair), resolution=1.0, smooth=0.5)
    assert {k: v for k, v in result.items() if k != "seconds"} == {
        "time": 2.5,
        "area": measured.area,
        "volume": measured.volume,
        "speed": measured.speed,
        "selection_area": measured.selection_area,
        "selection_volume": measured.selection_volume,
        "pocket_volume": None,
        "expected_error": 0.0,
        "extrapolated": False,
    }
    np.testing.assert_array_equal(arrays["area"], measured.atom_area)
    np.testing.assert_array_equal(arrays["speed"], measured.atom_speed)
    job.arrays["pocket"] = mask[:5]
    with pytest.raises(RequestError, match=rf"measure needs pocket as u1 \[{len(mask)}\], got u1 \[5\]"):
        worker.methods["measure"](job)
