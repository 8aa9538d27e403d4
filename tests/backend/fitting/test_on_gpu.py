"""The way of a fit on a GPU, on a pretended one: no tensors of two devices meet, and no step waits for the device."""

import copy
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from dsr_backend.fields.select import field_between
from dsr_backend.fitting import job, run
from dsr_backend.fitting.config import PRESETS, PaperPreset, Preset
from dsr_backend.fitting.paper import train
from dsr_backend.fitting.paper.checkpoint import TrainingCheckpoint
from dsr_backend.geometry.lattice import Lattice
from dsr_backend.geometry.triangle_mesh import TriangleMesh
from dsr_backend.results import dsr_file, dsr_reader
from dsr_backend.results.mesh import distance_grid, extract_mesh
from dsr_backend.results.occupancy import field_shapes, occupancy
from dsr_backend.results.vertex_motion import normal_velocity
from dsr_backend.runtime.device import constant
from dsr_backend.runtime.errors import Cancelled

from pymol_dsr.shared.ensemble_options import OccupancyOptions
from pymol_dsr.shared.options import FitOptions
from support.fast_field import basis_of
from support.pretend_gpu import DEVICE, pretend_gpu
from support.shapes import ball, cloud

CPU = torch.device("cpu")
FAST = Preset(spacing=1.5, density=3.0)
PAPER = PaperPreset(
    width=32, layers=4, latent=8, states=2, points=64, cpu_points=64, steps=20, rate=2e-3, latent_rate=3e-2
)


def breathing(states):
    """A ball with atoms that grows, goes along and turns nothing."""
    surfaces = []
    for t in states:
        size, centre = 5.0 + 0.2 * t, np.array([0.5 * t, 0.0, 0.0])
        surfaces.append(ball(t, size, centre, cloud() * size / 6.0 + centre, subdivisions=3))
    return surfaces


# Enough states for a forecast.
SURFACES = breathing(range(1, 11))
PARTS = {"first": SURFACES[:3], "last": SURFACES[3:6]}


@contextmanager
def cuda():
    """Within, `cuda` is the pretended GPU."""

    def choose(device="auto"):
        return DEVICE if device == "cuda" else torch.device(device)

    with (
        pretend_gpu() as gpu,
        mock.patch.object(job, "choose_device", choose),
        mock.patch.object(dsr_reader, "choose_device", choose),
        mock.patch.dict(PRESETS, {"fast": FAST, "paper": PAPER}),
    ):
        yield gpu


@pytest.fixture
def gpu():
    with cuda() as device:
        yield device


def config(device="cuda", **kwargs):
    return FitOptions(device=device, **kwargs)


# The pretended GPU itself


@pytest.mark.parametrize(
    "mixed",
    [
        lambda a, b: a + b,
        lambda a, b: b.add_(a),
        lambda a, b: torch.cat([b, a]),
        lambda a, b: a[b.long()],
        lambda a, b: b.index_put_((b.long(),), a),
        lambda a, b: torch.where(b > 0.0, b, a),
    ],
)
def test_tensors_of_two_devices_are_refused(gpu, mixed):
    with pytest.raises(
        RuntimeError, match=r"aten\.\S+: expected all tensors .* found them on .*(pretend:0.*cpu|cpu.*pr)"
    ):
        mixed(torch.ones(2), torch.ones(2, device=DEVICE))


def test_a_number_of_the_host_may_meet_a_tensor_of_the_device(gpu):
    assert float((torch.ones(2, device=DEVICE) * torch.tensor(3.0)).sum()) == 6.0


@pytest.mark.parametrize("conversion", [lambda x: x.numpy(), np.asarray])
def test_numpy_gets_no_tensor_of_the_device(gpu, conversion):
    x = torch.ones(2, device=DEVICE)
    with pytest.raises(TypeError, match="can't convert pretend:0 device type tensor to numpy"):
        conversion(x)
    assert conversion(x.cpu()).tolist() == [1.0, 1.0]


def test_a_generator_of_the_other_device_is_refused(gpu):
    cpu_generator, gpu_generator = torch.Generator(), torch.Generator(DEVICE)
    with pytest.raises(RuntimeError, match="expected a pretend device type for generator but found cpu"):
        torch.rand(2, generator=cpu_generator, device=DEVICE)
    with pytest.raises(RuntimeError, match="expected a cpu device type for generator but found pretend"):
        torch.rand(2, generator=gpu_generator)
    torch.rand(2, generator=gpu_generator.manual_seed(1), device=DEVICE)
    torch.rand(2, generator=cpu_generator.manual_seed(1))


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("_local_scalar_dense", lambda x: float(x[0])),
        ("_local_scalar_dense", lambda x: bool((x > 0.0).all())),
        ("nonzero", lambda x: x.nonzero()),
        ("a mask as index", lambda x: x[x > 0.0]),
        ("masked_select", lambda x: x.masked_select(x > 0.0)),
        ("_unique2", lambda x: torch.unique(x, return_inverse=True)),
        ("device → host", lambda x: x.cpu()),
        ("device → host", lambda x: x.tolist()),
        ("device → host", lambda x: torch.zeros(2).copy_(x)),
        ("host → device", lambda x: torch.zeros(2).to(x.device)),
        ("host → device", lambda x: torch.tensor([1.0], device=x.device)),
        ("host → device", lambda x: torch.tensor(1.0, device=x.device)),
        ("host → device", lambda x: torch.as_tensor(np.ones(2), device=x.device)),
        ("host → device", lambda x: x[torch.tensor([1])]),
        ("host → device", lambda x: x.copy_(torch.zeros(2))),
    ],
)
def test_waits_are_counted(gpu, name, work):
    x = torch.ones(2, device=DEVICE)
    work(x)
    assert gpu.syncs == {name: 1}


def test_what_waits_for_nothing(gpu):
    x = torch.arange(6.0, device=DEVICE)
    x[2] = 1.0
    x[x > 4.0] = 0.0
    x[torch.arange(2, device=DEVICE)].sum()
    network = copy.deepcopy(torch.nn.Linear(6, 1, device=DEVICE))
    optimiser = torch.optim.Adam(network.parameters())
    for _ in range(2):
        optimiser.zero_grad()
        network(x).sum().backward()
        optimiser.step()
    assert not gpu.syncs


def test_the_rest_of_torch_knows_no_gpu():
    with torch.random.fork_rng():
        torch.manual_seed(1)
    x = torch.ones(2, requires_grad=True)
    (2.0 * x).sum().backward()
    assert type(x.grad) is torch.Tensor and x.grad.tolist() == [2.0, 2.0]
    assert not torch.accelerator.is_available() and not torch.cuda.is_available()


def test_constants_are_copied_once(gpu):
    lattice = Lattice((0.0, -1.0, 3.5), 0.75, (4, 5, 6))
    x = torch.rand(10, 3, device=DEVICE)
    lattice.corners(x)
    lattice.clamp(x)
    lattice.nodes(torch.arange(10, device=DEVICE))
    gpu.syncs.clear()
    lattice.corners(x)
    lattice.clamp(x)
    lattice.nodes(torch.arange(10, device=DEVICE))
    assert not gpu.syncs


# The same as on the CPU


def test_distances_and_points_of_a_surface(gpu):
    surface = SURFACES[0]
    cpu_mesh, gpu_mesh = (TriangleMesh(surface.points, surface.faces, device) for device in (CPU, DEVICE))
    torch.testing.assert_close(gpu_mesh.normals.cpu(), cpu_mesh.normals, rtol=0.0, atol=1e-6)
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * 5.0
    torch.testing.assert_close(gpu_mesh.signed_distance(x.to(DEVICE)).cpu(), cpu_mesh.signed_distance(x))
    cpu_samples, gpu_samples = (mesh.sample(100, torch.Generator().manual_seed(1)) for mesh in (cpu_mesh, gpu_mesh))
    for cpu_sample, gpu_sample in zip(cpu_samples, gpu_samples, strict=True):
        torch.testing.assert_close(gpu_sample.cpu(), cpu_sample)


def test_the_best_modes_of_many_states(gpu):
    values = torch.randn(9, 200, generator=torch.Generator().manual_seed(0))
    weights = torch.linspace(0.0, 1.0, 9)
    cpu_basis, gpu_basis = basis_of(values, 3), basis_of(values.to(DEVICE), 3)
    assert len(gpu_basis.modes) == 3
    torch.testing.assert_close(gpu_basis.mix(weights.to(DEVICE)).cpu(), cpu_basis.mix(weights), rtol=0.0, atol=0.01)


@pytest.fixture(scope="module")
def fitted():
    """Fields of preset `fast`: on the CPU, and on the GPU."""
    with cuda():
        return run.fit_trajectory(SURFACES, config("cpu")), run.fit_trajectory(SURFACES, config())


def agree(cpu_field, gpu_field, times=(1.0, 3.4, 10.0, 12.0), atol=1e-3):
    """Both fields are the same function, and their surfaces the same, at these times."""
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0)) * 6.0 + torch.tensor([2.0, 0.0, 0.0])
    for time in times:
        cpu_snapshot, gpu_snapshot = cpu_field.at(time), gpu_field.at(time)
        torch.testing.assert_close(
            gpu_snapshot.distance(x.to(DEVICE)).cpu(), cpu_snapshot.distance(x), rtol=0.0, atol=atol
        )
        torch.testing.assert_close(
            gpu_snapshot.gradient(x.to(DEVICE), 0.6).cpu(), cpu_snapshot.gradient(x, 0.6), rtol=0.0, atol=atol
        )


@pytest.mark.system
def test_a_fit(gpu, fitted):
    cpu_field, gpu_field = fitted
    assert (cpu_field.device, gpu_field.device) == (CPU, torch.device("pretend", 0))
    assert gpu_field.report["device"] == "pretend"
    report_keys = (
        "sigma",
        "smooth",
        "smooth_atoms",
        "smooth_beyond",
        "lift",
        "spatial_width",
        "forecast",
        "smooth_chosen_by",
    )
    assert {key: gpu_field.report[key] for key in report_keys} == {key: cpu_field.report[key] for key in report_keys}
    assert "holding out" in cpu_field.report["smooth_chosen_by"] and "principal motions" in cpu_field.report["forecast"]
    assert gpu_field.report["loss"] == pytest.approx(cpu_field.report["loss"], rel=1e-3)
    assert gpu_field.reach == pytest.approx(cpu_field.reach, abs=1e-4) and cpu_field.reach < 10.0
    agree(cpu_field, gpu_field)


@pytest.mark.system
def test_meshes_grids_and_velocities(gpu, fitted):
    cpu_field, gpu_field = fitted
    for time in (1.0, 3.4, 12.0):
        cpu_mesh, gpu_mesh = extract_mesh(cpu_field, time), extract_mesh(gpu_field, time)
        assert gpu_mesh.volume == pytest.approx(cpu_mesh.volume, rel=1e-4)
        assert gpu_mesh.area == pytest.approx(cpu_mesh.area, rel=1e-4)
        assert len(gpu_mesh.nearest) == len(gpu_mesh.points)
    # Coarse ones are settled by the field itself, level sets lie off the surface.
    for options in ({"resolution": 1.0}, {"level": 1.0}, {"triangles": 500}):
        cpu_mesh, gpu_mesh = extract_mesh(cpu_field, 3.4, **options), extract_mesh(gpu_field, 3.4, **options)
        assert gpu_mesh.volume == pytest.approx(cpu_mesh.volume, rel=1e-4)
    np.testing.assert_allclose(distance_grid(gpu_field, 3.4).values, distance_grid(cpu_field, 3.4).values, atol=1e-3)
    points = SURFACES[2].points
    np.testing.assert_allclose(
        normal_velocity(gpu_field, 3.4, points), normal_velocity(cpu_field, 3.4, points), atol=1e-2
    )


@pytest.mark.system
def test_the_occupancy_of_a_field(gpu, fitted):
    cpu_occupancy, gpu_occupancy = (
        occupancy(field_shapes(field, [1.0, 3.4, 6.0]), OccupancyOptions(resolution=1.0)) for field in fitted
    )
    np.testing.assert_allclose(gpu_occupancy.values, cpu_occupancy.values, atol=1e-3)
    for cpu_surface, gpu_surface in zip(cpu_occupancy.surfaces, gpu_occupancy.surfaces, strict=True):
        assert gpu_surface.volume == pytest.approx(cpu_surface.volume, rel=1e-3)
        assert gpu_surface.spread.mean() == pytest.approx(cpu_surface.spread.mean(), rel=1e-2)


@pytest.mark.system
def test_a_file_is_of_no_device(gpu, fitted):
    cpu_field, gpu_field = fitted
    data = dsr_file.to_bytes(gpu_field)
    reloaded: Any = dsr_file.from_bytes(data, "cpu")
    assert reloaded.device == CPU
    agree(reloaded, gpu_field, atol=1e-6)
    agree(cpu_field, dsr_file.from_bytes(dsr_file.to_bytes(cpu_field), "cuda"), atol=1e-6)


@pytest.mark.system
def test_families_of_preset_fast(gpu):
    cpu_family, gpu_family = (run.fit_family(PARTS, config(device, smooth=1.0)) for device in ("cpu", "cuda"))
    agree(
        field_between(cpu_family, "first", "last", 0.3),
        field_between(gpu_family, "first", "last", 0.3),
        times=(1.0, 1.5),
    )
    for frozen in (True, False):
        cpu_member, gpu_member = (
            run.fit_member(family, SURFACES[6:8], config(device, smooth=1.0), frozen=frozen)
            for family, device in ((cpu_family, "cpu"), (gpu_family, "cuda"))
        )
        agree(cpu_member, gpu_member, times=(7.5,))
    reloaded: Any = dsr_file.from_bytes(dsr_file.to_bytes(gpu_family), "cuda")
    agree(cpu_family.member("last"), reloaded.member("last"), times=(4.5,))


# A GPU draws other random numbers for preset `paper`, so that only fits of one device can be compared.


@pytest.mark.system
def test_preset_paper(gpu):
    field = run.fit_trajectory(SURFACES[:4], config(preset="paper"))
    x = torch.randn(100, 3, device=DEVICE) * 6.0
    reloaded: Any = dsr_file.from_bytes(dsr_file.to_bytes(field), "cuda")
    assert torch.equal(reloaded.at(2.5).distance(x), field.at(2.5).distance(x))
    agree(dsr_file.from_bytes(dsr_file.to_bytes(field), "cpu"), field, times=(2.5, 5.0), atol=1e-4)
    assert extract_mesh(field, 2.0, resolution=1.0).volume > 0.0


@pytest.mark.system
def test_families_of_preset_paper(gpu):
    family = run.fit_family(PARTS, config(preset="paper"))
    member: Any = run.fit_member(family, SURFACES[6:9], config(preset="paper"))
    frozen: Any = run.fit_member(family, SURFACES[6:9], config(preset="paper"), frozen=True)
    first: Any = family.member("first")
    known = first.network.state_dict()
    assert all(torch.equal(value, frozen.network.state_dict()[name]) for name, value in known.items())
    assert not torch.equal(member.z, frozen.z)
    assert field_between(family, "first", "last", 0.5).at(2.0).distance(torch.zeros(2, 3, device=DEVICE)).shape == (2,)


@pytest.mark.system
def test_a_training_goes_on_where_it_was(gpu, tmp_path, monkeypatch):
    # A mean of the loss ends each second.
    monkeypatch.setattr(train, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    uninterrupted = run.fit_trajectory(SURFACES[:4], config(preset="paper"))
    polls = iter(range(100))
    phases: list[str] = []
    statuses: list[Any] = []

    def interrupted():
        return "fit" in phases and next(polls) > 12

    with pytest.raises(Cancelled):
        run.fit_trajectory(
            SURFACES[:4],
            config(preset="paper"),
            lambda status: phases.append(status.phase),
            cancelled=interrupted,
            checkpoint=TrainingCheckpoint(tmp_path / "fit.training", resume=False, warn=statuses.append),
        )
    resumed = TrainingCheckpoint(tmp_path / "fit.training", resume=True, warn=statuses.append)
    field = run.fit_trajectory(SURFACES[:4], config(preset="paper"), checkpoint=resumed)
    assert len(statuses) == 1 and statuses[0].startswith("the training goes on from the checkpoint at step")
    assert field.report["loss"] == uninterrupted.report["loss"]
    assert all(torch.equal(value, field.tensors()[name]) for name, value in uninterrupted.tensors().items())


# Waiting for the device


def waits_of_more(work, count):
    """Waits of the host in work(2 · count) beyond what it does in work(count)."""
    peaks = []
    for number in (count, 2 * count):
        constant.cache_clear()
        with cuda() as gpu:
            work(number)
        peaks.append(gpu.syncs)
    return peaks[1] - peaks[0]


def fast_fit(**numbers):
    with mock.patch.dict(PRESETS, {"fast": replace(FAST, **numbers)}):
        run.fit_trajectory(SURFACES[:4], config(smooth=1.0))


@pytest.mark.system
def test_conjugate_gradients_wait_for_nothing():
    assert waits_of_more(lambda iterations: fast_fit(iterations=iterations), 10) == Counter()


@pytest.mark.system
def test_steps_of_preset_paper_wait_for_nothing(monkeypatch):
    """But at every tenth for the loss."""
    # Nor has a second gone by.
    monkeypatch.setattr(train, "time", SimpleNamespace(perf_counter=lambda: 0.0))

    def work(steps):
        with mock.patch.dict(PRESETS, {"paper": replace(PAPER, steps=steps)}):
            run.fit_trajectory(SURFACES[:4], config(preset="paper"))

    assert waits_of_more(work, 30) == {"_local_scalar_dense": 3}
