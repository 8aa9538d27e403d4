"""Fields given in closed form."""

import numpy as np
import torch
from dsr_backend.fields.base import Field, FieldAtTime
from dsr_backend.geometry.unit_cube import UnitCube
from dsr_backend.motion.motion import Motion

CPU = torch.device("cpu")


SPHERE = ((0.0, 0.0, 0.0), 6.0)


class Formula(Field):
    """A field whose distance is a function of x alone, from time 1 to 2."""

    kind = "formula"
    smooth = 0.0
    device = CPU
    frame = UnitCube(np.zeros(3), 0.1)

    def __init__(self, distance, box, atoms=None):
        self.formula, self.atoms = distance, atoms
        self.extent = np.asarray(box, np.float32)
        self.motion = Motion.from_states(np.array([1.0, 2.0]), None)
        self.report = {}

    def at_motion_time(self, time, smooth):
        outside = not 1.0 <= time <= 2.0
        return FormulaSlice(time, outside, 0.7 if outside else 0.0, self.atoms, self.extent, self.device, self.formula)

    def tensors(self):
        return {}


class FormulaSlice(FieldAtTime):
    def __init__(self, time, extrapolated, expected_error, atoms, box, device, formula):
        super().__init__(time, extrapolated, expected_error, atoms, box, device)
        self.formula = formula

    def evaluate(self, x):
        return self.formula(x)


def balls(*spheres, atoms=None):
    """The union of balls ((x, y, z), radius) in Å."""
    centres = torch.tensor([centre for centre, _ in spheres])
    radii = torch.tensor([radius for _, radius in spheres])
    low = (centres - radii[:, None]).amin(0).numpy() - 1.0
    high = (centres + radii[:, None]).amax(0).numpy() + 1.0
    return Formula(lambda x: ((x[:, None] - centres).norm(dim=2) - radii).amin(1), (low, high), atoms)
