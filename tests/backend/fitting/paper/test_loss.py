"""Preset `paper`: its equations against slow evaluations of their own, and its distribution, network and field.

Section and equation numbers are those of the DSR paper; the fits themselves are in test_paper_fits.py.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from dsr_backend.fields.paper import Network, PaperField, interpolate_fields
from dsr_backend.fitting.config import PRESETS, PaperPreset
from dsr_backend.fitting.job import FitJob
from dsr_backend.fitting.paper import loss, points
from dsr_backend.fitting.paper.points import Batches, neighbour_distance
from dsr_backend.geometry.unit_cube import UnitCube
from dsr_backend.motion.motion import Motion
from scipy.spatial import cKDTree

from pymol_dsr.shared.options import FitOptions
from support.shapes import ball, cloud

PRINTED = PaperPreset()
BETA = 100.0
# Å: positions of atoms are kept in steps of 1/1024 Å.
ATOMS = 2e-3


# Slow and plain: numpy in float64, points one after another, gradients by central differences.


def softplus(x):
    """1/β ln(1 + exp βx), the paper's."""
    return np.logaddexp(0.0, BETA * x) / BETA


def by_hand(network, x, t, z):
    """f at one point x f8[3], t, z f8[latent]: the joined input, layer by layer."""
    weights = [layer.weight.detach().double().numpy() for layer in network.linears()]
    biases = [layer.bias.detach().double().numpy() for layer in network.linears()]
    encoded = np.concatenate([x, [t], z / math.sqrt(len(z))])
    h = encoded
    for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if number == (len(weights) - 1) // 2:
            h = np.concatenate([h, encoded]) / math.sqrt(2)
        h = weight @ h + bias
        if number < len(weights) - 1:
            h = softplus(h)
    return h[0]


def differences(f, x, step=1e-6):
    """∇f f8[3] at x by central differences."""
    return np.array([(f(x + e) - f(x - e)) / (2 * step) for e in step * np.eye(3)])


def loss_by_hand(f, surface, normals, space, zs, tau, lam, alpha):
    """Eq. 2 with Eq. 3, mean over the times; f(k, x) at time number k."""
    total = 0.0
    for k, z in enumerate(zs):
        at = [abs(f(k, x)) for x in surface[k]]
        if tau:
            pairs = zip(surface[k], normals[k], strict=True)
            deviations = [np.sqrt(((differences(lambda y, k=k: f(k, y), x) - n) ** 2).sum()) for x, n in pairs]
            at = [a + tau * o for a, o in zip(at, deviations, strict=True)]
        steep = [np.sqrt((differences(lambda y, k=k: f(k, y), x) ** 2).sum()) for x in space[k]]
        total += np.mean(at) + lam * np.mean([(s - 1) ** 2 for s in steep]) + alpha * np.sqrt((z**2).sum())
    return total / len(zs)


def some_network(seed=0, width=24, layers=4, latent=5):
    """In float64, with nothing at 0: as after some training."""
    torch.manual_seed(seed)
    network = Network(width, layers, latent).double()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return network


def batch(seed=1, times=2, count=5, latent=5):
    """surface, normals, space, t, z of a batch, f8 tensors."""
    rng = np.random.default_rng(seed)
    surface = rng.normal(size=(times, count, 3)) * 0.5
    normals = rng.normal(size=(times, count, 3))
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    space = rng.uniform(-1, 1, (times, count + 2, 3))
    return [
        torch.tensor(a) for a in (surface, normals, space, rng.uniform(-1, 1, times), rng.normal(size=(times, latent)))
    ]


def backend_loss(network, preset, surface, normals, space, t, z):
    code = torch.cat([t[:, None], z], 1)
    return loss.loss(lambda x: network(x, code), surface, normals, space, z, preset)


# The printed equations


def test_the_preset_has_the_numbers_of_the_paper():
    """Section 3.2: 8 layers of 512, z of 192; λ = 0.1, τ = 1, α = 1e-3; k = 50."""
    paper_s = PRESETS["paper"]
    assert (paper_s.layers, paper_s.width, paper_s.latent) == (8, 512, 192)
    assert (paper_s.eikonal, paper_s.normals, paper_s.code) == (0.1, 1.0, 1e-3)
    assert paper_s.neighbours == 50
    assert FitOptions(preset="paper").preset == "paper"


# The network


@pytest.mark.parametrize("layers", [2, 3, 4, 8])
def test_the_network_is_the_joined_input_layer_by_layer(layers):
    network = some_network(layers=layers)
    x, t, z = np.random.default_rng(2).normal(size=(6, 3)), 0.3, np.linspace(-1, 1, 5)
    code = torch.tensor(np.concatenate([[t], z]))[None]
    values = network(torch.tensor(x)[None], code)[0].detach().numpy()
    np.testing.assert_allclose(values, [by_hand(network, p, t, z) for p in x], rtol=0, atol=1e-9)


def test_the_network_of_the_paper_is_that_of_igr_with_t_and_z():
    """Eight hidden layers of 512; the one before the middle is as much narrower as the input is wide."""
    linears = Network().linears()
    inputs = 3 + 1 + 192
    expected = [(inputs, 512), *[(512, 512)] * 2, (512, 512 - inputs), *[(512, 512)] * 4, (512, 1)]
    assert [(layer.in_features, layer.out_features) for layer in linears] == expected


def test_an_input_that_does_not_fit_into_the_middle_is_refused():
    with pytest.raises(ValueError, match="8 layers of 196 units take no input of 196 in the middle"):
        Network(width=196)


@pytest.mark.parametrize("radius", [1.0, 0.5])
def test_at_the_start_f_is_the_distance_to_a_sphere(radius):
    """Whatever t and z: f ≈ |x| − radius, and ∇f the direction from the middle."""
    torch.manual_seed(3)
    network = Network(radius=radius)
    far = torch.linspace(0.4, 1.2, 500)
    x = torch.nn.functional.normalize(torch.randn(2, 500, 3), dim=-1) * far[:, None]
    x.requires_grad_()
    code = torch.cat([torch.tensor([[-1.0], [0.7]]), torch.randn(2, 192)], 1)
    f = network(x, code)
    (gradient,) = torch.autograd.grad(f.sum(), x)
    errors, norm = f.detach() - (far - radius), torch.linalg.norm(gradient, dim=-1)
    # Measured 0.04 to 0.17 too much, as softplus is above 0 everywhere, and not the same everywhere, as units are few.
    assert 0.0 < errors.mean() < 0.25 and errors.std() < 0.12
    assert (norm.mean() - 1).abs() < 0.25 and norm.min() > 0.5 and norm.max() < 1.5
    assert torch.nn.functional.cosine_similarity(gradient, x, dim=-1).min() > 0.85
    off_surface = (far - radius).abs() > 0.45
    assert (torch.sign(f) == torch.sign(far - radius))[:, off_surface].all()
    assert torch.equal(f, network(x, torch.zeros_like(code)))


# ∇f and the loss


def test_gradient_against_central_differences():
    network = some_network()
    _, _, space, t, z = batch()
    x = space.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x, torch.cat([t[:, None], z], 1)).sum(), x)
    for k in range(2):
        for point, gradient_at_point in zip(space[k].numpy(), gradient[k].numpy(), strict=True):
            expected = differences(lambda y, k=k: by_hand(network, y, float(t[k]), z[k].numpy()), point)
            np.testing.assert_allclose(gradient_at_point, expected, atol=1e-7)


@pytest.mark.parametrize("tau, lam, alpha", [(1.0, 0.1, 1e-3), (0.0, 0.1, 1e-3), (1.0, 0.0, 0.0), (0.5, 2.0, 1.0)])
def test_loss_against_a_plain_evaluation_of_equations_2_and_3(tau, lam, alpha):
    network = some_network()
    surface, normals, space, t, z = batch()
    value = backend_loss(network, replace(PRINTED, normals=tau, eikonal=lam, code=alpha), surface, normals, space, t, z)

    def f(k, x):
        return by_hand(network, x, float(t[k]), z[k].numpy())

    expected = loss_by_hand(f, surface.numpy(), normals.numpy(), space.numpy(), z.numpy(), tau, lam, alpha)
    assert float(value.detach()) == pytest.approx(expected, abs=1e-7)


def test_loss_of_closed_forms():
    """For the distance itself only α‖z‖ is left; for twice the distance τ · 1 and λ · 1² are added."""
    surface = torch.nn.functional.normalize(torch.randn(1, 50, 3, dtype=torch.float64), dim=-1)
    space = torch.randn(1, 60, 3, dtype=torch.float64)
    z = torch.ones(1, 4, dtype=torch.float64)

    def of(f):
        return float(loss.loss(f, 0.5 * surface, surface, space, z, PRINTED).detach())

    assert of(lambda x: torch.linalg.norm(x, dim=-1) - 0.5) == pytest.approx(1e-3 * 2, abs=1e-12)
    assert of(lambda x: 2 * (torch.linalg.norm(x, dim=-1) - 0.5)) == pytest.approx(1 + 0.1 + 2e-3, abs=1e-12)
    assert of(lambda x: torch.linalg.norm(x, dim=-1) - 0.2) == pytest.approx(0.3 + 2e-3, abs=1e-12)


def test_the_normals_term_is_a_norm_and_not_its_square():
    """As printed in Eq. 3: a gradient that is wrong by 2 costs 2, not 4."""
    normals = torch.tensor([[[1.0, 0.0, 0.0]]])
    zero, z = torch.zeros(1, 1, 3), torch.zeros(1, 1)
    value = loss.loss(lambda x: -x[..., 0], zero, normals, zero, z, PRINTED)
    assert float(value.detach()) == pytest.approx(2.0, abs=1e-6)


def test_gradients_of_the_loss_against_differences_of_it():
    """Through ∇f: the second derivatives of the network, for weights of every layer, biases and z."""
    network = some_network()
    surface, normals, space, t, z = batch()
    z.requires_grad_()
    linears = network.linears()
    backend_loss(network, PRINTED, surface, normals, space, t, z).backward()
    rng = np.random.default_rng(4)
    parameters = [layer.weight for layer in linears] + [layer.bias for layer in linears[:-1]] + [z]
    for tensor in parameters:
        for flat in rng.choice(tensor.numel(), min(4, tensor.numel()), replace=False):
            entry = tuple(int(i) for i in np.unravel_index(flat, tensor.shape))
            around = []
            for step in (1e-6, -1e-6):
                with torch.no_grad():
                    tensor[entry] += step
                around.append(float(backend_loss(network, PRINTED, surface, normals, space, t, z).detach()))
                with torch.no_grad():
                    tensor[entry] -= step
            assert float(tensor.grad[entry]) == pytest.approx((around[0] - around[1]) / 2e-6, rel=1e-4, abs=1e-7)


# The distribution D


def test_sigma_is_the_distance_to_the_50th_neighbour():
    points = np.random.default_rng(5).normal(size=(300, 3))
    distances = np.sort(np.linalg.norm(points[:, None] - points, axis=2), axis=1)
    # Column 0 is the point itself.
    np.testing.assert_allclose(neighbour_distance(points, 50), distances[:, 50], atol=1e-12)
    # Where there are fewer, to the farthest.
    spans = np.linalg.norm(points[:20, None] - points[:20], axis=2).max(1)
    np.testing.assert_allclose(neighbour_distance(points[:20], 50), spans, atol=1e-12)


def clouds_of(series, preset=PRINTED):
    frames = [UnitCube.of([s.points for s in surfaces]) for surfaces in series]
    return points.build_clouds(paper_job(preset), series, frames, min(frame.scale for frame in frames))


def paper_job(preset):
    return FitJob(FitOptions(preset="paper", device="cpu"), preset, lambda *_: None, lambda: False)


def test_points_are_drawn_from_their_own_state_with_their_normals():
    surfaces = [ball(1, 4.0, subdivisions=1), ball(5, 6.0, (3.0, 0.0, 0.0), subdivisions=2)]
    clouds = clouds_of([surfaces])
    generator = torch.Generator().manual_seed(0)
    picked = torch.tensor([1, 0, 1])
    surface, normals, _ = points.draw_points(clouds, picked, 400, 0.125, generator)
    frame = UnitCube.of([s.points for s in surfaces])
    for k, number in enumerate(picked.tolist()):
        surface_points = frame.to_unit(surfaces[number].points)
        distances, nearest = cKDTree(surface_points).query(surface[k])
        assert distances.max() < 1e-6
        assert np.array_equal(normals[k], surfaces[number].normals[nearest])
        # All of them come up evenly: 42 points get 400 draws.
        if number == 0:
            counts = np.bincount(nearest, minlength=len(surface_points))
            assert ((counts - 400 / 42) ** 2 / (400 / 42)).sum() < 80


def test_shares_and_moments_of_D():
    clouds = clouds_of([[ball(1, 5.0, subdivisions=3)]])
    count = 40_000
    generator = torch.Generator().manual_seed(1)
    surface, _, space = points.draw_points(clouds, torch.tensor([0]), count, 0.125, generator)
    assert space.shape == (1, count + count // 8, 3)
    # Which point it is tells its σ; offsets in units of it are standard normal.
    nearest = cKDTree(clouds.points).query(surface[0, :2000])[1]
    offset = ((space[0, :2000] - surface[0, :2000]) / clouds.sigma[nearest, None]).numpy()
    assert np.abs(offset.mean(0)).max() < 0.08
    np.testing.assert_allclose(np.cov(offset.T), np.eye(3), atol=0.1)
    np.testing.assert_allclose((offset**4).mean(), 3.0, atol=0.3)
    everywhere = space[0, count:].numpy()
    assert everywhere.min() >= -1 and everywhere.max() <= 1
    assert np.abs(everywhere.mean(0)).max() < 0.03
    np.testing.assert_allclose(np.cov(everywhere.T), np.eye(3) / 3, atol=0.02)


def test_sigma_is_that_of_the_state_s_own_points():
    """Another state that lies among the points does not come near them."""
    single = clouds_of([[ball(1, 5.0, subdivisions=2)]])
    double = clouds_of([[ball(1, 5.0, subdivisions=2), ball(2, 4.9, subdivisions=2)]])
    assert torch.equal(single.sigma, double.sigma[: len(single.sigma)])


def test_all_states_have_their_turn():
    batches = Batches(5, 2, torch.Generator().manual_seed(0))
    drawn = torch.cat([next(batches) for _ in range(10)])
    assert np.bincount(drawn).tolist() == [4] * 5
    assert all(sorted(five.tolist()) == list(range(5)) for five in drawn.reshape(-1, 5))
    # More than there are: the same state again, with other points.
    assert sorted(next(Batches(1, 3, torch.Generator())).tolist()) == [0, 0, 0]


# Normalisation


def test_space_and_time_are_normalised():
    surfaces = [ball(3, 4.0, (90.0, 0.0, 0.0)), ball(4, 4.0, (94.0, 0.0, 0.0)), ball(13, 4.0, (102.0, 0.0, 0.0))]
    clouds = clouds_of([surfaces])
    assert clouds.times.tolist() == pytest.approx([-1.0, -0.8, 1.0])
    # 20 Å long: 1.1 times that becomes 2, about its middle.
    np.testing.assert_allclose(clouds.points[:, 0].min(), -1 / 1.1, atol=1e-6)
    np.testing.assert_allclose(clouds.points[:, 0].max(), 1 / 1.1, atol=1e-6)
    np.testing.assert_allclose(clouds.points[:, 1].max(), 4.0 * 2 / 22, atol=1e-6)
    assert clouds_of([[ball(7)]]).times.tolist() == [0.0]


def test_trajectories_are_centred_each_and_share_one_scale():
    small, large = [ball(1, 2.0, (50.0, 0.0, 0.0))], [ball(1, 8.0), ball(2, 8.0)]
    clouds = clouds_of([small, large])
    assert clouds.owner.tolist() == [0, 1, 1]
    first = clouds.points[: int(clouds.count[0])]
    np.testing.assert_allclose(first.abs().max(0).values, [2 / 8.8] * 3, atol=1e-6)
    assert clouds.reach.tolist() == [1.0, 1.0]


def test_uniform_points_of_a_trajectory_larger_than_its_family_fill_its_own_box():
    surfaces = [ball(1, 8.0)]
    frame = UnitCube.of([surfaces[0].points])
    clouds = points.build_clouds(paper_job(PRINTED), [surfaces], [frame], 2 * frame.scale)
    assert clouds.reach.tolist() == [2.0]
    _, _, space = points.draw_points(clouds, torch.tensor([0]), 800, 0.125, torch.Generator().manual_seed(0))
    assert 1.8 < space[0, 800:].abs().max() <= 2.0


# The field


def paper_field(
    seed=0, radius=0.6, states=(1.0, 3.0), atoms=None, centre=(0.0, 0.0, 0.0), z_seed=0, network=None, **report
):
    """A field that was not fitted: a sphere of the network's start, or some network."""
    if network is None:
        torch.manual_seed(seed)
        network = Network(48, 4, 6, radius).requires_grad_(False)
    z = torch.randn(6, generator=torch.Generator().manual_seed(z_seed))
    states = np.array(states)
    motion = Motion.from_states(states, None if atoms is None else np.asarray(atoms, np.float32), align=False)
    extent = np.array([[-11.0] * 3, [11.0] * 3], np.float32) + np.asarray(centre, np.float32)
    return PaperField(network, z, 0.1, motion, UnitCube(np.array(centre), 0.1), extent, 3.0, report)


def test_distances_are_in_angstrom_about_the_trajectory_s_own_middle():
    """A unit is 10 Å: what the network says at x·0.1 is a tenth of the distance, at 10⁵ Å from the origin too."""
    centre = np.array([1e5 + 0.1234, -1e5, 1e5])
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 6
    near, far = paper_field(), paper_field(centre=centre)
    code = torch.cat([torch.tensor([0.0]), near.z])[None]
    expected = 10 * near.network(0.1 * x[None], code)[0]
    torch.testing.assert_close(near.at(2.0).distance(x), expected, atol=1e-5, rtol=0)
    moved = (x.double() + torch.tensor(centre)).float()
    exactly = (moved.double() - torch.tensor(centre)).float()
    torch.testing.assert_close(far.at(2.0).distance(moved), near.at(2.0).distance(exactly), atol=1e-4, rtol=0)


def test_between_two_runs_the_nearer_state_is_held():
    network = some_network(width=48, latent=6).float().requires_grad_(False)
    field = paper_field(states=(10.0, 20.0, 40.0), network=network)
    field.motion.kernel = replace(field.motion.kernel, breaks=(2,))
    for time, t in ((15.0, -2 / 3), (29.0, -1 / 3), (31.0, 1.0), (55.0, 2.0)):
        assert field.at(time).code[0] == pytest.approx(t)


def test_time_goes_on_beyond_the_states_and_nothing_was_tested_there():
    network = some_network(width=48, latent=6).float().requires_grad_(False)
    field = paper_field(states=(10.0, 20.0, 40.0), network=network)
    assert field.time_range == (10.0, 40.0)
    x = torch.zeros(1, 3)
    for time, t in ((10.0, -1.0), (20.0, -1 / 3), (40.0, 1.0), (55.0, 2.0), (-5.0, -2.0)):
        snapshot = field.at(time)
        assert snapshot.code[0] == pytest.approx(t)
        expected = 10 * by_hand(network, np.zeros(3), t, field.z.double().numpy())
        assert float(snapshot.distance(x)) == pytest.approx(expected, abs=1e-4)
        outside = time in (55.0, -5.0)
        assert snapshot.extrapolated is outside
        assert np.isnan(snapshot.expected_error) if outside else snapshot.expected_error == 0.0


def test_smooth_is_ignored():
    field = paper_field(atoms=[cloud(5), cloud(5) + 1])
    plain, smoothed = field.at(1.4), field.at(1.4, smooth=3.0)
    assert torch.equal(plain.code, smoothed.code) and np.array_equal(plain.atoms, smoothed.atoms)
    assert field.smooth == 0.0


def test_atoms_go_straight_between_states_and_stay_at_the_ends():
    atoms = np.array([cloud(5), cloud(5) + np.array([0.5, 1.0, -0.5])], np.float32) + np.float32(20.0)
    field = paper_field(atoms=atoms)
    np.testing.assert_allclose(field.at(1.0).atoms, atoms[0], atol=ATOMS)
    np.testing.assert_allclose(field.at(1.5).atoms, 0.75 * atoms[0] + 0.25 * atoms[1], atol=ATOMS)
    np.testing.assert_allclose(field.at(9.0).atoms, atoms[1], atol=ATOMS)


def test_the_box_holds_the_surface():
    """Around the atoms; past the states, where the atoms stay and the surface may not, around all points too."""
    atoms = [cloud(30, 2.0), cloud(30, 2.0, seed=1)]
    field = paper_field(atoms=atoms)
    box = field.at(1.0).box
    np.testing.assert_allclose(box, [atoms[0].min(0) - 3, atoms[0].max(0) + 3], atol=ATOMS)
    beyond = field.at(9.0).box
    assert (beyond[0] <= field.extent[0]).all() and (beyond[1] >= field.extent[1]).all()
    assert np.array_equal(paper_field().at(1.0).box, paper_field().extent)


def test_tensors_make_the_field_again():
    field = paper_field(network=some_network(width=48, latent=6).float())
    tensors = {name: tensor.clone() for name, tensor in field.tensors().items()}
    network = Network(48, 4, 6).requires_grad_(False)
    network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    reloaded = PaperField(
        network, tensors["z"], field.scale, field.motion, field.frame, field.extent, field.clearance, field.report
    )
    x = torch.randn(50, 3) * 5
    assert torch.equal(field.at(1.7).distance(x), reloaded.at(1.7).distance(x))


# Between trajectories


def pair(atoms=(8, 8), states=((1.0, 3.0), (5.0, 6.0, 9.0))):
    """Two fields of one network, whose places, sizes, times and atoms differ."""
    network = some_network(width=48, latent=6).float().requires_grad_(False)
    made_up = [
        [cloud(n, seed=k) + 5 * k + 0.3 * s for s in range(len(times))]
        for k, (n, times) in enumerate(zip(atoms, states, strict=True))
    ]
    return [
        paper_field(
            network=network, states=times, atoms=a if n else None, centre=(5.0 * k,) * 3, z_seed=k, area=100.0 + k
        )
        for k, (n, times, a) in enumerate(zip(atoms, states, made_up, strict=True))
    ]


X = torch.randn(60, 3, generator=torch.Generator().manual_seed(9)) * 6


@pytest.mark.parametrize("atoms", [(8, 8), (8, 5), (0, 0), (8, 0)])
def test_the_ends_of_the_way_are_the_members(atoms):
    first_field, second_field = pair(atoms)
    start, end = interpolate_fields(first_field, second_field, 0.0), interpolate_fields(first_field, second_field, 1.0)
    for time in (1.0, 1.5, 2.2, 3.0, 3.5):
        # The other's times are taken at the same place of its range: 1 to 3 is its 5 to 9.
        second_time = 5 + 2 * (time - 1)
        for actual, expected in ((start.at(time), first_field.at(time)), (end.at(time), second_field.at(second_time))):
            torch.testing.assert_close(actual.distance(X), expected.distance(X), atol=1e-4, rtol=0)
            np.testing.assert_allclose(actual.box, expected.box, atol=ATOMS)
            assert (actual.atoms is None) == (expected.atoms is None)
            if actual.atoms is not None:
                np.testing.assert_allclose(actual.atoms, expected.atoms, atol=ATOMS)
    assert start.time_range == end.time_range == first_field.time_range


def test_amid_the_way_z_and_the_place_are_mixed():
    first_field, second_field = pair()
    half = interpolate_fields(first_field, second_field, 0.25)
    torch.testing.assert_close(half.z, 0.75 * first_field.z + 0.25 * second_field.z)
    np.testing.assert_allclose(half.frame.centre, [1.25] * 3)
    for time in (1.0, 2.4):
        expected = 0.75 * first_field.at(time).atoms + 0.25 * second_field.at(5 + 2 * (time - 1)).atoms
        atoms = half.at(time).atoms
        assert atoms is not None
        np.testing.assert_allclose(atoms, expected, atol=ATOMS)
        # Mixed atoms huddle together; what the surfaces take up does not.
        boxes = [field.extent - field.frame.centre + half.frame.centre for field in (first_field, second_field)]
        assert (half.at(time).box[0] <= np.min(boxes, 0)[0] + ATOMS).all()
        assert (half.at(time).box[1] >= np.max(boxes, 0)[1] - ATOMS).all()
    assert half.report["area"] == pytest.approx(100.25) and first_field.report["area"] == 100.0


def test_atoms_that_do_not_correspond_are_left_out_on_the_way():
    first_field, second_field = pair((8, 5))
    assert interpolate_fields(first_field, second_field, 0.5).at(1.0).atoms is None


def test_one_state_is_amid_the_others_time():
    first_field, second_field = pair(states=((4.0,), (5.0, 6.0, 9.0)))
    torch.testing.assert_close(
        interpolate_fields(first_field, second_field, 1.0).at(4.0).distance(X),
        second_field.at(7.0).distance(X),
        atol=1e-4,
        rtol=0,
    )
    torch.testing.assert_close(
        interpolate_fields(second_field, first_field, 1.0).at(6.0).distance(X),
        first_field.at(4.0).distance(X),
        atol=1e-4,
        rtol=0,
    )


def test_networks_that_differ_have_nothing_between_them():
    first_field, second_field = pair()
    with pytest.raises(ValueError, match="not fitted together: their networks differ"):
        interpolate_fields(first_field, paper_field(seed=5), 0.5)
    # The same values in another object, as after loading.
    network = Network(48, 4, 6).requires_grad_(False)
    network.load_state_dict(second_field.network.state_dict())
    second_field.network = network
    assert isinstance(interpolate_fields(first_field, second_field, 0.5), PaperField)
    second_field.scale = 0.2
    with pytest.raises(ValueError, match="not fitted together"):
        interpolate_fields(first_field, second_field, 0.5)
