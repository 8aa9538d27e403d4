"""Values of atoms at the vertices of a surface."""

from __future__ import annotations

import numpy as np

from pymol_dsr.fits.fit import Trajectory
from pymol_dsr.scene.atoms import atom_radii, blend


def test_values_are_averaged_by_weight_and_atoms_without_a_value_left_out():
    neighbor_indices = np.array([[0, 1], [1, 2], [2, 3]])
    weights = np.array([[255, 0], [51, 204], [128, 127]], np.uint8)
    values = blend(np.array([4.0, 10.0, np.nan, np.nan], np.float32), neighbor_indices, weights)
    np.testing.assert_allclose(values, [4.0, 10.0, np.nan])
    values = blend(np.array([0.0, 10, 20, 0]), neighbor_indices, weights)
    np.testing.assert_allclose(values[1], 18.0, atol=1e-5)


def test_radii_are_those_of_the_fitted_atoms_while_the_scene_has_them(cmd):
    for number, radius in enumerate((1.2, 1.7, 1.5)):
        cmd.pseudoatom("mol", pos=(4 * number, 0, 0), name=f"A{number}", vdw=radius)
    trajectory = Trajectory("", "mol", "mol", np.array([0, 2]), [1.0])
    radii = atom_radii(trajectory, cmd)
    assert radii is not None and np.abs(radii - [1.2, 1.5]).max() < 1e-6
    cmd.delete("mol")
    assert atom_radii(trajectory, cmd) is None
