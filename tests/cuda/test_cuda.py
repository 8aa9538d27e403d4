"""A GPU computes what the CPU does: each kernel with its gradients, whole fits, and fits that end before their time.

These tests need torch, numpy, scipy and safetensors, and no PyMOL, so that they run on a bare machine:

    python -m pytest -m gpu tests/cuda

Without a GPU they compare the CPU with itself, which shows only that they run.
"""

import gc
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from dsr_backend.fields.fast import BasisBuilder, NarrowBand
from dsr_backend.fields.paper import Network
from dsr_backend.fields.select import field_between
from dsr_backend.fitting import run
from dsr_backend.fitting.config import PRESETS, PaperPreset, Preset
from dsr_backend.fitting.fast.least_squares import Observations, Smoothing, solve
from dsr_backend.fitting.paper import loss
from dsr_backend.fitting.paper import run as paper_run
from dsr_backend.fitting.paper.checkpoint import TrainingCheckpoint
from dsr_backend.geometry.connected_components import connected_components
from dsr_backend.geometry.lattice import Lattice, gather
from dsr_backend.geometry.marching_cubes import marching_cubes
from dsr_backend.geometry.nearest_points import NearestPoints
from dsr_backend.geometry.triangle_mesh import TriangleMesh
from dsr_backend.motion.poses import Pose
from dsr_backend.motion.warp import Warp, splat
from dsr_backend.results import dsr_file
from dsr_backend.results.mesh import distance_grid, extract_mesh
from dsr_backend.results.vertex_motion import normal_velocity
from dsr_backend.runtime import device as devices
from dsr_backend.runtime.errors import Cancelled
from dsr_backend.surfaces.surface import Surface
from scipy.spatial import ConvexHull

from pymol_dsr.shared.options import FitOptions

pytestmark = pytest.mark.gpu
CPU = torch.device("cpu")
GPU = torch.device("cuda" if torch.cuda.is_available() else "cpu")
needs_cuda = pytest.mark.skipif(GPU.type != "cuda", reason="a limit of memory needs CUDA")
LATTICE = Lattice((-6.0, -6.0, -6.0), 0.75, (17, 17, 17))
SMALL_PAPER = PaperPreset(
    width=64, layers=4, latent=8, states=2, points=256, cpu_points=64, steps=60, rate=2e-3, latent_rate=3e-2
)


def random(*shape, seed=0):
    """Return normal numbers f4[shape], the same on every machine."""
    return torch.tensor(np.random.default_rng(seed).normal(size=shape), dtype=torch.float32)


def ball(state, radius=5.0, centre=(0.0, 0.0, 0.0), count=2500):
    """Return the surface of a ball with atoms inside."""
    number = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1.0 - 2.0 * number / count), np.pi * (1.0 + 5**0.5) * number
    normals = np.stack([np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)], 1)
    faces = ConvexHull(normals).simplices
    corners = normals[faces]
    outward = (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) * corners[:, 0]).sum(1) > 0.0
    faces = np.where(outward[:, None], faces, faces[:, ::-1])
    atoms = np.random.default_rng(1).normal(size=(60, 3)) * 0.4 * radius + centre
    points = normals * radius + centre
    return Surface(
        state, points.astype(np.float32), normals.astype(np.float32), faces.astype(np.int32), atoms.astype(np.float32)
    )


# A ball that grows and goes along, with enough states for held-out ones and a forecast.
SURFACES = [ball(t, 5.0 + 0.2 * t, (0.5 * t, 0.0, 0.0)) for t in range(1, 11)]
TRAJECTORIES = {"first": SURFACES[:3], "last": SURFACES[3:6]}


# Kernels: each returns its results, gradients among them


def distances(device):
    mesh = TriangleMesh(SURFACES[0].points, SURFACES[0].faces, device)
    return [mesh.signed_distance((6.0 * random(2000, 3)).to(device)), mesh.normals]


def points_of_a_surface(device):
    mesh = TriangleMesh(SURFACES[0].points, SURFACES[0].faces, device)
    return list(mesh.sample(3000, torch.Generator().manual_seed(1)))


def nearest_points(device):
    return list(NearestPoints(random(500, 3).to(device))(random(800, 3, seed=1).to(device), 4))


def interpolation(device):
    values = random(LATTICE.size, 2).to(device).requires_grad_()
    index, weight = LATTICE.corners((4.0 * random(900, 3)).to(device))
    weight = weight.clone().requires_grad_()
    result = gather(values, index, weight)
    gradients = torch.autograd.grad((result**2).sum(), [values, weight])
    return [result, *gradients]


def narrow_band(device):
    band = NarrowBand(LATTICE, (LATTICE.nodes(torch.arange(LATTICE.size, device=device)).norm(dim=1) - 4.0).abs() < 1.0)
    return [band.node_numbers, band.neighbours, band.rows(torch.arange(LATTICE.size, device=device))]


def warp_and_its_inverse(device):
    rng = np.random.default_rng(0)
    atoms = (3.0 * rng.normal(size=(80, 3))).astype(np.float32)
    lattice, u = splat(atoms, atoms + (0.3 * rng.normal(size=(80, 3))).astype(np.float32), 3.0, device)
    warp = Warp(Pose(np.eye(3), np.array([1.0, 2.0, 3.0])), (lattice, u), device)
    x, miss = warp.inverse((3.0 * random(700, 3)).to(device))
    return [u, warp(x), x, miss]


def conjugate_gradients(device):
    count, nodes = 600, 50
    index = torch.tensor(np.random.default_rng(0).integers(0, nodes, (count, 8)), dtype=torch.int32, device=device)
    weight = random(count, 8).abs().to(device)
    observed = Observations(index, weight, random(count, seed=2).to(device))
    neighbours = torch.arange(18, device=device).view(3, 6)
    smoothing = Smoothing(torch.tensor([20, 30, 40], device=device), neighbours, 0.5)
    return [solve(observed, torch.zeros(nodes, device=device), 0.1, 8, smoothing=smoothing)]


def modes(device):
    builder = BasisBuilder(9)
    for values in random(9, 400).to(device):
        builder.add(values)
    return [builder.basis().mix(torch.linspace(-1.0, 1.0, 9, device=device))]


def surface_of_a_lattice(device):
    nodes = LATTICE.nodes(torch.arange(LATTICE.size, device=device))
    values = torch.minimum((nodes - 2.5).norm(dim=1), (nodes + 2.5).norm(dim=1)) - 1.8
    points, faces = marching_cubes(values.view(LATTICE.shape))
    count, component = connected_components(len(points), faces)
    assert count == 2
    return [points, faces, component]


def network_of_the_paper(device):
    torch.manual_seed(0)
    network = Network(64, 4, 8).to(device)
    code, z = random(2, 9).to(device), random(2, 8, seed=3).to(device)
    points = torch.nn.functional.normalize(random(2, 300, 3), dim=-1)
    space = random(2, 100, 3, seed=4).to(device)
    total = loss.loss(lambda x: network(x, code), points.to(device), points.to(device), space, z, SMALL_PAPER)
    return [total, *torch.autograd.grad(total, list(network.parameters()))]


KERNELS = [
    distances,
    points_of_a_surface,
    nearest_points,
    interpolation,
    narrow_band,
    warp_and_its_inverse,
    conjugate_gradients,
    modes,
    surface_of_a_lattice,
    network_of_the_paper,
]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.__name__)
def test_a_kernel_gives_the_results_of_the_cpu(kernel):
    for cpu_result, gpu_result in zip(kernel(CPU), kernel(GPU), strict=True):
        assert gpu_result.device.type == GPU.type
        torch.testing.assert_close(gpu_result.cpu(), cpu_result, rtol=1e-3, atol=1e-4)


# Whole fits


def fit(surfaces, device, **options):
    with mock.patch.dict(PRESETS, {"fast": Preset(spacing=1.0, density=6.0)}):
        return run.fit_trajectory(surfaces, FitOptions(device=device, **options))


@pytest.fixture(scope="module")
def fitted():
    """Fields of preset `fast`: of the CPU, and of the GPU."""
    return fit(SURFACES, "cpu"), fit(SURFACES, GPU.type)


def agree(cpu_field: Any, gpu_field: Any, times=(1.0, 3.4, 10.0, 12.0), atol=2e-3):
    """Assert that both fields are one function, with one gradient, at these times."""
    x = 6.0 * random(400, 3) + torch.tensor([2.0, 0.0, 0.0])
    for time in times:
        cpu_snapshot, gpu_snapshot = cpu_field.at(time), gpu_field.at(time)
        on_gpu = x.to(gpu_field.device)
        torch.testing.assert_close(gpu_snapshot.distance(on_gpu).cpu(), cpu_snapshot.distance(x), rtol=0.0, atol=atol)
        torch.testing.assert_close(
            gpu_snapshot.gradient(on_gpu, 0.6).cpu(), cpu_snapshot.gradient(x, 0.6), rtol=0.0, atol=5 * atol
        )


def test_a_fit_is_the_same_function(fitted):
    cpu_field, gpu_field = fitted
    assert gpu_field.device.type == gpu_field.report["device"].split(":")[0] == GPU.type
    for key in ("sigma", "smooth", "smooth_atoms", "lift", "spatial_width", "forecast"):
        assert gpu_field.report[key] == cpu_field.report[key]
    agree(cpu_field, gpu_field)


def test_meshes_grids_and_velocities_are_the_same(fitted):
    cpu_field, gpu_field = fitted
    for time in (1.0, 3.4, 12.0):
        cpu_mesh, gpu_mesh = extract_mesh(cpu_field, time), extract_mesh(gpu_field, time)
        assert gpu_mesh.volume == pytest.approx(cpu_mesh.volume, rel=1e-3)
        assert gpu_mesh.area == pytest.approx(cpu_mesh.area, rel=1e-3)
    np.testing.assert_allclose(distance_grid(gpu_field, 3.4).values, distance_grid(cpu_field, 3.4).values, atol=2e-3)
    points = SURFACES[2].points
    np.testing.assert_allclose(
        normal_velocity(gpu_field, 3.4, points), normal_velocity(cpu_field, 3.4, points), atol=2e-2
    )


def test_a_file_belongs_to_no_device(fitted):
    cpu_field, gpu_field = fitted
    agree(dsr_file.from_bytes(dsr_file.to_bytes(gpu_field), "cpu"), gpu_field, atol=1e-4)
    agree(cpu_field, dsr_file.from_bytes(dsr_file.to_bytes(cpu_field), GPU.type), atol=1e-4)


def test_a_family_and_a_new_member():
    with mock.patch.dict(PRESETS, {"fast": Preset(spacing=1.0, density=6.0)}):
        cpu_family, gpu_family = (
            run.fit_family(TRAJECTORIES, FitOptions(device=device, smooth=1.0)) for device in ("cpu", GPU.type)
        )
        agree(
            field_between(cpu_family, "first", "last", 0.3),
            field_between(gpu_family, "first", "last", 0.3),
            times=(1.0, 1.5),
        )
        cpu_member, gpu_member = (
            run.fit_member(family, SURFACES[6:8], FitOptions(device=device, smooth=1.0))
            for family, device in ((cpu_family, "cpu"), (gpu_family, GPU.type))
        )
    agree(cpu_member, gpu_member, times=(7.5,))


def test_preset_paper_learns_the_surface():
    field = paper_run.fit_trajectory(
        SURFACES[:4], FitOptions(preset="paper", device=GPU.type), lambda status: None, lambda: False, SMALL_PAPER
    )
    assert field.report["device"].split(":")[0] == GPU.type and np.isfinite(field.report["loss"])
    reloaded: Any = dsr_file.from_bytes(dsr_file.to_bytes(field), GPU.type)
    x = (6.0 * random(100, 3)).to(GPU)
    assert torch.equal(reloaded.at(2.5).distance(x), field.at(2.5).distance(x))


def test_a_training_goes_on_from_its_checkpoint(tmp_path):
    path, phases, polls = tmp_path / "fit.training", [], iter(range(1000))

    def train(checkpoint=None, cancelled=lambda: False):
        return paper_run.fit_trajectory(
            SURFACES[:4],
            FitOptions(preset="paper", device=GPU.type),
            lambda status: phases.append(status.phase),
            cancelled,
            SMALL_PAPER,
            checkpoint,
        )

    with pytest.raises(Cancelled):
        train(TrainingCheckpoint(path, resume=False), lambda: "fit" in phases and next(polls) > 30)
    notes: list[str] = []
    resumed = train(TrainingCheckpoint(path, resume=True, warn=notes.append))
    assert notes and notes[0].startswith("the training goes on from the checkpoint at step")
    assert resumed.report["steps"] == SMALL_PAPER.steps


# Fits that end before their time


def allocated():
    """Return the bytes of tensors on the GPU, without the cached constants and tables."""
    gc.collect()
    devices.constant.cache_clear()
    return torch.cuda.memory_allocated() if GPU.type == "cuda" else 0


def test_a_cancelled_fit_leaves_no_memory():
    fit(SURFACES[:2], GPU.type)
    before = allocated()
    for polls in (3, 20):
        polls_left = [polls]

        def cancelled(polls_left=polls_left):
            polls_left[0] -= 1
            return polls_left[0] < 0

        with pytest.raises(Cancelled):
            run.fit_trajectory(SURFACES, FitOptions(device=GPU.type), cancelled=cancelled)
        assert allocated() <= before + 2**20


@needs_cuda
def test_a_gpu_short_of_memory_is_said_and_the_next_fit_works():
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    try:
        torch.cuda.set_per_process_memory_fraction((allocated() + 24 * 2**20) / total)
        with pytest.raises(torch.OutOfMemoryError):
            run.fit_trajectory([ball(t, 40.0, count=40_000) for t in (1, 2)], FitOptions(device="cuda"))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert fit(SURFACES[:2], "cuda").report["loss"] < 0.1


@needs_cuda
def test_a_search_short_of_memory_goes_on_in_smaller_chunks():
    points, x = random(20_000, 3).to(GPU), random(30_000, 3, seed=1).to(GPU)
    expected = NearestPoints(points)(x, 2)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    try:
        torch.cuda.set_per_process_memory_fraction((allocated() + 400 * 2**20) / total)
        chunked = NearestPoints(points)(x, 2)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    torch.testing.assert_close(chunked, expected)
