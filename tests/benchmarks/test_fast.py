"""The benchmarks of speed and cost: what they measure on shapes whose answers are known, and what they write."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from dsr_backend.motion.motion import Motion
from dsr_backend.results import mesh
from dsr_backend.surfaces import surfaces_file
from scipy.spatial.transform import Rotation

from support.paths import ROOT
from support.shapes import QUICK, ball, cloud, peptide

sys.path.insert(0, str(ROOT / "benchmarks"))

import ablation
import cost
import fast
import fast_report
import frames
import hashgrid
import markdown
import rows
from rows import BETWEEN, FITTED, LATER, NEXT

# As little training as still gives a surface.
TINY = replace(QUICK, density=4.0)


def task(series, seconds=2.0):
    return ablation.Task(series, "cpu", seconds, TINY)


@pytest.fixture(scope="module")
def bent():
    return task(peptide())


def truth_at(states):
    """Balls that grow by 0.5 Å a state."""
    return [ball(state, 5.0 + 0.5 * state, atoms=cloud()) for state in states]


# Measurements --------------------------------------------------------------------------------------------


def test_volume_and_area_of_a_ball_wherever_it_is():
    surface = ball(1, 6.0, (2e4, -3e4, 1e4))
    # As PyMOL's surfaces sometimes, it is open somewhere.
    volume, area = frames.volume_and_area(surface.points, surface.faces[1:])
    assert volume == pytest.approx(4 / 3 * np.pi * 6.0**3, rel=0.01)
    assert area == pytest.approx(4 * np.pi * 6.0**2, rel=0.01)
    assert frames.volume_and_area(surface.points, surface.faces[:0]) == (0.0, 0.0)


def test_atoms_between_states_are_superposed_mixed_and_turned_back():
    atoms = cloud(30)
    turned = atoms @ Rotation.from_rotvec([0, 0, 40], degrees=True).as_matrix().T
    motion = Motion.from_states(np.array([1.0, 3.0]), np.stack([atoms, turned]).astype(np.float32))
    first, between = frames.atoms_at(motion, [1.0, 2.0])
    assert first == pytest.approx(atoms, abs=1e-3)
    halfway = atoms @ Rotation.from_rotvec([0, 0, 20], degrees=True).as_matrix().T
    assert between == pytest.approx(halfway, abs=0.05)


def test_roughness_is_the_second_difference_of_the_step():
    times = np.arange(1.0, 5.1, 0.25).tolist()
    assert fast_report.roughness(times, [3.0 * at for at in times], 0.25) == pytest.approx(0.0, abs=1e-9)
    squares = [at**2 for at in times]
    assert fast_report.roughness(times, squares, 0.25) == pytest.approx(2 * 0.25**2)
    assert fast_report.roughness(times, squares, 1.0) == pytest.approx(2.0)
    bent = [max(0.0, at - 3.0) for at in times]
    assert fast_report.roughness(times, bent, 1.0, {3.0}) == pytest.approx(1.0)
    assert fast_report.roughness(times, bent, 1.0, {2.0, 4.0}) == pytest.approx(0.0)


def test_the_surfaces_speed_and_its_jump_where_growth_ends():
    grown = [ball(state, radius) for state, radius in ((1, 6.0), (3, 7.0), (5, 8.0), (7, 8.0))]
    field = ablation.fit(task(grown))
    velocities = fast.velocity(field, (1, 3, 5, 7), 0.0)
    # 0.5 Å a state till state 5, nothing after it: 0.5 and 0.25 at the inner states, 0.5, 0.5 and 0 amid the gaps.
    assert velocities["speed"] == pytest.approx((0.5 + 0.25 + 0.5 + 0.5 + 0.0) / 5, abs=0.03)
    assert velocities["largest"] == pytest.approx(0.5, abs=0.05)
    assert velocities["jump"] == pytest.approx(0.25, abs=0.05)


def test_files_that_differ_in_the_order_of_their_header_alone_have_the_same_content():
    def file(header, body):
        text = header.encode()
        return len(text).to_bytes(8, "little") + text + body

    file_bytes = file('{"a": 1, "b": 2}', b"xy")
    assert fast.compared(file_bytes, file_bytes) == "the same bytes"
    assert fast.compared(file_bytes, file('{"b": 2, "a": 1}', b"xy")) == "the same content"
    assert fast.compared(file_bytes, file('{"b": 2, "a": 1}', b"xz")) == "different content"
    assert fast.compared(file_bytes, file('{"b": 3, "a": 1}', b"xy")) == "different content"


# The hash grid -----------------------------------------------------------------------------------------------


def test_the_hash_grid_has_as_many_parameters_as_there_may_be():
    low, high = torch.zeros(3), torch.tensor([40.0, 50.0, 60.0])
    for size in (50_000, 500_000):
        network = hashgrid.HashGrid(low, high, size)
        count = sum(weight.numel() for weight in network.parameters())
        assert 0.99 * size < count <= size
    with pytest.raises(ValueError, match="more parameters"):
        hashgrid.HashGrid(low, high, 5_000)


def test_a_lookups_gradient_is_torchs_own():
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(0, 50, (200, 16), generator=generator)
    weight = torch.rand(200, 16, generator=generator)
    tables = [torch.randn(50, 2, generator=generator.manual_seed(1)).requires_grad_(True) for _ in range(2)]
    values = hashgrid.Lookup.apply(tables[0], index, weight)
    expected = (tables[1][index] * weight[..., None]).sum(1)
    torch.testing.assert_close(values, expected)
    for result in (values, expected):
        (result**2).sum().backward()
    torch.testing.assert_close(tables[0].grad, tables[1].grad)


def test_the_hash_grid_is_continuous_across_cells_and_depends_on_all_of_x_and_t():
    torch.manual_seed(0)
    network: Any = hashgrid.HashGrid(torch.zeros(3), torch.full((3,), 30.0), 60_000).requires_grad_(False)
    network.table.normal_()
    # The MLP knows the time too; here the tables alone say it.
    network.mlp[0].weight[:, -1] = 0.0
    x, times = 30.0 * torch.rand(500, 3), torch.rand(500)
    values = network(x, times)
    spread = float(values.std())
    # 500 points meet many faces of cells; a jump at one of them would be as large as the spread.
    assert float((network(x + 1e-4, times + 1e-5) - values).abs().max()) < 0.02 * spread
    for step in torch.eye(3):
        assert float((network(x + 3.0 * step, times) - values).abs().mean()) > 0.3 * spread
    assert float((network(x, 1.0 - times) - values).abs().mean()) > 0.3 * spread


def test_the_hash_grid_stops_at_its_seconds_or_steps():
    states = [ball(1, 5.0, subdivisions=2), ball(3, 7.0, subdivisions=2)]
    assert hashgrid.fit(states, 10_000, seconds=1e-6, device="cpu").report["steps"] == 1
    assert hashgrid.fit(states, 10_000, device="cpu", most_steps=3).report["steps"] == 3


def test_the_hash_grid_learns_two_balls():
    field = hashgrid.fit([ball(1, 5.0), ball(3, 7.0)], 100_000, device="cpu", most_steps=100)
    for state, radius in ((1.0, 5.0), (3.0, 7.0)):
        surface = mesh.extract_mesh(field, state)
        assert surface.volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.05)


# The ablation ------------------------------------------------------------------------------------------------


def test_every_variant_is_a_field_whose_surface_is_near_the_truth(bent):
    middle = bent.surfaces[2]
    volume, _ = frames.volume_and_area(middle.points, middle.faces)
    for name, variant in ablation.VARIANTS.items():
        surface = mesh.extract_mesh(variant(bent), middle.state, resolution=0.7)
        allowed = 0.15 if "eikonal" in name or "nearest" in name else 0.05
        assert surface.volume == pytest.approx(volume, rel=allowed), name


def test_without_a_part_that_part_is_gone(bent):
    assert ablation.without_motion(bent).motion.atoms is None
    assert ablation.uncorrected(bent).report["loss"] > ablation.fit(bent).report["loss"]
    reduced = ablation.few_modes(bent, 1)
    assert (reduced.coarse.modes.shape[0], reduced.fine.modes.shape[0]) == (1, 1)
    assert reduced.coarse.coefficients.shape == (len(bent.surfaces), 1)


def test_the_modes_that_are_kept_are_the_best(bent):
    full, reduced = ablation.fit(bent), ablation.few_modes(bent, 3)
    exact = full.coarse.coefficients @ full.coarse.modes
    product = reduced.coarse.coefficients @ reduced.coarse.modes
    residual = torch.linalg.svdvals(exact)[3:].square().sum().sqrt()
    assert float(torch.linalg.norm(product - exact)) == pytest.approx(float(residual), rel=0.05)


def test_the_package_is_as_before_after_a_variant(bent):
    before = dict(ablation.PRESETS), ablation.BasisBuilder.basis, vars(ablation.shapes)["TriangleMesh"]
    ablation.few_modes(bent, 2)
    ablation.nearest_vertex(bent)
    assert before == (dict(ablation.PRESETS), ablation.BasisBuilder.basis, vars(ablation.shapes)["TriangleMesh"])


# Cost --------------------------------------------------------------------------------------------------------


def test_copies_stand_side_by_side_and_do_not_touch():
    series = truth_at((1, 2))
    copies = cost.copied(series, 5)[1]
    volume, _ = frames.volume_and_area(series[1].points, series[1].faces)
    assert frames.volume_and_area(copies.points, copies.faces)[0] == pytest.approx(5 * volume, rel=1e-3)
    bodies = copies.points.reshape(5, -1, 3)
    for k in range(5):
        for j in range(k):
            gap = np.maximum(bodies[k].min(0) - bodies[j].max(0), bodies[j].min(0) - bodies[k].max(0))
            assert gap.max() > 0.5 * cost.APART
    assert len(copies.atoms) == 5 * len(series[1].atoms)
    assert (np.bincount(copies.faces.ravel()) == np.tile(np.bincount(series[1].faces.ravel()), 5)).all()


def options(tmp_path, *arguments):
    return cost.parse_arguments(["--folder", str(tmp_path), "--device", "cpu", "--surfaces", str(tmp_path), *arguments])


def test_the_points_of_cost_are_many_states_many_atoms_and_fine_meshes(tmp_path):
    points = cost.points(options(tmp_path))
    fits = [point for point in points.values() if point["task"] == "fit"]
    assert max(point["count"] for point in fits) == 1000
    atoms = {cost.TRAJECTORIES[p["trajectory"]].atoms * p["copies"] for p in fits}
    assert any(50_000 < count < 60_000 for count in atoms) and max(atoms) > 100_000
    assert sum("keep" in point for point in fits) == 1
    kept_file = next(point["keep"] for point in fits if "keep" in point)
    assert all(point["fit"] == kept_file for point in list(points.values())[-5:])


def test_a_point_is_fitted_kept_and_meshed_again(tmp_path):
    path, kept_file = str(tmp_path / "balls.safetensors"), str(tmp_path / "mesh.dsr")
    surfaces_file.write_surfaces_file(path, truth_at((1, 2, 3)), {"object": "balls", "between": False})
    report = cost.fit({"path": path, "copies": 2, "device": "cpu", "keep": kept_file})
    assert (report["states"], report["atoms"]) == (3, 120)
    assert 50.0 < report["loaded"]["host"] <= report["fit_memory"]["host"] <= report["memory"]["host"]
    assert report["triangles"] > 1000 and report["fit_seconds"] > 0.0
    finer = [cost.mesh({"fit": kept_file, "device": "cpu", "resolution": r})["triangles"] for r in (1.0, 0.5)]
    assert finer[1] == pytest.approx(report["triangles"], rel=0.1)
    assert finer[1] > 3 * finer[0]


def test_a_point_that_fails_or_takes_too_long_says_so_and_leaves_nothing(tmp_path, capsys):
    point = {"task": "mesh", "device": "cpu", "fit": str(tmp_path / "none.dsr"), "resolution": 1.0}
    cost.measure("gone", point, tmp_path / "gone.json", 60.0)
    assert "gone: failed (exit code 1): " in capsys.readouterr().out
    cost.measure("long", point, tmp_path / "long.json", 0.01)
    assert "its minutes were over" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.json"))


def kept_cost(folder, name, point, **values):
    machine = {"name": "A machine", "device": "cpu", "threads": 2, "torch": "2.13"}
    peak = {"host": 1024.0}
    measured = {"fit_memory": peak, "memory": peak, "bytes": 2e6, "area": 1e4, "mesh_seconds": 0.25, **values}
    content = {"point": point, "results": measured, "hardware": machine, "code": "abc"}
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_the_table_of_cost_and_how_it_grows(tmp_path):
    for states in (100, 200, 400, 800):
        point: dict[str, Any] = {"task": "fit", "trajectory": "trpcage", "count": states, "copies": 1}
        is_last = states > 170
        kept_cost(tmp_path, f"s{states}", point, states=states, between=is_last, atoms=304, fit_seconds=0.2 * states)
    for copies, seconds in ((1, 3.0), (4, 48.0)):
        point = {"task": "fit", "trajectory": "dims", "count": cost.FEW, "copies": copies}
        atoms = 3341 * copies
        kept_cost(tmp_path, f"a{copies}", point, states=5, between=False, atoms=atoms, fit_seconds=seconds)
    point = {"task": "mesh", "trajectory": "dims", "resolution": 0.5}
    kept_cost(tmp_path, "m", point, triangles=1234)
    cost.write(tmp_path, tmp_path / "performance.md", "cpu")
    text = (tmp_path / "performance.md").read_text()
    assert "| 200 | 40 | 0.20 | 0.25 | 1.0 GiB | 1.0 GiB | 2.0 MB |" in text
    assert "The points 200, 400, 800 have atoms on straight lines between its states." in text
    assert "fit's seconds grow as states to the power 1.00" in text
    assert "fit's seconds grow as atoms to the power 2.00" in text
    assert "| dims × 4 | 13364 | 10000 | 48 |" in text
    assert "| 0.5 | 1234 | 0.25 | 1.0 GiB |" in text
    assert (tmp_path / "cost.png").exists()


# Text --------------------------------------------------------------------------------------------------------


def test_only_the_part_between_its_markers_is_replaced(tmp_path):
    path = tmp_path / "performance.md"
    path.write_text("# Performance\n\nBy hand.\n")
    markdown.put(path, "a", ["one"])
    markdown.put(path, "b", ["two"])
    markdown.put(path, "a", ["three", "four"])
    text = path.read_text()
    assert text.startswith("# Performance\n\nBy hand.\n")
    assert "one" not in text and text.index("three\nfour") < text.index("two")
    rewritten = path.read_text()
    markdown.put(path, "a", ["three", "four"])
    assert path.read_text() == rewritten
    path.write_text(text.replace("<!-- b: end -->", ""))
    with pytest.raises(ValueError, match="b: end"):
        markdown.put(path, "b", [])


def put(folder, name, results):
    machine = {"name": "A machine", "device": "cpu", "threads": 2, "torch": "2.13"}
    content = {"hardware": machine, "code": "abc", "quick": False, "results": results}
    (folder / f"{name}.json").write_text(json.dumps(content))


def scores(iou=0.98, nc=0.97):
    return {group: {"iou": iou, "nc": nc, "states": 4} for group in (FITTED, BETWEEN, NEXT, LATER)}


def test_the_tables_of_speed(tmp_path):
    pymol = {"1": 0.5, "2": 0.3, "on": "A processor"}
    movie_method = {"name": "`fast`, 0.5 Å", "fit": 20.0, "mesh": 0.1, "scores": scores()}
    movie = {"frames": 400, "measured": 100, "triangles": 28000, "methods": [movie_method], "pymol": pymol}
    put(tmp_path, "movie", {**movie, "pymol_scores": scores(0.93, 0.94)})
    preset = {
        "seconds": [20.0, 21.0],
        "two": "the same bytes",
        "bytes": 5e6,
        "parameters": 3e6,
        "mesh": [0.1, 0.2, 0.4],
        "together": 0.125,
    }
    start = {"imports": 1.5, "load": 0.1, "first": 0.3, "second": 0.2}
    presets = {
        "fast": {**preset, "scores": scores()},
        "preview": {**preset, "scores": scores(0.9), "two": "different content"},
    }
    put(tmp_path, "fit", {"presets": presets, "start": start, "pymol": pymol})
    path = tmp_path / "performance.md"
    fast_report.write(tmp_path, path, "cpu")
    text = path.read_text()
    assert "### On A machine (cpu, 2 threads, torch 2.13)" in text
    # 20 s and 400 × 0.1 s against 400 × 0.3 s.
    assert "| `fast`, 0.5 Å | 20 + 40 | 60 | 0.50 | 0.9800 / 0.9700 |" in text
    assert "| atoms linear + PyMOL, one process |  | 200 | 1.67 | 0.9300 / 0.9400 |" in text
    assert "| atoms linear + PyMOL, two processes |  | 120 | 1.00 |" in text
    assert "| `fast` | 20.0 and 21.0 | 0.9800 / 0.9700 |" in text and "| 3.00 M | 5.0 MB | 0.200 | 0.125 |" in text
    assert "PyMOL takes 0.50 s for one surface, 4.0 times as long as `fast` for one of many meshes." in text
    assert "Two PyMOL processes take 0.30 s for each surface, 2.4 times as long." in text
    assert "`fast`, 0.5 Å, takes 60 s for 400 frames, with the fit. Two PyMOL processes take 120 s." in text
    assert "PyMOL, on A processor," in text
    assert "files of the same bytes (`fast`) and different content (`preview`)" in text
    assert "--quick" not in text


def test_jitter_compares_the_same_states_and_draws(tmp_path):
    times = np.arange(1.0, 5.1, 0.25).tolist()
    smooth = {"volume": [10.0 * at for at in times], "area": [1.0] * len(times)}
    rough = {"volume": [(k % 2) * 8.0 for k in range(len(times))], "area": [1.0] * len(times)}
    true = {1: [0.0, 1.0], 2: [9.0, 1.0], 3: [0.0, 1.0], 5: [0.0, 1.0]}
    motion = {"as fitted": {"speed": 0.2, "jump": 0.05, "largest": 0.1}}
    steady = {"volume": [(k % 2) * 2.0 for k in range(len(times))], "area": [1.0] * len(times)}
    scores = {FITTED: {"iou": 0.95, "nc": 0.97}, BETWEEN: {"iou": 0.93, "nc": 0.94}}
    results = dict(step=0.25, times=times, field=smooth, steady=steady, scores=scores, pymol=rough, true=true)
    put(tmp_path, "jitter", results | {"motion": motion})
    fast_report.write(tmp_path, tmp_path / "performance.md", "cpu")
    text = (tmp_path / "performance.md").read_text()
    assert "| volume, Å³ | `fast` | 0.0 | 0.0 |" in text
    assert "| volume, Å³ | `fast`, `steady=1` | 4.0 | 0.0 |" in text
    assert "IoU / NC are 0.9500 / 0.9700 at the fitted states and 0.9300 / 0.9400 between." in text
    assert "the jitter of the volume is 4.0 Å³ with `steady=1` and 0.0 Å³ without" in text
    assert "| volume, Å³ | atoms linear + PyMOL | 16.0 | 0.0 |" in text
    assert "| volume, Å³ | true states + PyMOL |  | 18.0 |" in text
    assert "at the 1 states that have true surfaces on both sides" in text
    assert "| as fitted | 0.200 | 0.050 | 0.100 | 0.25 | 0.50 |" in text
    assert (tmp_path / "jitter.png").exists()


# The whole ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_parts_of_speed_on_a_small_row(tmp_path, monkeypatch):
    groups = {FITTED: (3,), BETWEEN: (2, 4), NEXT: (11,)}
    row = replace(rows.ROWS["trpcage"], training=(1, 3, 5, 7, 9), groups=groups)
    monkeypatch.setattr(rows, "quick", lambda _: row)
    fast.main(["--quick", "--device", "cpu", "--folder", str(tmp_path), "--surfaces", str(tmp_path / "made")])
    text = (tmp_path / "performance.md").read_text()
    for title in ("Fit and mesh", "A movie of 400 frames", "Other fields", "Value of each part", "Jitter"):
        assert f"#### {title}" in text
    for name in ablation.VARIANTS:
        assert f"| {name} |" in text


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_of_cost_on_small_points_and_again_from_what_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cost, "QUICK", ((6,), (("trpcage", 1),), (1.0,)))
    arguments = ["--quick", "--device", "cpu", "--folder", str(tmp_path), "--surfaces", str(tmp_path / "made")]
    cost.main(arguments)
    text = (tmp_path / "performance.md").read_text()
    assert "| 6 |" in text and "| trpcage | 304 |" in text and "| 1.0 |" in text
    capsys.readouterr()
    cost.main(arguments)
    assert capsys.readouterr().out.splitlines() == [f"written: {tmp_path / 'performance.md'}"]
