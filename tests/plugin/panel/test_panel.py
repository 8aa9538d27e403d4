"""Times that the panel plays, its offers and its drawings. Clicks are in gui_script.py."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PyQt5")
pytest.importorskip("pymol.Qt")
from pymol_dsr.analysis.evaluation import StateScores
from pymol_dsr.fits.fit import Activity, Fit, Phase, Trajectory
from pymol_dsr.fits.jobs import Jobs
from pymol_dsr.fits.timing import FitTiming, Rates, Stage
from pymol_dsr.panel import charts, learn_block, progress, scene_choices, widgets
from pymol_dsr.panel.live import Appearance, Live, LiveMesh, MeshRequest, TriangleBudget, ValueColors
from pymol_dsr.panel.tabs import fit, fits, player, quality
from pymol_dsr.runtime.folders import learned_models
from pymol_dsr.runtime.settings import Settings
from pymol_dsr.scene import palettes
from pymol_dsr.scene.placement import IDENTITY
from pymol_dsr.shared.mesh import Mesh
from pymol_dsr.shared.messages import Device, FitReport
from pymol_dsr.shared.options import BASELINES, FieldOptions, MeshOptions
from pymol_dsr.shared.scoring import FIELD
from pymol_dsr.sources.jobs import TrainingErrors
from pymol_dsr.surfaces.object_session import read_object_session
from pymol_dsr.surfaces.selections import ATOMS_TITLE
from support.meshes import mesh_result


@pytest.mark.parametrize(
    ("at", "mode", "expected", "direction"),
    [
        (5.0, "loop", 5.0, 1.0),
        (79.5, "loop", 1.5, 1.0),
        (1.0 + 5 * 78 + 2.0, "loop", 3.0, 1.0),
        (80.0, "bounce", 78.0, -1.0),
        (0.5, "bounce", 1.5, 1.0),
        (1.0 + 2 * 78 + 3.0, "bounce", 4.0, 1.0),
    ],
)
def test_played_times_stay_within_the_fitted_states(at, mode, expected, direction):
    advanced = player.advance(at, 1.0, 79.0, 1.0, mode)
    assert advanced == (pytest.approx(expected), direction, True)


def test_bouncing_goes_on_in_its_direction():
    at, direction, turned = 1.0, 1.0, 0
    for _ in range(200):
        before = direction
        at, direction, going = player.advance(at + 0.7 * direction, 1.0, 5.0, direction, "bounce")
        assert 1.0 <= at <= 5.0 and going
        turned += direction != before
    # 140 states on the way there and back, four each.
    assert turned == pytest.approx(140 / 4, abs=1)


def test_once_ends_at_the_end():
    assert player.advance(79.2, 1.0, 79.0, 1.0, "once") == (79.0, 1.0, False)
    assert player.advance(3.0, 2.0, 2.0, 1.0, "loop") == (2.0, 1.0, False)


def test_pace_learns_from_what_was_drawn():
    pace = TriangleBudget(20_000, 0.045, 8_000, 100_000)
    for _ in range(20):
        # A machine that draws a triangle in 1.5 µs.
        pace.learn(int(pace.triangles), 1.5e-6 * pace.triangles)
    assert pace.triangles == pytest.approx(30_000, rel=0.01)
    for _ in range(20):
        pace.learn(int(pace.triangles), 1.0)
    assert pace.triangles == 8_000


def request(**options):
    settings = {"area": 10_000.0, "resolution": None, "fine": True, **options}
    return MeshRequest(
        Fit("a"),
        Trajectory("", "", "", None, [1.0]),
        FieldOptions(),
        time=1.0,
        level=0.0,
        smooth=None,
        color="",
        seen=0,
        **settings,
    )


def test_the_resolution_that_keeps_up():
    engine: Any = SimpleNamespace(fine=TriangleBudget(20_000, 1, 1, 10**6), coarse=TriangleBudget(5_000, 1, 1, 10**6))
    options = lambda **settings: Live.mesh_options(engine, request(**settings))  # noqa: E731
    # As many triangles as the pace allows, of 2.9 in each square of the spacing.
    assert options().resolution == pytest.approx(math.sqrt(2.9 * 10_000 / 20_000))
    assert options(fine=False).resolution == pytest.approx(math.sqrt(2.9 * 10_000 / 5_000))
    assert options(area=500.0) == MeshOptions(resolution=0.5), "finer than anybody sees"
    fine = request(area=500.0)
    fine.fit.report = FitReport(preset="fine")
    assert Live.mesh_options(engine, fine) == MeshOptions(resolution=0.35), "as sharp as the fit"
    # A resolution that was asked for is had at rest, and is the finest one while a control moves.
    assert options(resolution=0.3) == MeshOptions(resolution=0.3)
    assert options(resolution=3.0, fine=False) == MeshOptions(resolution=3.0)
    # A fit that does not know its area leaves the choice to the backend.
    assert options(area=None) == MeshOptions(resolution=0.5, triangles=20_000)


def flat_mesh(count):
    """Points without faces."""
    return Mesh(np.zeros((count, 3), np.float32), np.zeros((count, 3), np.float32), np.zeros((0, 3), np.int32))


def moving(velocity):
    """The result for a mesh that moves so fast at its points."""
    return mesh_result(flat_mesh(len(velocity)), velocity=velocity)


def test_the_scale_of_a_live_surface_grows_with_what_was_seen(cmd):
    speeds = ValueColors(request(by="speed"), cmd)
    low, high = palettes.VIRIDIS[[0, -1]]
    slow, fast = np.linspace(0, 1, 100, dtype=np.float32), np.linspace(-3, 0, 100, dtype=np.float32)
    np.testing.assert_allclose(speeds.paint(moving(slow))[[0, -1]], [low, high], atol=1e-6)
    np.testing.assert_allclose(speeds.paint(moving(fast))[[0, -1]], [high, low], atol=1e-6)
    assert speeds.paint(moving(slow))[-1, 1] < 0.7 * high[1], "1 of 3 is not the last colour any more"
    assert speeds.paint(moving(slow[:0])).shape == (0, 3)
    values = ValueColors(request(by="b"), cmd)
    values.atom_values = np.array([0.0, 50.0], np.float32)
    weights = np.array([[1, 0], [1, 0]], np.float32)
    mesh = mesh_result(flat_mesh(2), neighbor_indices=np.array([[0, 1], [1, 0]], np.int32), weights=weights)
    np.testing.assert_allclose(values.paint(mesh), [low, high], atol=1e-6)


def test_other_movies_of_the_molecule_are_switched_off_for_the_live_surface(cmd):
    mesh_request, floats = request(), [2.0, 4.0, *[5.0, 0.0, 0.0, 1.0, 4.0, 0.0, 0.0, 0.0] * 3, 3.0]
    for name in ("renamed", "other"):
        cmd.load_cgo(floats, name, 1)
    engine = Live(None, Jobs(Settings()), None, cmd, {mesh_request.trajectory.object: ["renamed"]}.__getitem__)
    appearance = Appearance(None, (1.0, 1.0, 1.0), None, list(IDENTITY))
    engine.draw(LiveMesh(mesh_request, appearance, mesh_result(flat_mesh(0)), floats, 1))
    assert cmd.get_names(enabled_only=1) == ["other", "a_live"]


def test_the_atoms_of_a_movie_give_way_to_the_molecule_for_the_live_surface(cmd):
    """They are at the movie's times: state 5 of a movie of half states is time 3."""
    mesh_request, floats = request(), [2.0, 4.0, *[5.0, 0.0, 0.0, 1.0, 4.0, 0.0, 0.0, 0.0] * 3, 3.0]
    trajectory = dataclasses.replace(mesh_request.trajectory, object="mol")
    cmd.fab("GG", "mol")
    cmd.create("a_atoms", "mol")
    cmd.set_title("a_atoms", 1, ATOMS_TITLE)
    cmd.create("mine_atoms", "mol")
    cmd.disable("mol")
    cmd.load_cgo(floats, "a", 1)
    engine = Live(None, Jobs(Settings()), None, cmd)
    appearance = Appearance(None, (1.0, 1.0, 1.0), None, list(IDENTITY))
    mesh_request = dataclasses.replace(mesh_request, trajectory=trajectory)
    engine.draw(LiveMesh(mesh_request, appearance, mesh_result(flat_mesh(0)), floats, 1))
    assert cmd.get_names(enabled_only=1) == ["mol", "mine_atoms", "a_live"]


def test_the_live_surface_has_a_bar_of_its_values(cmd):
    engine = Live(None, Jobs(Settings()), None, cmd)
    appearance = Appearance(None, (1.0, 1.0, 1.0), None, list(IDENTITY))
    floats = [2.0, 4.0, *[5.0, 0.0, 0.0, 1.0, 4.0, 0.0, 0.0, 0.0] * 3, 3.0]

    def drawn(by, *limits):
        scale = palettes.ColorScale.between(limits[0], limits[1], palettes.VIRIDIS) if limits else None
        engine.draw(LiveMesh(request(by=by), appearance, mesh_result(flat_mesh(0)), floats, 1, scale))
        bars = [name for name in cmd.get_names("all") if cmd.get_type(name) == "object:ramp"]
        return [(name, read_object_session(name, cmd).data[3][-1]) for name in bars]

    assert drawn("motion", 0.0, 2.0) == [("a_live_bar_motion_A", 2.0)]
    cmd.disable("a_live_bar_motion_A")
    assert drawn("motion", 0.0, 3.0) == [("a_live_bar_motion_A", 3.0)]
    assert "a_live_bar_motion_A" not in cmd.get_names("all", enabled_only=1), "it stays switched off"
    assert drawn("b", 0.0, 50.0) == [("a_live_bar_b", 50.0)]
    cmd.delete("a_live_bar_b")
    assert drawn("b", 0.0, 50.0) == [("a_live_bar_b", 50.0)]
    assert drawn("") == []
    drawn("b", 0.0, 50.0)
    engine.forget("a")
    assert cmd.get_names("all") == []


def test_a_live_surface_is_followed_to_another_name_and_alone_in_the_place_of_its_molecule(cmd):
    engine = Live(None, Jobs(Settings()), None, cmd)
    appearance = Appearance(None, (1.0, 1.0, 1.0), None, list(IDENTITY))
    floats = [2.0, 4.0, *[5.0, 0.0, 0.0, 1.0, 4.0, 0.0, 0.0, 0.0] * 3, 3.0]

    def draw(fit_name, molecule):
        mesh_request = request()
        trajectory = Trajectory("", molecule, molecule, None, [1.0])
        mesh_request = dataclasses.replace(mesh_request, fit=Fit(fit_name), trajectory=trajectory)
        engine.draw(LiveMesh(mesh_request, appearance, mesh_result(flat_mesh(0)), floats, 1))

    draw("a", "mol")
    cmd.set_name("a_live", "mine")
    draw("a", "mol")
    assert cmd.get_names() == ["mine"]
    draw("c", "elsewhere")
    assert cmd.get_names() == ["mine", "c_live"]
    # Another fit of the molecule: its surface would lie in the same place.
    draw("b", "mol")
    assert cmd.get_names() == ["c_live", "b_live"]
    cmd.reinitialize()
    draw("b", "mol")
    assert cmd.get_names() == ["b_live"]
    engine.forget("b")
    assert cmd.get_names() == []


def test_what_was_wanted_before_the_movie_is_not_drawn_after_it(cmd):
    engine = Live(None, Jobs(Settings()), None, cmd)
    appearance = Appearance(None, (1.0, 1.0, 1.0), None, list(IDENTITY))
    floats = [2.0, 4.0, *[5.0, 0.0, 0.0, 1.0, 4.0, 0.0, 0.0, 0.0] * 3, 3.0]
    before = LiveMesh(request(), appearance, mesh_result(flat_mesh(0)), floats, 1)
    engine.draw(before)
    assert cmd.get_names() == ["a_live"]
    engine.hold("a")
    cmd.delete("a_live")
    engine.draw(before)
    assert cmd.get_names() == []
    engine.draw(LiveMesh(request(), appearance, mesh_result(flat_mesh(0)), floats, 1))
    engine.forget("a")
    assert cmd.get_names() == []
    engine.draw(before)
    assert cmd.get_names() == []
    engine.draw(LiveMesh(request(), appearance, mesh_result(flat_mesh(0)), floats, 1))
    assert cmd.get_names() == ["a_live"]


@pytest.mark.parametrize(
    ("path", "usual", "expected"),
    [
        ("a.ply", ".stl", "a.ply"),
        ("a.PLY", ".stl", "a.PLY"),
        ("a", ".stl", "a.stl"),
        ("a.b", ".stl", "a.b.stl"),
        ("a", "", "a.ply"),
    ],
)
def test_a_file_without_an_ending_gets_that_of_the_filter(path, usual, expected):
    assert widgets.with_ending(path, (".ply", ".stl"), usual) == expected


def test_offers(cmd):
    cmd.fab("GG", "still")
    cmd.fab("AC", "dry")
    cmd.create("dry", "dry", 1, 2)
    cmd.pseudoatom("water", resn="HOH", name="O", elem="O", hetatm=1)
    cmd.create("wet", "still or water", 1, 1)
    cmd.create("wet", "wet", 1, 2)
    cmd.delete("water")
    counts = {"still": 1, "dry": 2, "wet": 2}
    assert scene_choices.molecules(cmd) == counts
    # Molecules that move come first, without their water; then all that move together.
    assert scene_choices.offers(counts, cmd) == ["dry", "wet and polymer", "wet", "still", "dry+wet"]
    assert scene_choices.offers({"still": 1}, cmd) == ["still"]


@pytest.mark.parametrize(
    ("known", "text"),
    [
        (
            {"device": "cpu", "name": "Intel(R) Xeon(R)   6230", "memory_gb": 23.5, "threads": 2},
            "Intel Xeon 6230 (CPU, 2 cores, 24 GB)",
        ),
        ({"device": "cuda:0", "name": "NVIDIA H200", "memory_gb": 139.8}, "NVIDIA H200 (cuda:0, 140 GB)"),
        ({"device": "cpu", "name": "", "memory_gb": 0, "threads": 1}, "cpu (CPU, 1 core)"),
    ],
)
def test_devices_are_named_with_their_memory(known, text):
    assert fit.device_text(Device(**known)) == text


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"phase": Phase.QUEUED, "activity": Activity.FIT}, "a: queued"),
        ({"phase": Phase.FAILED, "error": "no"}, "a: failed"),
        ({"phase": Phase.READY, "fraction": 0.0, "activity": Activity.MOVIE}, "a: a movie, 0 %"),
        ({"phase": Phase.READY, "fraction": 0.4, "activity": Activity.MOVIE, "stage": "meshes"}, "a: meshes, 40 %"),
        ({"phase": Phase.READY, "fraction": 1.0}, "a is ready"),
    ],
)
def test_progress(state, text):
    assert progress.progress_text(Fit("a", **state)).split(" %, ")[0].removesuffix(" %") == text.removesuffix(" %")


def test_a_fit_has_one_bar_and_one_estimate_from_its_first_second_to_its_end():
    clock = [0.0]
    timing = FitTiming(100_000, "fast", Rates(), clock=lambda: clock[0])
    timed_fit = Fit("a", [Trajectory("", "", "", None, [float(state) for state in range(40)])], timing=timing)
    timed_fit.activity, timed_fit.phase = Activity.FIT, Phase.SURFACES
    timing.begin(Stage.SURFACES)
    # 1.5 s and 100 000 times 0.00006 s for the surfaces, 3 s and 5 s for the fit.
    assert progress.progress_text(timed_fit) == "a: surfaces 0 of 40, 0 %, 16 s left"
    fractions: list[float] = []
    for second in range(1, 21):
        clock[0], timed_fit.fraction = float(second), second / 20.0
        fractions.append(progress.progress_fraction(timed_fit) or 0.0)
    # The surfaces take 20 s here.
    assert progress.progress_text(timed_fit) == "a: surfaces 40 of 40, 70 %, 8 s left"
    timing.begin(Stage.FIT)
    timed_fit.phase, timed_fit.fraction = Phase.FIT, 0.0
    assert progress.progress_text(timed_fit) == "a: fit, 71 %, 8 s left"
    for second in range(1, 6):
        clock[0], timed_fit.fraction = 20.0 + second, second / 5.0
        fractions.append(progress.progress_fraction(timed_fit) or 0.0)
    assert fractions == sorted(fractions) and 0.95 < fractions[-1] < 1.0
    timing.end()
    timed_fit.activity, timed_fit.phase, timed_fit.fraction = None, Phase.READY, 1.0
    assert progress.progress_text(timed_fit) == "a is ready: surfaces 20 s, fit 5 s"
    # The next fit of this kind is estimated from this one.
    later = FitTiming(200_000, "fast", timing.rates)
    assert later.seconds_left(0.0) == pytest.approx(4.5 + 2 * (18.5 + 2))


def test_the_bar_of_a_small_fit_neither_rushes_nor_stands():
    """The programs start for two seconds, then it goes fast."""
    clock = [0.0]
    timing = FitTiming(6_000, "fast", Rates(), clock=lambda: clock[0])
    timed_fit = Fit("a", timing=timing, activity=Activity.FIT, phase=Phase.SURFACES)
    fractions: list[float] = []

    def follow(stage, phase, seconds):
        timing.begin(stage)
        timed_fit.phase, timed_fit.fraction = phase, 0.0
        for tenth in range(30):
            # Nothing in the first two thirds of its time.
            clock[0], timed_fit.fraction = clock[0] + seconds / 30, max(0.0, (tenth - 19) / 10)
            fractions.append(progress.progress_fraction(timed_fit) or 0.0)

    follow(Stage.SURFACES, Phase.SURFACES, 3.0)
    follow(Stage.FIT, Phase.FIT, 4.5)
    truth = [0.1 * number / 7.5 for number in range(1, 31)] + [(3 + 0.15 * number) / 7.5 for number in range(1, 31)]
    assert max(abs(drawn - true) for drawn, true in zip(fractions, truth, strict=True)) < 0.15
    assert max(after - before for before, after in itertools.pairwise([0.0, *fractions])) < 0.1


def test_the_noise_of_a_loss_does_not_fill_the_chart():
    """A fit that begins near its end changes little."""
    losses = [(20.0, 0.0165), (50.0, 0.0175), (90.0, 0.016)]
    ends, curve = fit.plot_of_losses(losses).lines
    values = [loss for _, loss in ends.points]
    assert curve.points == losses and values[1] == pytest.approx(2 * values[0])
    assert values[0] < 0.016 and values[1] > 0.0175


def test_what_has_no_estimate_shows_its_phase():
    occupancy = Fit("a", phase=Phase.SURFACES, activity=Activity.OCCUPANCY, fraction=0.35)
    assert progress.progress_text(occupancy).startswith("a: surfaces, 35 %")
    assert progress.progress_fraction(occupancy) == 0.35
    landscape = Fit("b", phase=Phase.QUEUED, activity=Activity.LANDSCAPE)
    assert progress.progress_text(landscape) == "b: its landscape" and progress.progress_fraction(landscape) is None


def row(state, group, method, iou):
    return StateScores(state, group, method, iou, 0.01, 0.001, 0.9, float("nan"))


def test_quality_is_drawn_beside_what_can_be_had_without_a_fit():
    rows = [
        row(1, "training", FIELD, 0.99),
        row(2, "between", FIELD, 0.95),
        row(2, "between", BASELINES["hold"].method, 0.90),
        row(3, "training", FIELD, 0.97),
        row(5, "future 1-10", FIELD, 0.80),
    ]
    plot = quality.plot_of(rows, "iou", (1.0, 3.0))
    assert plot.shaded == (1.0, 3.0, "fitted range")
    assert {line.label: list(line.points) for line in plot.lines} == {
        "hold nearest": [(2.0, 0.90)],
        "field": [(2.0, 0.95), (5.0, 0.80)],
        "field, fitted": [(1.0, 0.99), (3.0, 0.97)],
    }
    text = quality.means_of(rows, "iou")
    assert "<td>training</td><td align=right>&nbsp;&nbsp;0.9800</td>" in text and "0.9000" in text
    # A metric that is not defined anywhere leaves no number behind.
    assert "nan" not in quality.means_of(rows, "rmsd")


def test_a_training_is_drawn_with_its_held_out_error():
    errors = [TrainingErrors(0.1, 5.0, 6.0), TrainingErrors(0.2, 4.0, None), TrainingErrors(0.5, 3.0, 5.5)]
    training, held_out = learn_block.plot_of(errors).lines
    assert list(training.points) == [(10.0, 5.0), (20.0, 4.0), (50.0, 3.0)]
    assert held_out.label == "held out" and list(held_out.points) == [(10.0, 6.0), (50.0, 5.5)]


def model_file(path, kind, written):
    """The header of a file of a learned model."""
    header = json.dumps({"__metadata__": {"format": f"dsr {kind} 1"}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.utime(path, (written, written))


def test_learned_models_are_offered_by_kind_and_newest_first(monkeypatch, tmp_path):
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    assert learned_models(Settings(), "potential") == []
    folder = tmp_path / "models"
    folder.mkdir()
    for age, (name, kind) in enumerate((("new", "potential"), ("net", "generator"), ("old", "potential"))):
        model_file(folder / f"{name}.dsrm", kind, 1e9 - age)
    model_file(folder / "other.txt", "potential", 1e9)
    (folder / "junk.dsrm").write_bytes(b"\xff" * 20)
    (folder / "empty.dsrm").touch()
    (folder / "deep.dsrm").write_bytes((100_000).to_bytes(8, "little") + b"[" * 100_000)
    assert learned_models(Settings(), "potential") == ["new", "old"]
    assert learned_models(Settings(), "generator") == ["net"]
    # One of the other kind takes its name.
    model_file(folder / "new.dsrm", "generator", 1e9 + 5)
    assert learned_models(Settings(), "generator") == ["new", "net"]


def test_marks_are_round():
    assert charts.round_values(0.0, 100.0, 4) == [0, 50, 100]
    assert charts.round_values(1.3, 7.9, 5) == [2, 4, 6]
    assert [label for _, label in charts.decades(-2.0, 1.0)] == ["0.01", "0.1", "1", "10"]
    short = charts.decades(math.log10(0.031), math.log10(0.039))
    assert len(short) >= 2 and all(math.log10(0.031) <= at <= math.log10(0.039) for at, _ in short)
    assert charts.padded_range([3.0], 0.1) == (2.5, 3.5)


def test_kept_fits_are_listed_newest_first(tmp_path):
    folder = tmp_path / "fits"
    assert fits.stored_fits(str(folder)) == []
    folder.mkdir()
    for age, name in ((200, "old.dsr"), (100, "new.dsr"), (50, "other.npz")):
        path = folder / name
        path.write_bytes(b"x" * age)
        os.utime(path, (1e9 - age, 1e9 - age))
    assert [(stored_fit.name, stored_fit.size) for stored_fit in fits.stored_fits(str(folder))] == [
        ("new", 100),
        ("old", 200),
    ]


def test_states_of_a_family_name_their_owners():
    up = Trajectory("up", "up", "up", np.arange(3), [1.0, 3.0, 5.0])
    down = Trajectory("down", "down", "down", np.arange(3), [1.0, 2.0])
    assert fits.states_text(Fit("a", [up, down])) == "1-5:2 of up, 1+2 of down"
