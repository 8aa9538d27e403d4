"""Replies are held against the schema and their requests, before anything of PyMOL sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pymol_dsr.backend import reply_checks
from pymol_dsr.shared import messages
from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.options import MeshOptions
from pymol_dsr.shared.source_options import GenerateOptions
from pymol_dsr.shared.values import ValueFault
from support.hostile_backend import ATOMS, FACES, FAULTS, POINTS, good, report

NO_POINTS = np.zeros((0, 3), np.float32)
ASKED: dict[str, messages.Request[Any]] = {
    request.METHOD: request
    for request in (
        messages.Mesh(fit="fit", time=1.0, mesh=MeshOptions(triangles=50_000)),
        messages.Grid(fit="fit", time=1.0),
        messages.Paint(fit="fit", time=1.0, points=POINTS),
        messages.Measure(fit="fit", time=1.0),
        messages.Save(fit="fit"),
        messages.Load(fit="fit"),
    )
}


def check(request: messages.Request[Any], values: Any, arrays: Any, atoms: int | None = ATOMS) -> Any:
    return reply_checks.check(request, values, arrays, atoms)


def refusal(request: messages.Request[Any], values: Any, arrays: Any, atoms: int | None = ATOMS) -> str:
    with pytest.raises(ValueFault) as caught:
        check(request, values, arrays, atoms)
    return str(caught.value)


def answer(method: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return good(method, {"time": 1.0}, {"points": POINTS})


def mesh(**arrays: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    values, known = answer("mesh")
    return values, {name: array for name, array in {**known, **arrays}.items() if array is not None}


def painted(points: Any = POINTS) -> messages.Paint:
    return messages.Paint(fit="fit", time=1.0, points=points)


@pytest.mark.parametrize("method", ASKED)
def test_a_good_reply_is_the_result_of_its_request(method: str) -> None:
    assert type(check(ASKED[method], *answer(method))) is ASKED[method].RESULT


@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_reply_is_refused(name: str) -> None:
    method, change = FAULTS[name]
    line = refusal(ASKED[method], *change(answer(method)))
    assert "\n" not in line and len(line) < 500


def test_a_mesh_has_the_wires_arrays_under_the_names_of_the_schema() -> None:
    result = check(ASKED["mesh"], *mesh(excursions=np.ones(ATOMS, "<f4"), velocity=np.full(4, np.nan, "<f4")))
    np.testing.assert_array_equal(result.faces, FACES)
    assert result.neighbor_indices.shape == result.weights.shape == (4, 2)
    assert result.rmsf.shape == (ATOMS,) and np.isnan(result.velocity).all()
    assert (result.area, result.volume, result.expected_error, result.extrapolated) == (10.0, 2.0, None, False)


def test_what_is_wrong_is_said_with_what_it_should_be() -> None:
    assert refusal(ASKED["mesh"], *mesh(faces=None)) == "the array faces is missing"
    assert refusal(ASKED["mesh"], *mesh(nearest=np.zeros(3, "<i4"))) == "nearest is i4 [3], not i4 [4]"
    past = np.array([0, 1, 2, ATOMS], "<i4")
    assert (
        refusal(ASKED["mesh"], *mesh(nearest=past))
        == f"nearest has indices from 0 to {ATOMS}, of {ATOMS} that there are"
    )
    values, arrays = mesh()
    assert refusal(ASKED["mesh"], {**values, "area": "large"}, arrays) == "area is 'large', not a finite number"
    del values["extrapolated"]
    assert refusal(ASKED["mesh"], values, arrays) == "extrapolated is None, not true or false"


def test_indices_are_held_against_atoms_that_come_after_them() -> None:
    """Where nobody knows how many were fitted, the mesh's own atoms say it."""
    fewer = np.zeros((3, 3), "<f4")
    line = refusal(ASKED["mesh"], *mesh(atoms=fewer, near=None, shares=None), atoms=None)
    assert line == "nearest has indices from 0 to 3, of 3 that there are"
    check(ASKED["mesh"], *mesh(atoms=None), atoms=None)


def test_a_mesh_has_no_more_than_was_asked_for() -> None:
    small = messages.Mesh(fit="fit", time=1.0, mesh=MeshOptions(triangles=100))
    check(small, *mesh(faces=np.tile(FACES, (25, 1))))
    assert refusal(small, *mesh(faces=np.tile(FACES, (26, 1)))) == "it has 104 faces, and 100 triangles are the most"
    # Three points a triangle, where none is shared.
    soup = np.zeros((300, 3), "<f4")
    check(small, *mesh(points=soup, normals=soup, nearest=None, near=None, shares=None))
    spread = np.zeros((301, 3), "<f4")
    spread_mesh = mesh(points=spread, normals=spread, nearest=None, near=None, shares=None)
    assert refusal(small, *spread_mesh) == "it has 301 points, and 100 triangles are the most"


def test_velocities_are_of_the_points_that_were_sent() -> None:
    velocity = np.ones(len(POINTS), "<f4")
    np.testing.assert_array_equal(check(painted(), {}, {"velocity": velocity}).velocity, velocity)
    assert refusal(painted(), {}, {"velocity": velocity[:2]}) == "velocity is f4 [2], not f4 [4]"
    assert refusal(painted(), {}, {}) == "the array velocity is missing"
    # Without points it is about the atoms, where there are some.
    assert refusal(painted(NO_POINTS), {}, {}) == "the array excursions is missing"
    assert refusal(painted(NO_POINTS), {}, {"excursions": velocity}) == f"excursions is f4 [4], not f4 [{ATOMS}]"
    assert check(painted(NO_POINTS), {}, {}, atoms=None).rmsf is None


def test_measures_of_a_field_without_atoms_have_empty_arrays() -> None:
    values, arrays = answer("measure")
    no_values = {name: np.zeros(0, "<f4") for name in arrays}
    assert len(check(ASKED["measure"], values, no_values).atom_area) == 0
    assert (
        refusal(ASKED["measure"], values, {**no_values, "speed": arrays["speed"]})
        == f"speed is f4 [{ATOMS}], not f4 [0]"
    )


def test_every_metric_is_there_be_it_null() -> None:
    empty = np.zeros((0, 3), np.int32)
    request = messages.Compare(fit="fit", truth_points=POINTS, truth_normals=POINTS, truth_faces=empty)
    metrics = {"iou": 0.9, "chamfer_l1": 0.01, "chamfer_sq": None, "nc": 0.8}
    assert check(request, metrics, {}).chamfer_sq is None
    del metrics["chamfer_sq"]
    assert refusal(request, metrics, {}) == "chamfer_sq is missing"


@pytest.mark.parametrize(
    ("trajectories", "states", "accepted"),
    [
        (None, [], {}),
        (None, [1, 2], {"": (1.0, 2.0)}),
        (None, {"a": [1]}, None),
        (None, ["1"], None),
        (("a", "b"), [], {}),
        (("a", "b"), {"a": [1], "b": []}, {"a": (1.0,), "b": ()}),
        (("a", "b"), {"a": [1]}, None),
        (("a", "b"), [1, 2], None),
        (("a", "b"), {"a": 1, "b": []}, None),
    ],
)
def test_surfaces_from_before_are_those_of_the_trajectories(trajectories: Any, states: Any, accepted: Any) -> None:
    request = messages.Open(fit="fit", trajectories=trajectories)
    if accepted is None:
        assert "states" in refusal(request, {"states": states}, {})
    else:
        assert check(request, {"states": states}, {}).states == accepted


def test_states_of_other_trajectories_are_named() -> None:
    plain, family = messages.Open(fit="fit"), messages.Open(fit="fit", trajectories=("a", "b"))
    assert refusal(plain, {"states": {"a": [1]}}, {}) == "states are those of a, not a list of numbers"
    assert refusal(family, {"states": {"a": [1]}}, {}) == "states are those of a, not those of a, b"
    assert refusal(family, {"states": [1]}, {}) == "states are those of one trajectory, not those of a, b"


def test_a_report_is_taken_with_what_is_not_known_of_it() -> None:
    report_sent = check(ASKED["load"], {"report": {**report, "mark": [1]}}, {}).report
    assert report_sent.device == "cpu" and report_sent.whole["mark"] == [1]
    assert report_sent.members()[""].states == (1.0, 2.0, 3.0)
    np.testing.assert_array_equal(report_sent.sources()[""].atom_indices(), np.arange(1, ATOMS + 1))


def preview(**options: Any) -> messages.Preview:
    normals = np.zeros_like(POINTS)
    return messages.Preview(fit="fit", time=1.0, points=POINTS, normals=normals, faces=FACES, **options)


def test_a_preview_is_no_larger_than_asked_for_and_of_the_fitted_atoms() -> None:
    options = messages.PreviewOptions(1.0, triangles=4)
    nearest = np.array([0, 1, 2, 5], "<i4")
    reply_checks.check_preview(options, preview(nearest=nearest), 6)
    reply_checks.check_preview(options, preview(nearest=nearest), None)
    with pytest.raises(ValueFault, match="nearest has the index 5, of 5 atoms that there are"):
        reply_checks.check_preview(options, preview(nearest=nearest), 5)
    with pytest.raises(ValueFault, match="it has 4 faces, and 3 triangles are the most"):
        reply_checks.check_preview(messages.PreviewOptions(1.0, triangles=3), preview(), None)


def test_generated_states_have_the_atoms_of_their_request():
    molecule = Molecule(("CA",), ("GLY",), ("1",), ("A",), ("C",), np.zeros((0, 2), np.int32), np.zeros(1, bool))
    request = messages.Generate(
        source="gly_next",
        options=GenerateOptions(task="continue"),
        **messages.SourceRequest.contents(molecule, [(np.zeros((2, 1, 3), np.float32), np.array([1.0, 2.0]))]),
    )
    values = {"kind": "continue", "method": "hold"}
    arrays = {"coordinates": np.ones((4, 1, 3), np.float32), "times": np.arange(4.0)}
    assert check(request, values, arrays, None).title(3) == "continue: hold, 4 of 4"
    assert "coordinates" in refusal(request, values, {**arrays, "coordinates": np.ones((4, 2, 3), np.float32)}, None)
    assert "coordinates" in refusal(request, values, {**arrays, "coordinates": arrays["coordinates"] * np.nan}, None)
    assert "titles" in refusal(request, {**values, "titles": ["one"]}, arrays, None)
