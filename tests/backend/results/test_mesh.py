"""Meshes and grids of fields given in closed form, and of a fitted peptide."""

import re

import numpy as np
import pytest
import torch
from dsr_backend.geometry.marching_cubes import marching_cubes
from dsr_backend.results import level_set
from dsr_backend.results.mesh import distance_grid, extract_mesh, nearest_atoms
from dsr_backend.runtime.errors import Cancelled

from support.formula_field import SPHERE, Formula, balls
from support.shapes import fit, peptide


@pytest.fixture(scope="module")
def fitted():
    return fit(peptide()[:3])


def volume_of(points, faces):
    a, b, c = (points[faces[:, k]].astype(float) - points.mean(0) for k in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def is_closed(faces):
    """Every edge belongs to two triangles, once in each direction."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edge_set = {tuple(edge) for edge in edges.tolist()}
    return len(edge_set) == len(edges) and all((b, a) in edge_set for a, b in edge_set)


# A sphere, in closed form


@pytest.mark.parametrize("resolution, tolerance", [(0.25, 3e-4), (0.5, 1.1e-3), (1.0, 4e-3), (2.0, 2e-2)])
def test_sphere_has_its_area_volume_and_normals(resolution, tolerance):
    mesh = extract_mesh(balls(SPHERE), 1.0, resolution=resolution)
    # A polyhedron with its vertices on the sphere would be smaller by 0.1, 0.4, 1.6 and 7 %.
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 6**3, rel=tolerance)
    assert mesh.area == pytest.approx(4 * np.pi * 6**2, rel=tolerance)
    # Its vertices stand out instead, by an eighth of an edge's square over the radius.
    assert np.abs(np.linalg.norm(mesh.points, axis=1) - 6.0).max() < 0.04 * resolution**2 + 2e-3
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=1e-5)
    assert (mesh.normals * mesh.points / 6.0).sum(1).min() > 0.999


@pytest.mark.parametrize("level", [-2.0, -1.0, 1.0, 2.0, 5.0])
def test_levels_are_in_angstrom(level):
    mesh = extract_mesh(balls(SPHERE), 1.0, level=level)
    assert np.abs(np.linalg.norm(mesh.points, axis=1) - 6.0 - level).max() < 0.012
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * (6 + level) ** 3, rel=2.5e-3)
    # Beyond the surface's own box, too.
    assert is_closed(mesh.faces)


@pytest.mark.parametrize("level", [-2.0, 2.0])
def test_levels_of_coarse_meshes_are_as_exact_as_the_surface(level):
    mesh = extract_mesh(balls(SPHERE), 1.0, level=level, resolution=1.0)
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * (6 + level) ** 3, rel=6e-3)
    assert np.abs(np.linalg.norm(mesh.points, axis=1) - 6.0 - level).max() < 0.06


@pytest.mark.parametrize("resolution", [0.3, 0.5, 0.75, 1.0, 3.0])
@pytest.mark.parametrize("radius", [6.0, 5.77])
def test_meshes_are_closed_and_outward(radius, resolution):
    """With radius 6 and resolution 0.5 or 1, nodes lie exactly on the surface."""
    mesh = extract_mesh(balls(((0.0, 0.0, 0.0), radius)), 1.0, resolution=resolution)
    assert is_closed(mesh.faces)
    assert mesh.volume > 0
    a, b, c = (mesh.points[mesh.faces[:, k]] for k in range(3))
    outward = (np.cross(b - a, c - a) * (a + b + c)).sum(1)
    assert (outward > -1e-4).all()
    assert mesh.points.dtype == mesh.normals.dtype == np.float32 and mesh.faces.dtype == np.int32
    assert set(mesh.faces.ravel().tolist()) == set(range(len(mesh.points)))


def test_far_from_the_origin():
    centre = (1e5, -1e5, 1e5)
    mesh = extract_mesh(balls((centre, 6.0)), 1.0)
    # Coordinates of float32 are 0.008 Å apart there.
    assert np.abs(np.linalg.norm(mesh.points.astype(float) - centre, axis=1) - 6.0).max() < 0.03
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 6**3, rel=5e-3)
    assert is_closed(mesh.faces)


def test_points_lie_nearer_to_the_level_than_marching_cubes_puts_them(monkeypatch):
    """Distances bend within a cell; the last step goes to the level itself."""
    field = balls(SPHERE)
    monkeypatch.setattr(level_set, "newton_step", lambda snapshot, points, level, resolution: (points, points))
    raw = extract_mesh(field, 1.0, resolution=2.0).points
    monkeypatch.undo()
    settled = extract_mesh(field, 1.0, resolution=2.0).points
    deviations = [np.abs(np.linalg.norm(points, axis=1) - 6.0).max() for points in (raw, settled)]
    assert deviations[1] < 0.1 * deviations[0]


# A fitted field


def test_a_fitted_mesh_is_closed_and_encloses_its_atoms(fitted):
    mesh = extract_mesh(fitted, 1.5)
    edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), 1)
    counts = np.unique(edges, axis=0, return_counts=True)[1]
    # Every edge twice; four times where two sheets touch, which marching cubes may leave.
    assert (counts % 2 == 0).all() and (counts == 2).mean() > 0.999
    inside = fitted.at(1.5).distance(torch.tensor(mesh.atoms)) < 0
    assert inside.all() and mesh.volume > 500


def test_points_are_on_the_level_set_and_normals_along_the_smoothed_gradient(fitted):
    for level in (0.0, 1.0, -0.5):
        mesh = extract_mesh(fitted, 1.5, level=level)
        snapshot = fitted.at(1.5)
        x = torch.tensor(mesh.points)
        deviation = (snapshot.distance(x) - level).abs()
        assert deviation.mean() < 0.015 and deviation.quantile(0.99) < 0.08
        gradient = torch.nn.functional.normalize(snapshot.gradient(x, snapshot.normal_width), dim=1)
        expected = level_set.smoothed_normals(gradient, torch.tensor(mesh.faces.T.copy()).long())
        cosine = (expected * torch.tensor(mesh.normals)).sum(1)
        assert cosine.mean() > 0.996


def test_a_normal_is_half_its_own_and_half_the_mean_of_its_neighbours():
    """An octahedron, whose opposite corners are no neighbours: the four around a corner have a mean of 0."""
    corners = torch.cat([torch.eye(3), -torch.eye(3)])
    octants = [(x, y, z) for x in (0, 3) for y in (1, 4) for z in (2, 5)]
    faces = torch.tensor(octants).T.contiguous()
    torch.testing.assert_close(level_set.smoothed_normals(corners, faces), corners)
    turned = corners.clone()
    turned[1] = turned[0]
    x = level_set.smoothed_normals(turned, faces)[2]
    torch.testing.assert_close(x, torch.nn.functional.normalize(torch.tensor([0.25, -0.25, 1.0]), dim=0))


def test_smoothed_normals_follow_a_ball_better_than_noisy_ones():
    mesh = extract_mesh(balls(SPHERE), 1.0)
    radial = torch.nn.functional.normalize(torch.tensor(mesh.points), dim=1)
    noise = 0.2 * torch.randn(radial.shape, generator=torch.Generator().manual_seed(0))
    noisy = torch.nn.functional.normalize(radial + noise, dim=1)
    smoothed = level_set.smoothed_normals(noisy, torch.tensor(mesh.faces.T.copy()).long())
    errors = [1.0 - float((normals * radial).sum(1).mean()) for normals in (noisy, smoothed)]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("level", [0.0, 0.8, -0.8])
def test_evaluating_near_the_surface_only_changes_nothing(fitted, level, monkeypatch):
    """Against marching cubes on a grid of all nodes."""
    full_grid = distance_grid(fitted, 1.5, 0.5)
    points, faces = (tensor.numpy() for tensor in marching_cubes(torch.from_numpy(full_grid.values) - level))
    points = points * full_grid.spacing + full_grid.origin
    monkeypatch.setattr(level_set, "bulge", lambda points, normals, faces: torch.zeros_like(points))
    near, _, near_faces = (array.numpy() for array in level_set.level_set(fitted.at(1.5), level, 0.5, lambda: False))
    assert volume_of(near, near_faces) == pytest.approx(volume_of(points, faces), rel=1e-4)
    assert len(near) == len(points)


def test_what_the_coarse_look_could_miss_is_found():
    """A thin wall and a narrow hole, both of the size of a probe."""
    wall = Formula(lambda x: torch.maximum(x.abs()[:, 0] - 0.7, x[:, 1:].norm(dim=1) - 5.0), [[-2, -7, -7], [2, 7, 7]])
    assert extract_mesh(wall, 1.0).volume == pytest.approx(1.4 * np.pi * 25, rel=0.03)
    hole = Formula(lambda x: torch.maximum(x.norm(dim=1) - 6.0, 0.9 - x[:, 1:].norm(dim=1)), [[-8] * 3, [8] * 3])
    ring = 4 / 3 * np.pi * (36 - 0.81) ** 1.5
    assert extract_mesh(hole, 1.0).volume == pytest.approx(ring, rel=0.01)


def test_atoms_are_the_same_where_only_near_ones_are_searched():
    random = np.random.default_rng(0)
    atoms = random.uniform(-6.0, 6.0, (60, 3)).astype(np.float32)
    points = torch.tensor(random.uniform(-9.0, 9.0, (2000, 3)), dtype=torch.float32)
    for radii in (None, random.uniform(1.2, 2.0, 60).astype(np.float32)):
        nearest, distance = nearest_atoms(points, atoms, radii)
        searched, bounded = nearest_atoms(points, atoms, radii, within=3.0)
        near = distance < 3.0
        assert 0.1 < near.double().mean() < 0.9
        assert torch.equal(nearest[near], searched[near]) and torch.equal(distance[near], bounded[near])
        assert (bounded[~near] >= 3.0).all()


def test_the_nearest_atom_of_every_point(fitted):
    mesh = extract_mesh(fitted, 1.5)
    distance = np.linalg.norm(mesh.points[:, None] - mesh.atoms, axis=2)
    np.testing.assert_allclose(distance.min(1), distance[np.arange(len(distance)), mesh.nearest], atol=1e-5)
    np.testing.assert_allclose(mesh.atoms, fitted.at(1.5).atoms)
    radii = np.random.default_rng(0).uniform(1.2, 2.0, len(mesh.atoms)).astype(np.float32)
    sphere = extract_mesh(fitted, 1.5, radii=radii).nearest
    np.testing.assert_allclose(
        (distance - radii).min(1), (distance - radii)[np.arange(len(distance)), sphere], atol=1e-5
    )
    with pytest.raises(ValueError, match=rf"radii have shape \[3\], the fit has {len(radii)} atoms"):
        extract_mesh(fitted, 1.5, radii=np.ones(3, np.float32))


# Triangles


@pytest.mark.parametrize("triangles", [100, 1000, 5000, 10**6])
def test_the_budget_of_triangles_is_kept(fitted, triangles):
    for field in (fitted, balls(SPHERE)):
        mesh = extract_mesh(field, 1.0, triangles=triangles)
        assert 0 < len(mesh.faces) <= triangles
    plain = extract_mesh(fitted, 1.0)
    if triangles < len(plain.faces):
        # Not far below the budget either.
        assert len(extract_mesh(fitted, 1.0, triangles=triangles).faces) > 0.5 * triangles
    else:
        np.testing.assert_array_equal(extract_mesh(fitted, 1.0, triangles=triangles).faces, plain.faces)


@pytest.mark.parametrize("preset, spacing", [("fine", 0.35), ("fast", 0.5), (None, 0.5)])
def test_a_mesh_is_as_fine_as_its_fit(preset, spacing):
    sphere = balls(SPHERE)
    sphere.report = {} if preset is None else {"preset": preset}
    np.testing.assert_array_equal(
        extract_mesh(sphere, 1.0).faces, extract_mesh(balls(SPHERE), 1.0, resolution=spacing).faces
    )


# Islands


def test_islands_are_dropped_and_counted():
    """The small ball has 2.1 Å³, less than a molecule's body can have."""
    mesh = extract_mesh(balls(SPHERE, ((9.0, 0.0, 0.0), 0.8), ((0.0, 9.0, 0.0), 0.8)), 1.0)
    assert mesh.islands_dropped == 2 and mesh.points[:, 0].max() < 6.1
    assert is_closed(mesh.faces)
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 6**3, rel=5e-3)


def test_an_ion_smaller_than_an_island_is_kept():
    ion, fragment = ((20.0, 0.0, 0.0), 0.9), ((0.0, 8.0, 0.0), 0.9)
    atoms = np.array([[0, 0, 0], [0, 5, 0], [20, 0, 0.1]], np.float32)
    mesh = extract_mesh(balls(SPHERE, ion, fragment, atoms=atoms), 1.0)
    assert mesh.islands_dropped == 1
    assert mesh.points[:, 0].max() == pytest.approx(20.9, abs=0.05) and mesh.points[:, 1].max() < 6.1
    # Inside the molecule, no atom tells a fragment from a body.
    assert extract_mesh(balls(SPHERE, ion, atoms=atoms), 1.0, level=-0.1).islands_dropped == 1


def test_bodies_and_cavities_are_kept():
    two = extract_mesh(balls(SPHERE, ((20.0, 0.0, 0.0), 3.0)), 1.0)
    assert two.islands_dropped == 0
    assert two.volume == pytest.approx(4 / 3 * np.pi * (6**3 + 3**3), rel=7e-3)
    hollow = Formula(lambda x: (x.norm(dim=1) - 4.5).abs() - 1.5, [[-7] * 3, [7] * 3])
    shell = extract_mesh(hollow, 1.0)
    assert shell.volume == pytest.approx(4 / 3 * np.pi * (6**3 - 3**3), rel=1e-2)
    assert is_closed(shell.faces)


def test_a_cavity_needs_no_atom():
    """A shell beside a ball: its atom is nearer to the outer wall, so none is nearest to the inner one."""
    ball = torch.tensor([20.0, 0.0, 0.0])
    walls_and_ball = Formula(
        lambda x: torch.minimum((x.norm(dim=1) - 4.5).abs() - 1.5, (x - ball).norm(dim=1) - 3.0),
        [[-7] * 3, [24, 7, 7]],
        atoms=np.array([[5.5, 0, 0], [20, 0, 0]], np.float32),
    )
    mesh = extract_mesh(walls_and_ball, 1.0)
    assert mesh.islands_dropped == 0
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * (6**3 - 3**3 + 3**3), rel=1e-2)


def test_bodies_without_atoms_are_dropped_where_atoms_are_known():
    spheres = SPHERE, ((20.0, 0.0, 0.0), 3.0)
    one_atom = np.zeros((1, 3), np.float32)
    two_atoms = np.array([[0, 0, 0], [20, 0, 0]], np.float32)
    assert extract_mesh(balls(*spheres, atoms=one_atom), 1.0).islands_dropped == 1
    assert extract_mesh(balls(*spheres, atoms=two_atoms), 1.0).islands_dropped == 0
    # Inside the molecule, a level set may well enclose no atom.
    assert extract_mesh(balls(*spheres, atoms=one_atom), 1.0, level=-1.0).islands_dropped == 0


# Nothing there


@pytest.mark.parametrize("level", [-7.0, -100.0])
def test_an_empty_level_set_is_an_empty_mesh(level):
    mesh = extract_mesh(balls(SPHERE, atoms=np.zeros((1, 3), np.float32)), 1.0, level=level)
    assert mesh.points.shape == mesh.normals.shape == mesh.faces.shape == (0, 3)
    assert mesh.nearest.shape == (0,) and mesh.atoms.shape == (1, 3)
    assert (mesh.area, mesh.volume, mesh.islands_dropped) == (0.0, 0.0, 0)


def test_a_mesh_of_nothing_but_islands_is_empty():
    mesh = extract_mesh(balls(((0.0, 0.0, 0.0), 0.8)), 1.0)
    assert len(mesh.points) == len(mesh.faces) == 0 and mesh.islands_dropped == 1


def test_without_atoms_there_are_none():
    mesh = extract_mesh(balls(SPHERE), 1.0)
    assert mesh.nearest.shape == (0,) and mesh.atoms.shape == (0, 3)


def test_extrapolation_is_said():
    inside, outside = extract_mesh(balls(SPHERE), 1.5), extract_mesh(balls(SPHERE), 2.5)
    assert (inside.extrapolated, inside.expected_error) == (False, 0.0)
    assert (outside.extrapolated, outside.expected_error, outside.time) == (True, 0.7, 2.5)
    assert distance_grid(balls(SPHERE), 2.5).extrapolated and distance_grid(balls(SPHERE), 2.5).expected_error == 0.7


# Grids


@pytest.mark.parametrize("resolution", [0.5, 0.7, 1.5])
def test_a_grid_holds_the_field_s_values(fitted, resolution):
    grid = distance_grid(fitted, 1.5, resolution)
    assert grid.values.dtype == np.float32 and grid.spacing == resolution
    i, j, k = (np.arange(n) for n in grid.values.shape)
    nodes = np.stack(np.meshgrid(i, j, k, indexing="ij"), -1) * resolution + grid.origin
    snapshot = fitted.at(1.5)
    values = snapshot.distance(torch.tensor(nodes.reshape(-1, 3), dtype=torch.float32)).numpy()
    np.testing.assert_allclose(grid.values.ravel(), values, atol=1e-4)
    np.testing.assert_allclose(grid.origin / resolution, np.round(grid.origin / resolution), atol=1e-6)
    assert (nodes.reshape(-1, 3).min(0) <= snapshot.box[0] - 1.0).all()
    assert (nodes.reshape(-1, 3).max(0) >= snapshot.box[1] + 1.0).all()
    assert grid.values.max() > 1.0 > -1.0 > grid.values.min()


def test_chunks_change_nothing(fitted, monkeypatch):
    grid, surface = distance_grid(fitted, 1.5), extract_mesh(fitted, 1.5)
    monkeypatch.setattr(level_set, "CHUNK", 1000)
    np.testing.assert_allclose(distance_grid(fitted, 1.5).values, grid.values, atol=1e-5)
    np.testing.assert_allclose(extract_mesh(fitted, 1.5).points, surface.points, atol=1e-4)


# Refusals


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("resolution", [0.2, 0.45, 1.3])
def test_a_lattice_too_large_is_refused_with_a_resolution_that_fits(nested, resolution, monkeypatch):
    monkeypatch.setattr(level_set, "MAX_NODES", 1500)
    make = extract_mesh if nested else distance_grid
    with pytest.raises(ValueError, match="more than the 1500 that fit; use a resolution of") as error:
        make(balls(SPHERE), 1.0, resolution=resolution)
    named = float(re.search(r"resolution of (\d+\.\d\d) Å", str(error.value))[1])
    assert named > resolution
    make(balls(SPHERE), 1.0, resolution=named)


def test_a_huge_box_is_refused_before_anything_is_allocated():
    with pytest.raises(ValueError, match="use a resolution of"):
        extract_mesh(Formula(lambda x: x[:, 0], [[0] * 3, [1e6] * 3]), 1.0, resolution=0.05)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"time": np.nan}, "time nan must be a finite number"),
        ({"time": np.inf}, "time inf must be a finite number"),
        ({"resolution": 0.005}, "resolution 0.005: it must lie between"),
        ({"resolution": 20.0}, "resolution 20.0: it must lie between"),
        ({"resolution": np.nan}, "resolution nan: it is not a finite number"),
    ],
)
def test_meshes_and_grids_refuse(wrong, message):
    for make in (extract_mesh, distance_grid):
        with pytest.raises(ValueError, match=message):
            make(balls(SPHERE), **{"time": 1.0, **wrong})


@pytest.mark.parametrize(
    "smooth, message",
    [
        (-1.0, "smooth -1.0: it must be at least 0 states"),
        (np.nan, "smooth nan: it is neither a finite number nor auto"),
    ],
)
def test_a_wrong_width_is_refused(smooth, message):
    with pytest.raises(ValueError, match=message):
        extract_mesh(balls(SPHERE), 1.0, smooth=smooth)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"level": np.inf}, "level inf: it is not a finite number"),
        ({"level": 8.5}, "level 8.5 Å lies outside the box that a field knows, 8 Å"),
        ({"triangles": 99}, "triangles 99: it must be at least 100"),
        ({"triangles": -1}, "triangles -1: it must be at least 100"),
    ],
)
def test_meshes_refuse(wrong, message):
    with pytest.raises(ValueError, match=message):
        extract_mesh(balls(SPHERE), 1.0, **wrong)


@pytest.mark.parametrize("polls", [0, 1, 2])
def test_cancelling_stops_the_mesh_and_the_grid(polls, monkeypatch):
    monkeypatch.setattr(level_set, "CHUNK", 1000)
    for make in (extract_mesh, distance_grid):
        polls_left = [polls]

        def cancelled(polls_left=polls_left):
            polls_left[0] -= 1
            return polls_left[0] < 0

        with pytest.raises(Cancelled):
            make(balls(SPHERE), 1.0, cancelled=cancelled)
        assert polls_left[0] == -1


# Matter that shows twice, where the way to material coordinates folds


def with_a_ghost(reach):
    """A ball around its atoms, and another where there are none."""
    field = balls(SPHERE, ((14.0, 0.0, 0.0), 3.0), atoms=np.array([[0, 0, 0], [4, 0, 0], [-4, 0, 0]], np.float32))
    # As one piece, which no island is.
    two = field.formula
    field.formula = lambda x: torch.minimum(two(x), (x[:, 1:].norm(dim=1) - 1.5).clamp_min((x[:, 0] - 9).abs() - 5))
    field.reach = reach
    return field


@pytest.mark.parametrize("resolution", [0.5, 1.0])
def test_no_surface_is_farther_from_all_atoms_than_the_training_surfaces(resolution):
    free, held = (extract_mesh(with_a_ghost(reach), 1.0, resolution=resolution) for reach in (np.inf, 6.0))
    assert free.points[:, 0].max() > 16.0
    assert held.points[:, 0].max() < 4.0 + 6.0 + resolution
    atom_distance = np.linalg.norm(held.points[:, None] - held.atoms, axis=2).min(1)
    assert atom_distance.max() < 6.0 + resolution
    assert is_closed(held.faces) and len(held.nearest) == len(held.points)
    body = held.points[:, 0] < 2.0
    assert np.abs(np.linalg.norm(held.points[body], axis=1) - 6.0).max() < 0.05


def test_grids_are_held_too():
    field = with_a_ghost(6.0)
    values = distance_grid(field, 1.0, 1.0)
    far = np.argwhere(values.values < 0.0) * values.spacing + values.origin
    assert np.linalg.norm(far[:, None] - field.atoms, axis=2).min(1).max() <= 6.0


def test_level_sets_may_be_that_much_farther_out():
    field = balls(SPHERE, atoms=np.array([[0, 0, 0]], np.float32))
    field.reach = 6.0
    plain = extract_mesh(field, 1.0, level=3.0)
    assert np.abs(np.linalg.norm(plain.points, axis=1) - 9.0).max() < 0.02
