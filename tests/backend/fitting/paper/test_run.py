"""Fits of preset `paper` with a small network: closed forms, families, new members, and how a fit ends."""

import copy
import itertools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from dsr_backend.fields.select import field_between
from dsr_backend.fitting.config import PRESETS, PaperPreset
from dsr_backend.fitting.paper import loss, run, train
from dsr_backend.fitting.run import fit_family, fit_member, fit_trajectory
from dsr_backend.geometry.metrics import GroundTruth
from dsr_backend.results.mesh import extract_mesh
from dsr_backend.runtime.errors import Cancelled, RequestError
from dsr_backend.surfaces.surface import Surface

from pymol_dsr.shared.messages import FitStatus
from pymol_dsr.shared.options import FitOptions
from support.shapes import ball, cloud, fit, moved, peptide, sphere, turn

SMALL = PaperPreset(
    width=64,
    layers=4,
    latent=8,
    states=2,
    points=512,
    cpu_points=96,
    steps=200,
    rate=2e-3,
    latent_rate=3e-2,
    halvings=4,
)
BRIEF = replace(SMALL, width=32, cpu_points=32, steps=30)


def config(**kwargs):
    return FitOptions(preset="paper", device="cpu", **kwargs)


def two(t):
    """Two balls of 4 Å that move apart by 1 Å a state."""
    (a, m, f), (b, n, g) = (sphere(4.0, c, 3) for c in middles(t))
    return Surface(t, np.concatenate([a, b]), np.concatenate([m, n]), np.concatenate([f, g + len(a)]))


def middles(t):
    return np.array([[-4 - 0.5 * t, 0, 0], [4 + 0.5 * t, 0, 0]])


def errors(field, time, distance, low, high, reach=1.0):
    """|f − distance| in Å at random points of a box that are within `reach` Å of the surface."""
    x = np.random.default_rng(0).uniform(low, high, (6000, 3))
    truth = distance(x)
    x, truth = x[np.abs(truth) < reach], truth[np.abs(truth) < reach]
    return np.abs(field.at(time).distance(torch.tensor(x, dtype=torch.float32)).numpy() - truth)


def from_ball(radius, centre=(0.0, 0.0, 0.0)):
    return lambda x: np.linalg.norm(x - np.asarray(centre), axis=1) - radius


# Closed forms


@pytest.mark.system
def test_a_ball_far_from_the_origin():
    centre = np.array([1e4, -2e4, 5.0])
    field = run.fit_trajectory([ball(1, 6.0, centre, subdivisions=3)], config(), preset=SMALL)
    deviations = errors(field, 1.0, from_ball(6.0, centre), centre - 8, centre + 8)
    # Measured 0.01 and 0.07 Å, in a box of 13 Å.
    assert deviations.mean() < 0.03 and deviations.max() < 0.2
    mesh = extract_mesh(field, 1.0)
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.02)
    assert mesh.area == pytest.approx(4 * np.pi * 6**2, rel=0.02)
    assert not mesh.extrapolated and extract_mesh(field, 2.0).extrapolated


@pytest.fixture(scope="module")
def parting():
    return run.fit_trajectory([two(t) for t in range(1, 6)], config(), preset=SMALL)


@pytest.mark.system
@pytest.mark.parametrize("time", [1, 3, 5, 1.5, 2.5, 4.5])
def test_two_balls_that_part_at_the_states_and_between(parting, time):
    """No atoms, no motion told: the network alone moves the surfaces."""
    field = parting

    def distance(x):
        return np.min([from_ball(4.0, c)(x) for c in middles(time)], 0)

    deviations = errors(field, time, distance, [-12, -6, -6], [12, 6, 6])
    # Measured 0.02 to 0.07 Å, 0.3 at most, where a ball moves 0.5 Å a state.
    assert deviations.mean() < 0.1 and deviations.max() < 0.5


@pytest.mark.system
def test_without_normals_points_alone_are_fitted():
    """τ = 0: inside and outside are those of the sphere that the network starts as."""
    preset = replace(SMALL, normals=0.0, radius=0.7)
    upside_down = ball(1, 6.0, subdivisions=3)
    upside_down = replace_normals(upside_down, -upside_down.normals)
    field = run.fit_trajectory([upside_down], config(), preset=preset)
    assert field.report["tau"] == 0.0
    deviations = errors(field, 1.0, from_ball(6.0), [-7] * 3, [7] * 3, reach=0.5)
    assert deviations.mean() < 0.1


def replace_normals(surface, normals):
    return Surface(surface.state, surface.points, normals, surface.faces, surface.atoms)


@pytest.mark.system
def test_real_surfaces():
    """A helix of nine residues with a network of 64 units: what the whole preset can is in the benchmark."""
    surfaces = peptide()[:3]
    field = run.fit_trajectory(surfaces, config(), preset=SMALL)
    mesh = extract_mesh(field, 2.0, resolution=1.0)
    truth = surfaces[1]
    reference = GroundTruth(truth.points, truth.normals, truth.faces, field.frame)
    scores = reference.score(mesh.points, mesh.normals, mesh.faces)
    # Measured 0.915 and 0.965.
    assert scores.iou > 0.85 and scores.nc > 0.92
    assert field.motion.atoms is not None and len(mesh.nearest) == len(mesh.points)


def test_coordinates_are_taken_as_they_are():
    """`align` has no meaning here: a tumbling molecule tumbles in the network."""
    surfaces = [moved(s, turn(30.0 * k)) for k, s in enumerate(peptide()[:2])]
    for align in (True, False):
        field = run.fit_trajectory(surfaces, config(align=align), preset=BRIEF)
        assert np.array_equal(field.motion.poses.rotations, np.tile(np.eye(3), (2, 1, 1)))
        np.testing.assert_allclose(field.at(2.0).atoms, surfaces[1].atoms, atol=1e-3)


def test_its_reach_is_that_of_the_state_farthest_from_its_atoms():
    """Past it, the network's surfaces are no part of the molecule."""
    radii = {1: 5.0, 2: 7.0, 3: 6.0}
    surfaces = [ball(k, radius, atoms=np.zeros((1, 3)), subdivisions=3) for k, radius in radii.items()]
    assert run.fit_trajectory(surfaces, config(), preset=BRIEF).reach == pytest.approx(7.0)


# Families


@pytest.fixture(scope="module")
def family():
    """A ball that grows, and a larger one elsewhere that does not."""
    trajectories = {
        "small": [ball(t, 3.0 + 0.5 * t, subdivisions=3) for t in (2, 1, 3)],
        "large": [ball(t, 7.0, (60.0, 0.0, 0.0), subdivisions=3, atoms=cloud()) for t in (10, 20)],
    }
    return run.fit_family(trajectories, config(), preset=replace(SMALL, steps=300))


@pytest.mark.system
def test_one_network_and_a_code_for_each(family):
    small, large = family.member("small"), family.member("large")
    assert small.network is large.network
    assert small.scale == large.scale == large.frame.scale < small.frame.scale
    assert not torch.equal(small.z, large.z)
    for t in (1, 2, 3):
        deviations = errors(small, t, from_ball(3 + 0.5 * t), [-6] * 3, [6] * 3)
        # Measured 0.01 to 0.03 Å.
        assert deviations.mean() < 0.08
    for t in (10, 15, 20):
        assert errors(large, t, from_ball(7.0, (60, 0, 0)), [52, -8, -8], [68, 8, 8]).mean() < 0.08


@pytest.mark.system
def test_the_report_of_a_family(family):
    report = family.report
    assert list(family.members) == list(report["trajectories"]) == ["small", "large"]
    assert report["preset"] == "paper" and report["steps"] == 300 and report["seed"] == 0
    assert report["trajectories"]["small"]["states"] == [1.0, 2.0, 3.0]
    assert [report["trajectories"][name]["atoms"] for name in ("small", "large")] == [0, 60]
    network = sum(weight.numel() for weight in family.member("small").network.parameters())
    assert report["parameters"] == network + 2 * 8
    assert report["device"] == "cpu" and report["seconds"] > 0 and 0 < report["loss"] < 0.5


@pytest.mark.system
def test_between_two_trajectories(family):
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0)) * 5
    start, end = field_between(family, "small", "large", 0.0), field_between(family, "small", "large", 1.0)
    for time, other_time in ((1.0, 10.0), (2.5, 17.5)):
        torch.testing.assert_close(start.at(time).distance(x), family.member("small").at(time).distance(x))
        shifted = x + torch.tensor([60.0, 0.0, 0.0])
        expected = family.member("large").at(other_time).distance(shifted)
        torch.testing.assert_close(end.at(time).distance(shifted), expected, atol=1e-4, rtol=0)
    half = field_between(family, "small", "large", 0.5)
    mesh = extract_mesh(half, 2.0)
    np.testing.assert_allclose(mesh.points.mean(0), [30, 0, 0], atol=1.0)
    sizes = [extract_mesh(family.member(name), t).volume for name, t in (("small", 2.0), ("large", 15.0))]
    assert sizes[0] < mesh.volume < sizes[1]


@pytest.mark.system
def test_a_new_trajectory_with_the_network_frozen(family):
    """Only z is looked for: θ is the family's to the last bit, and f becomes what is asked as far as θ can show it."""
    before = {name: copy.deepcopy(field.tensors()) for name, field in family.members.items()}
    surfaces = [ball(t, 7.0, (0.0, 30.0, 0.0), subdivisions=3) for t in (1, 2)]
    field = run.fit_member(family, surfaces, config(), frozen=True, preset=replace(SMALL, steps=100))
    network = family.member("large").network
    assert field.network is not network
    for name, value in network.state_dict().items():
        assert torch.equal(field.network.state_dict()[name], value), name
    assert not any(torch.equal(field.z, member.z) for member in family.members.values())
    assert field.scale == family.member("large").scale
    # One of the known ones again, elsewhere. Measured 0.03 Å; with the mean of the known codes it is 1.5 Å.
    assert errors(field, 1.5, from_ball(7.0, (0, 30, 0)), [-8, 22, -8], [8, 38, 8]).mean() < 0.15
    for name, tensors in before.items():
        for key, value in family.member(name).tensors().items():
            assert torch.equal(value, tensors[key]), (name, key)


def test_a_new_trajectory_with_all_of_the_network(family):
    before = copy.deepcopy(family.member("small").tensors())
    surfaces = [ball(t, 5.5, subdivisions=3) for t in (1, 2)]
    field = run.fit_member(family, surfaces, config(), preset=replace(SMALL, steps=120))
    assert field.report["steps"] == 120
    assert errors(field, 1.5, from_ball(5.5), [-7] * 3, [7] * 3).mean() < 0.1
    assert not torch.equal(field.network.state_dict()["layers.0.weight"], before["network.layers.0.weight"])
    for key, value in family.member("small").tensors().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.system
def test_a_family_of_another_kind_is_refused(family):
    fast = fit([ball(1, 2.0, subdivisions=1)])
    mixed_family = replace(family, members=family.members | {"fast": fast})
    with pytest.raises(ValueError, match="the family's fields are of kind fast, paper, not all paper"):
        run.fit_member(mixed_family, [ball(1)], config(), preset=BRIEF)


def test_surfaces_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="there are no trajectories"):
        run.fit_family({}, config(), preset=BRIEF)
    with pytest.raises(ValueError, match="trajectory b: there are no surfaces"):
        run.fit_family({"a": [ball(1)], "b": []}, config(), preset=BRIEF)
    with pytest.raises(ValueError, match=r"^trajectory b: state 2 has 0 atoms, state 1 has 60"):
        run.fit_family({"a": [ball(1)], "b": [ball(1, atoms=cloud()), ball(2)]}, config(), preset=BRIEF)
    with pytest.raises(ValueError, match=r"^states must rise, got 2 after 2"):
        run.fit_trajectory([ball(2), ball(2)], config(), preset=BRIEF)
    with pytest.raises(ValueError, match="preset fast is not one of the kind paper"):
        run.fit_trajectory([ball(1)], FitOptions())
    with pytest.raises(ValueError, match="preset paper has no loops"):
        run.fit_trajectory([ball(1)], config(loop=True))


def test_the_trainer_takes_the_preset_by_name(monkeypatch):
    monkeypatch.setitem(PRESETS, "paper", BRIEF)
    field = fit_trajectory([ball(t, subdivisions=2) for t in (1, 2)], config())
    assert field.kind == "paper" and field.report["preset"] == "paper"
    several = fit_family({"a": [ball(1, subdivisions=2)], "b": [ball(1, subdivisions=2)]}, config())
    assert several.member("b").kind == "paper"
    assert fit_member(several, [ball(1, subdivisions=2)], config(), frozen=True).kind == "paper"


# Repeatable, and what is said


def test_same_seed_same_field_bit_for_bit():
    surfaces = [ball(t, subdivisions=2) for t in (1, 2, 3)]
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, repeated, reseeded = (run.fit_trajectory(surfaces, config(seed=seed), preset=BRIEF) for seed in (5, 5, 6))
    assert torch.equal(torch.rand(3), expected)
    for name, tensor in first.tensors().items():
        assert torch.equal(tensor, repeated.tensors()[name]), name
        assert not torch.equal(tensor, reseeded.tensors()[name]), name


def test_the_seed_draws_the_network_and_codes_from_the_standard_normal():
    """Before anything is trained: rates of 0."""
    frozen = replace(PaperPreset(), width=200, layers=2, cpu_points=4, states=1, steps=1, rate=0.0, latent_rate=0.0)
    trajectories = {str(k): [ball(1, subdivisions=1)] for k in range(20)}
    members: Any = run.fit_family(trajectories, config(), preset=frozen).members.values()
    z = torch.stack([field.z for field in members])
    assert z.shape == (20, 192) and z.mean().abs() < 0.06 and abs(z.std() - 1) < 0.05
    assert torch.corrcoef(z).fill_diagonal_(0).abs().max() < 0.35
    fields = (run.fit_trajectory([ball(1, subdivisions=1)], config(seed=seed), preset=frozen) for seed in (1, 2))
    first, second = (field.network.state_dict()["layers.0.weight"] for field in fields)
    assert not torch.equal(first, second)


def test_rates_are_halved_over_the_run(monkeypatch):
    rates = []
    step = torch.optim.Adam.step

    def record(self, *args):
        rates.append([group["lr"] for group in self.param_groups])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", record)
    preset = replace(BRIEF, steps=50, halvings=4, rate=1e-3, latent_rate=1e-2)
    run.fit_trajectory([ball(1, subdivisions=1)], config(), preset=preset)
    expected = [[1e-2 * 0.5**k, 1e-3 * 0.5**k] for k in range(5) for _ in range(10)]
    np.testing.assert_allclose(rates, expected)


def test_progress_rises_to_the_end():
    statuses: list[FitStatus] = []
    surfaces = [ball(t, subdivisions=2) for t in (1, 2)]
    run.fit_trajectory(surfaces, config(), statuses.append, preset=BRIEF)
    fractions = [status.fraction for status in statuses]
    assert fractions == sorted(fractions) and fractions[0] == 0.0 and fractions[-1] == 1.0
    assert [status.phase for status in statuses] == ["sampling"] * 2 + ["fit"] * 4
    assert [status.step for status in statuses[2:]] == [0, 10, 20, 30]
    assert all(status.steps == 30 for status in statuses[2:]) and (statuses[-1].loss or 0.0) > 0
    assert all(status.device == "cpu" for status in statuses)


@pytest.mark.system
def test_the_report_says_how_it_went(parting):
    report = parting.report
    assert report["states"] == [1, 2, 3, 4, 5] and report["steps"] == SMALL.steps
    assert (report["lambda"], report["tau"], report["alpha"]) == (0.1, 1.0, 1e-3)
    assert report["samples"] == 5 * 2 * 642
    assert report["parameters"] == sum(tensor.numel() for tensor in parting.tensors().values())
    assert report["area"] == pytest.approx(2 * 4 * np.pi * 16, rel=0.02)
    assert report["atoms"] == 0 and report["smooth"] == 0.0 and report["seed"] == 0


# Cancelling, budgets, divergence


@pytest.mark.parametrize("polls", [0, 1, 3, 20])
def test_a_cancelled_fit_stops_at_once(polls):
    polls_left = [polls]

    def cancelled():
        polls_left[0] -= 1
        return polls_left[0] < 0

    with pytest.raises(Cancelled):
        run.fit_trajectory([ball(t, subdivisions=2) for t in (1, 2)], config(), cancelled=cancelled, preset=BRIEF)
    assert polls_left[0] == -1


def test_a_budget_ends_the_training_annealed(monkeypatch):
    """The halvings follow the time used, so that a run cut short ends with the smallest rate too."""
    rates = []
    step = torch.optim.Adam.step

    def record(self, *args):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", record)
    # A clock that goes on by a hundredth of a second each time that it is read: about once a step.
    clock = itertools.count()
    monkeypatch.setattr(train, "time", SimpleNamespace(perf_counter=lambda: next(clock) / 100))
    field = run.fit_trajectory([ball(1, subdivisions=2)], config(budget=1.0), preset=replace(BRIEF, steps=10**6))
    assert 50 < field.report["steps"] == len(rates) <= 100
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == SMALL.latent_rate and rates[-1] == SMALL.latent_rate / 16


def test_the_least_budget_is_one_step():
    field = run.fit_trajectory([ball(1, subdivisions=2)], config(budget=1e-9), preset=BRIEF)
    assert field.report["steps"] == 1 and np.isfinite(field.report["loss"])


def test_a_rate_that_is_far_too_large_is_said():
    with pytest.raises(RequestError, match="the loss is nan at step 20; fit with another seed") as error:
        run.fit_trajectory([ball(1, subdivisions=2)], config(), preset=replace(BRIEF, rate=1e30))
    assert error.value.code == "diverged"


@pytest.mark.parametrize("bad", [5, 17])
def test_one_loss_that_is_no_number_is_got_over(bad, monkeypatch):
    """Back to the last look, at half the rate."""
    count, rates = [0], []
    real, step = loss.loss, torch.optim.Adam.step

    def once(*args):
        count[0] += 1
        return real(*args) * (np.nan if count[0] == bad else 1.0)

    def record(self, *args):
        rates.append(self.param_groups[1]["lr"])
        return step(self, *args)

    monkeypatch.setattr(train, "loss", once)
    monkeypatch.setattr(torch.optim.Adam, "step", record)
    field = run.fit_trajectory([ball(1, subdivisions=2)], config(), preset=replace(BRIEF, halvings=0))
    assert field.report["steps"] == 30 and np.isfinite(field.report["loss"])
    assert all(torch.isfinite(tensor).all() for tensor in field.tensors().values())
    rollback = 10 * -(-bad // 10)
    np.testing.assert_allclose(rates, [BRIEF.rate] * rollback + [BRIEF.rate / 2] * (30 - rollback))
