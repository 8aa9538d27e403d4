"""The camera: where it stands in the frame of an object."""

from __future__ import annotations

import numpy as np
import pytest

from pymol_dsr.scene import placement
from pymol_dsr.scene.camera import toward_camera


def test_toward_the_camera_points_come_nearer(peptide):
    peptide.turn("x", 33)
    peptide.turn("y", -71)
    peptide.rotate("z", 40, object="pep", camera=0)
    peptide.rotate("x", 15, object="pep", camera=0)
    view, matrix = peptide.get_view(), placement.object_matrix("pep", peptide)
    toward = toward_camera(view, matrix)
    assert np.linalg.norm(toward) == pytest.approx(1.0)
    # Where PyMOL's camera is in the scene: at the end of its own z axis from the origin of rotation.
    turn = np.array(view[:9]).reshape(3, 3)
    camera = np.array(view[12:15]) - turn @ np.array(view[9:12])
    assert turn @ np.array(view[9:12]) == pytest.approx(-(camera - np.array(view[12:15])))
    scene_direction = matrix[:3, :3] @ toward
    assert scene_direction @ (camera - np.array(view[12:15])) == pytest.approx(
        np.linalg.norm(camera - np.array(view[12:15])), rel=1e-4
    )
