"""The reach of a surface beyond its atoms, and the one that surfaces like it may have."""

import numpy as np
import pytest
import torch
from dsr_backend.fitting.extents import clearance_of, reach_of

from support.shapes import ball, fit

CPU = torch.device("cpu")
ATOM = np.zeros((1, 3))


@pytest.mark.parametrize(("radius", "clearance"), [(1.0, 3.0), (2.0, 3.0), (2.5, 3.5), (10.0, 11.0)])
def test_a_surface_like_this_one_may_reach_an_angstrom_farther_and_three_at_least(radius, clearance):
    assert clearance_of(ball(1, radius, atoms=ATOM)) == pytest.approx(clearance)


def test_the_side_where_it_reaches_farthest_counts():
    assert clearance_of(ball(1, 5.0, centre=(0.0, -2.0, 0.0), atoms=ATOM)) == pytest.approx(8.0)
    assert reach_of(ball(1, 5.0, centre=(0.0, -2.0, 0.0), atoms=ATOM), CPU) == pytest.approx(7.0)


def test_without_atoms_nothing_is_known():
    assert clearance_of(ball(1, 10.0)) == 3.0 and reach_of(ball(1, 10.0), CPU) == np.inf


def test_a_field_reaches_as_far_as_its_farthest_state():
    surfaces = [ball(k, radius, atoms=ATOM, subdivisions=3) for k, radius in ((1, 5.0), (2, 7.0), (3, 6.0))]
    assert fit(surfaces).reach == pytest.approx(7.0)
