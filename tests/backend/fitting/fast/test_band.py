"""The nodes near a surface, against plain loops over all nodes."""

import itertools

import numpy as np
import pytest
import torch
from dsr_backend.fitting.fast.band import cells_of, nodes_near
from dsr_backend.geometry.lattice import Lattice
from dsr_backend.motion.poses import Pose
from dsr_backend.motion.warp import Warp

from support.shapes import ball

CPU = torch.device("cpu")
SPACING = 0.5
LATTICE = Lattice.around([-6.0] * 3, [9.0] * 3, SPACING, multiple=4)


def rigid(shift=(0.0, 0.0, 0.0)):
    """The warp of a state that is the reference, moved in the scene."""
    return Warp(Pose(np.eye(3), np.array(shift)), None, CPU)


@pytest.mark.parametrize("margin", [0, 1, 3])
def test_nodes_near_cells_are_their_corners_and_so_many_beyond(margin):
    cells = torch.tensor([[2, -3, 0], [5, 5, 5], [2, -2, 0]], dtype=torch.int32)
    expected = set()
    for i, j, k in cells.tolist():
        steps = range(-margin, margin + 2)
        expected |= {(i + a, j + b, k + c) for a, b, c in itertools.product(steps, repeat=3)}
    places = (LATTICE.nodes(nodes_near(LATTICE, margin, cells)) / SPACING).round().int().tolist()
    assert len(places) == len(expected) and {tuple(cell) for cell in places} == expected


def test_nodes_beyond_the_lattice_are_left_out():
    numbers = nodes_near(LATTICE, 2, torch.tensor([[-12, -12, -12], [19, 19, 19]], dtype=torch.int32))
    corners = LATTICE.nodes(numbers)
    assert len(numbers) == 2 * 4**3
    assert (corners >= -6.0).all() and (corners <= 10.0).all()
    assert ((corners <= -4.5).all(1) | (corners >= 8.5).all(1)).all()


def test_no_cells_have_no_nodes_near():
    assert len(nodes_near(LATTICE, 2, torch.zeros(0, 3, dtype=torch.int32))) == 0


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (1.3, -2.0, 0.7)])
def test_cells_are_those_of_the_points_in_material_coordinates(shift):
    surface = ball(1, 4.0, subdivisions=3)
    expected = {tuple(np.floor((point + np.float32(shift)) / SPACING).astype(int)) for point in surface.points}
    cells = [tuple(cell) for cell in cells_of(surface, rigid(shift), SPACING).tolist()]
    # A point on a cell's face may be rounded to either side of it.
    assert cells == sorted(set(cells)) and len(set(cells) ^ expected) <= 0.02 * len(expected)
