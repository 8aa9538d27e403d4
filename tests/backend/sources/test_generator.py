"""The parts of the trained generator, each against a slow or exact one."""

import dataclasses

import numpy as np
import pytest
import torch
from dsr_backend.sources.generator import sampler, training
from dsr_backend.sources.generator.charts import CHARTS, InternalChart, RigidChart
from dsr_backend.sources.generator.choice import choose_chart
from dsr_backend.sources.generator.decoder import denoised
from dsr_backend.sources.generator.encoder import OWN, Encoder, neighbors, poses
from dsr_backend.sources.generator.frames import (
    Frames,
    atoms_of,
    frames_of,
    increments,
    local_atoms,
    moved,
    rotation_vectors,
    rotations_of,
    superposed,
)
from dsr_backend.sources.generator.internal import chained, link_coordinates
from dsr_backend.sources.generator.losses import geometry, network_target
from dsr_backend.sources.generator.model import PRESETS, Generator, Network, Preset
from dsr_backend.sources.generator.prior import MEMORY, Normal, Prior, past_increments
from dsr_backend.sources.generator.residues import Residues
from dsr_backend.sources.generator.rollout import continue_states, fill_states, sample_states
from dsr_backend.sources.generator.selection import StepRatio, log_steps
from dsr_backend.sources.generator.temporal import Temporal, rotary
from scipy.spatial.transform import Rotation

from support.molecules import helix

RESIDUES = 6
GENERATOR = torch.Generator().manual_seed(0)
KINDS, PLACES = torch.zeros(RESIDUES, dtype=torch.long), torch.arange(RESIDUES)
LINKED = torch.ones(RESIDUES - 1, dtype=torch.bool)
BODY = torch.tensor(helix(RESIDUES).reshape(RESIDUES, 3, 3), dtype=torch.float32)
LOCAL = local_atoms(frames_of(BODY), BODY)


@pytest.fixture(autouse=True)
def _same_random_numbers_of_the_generator():
    GENERATOR.manual_seed(1)


def noise(*shape, size=1.0):
    return size * torch.randn(shape, generator=GENERATOR)


def fluctuating(count=120, memory=0.9, size=0.15):
    """Frames [count,R] that relax to the body with a memory."""
    by, states = torch.zeros(RESIDUES, 6), []
    for _ in range(count):
        by = memory * by + (1 - memory**2) ** 0.5 * noise(RESIDUES, 6, size=size)
        states.append(moved(frames_of(BODY), by))
    return Frames.stack(states, 0)


TRAJECTORY = fluctuating()
RESIDUE_DATA = Residues(KINDS, PLACES, LINKED, LOCAL)
PRIORS = {name: Prior.fit([TRAJECTORY], chart(RESIDUE_DATA)) for name, chart in CHARTS.items()}
PRIOR = PRIORS["rigid"]
TINY = Preset(16, 3, 2, 9, 48)


def model(seed=0, trained=False, chart="rigid"):
    torch.manual_seed(seed)
    net = Network(1, TINY)
    if trained:
        with torch.no_grad():
            net.decoder.leave.weight.normal_(0.0, 0.3)
    return Generator(net, PRIORS[chart], RESIDUE_DATA)


def turned(frames, rotation, shift):
    return Frames(rotation @ frames.rotations, frames.origins @ rotation.T + shift)


def test_rotation_vectors_are_those_of_scipy():
    vectors = Rotation.random(50, random_state=1).as_rotvec() * 0.95
    matrices = torch.tensor(Rotation.from_rotvec(vectors).as_matrix())
    assert rotation_vectors(matrices).numpy() == pytest.approx(vectors, abs=1e-9)
    assert rotations_of(torch.tensor(vectors)).numpy() == pytest.approx(matrices.numpy(), abs=1e-9)
    assert rotations_of(torch.zeros(3)).numpy() == pytest.approx(np.eye(3))
    assert rotation_vectors(torch.eye(3)).numpy() == pytest.approx(np.zeros(3))


def test_increments_lead_from_frames_to_others_and_atoms_follow():
    first, second = TRAJECTORY[3], TRAJECTORY[40]
    after = moved(first, increments(first, second))
    assert after.rotations.numpy() == pytest.approx(second.rotations.numpy(), abs=1e-5)
    assert after.origins.numpy() == pytest.approx(second.origins.numpy(), abs=1e-5)
    assert atoms_of(frames_of(BODY), LOCAL).numpy() == pytest.approx(BODY.numpy(), abs=1e-5)


def test_superposed_frames_lie_on_the_others_whatever_their_pose():
    rotation = torch.tensor(Rotation.random(random_state=2).as_matrix(), dtype=torch.float32)
    superposed_frames = superposed(turned(TRAJECTORY[5], rotation, torch.tensor([3.0, 1.0, -2.0])), TRAJECTORY[5])
    assert superposed_frames.origins.numpy() == pytest.approx(TRAJECTORY[5].origins.numpy(), abs=1e-4)
    assert superposed_frames.rotations.numpy() == pytest.approx(TRAJECTORY[5].rotations.numpy(), abs=1e-4)


def test_the_prior_of_a_relaxing_process_knows_its_memory_and_its_noise():
    long = fluctuating(3000, 0.8, 0.2)
    prior = Prior.fit([long], RigidChart(RESIDUE_DATA))
    known = [long[lag : lag - MEMORY - 1] for lag in range(MEMORY + 1)]
    by = prior.chart.increments(known[-1], long[MEMORY + 1 :])
    error = ((by - prior.forward_mean(past_increments(prior.chart, known), known[-1])) ** 2).mean()
    # The change to the next state is (1 − m)² s² + (1 − m²) s²; only the second term is noise.
    assert float(error) < 0.97 * float((by**2).mean())
    innovations = float((prior.step.root @ prior.step.root).diagonal().mean())
    assert innovations == pytest.approx(float(error), rel=0.1)


def test_roots_of_a_covariance_multiply_to_it():
    samples = noise(4000, 5) @ noise(5, 5)
    normal = Normal.of(samples)
    assert (normal.root @ normal.root).numpy() == pytest.approx(
        (samples.T @ samples / 4000).numpy(), rel=0.02, abs=0.02
    )
    assert (normal.root @ normal.inverse).numpy() == pytest.approx(np.eye(5), abs=1e-3)


@pytest.mark.parametrize("steps", [5, 10])
def test_without_the_net_the_sampler_draws_the_normal_distribution(monkeypatch, steps):
    monkeypatch.setattr(sampler, "STEPS", steps)
    drawn = sampler.sample(lambda x, a: denoised(x, a, torch.zeros_like(x)), (60_000, 1, 6), GENERATOR)
    assert drawn.mean((0, 1)).numpy() == pytest.approx(np.zeros(6), abs=0.02)
    assert drawn.var((0, 1)).numpy() == pytest.approx(np.ones(6), rel=0.02)


def test_the_sampler_draws_a_narrower_distribution_where_the_net_knows_it(monkeypatch):
    monkeypatch.setattr(sampler, "STEPS", 10)
    # Data of N(0.7, 0.4²): the exact F is known.
    mean, spread = 0.7, 0.4

    def exact(x, level):
        a = level[:, None, None]
        clean = (spread**2 * x + a**2 * mean) / (spread**2 + a**2)
        network = (clean - x / (1.0 + a**2)) * (1.0 + a**2).sqrt() / a
        return denoised(x, level, network)

    drawn = sampler.sample(exact, (40_000, 1, 1), GENERATOR)
    assert float(drawn.mean()) == pytest.approx(mean, abs=0.02)
    # The steps add the noise of a normal distribution of size 1, at the last level 0.15 too.
    assert spread < float(drawn.std()) < 0.48


def test_the_target_of_the_net_gives_the_clean_increments_again():
    white, level = noise(7, RESIDUES, 6), torch.linspace(0.1, 5.0, 7)
    noisy = white + level[:, None, None] * noise(7, RESIDUES, 6)
    recovered = denoised(noisy, level, network_target(white, noisy, level))
    assert recovered.numpy() == pytest.approx(white.numpy(), abs=1e-4)


@pytest.mark.parametrize("chart", list(CHARTS))
def test_at_its_start_the_generator_is_the_prior(monkeypatch, chart):
    monkeypatch.setattr(sampler, "STEPS", 5)
    net = model(chart=chart)
    context = net.after([TRAJECTORY[:4]])
    vectors, index = net.encode(context)
    x = noise(4, RESIDUES, 6)
    assert (net.network(x, torch.ones(4), context, vectors, index) == 0.0).all()
    replicated = net.after(
        [Frames(*(p.expand(3000, *p.shape) for p in (TRAJECTORY[9].rotations, TRAJECTORY[9].origins)))]
    )
    by = net.prior.chart.increments(replicated.anchor, net.draw(replicated, GENERATOR)) - replicated.mean
    covariance = (by.flatten(1).T @ by.flatten(1) / len(by)).diagonal()
    root = net.prior.step.root
    # Superposed frames have no moves of the whole.
    rel = 0.15 if chart == "internal" else 0.4
    assert covariance.numpy() == pytest.approx((root @ root).diagonal().numpy(), rel=rel, abs=2e-4)


def test_whitened_increments_come_back():
    net = model()
    context = net.after([TRAJECTORY[:4], TRAJECTORY[1:5]])
    by = noise(4, RESIDUES, 6, size=0.2)
    recovered = context.mean + net.coloured(net.whitened(by, context), context)
    assert recovered.numpy() == pytest.approx(by.numpy(), abs=1e-3)


@pytest.mark.parametrize("chart", list(CHARTS))
def test_turning_the_input_turns_the_output(chart):
    net = model(trained=True, chart=chart)
    rotation = torch.tensor(Rotation.random(random_state=5).as_matrix(), dtype=torch.float32)
    shift = torch.tensor([4.0, -7.0, 1.0])
    history = [TRAJECTORY[k : k + 3] for k in range(4)]
    plain = net.draw(net.after(history), torch.Generator().manual_seed(3))
    moved_too = net.draw(net.after([turned(s, rotation, shift) for s in history]), torch.Generator().manual_seed(3))
    expected = turned(plain, rotation, shift)
    assert moved_too.origins.numpy() == pytest.approx(expected.origins.numpy(), abs=2e-3)
    assert moved_too.rotations.numpy() == pytest.approx(expected.rotations.numpy(), abs=2e-3)
    reversed_history = net.draw(net.after(history[::-1]), torch.Generator().manual_seed(3))
    assert reversed_history.origins.numpy() != pytest.approx(plain.origins.numpy(), abs=2e-3)


def test_poses_of_neighbours_are_those_of_a_plain_loop():
    frames = TRAJECTORY[:1]
    index = neighbors(frames, 3)
    described, turn = poses(frames, index)
    for residue in range(RESIDUES):
        distance = (frames.origins[0] - frames.origins[0, residue]).norm(dim=-1)
        assert index[0, residue].tolist() == distance.argsort()[1:4].tolist()
        for slot, neighbour in enumerate(index[0, residue].tolist()):
            inverse = frames.rotations[0, residue].T
            shift = inverse @ (frames.origins[0, neighbour] - frames.origins[0, residue])
            assert described[0, residue, slot, 8:11].numpy() == pytest.approx((shift / shift.norm()).numpy(), abs=1e-5)
            relative = inverse @ frames.rotations[0, neighbour]
            assert turn[0, residue, slot].numpy() == pytest.approx(relative.numpy(), abs=1e-5)


def test_the_encoder_sees_shape_and_not_pose():
    torch.manual_seed(1)
    encoder = Encoder(1, 16)
    frames = TRAJECTORY[:2]
    rotation = torch.tensor(Rotation.random(random_state=8).as_matrix(), dtype=torch.float32)
    index = neighbors(frames)
    features = noise(2, RESIDUES, OWN)
    turned_code = encoder(turned(frames, rotation, torch.ones(3)), features, index, KINDS, PLACES)
    assert turned_code.detach().numpy() == pytest.approx(
        encoder(frames, features, index, KINDS, PLACES).detach().numpy(), abs=1e-4
    )
    # Another shape: the last residue is 3 Å away from where it was.
    shifted = Frames(frames.rotations, frames.origins.clone())
    shifted.origins[:, -1] += 3.0
    assert encoder(shifted, features, index, KINDS, PLACES).detach().numpy() != pytest.approx(
        turned_code.detach().numpy(), abs=1e-2
    )


def test_rotary_products_depend_on_time_differences_alone():
    a, b = noise(1, 8), noise(1, 8)

    def product(first, second):
        return float((rotary(a, torch.tensor([first])) * rotary(b, torch.tensor([second]))).sum())

    assert product(2.0, 5.5) == pytest.approx(product(-1.0, 2.5), abs=1e-5)
    assert product(2.0, 5.5) != pytest.approx(product(2.0, 4.5), abs=1e-3)


def test_the_context_leaves_out_what_is_not_known_and_feels_times():
    torch.manual_seed(2)
    temporal = Temporal(16, 2)
    encoded, times = noise(1, 3, RESIDUES, 16), torch.tensor([[-3.0, -2.0, -1.0]])
    known = torch.tensor([[False, True, True]])
    plain = temporal(encoded, times, known)
    altered = encoded.clone()
    altered[:, 0] += 1.0
    assert temporal(altered, times, known).detach().numpy() == pytest.approx(plain.detach().numpy(), abs=1e-6)
    assert temporal(altered, times, known | True).detach().numpy() != pytest.approx(plain.detach().numpy(), abs=1e-3)
    uneven = torch.tensor([[-3.0, -2.5, -1.0]])
    assert temporal(encoded, uneven, known).detach().numpy() != pytest.approx(plain.detach().numpy(), abs=1e-4)
    all_unknown = temporal(encoded, times, torch.zeros(1, 3, dtype=torch.bool))
    assert torch.isfinite(all_unknown).all()


def test_of_a_history_with_uneven_times_the_last_increment_is_left_out():
    net = model(trained=True)
    history = [TRAJECTORY[k : k + 1] for k in (3, 4, 5)]
    even, late = net.after(history, times=[-2.0, -1.0, 0.0]), net.after(history, times=[-5.5, -3.0, 0.0])
    assert torch.equal(even.mean, net.after(history).mean)
    assert even.times.tolist() == [[-3.0, -2.0, -1.0]] and late.times.tolist() == [[-6.5, -4.0, -1.0]]
    # The last increment took three gaps, so the prior does as if there were none.
    from_rest = PRIOR.forward_mean(past_increments(PRIOR.chart, history[-1:]), history[-1])
    assert torch.allclose(late.mean, from_rest, atol=1e-5) and not torch.allclose(even.mean, from_rest, atol=1e-3)
    vectors = [net.encode(context)[0] for context in (even, late)]
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-3)
    with pytest.raises(ValueError, match="3 states of a history have 2 times"):
        net.after(history, times=[-1.0, 0.0])


def test_one_sequence_has_the_begin_token_a_prefix_or_both_ends():
    net = model(trained=True)
    first, last = TRAJECTORY[:1], TRAJECTORY[30:31]
    begin, forward, between = net.alone(1), net.after([first]), net.after([first], last, 5)
    assert not begin.present.any() and begin.whole
    assert forward.times.tolist() == [[-1.0]] and between.times.tolist() == [[4.0, -1.0]]
    # The end comes first in the sequence, as what is known first.
    assert torch.allclose(between.known.origins[:, 0], superposed(last, first).origins)
    assert torch.allclose(between.known.origins[:, 1], first.origins, atol=1e-4)
    vectors = [net.encode(context)[0] for context in (begin, forward, between)]
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-3)
    assert not torch.allclose(vectors[1], vectors[2], atol=1e-3)
    # Another end, or another time to it, is another context.
    for end, left in ((TRAJECTORY[60:61], 5), (last, 9)):
        assert not torch.allclose(net.encode(net.after([first], end, left))[0], vectors[2], atol=1e-4)


def test_right_increments_have_no_geometric_loss():
    net = model()
    context = net.after([TRAJECTORY[:3]])
    by = noise(3, RESIDUES, 6, size=0.1)
    assert geometry(net, context, by, by).tolist() == [0.0] * 3
    assert (geometry(net, context, by + 0.5, by) > 0).all()
    unlinked = dataclasses.replace(net, residues=dataclasses.replace(RESIDUE_DATA, linked=LINKED & False))
    assert (geometry(unlinked, context, by + 0.5, by) == 0).all()


def test_windows_stay_within_their_trajectory():
    windows = training.Windows.of([TRAJECTORY[:10], TRAJECTORY[10:25]])
    assert windows.starts(1).tolist() == [*range(1, 9), *range(11, 24)]
    for task, _ in training.TASKS:
        context, by = windows.context(model(), task, 5, GENERATOR)
        assert by.shape == context.mean.shape == (5, RESIDUES, 6) and torch.isfinite(by).all()


def test_one_model_continues_fills_in_and_samples():
    net = model()
    first, last = TRAJECTORY[:2], TRAJECTORY[30:32]
    trajectories = {
        "continue": continue_states(net, [first], 3, lambda atoms: atoms, GENERATOR),
        "fill": fill_states(net, first, last, 5, lambda atoms: atoms, GENERATOR),
    }
    assert trajectories["continue"].shape == (2, 3, RESIDUES, 3, 3) and trajectories["fill"].shape == (
        2,
        5,
        RESIDUES,
        3,
        3,
    )
    assert sample_states(net, 4, lambda atoms: atoms, GENERATOR).shape == (4, RESIDUES, 3, 3)
    # The bridge comes as near to the end as one step is long.
    met = superposed(frames_of(trajectories["fill"][:, -1]), last)
    step = float((TRAJECTORY.origins[1:] - TRAJECTORY.origins[:-1]).norm(dim=-1).mean())
    assert float((met.origins - last.origins).norm(dim=-1).mean()) < 1.5 * step


@pytest.mark.system
def test_training_lowers_the_held_out_loss_where_the_prior_is_wrong():
    # The next state depends on the sign of the one before: no linear rule.
    direction, by, states = noise(RESIDUES, 6, size=0.25), torch.tensor(1.0), []
    for _ in range(500):
        by = 0.2 * noise(1)[0] + (2.0 * by**2 - 1.0).clamp(-1, 1)
        states.append(moved(frames_of(BODY), by * direction))
    trajectory = Frames.stack(states, 0)
    lesson = training.Training([training.ProteinRuns(RESIDUE_DATA, [trajectory])], 1, PRESETS["small"])
    lesson.run(1e9, most_steps=120)
    assert lesson.best.ratio < 0.97 and lesson.steps == 120 and lesson.curve[0].ratio == 1.0


def shape_of_a_protein(bent=0.0):
    """Frames [5,R] with dihedrals of all sizes, in poses of their own."""
    coordinates = link_coordinates(frames_of(BODY).expand(5), RESIDUE_DATA)
    coordinates[:, :-1, :3] += bent * noise(5, RESIDUES - 1, 3)
    rotations = torch.tensor(Rotation.random(5, random_state=4).as_matrix(), dtype=torch.float32)
    frames = chained(coordinates, RESIDUE_DATA)
    return Frames(rotations[:, None] @ frames.rotations, frames.origins @ rotations.transpose(-1, -2) + 3.0)


def test_internal_coordinates_are_those_of_a_plain_loop():
    frames = shape_of_a_protein(5.0)
    atoms = atoms_of(frames, LOCAL)[0].double().numpy()
    described = link_coordinates(frames, RESIDUE_DATA)[0].numpy()
    for residue in range(RESIDUES - 1):
        points = atoms[residue : residue + 2].reshape(6, 3)
        for number in range(3):
            a, b, c, d = points[number : number + 4]
            axis = (c - b) / np.linalg.norm(c - b)
            first, last = (a - b) - ((a - b) @ axis) * axis, (d - c) - ((d - c) @ axis) * axis
            turn = np.arctan2(np.cross(axis, first) @ last, first @ last)
            assert described[residue, number] == pytest.approx(3.0 * turn, abs=1e-3)
        for number, (a, b, c) in enumerate(((1, 2, 3), (2, 3, 4))):
            first, last = points[a] - points[b], points[c] - points[b]
            bend = np.arccos(first @ last / np.linalg.norm(first) / np.linalg.norm(last))
            assert described[residue, 3 + number] == pytest.approx(3.0 * bend, abs=1e-3)
        assert described[residue, 5] == pytest.approx(np.linalg.norm(points[3] - points[2]), abs=1e-4)


@pytest.mark.parametrize("bonded", [True, False])
def test_a_chain_is_built_again_from_its_internal_coordinates(bonded):
    linked = LINKED.clone()
    linked[2] = bonded
    residues = dataclasses.replace(RESIDUE_DATA, linked=linked)
    frames = shape_of_a_protein(5.0)
    built = superposed(chained(link_coordinates(frames, residues), residues), frames)
    assert built.origins.numpy() == pytest.approx(frames.origins.numpy(), abs=1e-3)
    assert built.rotations.numpy() == pytest.approx(frames.rotations.numpy(), abs=1e-3)


@pytest.mark.parametrize("name", list(CHARTS))
def test_increments_of_a_chart_lead_from_state_to_state_in_the_pose_of_the_first(name):
    chart, first, second = CHARTS[name](RESIDUE_DATA), shape_of_a_protein(0.3), shape_of_a_protein(0.3)
    reached = chart.moved(first, chart.increments(first, second))
    expected = superposed(second, first)
    assert reached.origins.numpy() == pytest.approx(expected.origins.numpy(), abs=2e-3)
    assert reached.rotations.numpy() == pytest.approx(expected.rotations.numpy(), abs=2e-3)
    assert chart.features(first, first[0]).shape == (5, chart.features_each * RESIDUES)


def test_dihedrals_go_the_shorter_way_round_and_bonds_stay_what_they_are():
    chart = InternalChart(RESIDUE_DATA)
    coordinates = link_coordinates(frames_of(BODY).expand(2), RESIDUE_DATA)
    coordinates[0, 2, 0], coordinates[1, 2, 0] = 3.0 * 3.0, -3.0 * 3.0
    states = chained(coordinates, RESIDUE_DATA)
    by = chart.increments(states[:1], states[1:])
    assert float(by[0, 2, 0]) == pytest.approx(3.0 * (2.0 * np.pi - 6.0), abs=1e-3)
    turns = torch.zeros(1, RESIDUES, 6)
    turns[..., :3] = noise(1, RESIDUES, 3, size=3.0)
    atoms = atoms_of(chart.moved(states[:1], turns), LOCAL)
    lengths = (atoms[:, 1:, 0] - atoms[:, :-1, 2]).norm(dim=-1)
    assert lengths[0].numpy() == pytest.approx(coordinates[0, :-1, 5].numpy(), abs=1e-3)


def test_the_internal_chart_is_taken_for_turning_bonds_and_the_rigid_one_for_residues_in_their_places():
    turning, by = [], torch.zeros(RESIDUES, 6)
    start = link_coordinates(frames_of(BODY), RESIDUE_DATA)
    for _ in range(400):
        by[:-1, 0] = 0.9 * by[:-1, 0] + noise(RESIDUES - 1, size=2.0)
        turning.append(chained(start + by, RESIDUE_DATA))
    for states, expected in ((Frames.stack(turning, 0), "internal"), (fluctuating(400, 0.9, 0.3), "rigid")):
        priors = {name: Prior.fit([states[:300]], chart(RESIDUE_DATA)) for name, chart in CHARTS.items()}
        assert choose_chart([priors], [[states[300:]]], 0) == expected


def test_past_increments_reach_back_as_far_as_states_are_known_without_a_gap():
    windows = training.Windows.of([TRAJECTORY[:30]])
    net = model(chart="internal")
    known = Frames.stack([TRAJECTORY[k : k + 2] for k in range(6)], 1)
    present = torch.ones(2, 6, dtype=torch.bool)
    present[1, 3] = False
    past = training.known_past(net, known, present)
    past_of_all = past_increments(net.prior.chart, [TRAJECTORY[k : k + 2] for k in range(6)])
    assert (
        torch.equal(past[0], past_of_all[0]) and torch.equal(past[1, :1], past_of_all[1, :1]) and not past[1, 1:].any()
    )
    assert not training.known_past(net, known[:, -1:], present[:, -1:]).any()
    context, by = windows.context(net, "forward", 4, GENERATOR)
    assert context.forward and by.shape == (4, RESIDUES, 6)


def test_selection_turns_drawn_lengths_into_true_ones():
    drawn, true = noise(20_000, 16), 0.6 * noise(20_000) - 0.5
    ratio = StepRatio.of(true, drawn.flatten())
    chosen = drawn.gather(1, ratio.choose(drawn, GENERATOR)[:, None])[:, 0]
    assert float(chosen.mean()) == pytest.approx(-0.5, abs=0.05) and float(chosen.std()) == pytest.approx(0.6, abs=0.05)
    assert not StepRatio().selects and ratio.selects
    # Without a preference, any candidate comes as often.
    picks = StepRatio().choose(drawn, GENERATOR).bincount(minlength=16)
    assert picks.min() > 1000


def test_steps_are_as_long_as_true_ones_once_they_were_compared():
    net = model(chart="internal")
    windows = training.Windows.of([TRAJECTORY])
    context, by = windows.context(net, "forward", 400, GENERATOR)
    true = log_steps(context.anchor, net.prior.chart.moved(context.anchor, by))
    drawn = log_steps(context.anchor, net.draw(context, GENERATOR))
    # As if the drawn steps were longer than true ones by a deviation.
    deviation = float(drawn.std())
    longer = StepRatio(float(drawn.mean()) - deviation, deviation, float(drawn.mean()), deviation)
    selected = log_steps(context.anchor, dataclasses.replace(net, steps=longer).draw(context, GENERATOR))
    assert float(selected.mean() - drawn.mean()) == pytest.approx(-deviation, abs=0.4 * deviation)
    compared = net.step_ratio(context, by, GENERATOR)
    assert compared.true_mean == pytest.approx(float(true.mean()), abs=1e-4)
    assert compared.drawn_mean == pytest.approx(float(drawn.mean()), abs=0.1)
