"""Several trajectories in one fit: over the wire, in files and on the command line, for both kinds of field."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dsr_backend.cli import main
from dsr_backend.fields.base import Family
from dsr_backend.fields.paper import PaperField
from dsr_backend.fitting.config import PRESETS, PaperPreset, Preset
from dsr_backend.results import dsr_file, dsr_format
from dsr_backend.runtime.errors import Cancelled
from dsr_backend.surfaces import surfaces_file
from dsr_backend.surfaces.surface import Surface

from support.shapes import ball, cloud
from support.wire import Wire

# Radii in Å at states 1, 2 and 3.
GROWING, SHRINKING, THIRD = (5.0, 5.5, 6.0), (8.0, 7.5, 7.0), (6.0, 6.5, 7.0)
# Both kinds of field, small and short: balls need no more.
SMALL = {
    "preview": Preset(spacing=1.4, density=4.0),
    "paper": PaperPreset(width=64, layers=4, latent=8, points=256, steps=300, rate=5e-3, latent_rate=5e-3, halvings=5),
}
KINDS = list(SMALL)


def balls(radii: tuple[float, ...], atoms: int = 30, centre: tuple[float, float, float] = (0, 0, 0)) -> list[Surface]:
    shell = cloud(atoms, 3.0)
    return [
        ball(state, radius, centre, shell * radius / 6.0 + np.asarray(centre), subdivisions=3)
        for state, radius in enumerate(radii, 1)
    ]


def radius_of(volume: float) -> float:
    return float((0.75 * volume / np.pi) ** (1 / 3))


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, preset in SMALL.items():
            patch.setitem(PRESETS, name, preset)
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    return tmp_path / "fits"


SOURCE = {"trajectories": {"up": {"object": "a"}, "down.2": {"object": "b"}}}


def opened(wire: Wire, preset: str, **options: Any) -> dict[str, Any]:
    result, _ = wire.call(
        "open", fit="both", config={"preset": preset}, source=SOURCE, trajectories=["up", "down.2"], **options
    )
    return dict(result)


@pytest.fixture(scope="module", params=KINDS)
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wire, Any, str]]:
    """A family `both` of a ball that grows and one that shrinks, and its report; the same for all that only look."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSR_HOME", str(tmp_path_factory.mktemp("home")))
        wire = Wire()
        assert opened(wire, request.param)["states"] == {"up": [], "down.2": []}
        up, down = balls(GROWING), balls(SHRINKING)
        # In any order.
        wire.send("both", down[1:], trajectory="down.2")
        wire.send("both", up, trajectory="up")
        wire.send("both", down[:1], trajectory="down.2")
        result, _ = wire.call("fit", fit="both")
        yield wire, result["report"], request.param


def digest(wire: Wire) -> str:
    """Digest of all that is in the family's file; the order of texts in its header is any."""
    return str(dsr_format.read_metadata(wire.call("save", fit="both")[1]["file"].tobytes())["digest"])


def radius(wire: Wire, time: float, **target: Any) -> float:
    result, _ = wire.call("mesh", **{"fit": "both", "time": time, "resolution": 0.7, **target})
    return radius_of(result["volume"])


# Over the wire


@pytest.mark.system
def test_a_family_has_a_report_of_each_trajectory(fitted: tuple[Wire, Any, str]) -> None:
    wire, report, preset = fitted
    assert list(report["trajectories"]) == ["up", "down.2"]
    assert all(entry["states"] == [1, 2, 3] and entry["atoms"] == 30 for entry in report["trajectories"].values())
    assert report["preset"] == preset and report["source"] == SOURCE
    assert Path(report["path"]).is_file() and not Path(report["path"]).with_suffix(".surfaces").exists()
    assert wire.worker.status()["both"].phase == "ready"
    assert {"up", "down.2"}.isdisjoint(report)


def test_each_trajectory_has_its_own_surface(fitted: tuple[Wire, Any, str]) -> None:
    wire, _, _ = fitted
    for state in (1, 2, 3):
        assert radius(wire, state, trajectory="up") == pytest.approx(GROWING[state - 1], abs=0.15)
        assert radius(wire, state, trajectory="down.2") == pytest.approx(SHRINKING[state - 1], abs=0.15)


def test_the_way_between_two_trajectories(fitted: tuple[Wire, Any, str]) -> None:
    wire, _, _ = fitted
    start, end = ({"trajectory": "up", "towards": "down.2", "share": fraction} for fraction in (0, 1))
    assert radius(wire, 1, **start) == pytest.approx(radius(wire, 1, trajectory="up"), abs=1e-3)
    assert radius(wire, 1, **end) == pytest.approx(radius(wire, 1, trajectory="down.2"), abs=0.05)
    half = {"trajectory": "up", "towards": "down.2", "share": 0.5}
    assert GROWING[0] + 0.3 < radius(wire, 1, **half) < SHRINKING[0] - 0.3
    # The same is asked of another family, with the names the other way round.
    known = wire.worker.state.get("both")
    assert isinstance(known, Family)
    turned = Family({"up": known.member("down.2"), "down.2": known.member("up")}, known.report)
    wire.worker.state.fitted.put("turned", turned)
    near = {"trajectory": "up", "towards": "down.2", "share": 0.25}
    assert radius(wire, 1, **near) < radius(wire, 1, fit="turned", **near) - 0.5


@pytest.mark.system
def test_every_result_takes_a_trajectory(fitted: tuple[Wire, Any, str]) -> None:
    wire, _, _ = fitted
    target = {"fit": "both", "trajectory": "down.2"}
    truth = balls(SHRINKING)[1]
    arrays = {f"truth_{name}": getattr(truth, name) for name in ("points", "normals", "faces")}
    scores, _ = wire.call("compare", arrays, time=2, **target)
    assert scores["iou"] > 0.9
    _, grid = wire.call("grid", time=2, resolution=1.0, **target)
    # Å³ inside, since the nodes are 1 Å apart.
    assert radius_of((grid["values"] < 0).sum()) == pytest.approx(SHRINKING[1], abs=0.15)
    _, out = wire.call("export", time=2, resolution=1.0, format="npz", **target)
    assert out["file"].tobytes().startswith(b"PK")
    at_other_end = {**target, "towards": "up", "share": 1.0}
    assert wire.call("compare", arrays, time=2, **at_other_end)[0]["iou"] < 0.6


def test_a_family_comes_back_from_its_file(fitted: tuple[Wire, Any, str]) -> None:
    wire, report, _ = fitted
    expected = radius(wire, 2.5, trajectory="up")
    second_wire = Wire()
    assert radius(second_wire, 2.5, trajectory="up") == pytest.approx(expected, abs=1e-6)
    loaded, _ = second_wire.call("load", wire.call("save", fit="both")[1], fit="copy")
    assert {**loaded["report"], "path": report["path"]} == json.loads(json.dumps(report))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({}, "this fit is a family: name a trajectory, one of up, down.2"),
        ({"trajectory": "left"}, "there is no trajectory 'left' in this family (there: up, down.2)"),
        ({"trajectory": 3}, "needs trajectory as a text, got 3"),
        ({"towards": "up", "share": 0.5}, "name a trajectory"),
        ({"trajectory": "up", "towards": "down.2"}, "towards down.2: give share= too, from 0 (up) to 1 (down.2)"),
        ({"trajectory": "up", "share": 0.5}, "share 0.5: it says how far towards another trajectory"),
        ({"trajectory": "up", "towards": "left", "share": 0.5}, "there is no trajectory 'left'"),
        ({"trajectory": "up", "towards": "down.2", "share": 1.5}, "share 1.5: it must lie between 0 and 1"),
        ({"trajectory": "up", "towards": "down.2", "share": "x"}, "needs share as a finite number, got 'x'"),
        ({"trajectory": "up", "towards": "down.2", "share": True}, "needs share as a finite number, got True"),
    ],
)
def test_what_cannot_be_asked_of_a_family(fitted: tuple[Wire, Any, str], target: dict[str, Any], words: str) -> None:
    for method, options in (("mesh", {}), ("grid", {}), ("export", {"format": "ply"})):
        assert words in fitted[0].refused(method, fit="both", time=1, **options, **target)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"trajectories": []}, "open needs trajectories as a list of names, got []"),
        ({"trajectories": "up"}, "open needs trajectories as a list of names"),
        ({"trajectories": ["up", "../x"]}, "a trajectory can't be named '../x': use 1 to 80 letters"),
        ({"trajectories": ["up", 3]}, "a trajectory can't be named '3'"),
        ({"trajectories": ["up", "up"]}, "two trajectories have one name among up, up"),
        ({"frozen": True}, "frozen keeps the network of a family: name the family too"),
        ({"family": "both", "frozen": 1}, "open needs frozen as true or false, got 1"),
        ({"family": "both", "trajectories": ["a", "b"]}, "a known family takes one new trajectory at a time"),
        ({"family": "../x"}, "a fit can't be named '../x'"),
        ({"family": "new"}, "fit 'new' would replace the family it starts from"),
        ({"family": "both", "config": {"preset": "fast"}}, "and this fit fast: fit with preset="),
    ],
)
def test_what_cannot_be_opened(fitted: tuple[Wire, Any, str], params: dict[str, Any], words: str) -> None:
    assert words in fitted[0].refused("open", fit="new", **params)


def test_surfaces_name_their_trajectory(home: Path) -> None:
    wire = Wire()
    opened(wire, "preview")
    [surface] = balls((5.0,))
    arrays = {name: getattr(surface, name) for name in ("points", "normals", "faces", "atoms")}
    words = "surface needs trajectory as one of up, down.2, got"
    assert f"{words} 'None'" in wire.refused("surface", arrays, fit="both", state=1)
    assert f"{words} 'left'" in wire.refused("surface", arrays, fit="both", state=1, trajectory="left")
    wire.call("surface", arrays, fit="both", state=1, trajectory="up")
    assert "there are no surfaces of down.2: send them" in wire.refused("fit", fit="both")
    fewer_atoms = {**arrays, "atoms": arrays["atoms"][1:]}
    message = wire.refused("surface", fewer_atoms, fit="both", state=2, trajectory="up")
    assert message == "state 2 has 29 atoms, state 1 has 30: give each molecule a trajectory of its own"
    wire.call("surface", fewer_atoms, fit="both", state=1, trajectory="down.2")
    wire.call("open", fit="one")
    assert "leave trajectory out" in wire.refused("surface", arrays, fit="one", state=1, trajectory="up")


def test_a_plain_fit_takes_no_trajectory(home: Path) -> None:
    wire = Wire()
    wire.call("open", fit="both", config={"preset": "preview"})
    wire.send("both", balls(GROWING))
    report = wire.call("fit", fit="both")[0]["report"]
    assert "trajectories" not in report
    for target in ({"trajectory": "up"}, {"towards": "up", "share": 0.5}):
        assert "this fit is of one trajectory: leave trajectory, towards and share out" in wire.refused(
            "mesh", fit="both", time=1, **target
        )
    assert "fit 'both' is of one trajectory and no family" in wire.refused(
        "open", fit="new", family="both", config={"preset": "preview"}
    )


@pytest.mark.system
@pytest.mark.parametrize("frozen", [False, True])
def test_a_new_trajectory_of_a_known_family(fitted: tuple[Wire, Any, str], frozen: bool) -> None:
    wire, _, preset = fitted
    before = digest(wire)
    source = {"object": "c"}
    assert wire.call("open", fit="third", config={"preset": preset}, family="both", frozen=frozen, source=source)[
        0
    ] == {"states": []}
    wire.send("third", balls(THIRD))
    report = wire.call("fit", fit="third")[0]["report"]
    assert report["states"] == [1, 2, 3] and report["source"] == source and "trajectories" not in report
    result, _ = wire.call("mesh", fit="third", time=2, resolution=0.7)
    assert radius_of(result["volume"]) == pytest.approx(THIRD[1], abs=0.5 if frozen else 0.25)
    assert digest(wire) == before
    family = wire.worker.state.get("both")
    assert isinstance(family, Family)
    fields = wire.worker.state.get("third"), family.member("up")
    if preset == "paper":
        member_state, shared = (field.network.state_dict() for field in fields if isinstance(field, PaperField))
        assert all(np.array_equal(member_state[name], shared[name]) for name in member_state) == frozen


# Surfaces that wait


@pytest.mark.system
def test_a_family_that_was_interrupted_goes_on_from_its_surfaces(home: Path) -> None:
    wire = Wire()
    opened(wire, "preview")
    wire.send("both", balls(GROWING), trajectory="up")
    wire.send("both", balls(SHRINKING)[:1], trajectory="down.2")
    # The process is gone.
    wire = wire.restarted()
    assert opened(wire, "preview", resume=True)["states"] == {"up": [1, 2, 3], "down.2": [1]}
    wire.send("both", balls(SHRINKING)[1:], trajectory="down.2")
    job = wire.job("fit", {"fit": "both"})
    job.cancel()
    with pytest.raises(Cancelled):
        wire.worker.methods["fit"](job)
    wire = wire.restarted()
    assert opened(wire, "preview", resume=True)["states"] == {"up": [1, 2, 3], "down.2": [1, 2, 3]}
    resumed = wire.call("fit", fit="both")[0]["report"]
    assert sorted(os.listdir(home)) == ["both.dsr"]
    wire.call("open", fit="straight", config={"preset": "preview"}, trajectories=["up", "down.2"])
    wire.send("straight", balls(GROWING), trajectory="up")
    wire.send("straight", balls(SHRINKING), trajectory="down.2")
    assert wire.call("fit", fit="straight")[0]["report"]["loss"] == resumed["loss"]


def test_surfaces_of_something_else_are_not_taken_up(home: Path) -> None:
    wire = Wire()
    opened(wire, "preview")
    wire.send("both", balls(GROWING), trajectory="up")
    wire.call("open", fit="both", source=SOURCE, resume=True)
    assert "it begins anew: the surfaces in" in wire.logged()[-1] and "other atoms or settings" in wire.logged()[-1]
    assert not list((home / "both.surfaces").rglob("*.safetensors"))
    opened(wire, "preview")
    wire.send("both", balls(GROWING), trajectory="up")
    # Without `resume` what is there is forgotten.
    assert opened(wire, "preview")["states"] == {"up": [], "down.2": []}
    assert not list((home / "both.surfaces").rglob("*.safetensors"))
    wire.call("open", fit="never", resume=True)
    assert "it left no surfaces to go on from" in wire.logged()[-1]


def test_a_damaged_surface_is_asked_for_again(home: Path) -> None:
    wire = Wire()
    opened(wire, "preview")
    wire.send("both", balls(GROWING), trajectory="up")
    path = sorted((home / "both.surfaces").rglob("*.safetensors"))[1]
    path.write_bytes(path.read_bytes()[:1000])
    wire = wire.restarted()
    assert opened(wire, "preview", resume=True)["states"] == {"up": [1, 3], "down.2": []}
    assert "a surface of before is made again: " in wire.logged()[-1] and str(path) in wire.logged()[-1]


def test_waiting_surfaces_take_disk_and_no_memory(home: Path) -> None:
    wire = Wire()
    wire.call("open", fit="long")
    [surface] = balls((5.0,))
    series = [Surface(state, surface.points, surface.normals, surface.faces) for state in range(1, 101)]
    wire.send("long", series[:2])
    tracemalloc.start()
    try:
        wire.send("long", series[2:])
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    size = surface.points.nbytes + surface.normals.nbytes + surface.faces.nbytes
    # One surface takes so much while its samples are drawn; it is less than half of all.
    assert grown < 45 * size
    assert len(list((home / "long.surfaces").rglob("*.safetensors"))) == 100


@pytest.mark.system
def test_surfaces_stay_in_memory_where_the_folder_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DSR_HOME", str(tmp_path / "file"))
    wire = Wire()
    opened(wire, "preview", resume=True)
    wire.send("both", balls(GROWING), trajectory="up")
    wire.send("both", balls(SHRINKING), trajectory="down.2")
    assert sum("it can't be resumed should it be interrupted" in text for text in wire.logged()) == 1
    assert wire.call("fit", fit="both")[0]["report"]["path"] is None
    assert radius(wire, 2, trajectory="up") == pytest.approx(GROWING[1], abs=0.15)


# On the command line


@pytest.fixture
def run_here(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[str, list[str]]]:
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def run(*words: Any, code: int = 0) -> tuple[str, list[str]]:
        exit_code = main.main([*map(str, words)])
        out, err = capfd.readouterr()
        assert exit_code == code, err
        return out, err.splitlines()

    return run


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "more").mkdir()
    for name, radii in (("up", GROWING), ("down.2", SHRINKING), ("third", THIRD), ("more/up", THIRD), ("a b", THIRD)):
        surfaces_file.write_surfaces_file(folder / f"{name}.safetensors", balls(radii), {"source": {"object": name}})
    return folder


@pytest.mark.system
@pytest.mark.parametrize("preset", KINDS)
def test_files_become_a_family_and_a_new_member(preset: str, run_here: Any, files: Path, tmp_path: Path) -> None:
    family, third = tmp_path / "family.dsr", tmp_path / "third.dsr"
    out, _ = run_here("fit", files / "up.safetensors", files / "down.2.safetensors", "--preset", preset, "-o", family)
    assert out.startswith(f"{family}: up, down.2, 6 states in all, fitted in ")
    before = family.read_bytes()
    # The family's preset is that of its new member.
    out, _ = run_here("fit", files / "third.safetensors", "--family", family, "--frozen", "-o", third)
    assert out.startswith(f"{third}: states 1-3 fitted in ") and family.read_bytes() == before

    def area(*words: Any) -> float:
        line, _ = run_here("mesh", *words, "--time", "2", "--resolution", "0.7", "-o", tmp_path / "m.ply")
        return float(line.split("area ")[1].split()[0])

    up, down = (area(family, "--trajectory", name) for name in ("up", "down.2"))
    between = area(family, "--trajectory", "up", "--towards", "down.2", "--share", "0.5")
    for measured, radius in ((up, GROWING[1]), (down, SHRINKING[1])):
        assert measured == pytest.approx(4 * np.pi * radius**2, rel=0.06)
    assert up * 1.1 < between < down * 0.95
    assert area(third) == pytest.approx(4 * np.pi * THIRD[1] ** 2, rel=0.15)

    out, _ = run_here(
        "export", family, "--trajectory", "up", "--times", "1-3", "--resolution", "1", "-o", tmp_path / "e.ply"
    )
    assert "the last of 3 files" in out
    scores, _ = run_here("eval", family, files / "up.safetensors", "--trajectory", "up", "--states", "2")
    assert float(scores.split("\n\n")[1].split()[3]) > 0.9

    for words, message in (
        ((), "family.dsr: this fit is a family: name a trajectory, one of up, down.2"),
        (("--trajectory", "left"), "there is no trajectory 'left' in this family (there: up, down.2)"),
        (("--trajectory", "up", "--share", "0.5"), "how far towards another trajectory; give --towards too"),
        (("--trajectory", "up", "--towards", "down.2", "--share", "2"), "--share 2: it must lie between 0 and 1"),
    ):
        out, lines = run_here("mesh", family, *words, "--time", "1", "-o", tmp_path / "m.ply", code=2)
        assert out == "" and len(lines) == 1 and message in lines[0]
    other_preset = "fast" if preset == "paper" else "paper"
    _, lines = run_here(
        "fit", files / "third.safetensors", "--family", family, "--preset", other_preset, "-o", third, code=2
    )
    assert f"fitted with preset {preset}" in lines[-1] and f"--preset {preset}" in lines[-1]


def test_sources_are_kept_by_trajectory(run_here: Any, files: Path, tmp_path: Path) -> None:
    run_here(
        "fit",
        files / "up.safetensors",
        files / "down.2.safetensors",
        "--states",
        "1+3",
        "--preset",
        "preview",
        "-o",
        tmp_path / "f.dsr",
    )
    report = dsr_file.load(tmp_path / "f.dsr").report
    assert report["source"] == {"trajectories": {"up": {"object": "up"}, "down.2": {"object": "down.2"}}}
    assert all(entry["states"] == [1, 3] for entry in report["trajectories"].values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "up.safetensors more/up.safetensors",
            "up.safetensors and more/up.safetensors are both named up: rename one of them",
        ),
        ("up.safetensors up.safetensors", "are both named up"),
        (
            "up.safetensors down.2.safetensors --family f.dsr",
            "--family takes one new trajectory at a time, got up, down.2",
        ),
        ("third.safetensors --family none.dsr", "none.dsr: there is no such file"),
        ("third.safetensors --family up.safetensors", "up.safetensors: this safetensors file holds no field"),
        ("up.safetensors down.2.safetensors --states 1-4", "states 1-4: up.safetensors holds the states 1-3, not 4"),
        (
            "up.safetensors down.2.safetensors --selection all",
            "--selection, --set or --unwrap goes with a topology only",
        ),
    ],
)
def test_files_that_make_no_family(words: str, message: str, run_here: Any, files: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(files)
    out, lines = run_here("fit", *words.split(), "-o", "x.dsr", code=2)
    assert out == "" and len(lines) == 1 and message in lines[0]
    assert not (files / "x.dsr").exists()


def test_a_file_whose_name_is_no_name(run_here: Any, files: Path) -> None:
    _, lines = run_here("fit", files / "up.safetensors", files / "a b.safetensors", "-o", files / "x.dsr", code=2)
    assert "a b.safetensors: a trajectory can't be named 'a b': use 1 to 80 letters, digits and _ . + -" in lines[0]
