"""The surface that is shown while a fit goes on: what the backend sends, and what is in the scene and when."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import numpy as np
import pytest
from dsr_backend.fitting.config import PRESETS, Preset
from dsr_backend.runtime.errors import Cancelled

from pymol_dsr import register
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.fits.fit import Fit, Phase, Trajectory
from pymol_dsr.scene import cgo, placement
from pymol_dsr.scene.preview import Preview, nearest_spheres
from pymol_dsr.scene.replies import mesh_of, vertex_colors
from pymol_dsr.session import session_of
from pymol_dsr.shared import messages
from pymol_dsr.shared.mesh import Mesh
from pymol_dsr.surfaces import workers
from support.meshes import mesh_result
from support.paths import ROOT
from support.scene import coordinates
from support.shapes import ball, cloud
from support.waiting import wait_for
from support.wire import Wire

torch = pytest.importorskip("torch")


class Watched(Wire):
    """Keeps the previews, with what the backend was at."""

    def __init__(self) -> None:
        super().__init__()
        self.previews: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def send_event(self, event: messages.Event) -> None:
        super().send_event(event)
        if isinstance(event, messages.Preview):
            self.previews.append(event.encode())

    def phases(self) -> list[str]:
        """Previews and phases in their order, each phase once."""
        out: list[str] = []
        for event in self.events:
            if isinstance(event, messages.Preview):
                out.append("final" if event.final else "preview")
            elif isinstance(event, messages.Progress) and event.status.phase not in out:
                out.append(event.status.phase)
        return out


@pytest.fixture
def wire(tmp_path, monkeypatch):
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    monkeypatch.setitem(PRESETS, "fast", Preset(spacing=1.4, density=4.0))
    return Watched()


def series(radii=(5.0, 6.0, 7.0)):
    atoms = cloud(30)
    return [ball(state, radius, atoms=atoms * radius / 6.0, subdivisions=3) for state, radius in enumerate(radii, 1)]


def radius(arrays: dict[str, Any]) -> float:
    return float(np.linalg.norm(arrays["points"], axis=1).mean())


@pytest.mark.system
def test_the_state_alone_then_the_finished_field(wire):
    wire.call("open", fit="a", preview={"time": 2, "resolution": 1.5})
    wire.send("a", series()[:1])
    assert not wire.previews
    wire.send("a", series()[1:2])
    # With nothing but its own surface there.
    [(params, arrays)] = wire.previews
    assert params == {"fit": "a", "time": 2.0, "final": False}
    assert radius(arrays) == pytest.approx(6.0, abs=0.15)
    assert arrays["faces"].dtype == np.int32 and arrays["nearest"].shape == (len(arrays["points"]),)
    wire.send("a", series()[2:])
    wire.call("fit", fit="a")
    assert wire.phases() == ["preview", "fit", "saving", "final"]
    assert [radius(arrays) for _, arrays in wire.previews] == pytest.approx([6.0] * 2, abs=0.15)
    first, last = (len(arrays["faces"]) for _, arrays in wire.previews)
    assert first < last, "it does not become sharper"


@pytest.mark.system
def test_previews_leave_the_field_as_it_is(wire):
    reports = []
    for name, options in (("a", {}), ("b", {"preview": {"time": 2, "resolution": 1.0}})):
        wire.call("open", fit=name, **options)
        wire.send(name, series())
        wire.call("fit", fit=name)
        reports.append(wire.call("mesh", fit=name, time=2.5, resolution=0.8))
    assert len(wire.previews) == 2
    np.testing.assert_array_equal(reports[0][1]["points"], reports[1][1]["points"])


@pytest.mark.system
def test_triangles_bound_every_preview(wire):
    wire.call("open", fit="a", preview={"time": 1, "resolution": 0.4, "triangles": 500})
    wire.send("a", series())
    wire.call("fit", fit="a")
    assert len(wire.previews) == 2 and all(300 < len(arrays["faces"]) <= 500 for _, arrays in wire.previews)


@pytest.mark.system
def test_the_sender_shows_a_surface_of_few_triangles_itself(wire):
    wire.call("open", fit="a", preview={"time": 1, "resolution": 1.5, "triangles": 5000})
    wire.send("a", series())
    assert all(len(surface.faces) <= 5000 for surface in series()) and not wire.previews
    wire.call("fit", fit="a")
    [(params, _)] = wire.previews
    assert params["final"]


@pytest.mark.system
def test_a_resumed_fit_finds_the_surface_from_before(wire):
    wire.call("open", fit="a", source={"object": "a"})
    wire.send("a", series())
    resumed, _ = wire.call("open", fit="a", source={"object": "a"}, resume=True, preview={"time": 3, "resolution": 1.5})
    assert resumed["states"] == [1, 2, 3] and not wire.previews
    wire.call("fit", fit="a")
    assert wire.phases()[0] == "preview" and radius(wire.previews[0][1]) == pytest.approx(7.0, abs=0.15)


@pytest.mark.system
def test_of_a_family_the_first_trajectory_is_shown(wire):
    wire.call("open", fit="both", trajectories=["up", "down"], preview={"time": 3, "resolution": 1.5})
    wire.send("both", series((7.0, 6.0, 5.0)), trajectory="down")
    assert not wire.previews
    wire.send("both", series(), trajectory="up")
    wire.call("fit", fit="both")
    assert len(wire.previews) == 2 and wire.previews[-1][0]["final"]
    assert [radius(arrays) for _, arrays in wire.previews] == pytest.approx([7.0] * len(wire.previews), abs=0.2)


def test_what_keeps_it_from_a_preview_costs_the_fit_nothing(wire):
    wire.call("open", fit="a", preview={"time": 2, "resolution": 0.001})
    wire.send("a", series())
    report, _ = wire.call("fit", fit="a")
    assert report["report"]["states"] == [1, 2, 3] and not wire.previews
    [text] = wire.logged()
    assert text.startswith("fit 'a': there is no preview: resolution 0.001: it must lie between")


def test_a_preview_is_cancelled_with_its_request(wire):
    wire.call("open", fit="a", preview={"time": 1, "resolution": 1.0})
    first = series()[0]
    arrays = {name: getattr(first, name) for name in ("points", "normals", "faces", "atoms")}
    job = wire.job("surface", {"fit": "a", "state": 1}, arrays)
    job.cancel()
    with pytest.raises(Cancelled):
        wire.worker.methods["surface"](job)


@pytest.mark.parametrize(
    ("preview", "words"),
    [
        ({"resolution": 1.0}, "preview: time None: it is not a finite number"),
        ({"time": 1, "resolution": "fine"}, "preview: resolution fine: it is not a finite number"),
        ({"time": 1, "triangles": 0}, "preview: triangles 0: it must be at least 1"),
        ([1], "open needs preview as an object, got [1]"),
    ],
)
def test_bad_requests(wire, preview, words):
    assert words in wire.refused("open", fit="a", preview=preview)


# In the scene


@pytest.fixture
def plugin(peptide, monkeypatch, tmp_path):
    """A PyMOL with the commands, a folder of fits of its own, and the backend of this checkout."""
    register(peptide)
    monkeypatch.setenv("DSR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "backend"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    session_of(peptide).settings.put("backend", f"{sys.executable} -m dsr_backend serve")
    return peptide


@pytest.mark.system
def test_a_fit_that_is_watched_shows_the_state_in_view_until_its_movie_comes(plugin, monkeypatch):
    order = []
    compute = workers.compute_surfaces
    monkeypatch.setattr(
        workers, "compute_surfaces", lambda source, *args: order.extend(source.states) or compute(source, *args)
    )
    plugin.frame(4)
    plugin.translate([0, 0, 30], object="pep")
    dsr_fit("pep", "1-5:2", preset="preview", watch=1, async_=1, _self=plugin)
    fit = session_of(plugin).jobs.fits["pep_dsr"]
    assert fit.preview is not None and fit.preview.options.time == 3, "the fitted state nearest to the one in view"
    wait_for(lambda: "pep_dsr_preview" in plugin.get_names())
    assert fit.phase in (Phase.QUEUED, Phase.SURFACES, Phase.SAMPLING, Phase.FIT), fit.phase
    assert order[0] == 3, "the surface of that state was not made while the backend starts"
    low, high = map(np.array, plugin.get_extent("pep_dsr_preview"))
    atoms = coordinates(plugin, "pep", 3)
    # About a probe and an atom's radius around the atoms.
    assert (np.abs(low - atoms.min(0)) < 3.0).all() and (np.abs(high - atoms.max(0)) < 3.0).all()
    # It is loaded first and put in its place then.
    wait_for(lambda: plugin.get_object_ttt("pep_dsr_preview"))
    assert list(plugin.get_object_ttt("pep_dsr_preview")) == placement.object_ttt("pep", plugin) != placement.IDENTITY
    wait_for(lambda: not fit.activity)
    assert fit.phase is Phase.READY
    assert order == [3, 1, 5], "the surface of that state was not sent first, or computed twice"
    assert all(0 < fraction <= 1 and loss > 0 for fraction, loss in fit.losses)
    dsr_movie("pep_dsr", "1-2", resolution=1, _self=plugin)
    assert plugin.get_names() == ["pep", "pep_dsr"]


@pytest.mark.system
def test_a_script_gets_none_and_a_cancelled_fit_leaves_none(plugin):
    jobs = session_of(plugin).jobs
    dsr_fit("pep", "1-2", preset="preview", async_=1, _self=plugin)
    assert jobs.fits["pep_dsr"].preview is None
    jobs.cancel("pep_dsr")
    dsr_fit("pep", "1+2", name="other", watch=1, async_=1, _self=plugin)
    fit = jobs.fits["other"]
    wait_for(lambda: "other_preview" in plugin.get_names())
    jobs.cancel("other")
    wait_for(lambda: "other_preview" not in plugin.get_names() and not fit.activity)
    assert fit.phase is Phase.CANCELLED and plugin.get_names() == ["pep"]


def entered(cmd, name="a"):
    trajectory = Trajectory("", "pep", "pep", np.arange(cmd.count_atoms("pep")), [1.0, 2.0])
    return Preview(Fit(name, [trajectory]), cmd)


def triangle(shift=0.0, count=3):
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32) + np.float32(shift)
    faces = np.array([[0, 1, 2]], np.int32)[: count // 3]
    normals, nearest = np.ones((3, 3), np.float32), np.zeros(3, np.int32)
    return messages.Preview(fit="a", time=1.0, points=points, normals=normals, faces=faces, nearest=nearest)


def loaded(cmd, name="a_preview"):
    wait_for(lambda: name in cmd.get_names())
    return np.array(cmd.get_extent(name))


def test_only_the_newest_is_loaded(peptide):
    live_preview = entered(peptide)
    for shift in (0.0, 10.0, 20.0):
        live_preview.show_preview(triangle(shift))
    wait_for(lambda: loaded(peptide).max() == pytest.approx(21.0))
    # One that was overtaken on the way comes too late.
    late = triangle(50.0)
    live_preview.show(1, cgo.cgo_floats(mesh_of(late), None))
    assert loaded(peptide).max() == pytest.approx(21.0)
    live_preview.end()
    assert "a_preview" not in peptide.get_names()
    live_preview.show_preview(triangle())
    time.sleep(0.2)
    assert "a_preview" not in peptide.get_names()


@pytest.mark.parametrize("change", ["delete a_preview", "reinitialize"])
def test_one_that_the_user_deletes_does_not_come_back(peptide, change):
    live_preview = entered(peptide)
    live_preview.show_preview(triangle())
    loaded(peptide)
    peptide.do(change)
    live_preview.show(1, cgo.cgo_floats(mesh_of(triangle(5.0)), None))
    assert "a_preview" not in peptide.get_names()


def test_what_has_its_name_stays(peptide):
    peptide.create("a_preview", "pep", 1, 1)
    live_preview = entered(peptide)
    live_preview.show_preview(triangle())
    time.sleep(0.2)
    live_preview.end()
    assert peptide.get_type("a_preview") == "object:molecule"


def test_an_empty_surface_shows_nothing(peptide):
    live_preview = entered(peptide)
    live_preview.show_preview(triangle(count=0))
    time.sleep(0.2)
    assert "a_preview" not in peptide.get_names()


def test_an_earlier_movie_of_the_name_is_switched_off(peptide):
    peptide.load_cgo([0.0], "a", 1)
    peptide.load_cgo([0.0], "a_live", 1)
    live_preview = entered(peptide)
    live_preview.show_preview(triangle())
    loaded(peptide)
    assert "a" not in peptide.get_names(enabled_only=1) and "a_live" not in peptide.get_names()


def test_a_points_atom_is_the_one_with_the_nearest_sphere():
    random = np.random.default_rng(0)
    atoms = (random.normal(size=(300, 3)) * 9.0 + 500.0).astype(np.float32)
    points = (random.normal(size=(2500, 3)) * 9.0 + 500.0).astype(np.float32)
    radii = random.uniform(1.0, 2.0, 300).astype(np.float32)
    distances = np.linalg.norm(points[:, None].astype(float) - atoms, axis=2)
    for gaps, known in ((distances, None), (distances - radii, radii)):
        nearest = nearest_spheres(points, atoms, known)
        assert nearest.dtype == np.int32
        np.testing.assert_allclose(gaps[np.arange(2500), nearest], gaps.min(1), atol=2e-4)


def test_unfinished_surfaces_have_the_atoms_colours():
    colors = np.eye(3, dtype=np.float32)
    points = np.zeros((2, 3), np.float32)
    mesh = Mesh(points, points, np.zeros((0, 3), np.int32))
    result = mesh_result(mesh, nearest=np.array([2, 0], np.int32))
    np.testing.assert_array_equal(vertex_colors(result, colors), [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_allclose(vertex_colors(result, None), np.full((2, 3), 0.8))
