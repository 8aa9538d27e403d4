"""Devices in words, and a GPU whose memory does not last: a smaller chunk once, then the message."""

from pathlib import Path
from typing import Any

import pytest
import torch
from dsr_backend.fields import base
from dsr_backend.geometry import triangle_mesh
from dsr_backend.geometry.signed_distance import closest_feature
from dsr_backend.geometry.triangle_mesh import TriangleMesh
from dsr_backend.runtime.device import describe, retry_with_smaller_chunk

from support.formula_field import SPHERE, balls
from support.shapes import ball


def short_of(limit, chunks):
    """Work that has memory for chunks up to `limit`."""

    def work(size):
        chunks.append(size)
        if size > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return size

    return work


def test_an_eighth_of_the_chunk_is_tried_once():
    chunks: list[Any] = []
    assert retry_with_smaller_chunk(short_of(100, chunks), 800) == 100
    assert retry_with_smaller_chunk(short_of(1000, chunks), 800) == 800
    assert chunks == [800, 100, 800]
    with pytest.raises(torch.OutOfMemoryError):
        retry_with_smaller_chunk(short_of(99, chunks), 800)
    assert chunks[3:] == [800, 100]


def test_a_field_is_evaluated_in_smaller_chunks(monkeypatch):
    monkeypatch.setattr(base, "CHUNK", 800)
    field = balls(SPHERE)
    formula, sizes = field.formula, []

    def short(x):
        sizes.append(len(x))
        if len(x) > 100:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return formula(x)

    field.formula = short
    x = torch.randn(250, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(field.at(1.0).distance(x), formula(x))
    assert sizes == [250, 100, 100, 50]


def test_distances_to_a_surface_are_taken_in_smaller_chunks(monkeypatch):
    surface = ball(1)
    mesh = TriangleMesh(surface.points, surface.faces, torch.device("cpu"))
    x = torch.randn(300, 3, generator=torch.Generator().manual_seed(0)) * 6.0
    expected = mesh.signed_distance(x)
    sizes = []

    def short(points, *corners):
        sizes.append(len(points))
        if len(points) > 100:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return closest_feature(points, *corners)

    monkeypatch.setattr(triangle_mesh, "closest_feature", short)
    monkeypatch.setattr(triangle_mesh, "CHUNK", 800)
    torch.testing.assert_close(mesh.signed_distance(x), expected)
    assert sizes == [300, 100, 100, 100]


def test_a_processor_is_described_with_the_memory_of_the_machine():
    described = describe("cpu")
    [kilobytes] = [line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line]
    assert described.device == "cpu" and described.name and described.threads >= 1
    assert described.memory_gb == pytest.approx(int(kilobytes) / 2**20, rel=0.05)
