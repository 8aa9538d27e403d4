"""Golden checks: files, frames, help texts and the package stay what they were when they were recorded.

The records are in `golden/`. A change that is meant is recorded anew, and its difference reviewed in git:

    DSR_RECORD_GOLDEN=1 python -m pytest -n 0 tests/system/test_golden.py

That writes fits.json, wire.json, commands.json and help/, and skips what it has written. The three files of version
0.2.0 (pep.npz, pep.dsr, pep.pse) must be read by every later version: they are written only where one is missing.

Numbers of a fit differ in their last digits from one kind of machine to another. Its exact digest is therefore recorded
by kind of machine, compared where that kind is on record and skipped elsewhere; figures with tolerances are always
compared. The frames and the `.dsr` files are read here with the standard library and numpy alone, so that these checks
do not depend on where the code that writes them lives.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import inspect
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from support.paths import ROOT
from support.waiting import PATIENCE

VERSION = json.loads((ROOT / "plugin_manifest.json").read_text())["version"]
GOLDEN = Path(__file__).resolve().parent / "golden"
RECORDING = bool(os.environ.get("DSR_RECORD_GOLDEN"))
BACKEND = [sys.executable, "-m", "dsr_backend"]
COMPANIONS = ("pep.npz", "pep.dsr", "pep.pse")

torch = pytest.importorskip("torch")


def recorded(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def record(name: str, content: Any) -> None:
    """Write a record and skip the test, which would compare it with itself."""
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
    (GOLDEN / name).write_text(text + "\n", encoding="utf-8")
    pytest.skip(f"{name} is recorded")


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """One thread, a home of its own, and this checkout in child processes."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "backend")]))
    monkeypatch.setenv("DSR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


# Fits ---------------------------------------------------------------------------------------------------------


def machine() -> str:
    """The kind of machine: what decides the last digits of a fit."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    # Generations of processors share a name.
    lines = (re.search(rf"^{key}\s*: (.*)$", text, re.MULTILINE) for key in ("model name", "cpu family", "model"))
    fields = [
        platform.machine(),
        " ".join(line.group(1).strip() for line in lines if line) or platform.processor(),
        torch.backends.cpu.get_cpu_capability(),
        f"torch {torch.__version__}",
        f"numpy {np.__version__}",
        f"{torch.get_num_threads()} threads",
    ]
    # Overrides of the kernels are another kind of machine.
    fields += [f"{key}={os.environ[key]}" for key in ("ATEN_CPU_CAPABILITY", "OPENBLAS_CORETYPE") if key in os.environ]
    return ", ".join(fields)


def balls(radii, step, atoms=20, states=None):
    """Balls of these radii in Å that move by `step` Å a state, with atoms inside."""
    from support.shapes import ball, cloud

    shell = cloud(atoms, 3.0) if atoms else None
    surfaces = []
    for k, radius in enumerate(radii):
        state = k + 1 if states is None else states[k]
        centre = np.asarray(step, float) * state
        inside = None if shell is None else shell * radius / 4.5 + centre
        surfaces.append(ball(state, radius, centre, inside, subdivisions=2))
    return surfaces


def ellipsoids(count):
    """Ellipsoids that grow longer along x by 0.4 Å a state; no atoms are known."""
    from support.shapes import ball

    surfaces = []
    for surface in (ball(state, 1.0, subdivisions=2) for state in range(1, count + 1)):
        axes = np.array([3.5 + 0.4 * surface.state, 4.0, 3.0])
        normals = surface.points / axes
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        surfaces.append(replace(surface, points=surface.points * axes, normals=normals))
    return surfaces


def quick_presets():
    """The presets with a tenth of their work."""
    from dsr_backend.fitting.config import PRESETS

    less = {"density": 4.0}
    small = {"width": 32, "layers": 4, "latent": 4, "states": 2, "points": 128, "cpu_points": 32, "steps": 12}
    return {
        "fast": replace(PRESETS["fast"], **less),
        "fine": replace(PRESETS["fine"], **less),
        "preview": replace(PRESETS["preview"], **less),
        "paper": replace(PRESETS["paper"], **small),
    }


@functools.cache
def fits() -> dict[str, Any]:
    """Small fits by name, one for each kind that there is."""
    from dsr_backend.fitting import run
    from dsr_backend.fitting.config import PRESETS

    from pymol_dsr.shared.options import FitOptions

    def config(preset, **kwargs):
        return FitOptions(preset=preset, device="cpu", seed=7, **kwargs)

    moving = balls((4.0, 4.2, 4.4, 4.6), (0.6, 0.2, 0.0))
    with mock.patch.dict(PRESETS, quick_presets()):
        fitted: dict[str, Any] = {
            "fast": run.fit_trajectory(balls((4.0, 4.1, 4.3, 4.2, 4.4, 4.5, 4.4), (0.6, 0.2, 0.0)), config("fast")),
            "fast, no atoms, smooth given": run.fit_trajectory(ellipsoids(4), config("fast", smooth=0.5)),
            "fast, not aligned": run.fit_trajectory(moving, config("fast", align=False)),
            "fast, loop": run.fit_trajectory(balls((4.0, 4.4, 4.8, 4.4), (0, 0, 0)), config("fast", loop=True)),
            "fast, uneven times": run.fit_trajectory(moving, config("fast", times=(0.0, 1.0, 3.0, 7.5))),
            "fine": run.fit_trajectory(moving, config("fine")),
            "preview": run.fit_trajectory(moving, config("preview")),
            "preview, every second state": run.fit_trajectory(
                balls((4.0, 4.2, 4.4), (0.3, 0.0, 0.0), states=(1, 3, 5)), config("preview")
            ),
            "paper": run.fit_trajectory(moving, config("paper")),
        }
        for preset in ("preview", "paper"):
            pair = {"grows": moving[:3], "shrinks": balls((4.6, 4.3, 4.0), (0.0, 0.3, 0.0))}
            family = run.fit_family(pair, config(preset))
            third = balls((4.2, 4.4), (0.0, 0.0, 0.5))
            fitted[f"{preset}, family"], fitted[f"{preset}, member"] = (
                family,
                run.fit_member(family, third, config(preset)),
            )
            if preset == "preview":
                fitted["preview, frozen member"] = run.fit_member(family, third, config(preset), frozen=True)
    return fitted


@functools.cache
def contents() -> dict[str, tuple[dict[str, Any], dict[str, np.ndarray], dict[str, str]]]:
    from dsr_backend.results import dsr_file

    return {name: read_dsr(dsr_file.to_bytes(fitted)) for name, fitted in fits().items()}


def read_dsr(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, str]]:
    """Description of the field in a `.dsr` file, its tensors as they are written, and its other texts."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    texts = header.pop("__metadata__")
    dtypes = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1"}
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[begin:end], dtypes[entry["dtype"]]).reshape(entry["shape"])
    return json.loads(texts.pop("field")), tensors, texts


def decoded(description: dict[str, Any], tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors, the packed ones unpacked."""
    values = dict(tensors)
    members = description.get("members")
    for prefix, entry in (
        {f"{name}/": entry for name, entry in members.items()}.items() if members else [("", description)]
    ):
        for name, coding in entry["coded"].items():
            values[prefix + name] = unpacked(tensors[prefix + name], coding)
    return values


def unpacked(data: np.ndarray, coding: dict[str, Any]) -> np.ndarray:
    """Values f4: deflated planes of bytes, of folded differences of whole steps or of ordered bits."""
    planes = np.frombuffer(zlib.decompress(data.tobytes()), np.uint8).reshape(4, -1)
    folded = np.ascontiguousarray(planes.T).view("<u4").reshape(coding["shape"])
    integers = (folded >> np.uint32(1)).astype(np.int32) ^ -(folded & np.uint32(1)).astype(np.int32)
    for axis in coding["axes"]:
        np.cumsum(integers, axis=axis, dtype=np.int32, out=integers)
    if coding["step"] is not None:
        return integers.astype(np.float32) * np.float32(coding["step"])
    bits = integers ^ ((integers >> np.int32(31)) & np.int32(0x7FFFFFFF >> coding["shift"]))
    return (bits << np.int32(coding["shift"])).view(np.float32)


def without_clock(value: Any) -> Any:
    """The value without the figures that differ from run to run or with the number of cores."""
    if isinstance(value, dict):
        return {
            key: type(item).__name__ if key in ("seconds", "threads") else without_clock(item)
            for key, item in value.items()
        }
    return [without_clock(item) for item in value] if isinstance(value, list) else value


def exact_digest(name: str) -> str:
    description, tensors, texts = contents()[name]
    digest = hashlib.sha256(texts["format"].encode())
    digest.update(json.dumps(without_clock(description), sort_keys=True).encode())
    for key in sorted(tensors):
        digest.update(f"{key} {tensors[key].dtype.str} {tensors[key].shape}".encode())
        digest.update(tensors[key].tobytes())
    return digest.hexdigest()


def tensor_figures(name: str) -> dict[str, Any]:
    description, tensors, _ = contents()[name]
    values = decoded(description, tensors)
    return {
        key: {
            "written as": tensors[key].dtype.str,
            "shape": list(values[key].shape),
            "mean": float(values[key].astype(float).mean()) if values[key].size else 0.0,
            "abs sum": float(np.abs(values[key].astype(float)).sum()),
        }
        for key in sorted(tensors)
    }


def distances(name: str) -> dict[str, list[float]]:
    """f in Å at 50 points, at a state, between two and past the last one, of a fit or each of its trajectories."""
    from dsr_backend.fields.select import field_between

    fitted = fits()[name]
    # Between two trajectories as well.
    fields = dict(getattr(fitted, "members", {"": fitted}))
    if len(fields) == 2:
        first, second = fields
        fields["half way"] = field_between(fitted, first, second, 0.5)
    points = torch.tensor(np.random.default_rng(3).uniform(-5.5, 5.5, (50, 3)), dtype=torch.float32)
    values = {}
    for member, field in fields.items():
        for moment in (1.0, 1.5, field.time_range[1] + 0.5):
            values[f"{member} {moment}"] = [round(float(d), 5) for d in field.at(moment).distance(points)]
    return values


def figures(name: str) -> dict[str, Any]:
    description, _, texts = contents()[name]
    return {
        "texts": {key: value if key == "format" else len(value) for key, value in texts.items()},
        "about": without_clock(description),
        "tensors": tensor_figures(name),
        "distances": distances(name),
    }


def assert_close(actual: Any, golden: Any, path: str) -> None:
    """Same keys, types and texts; numbers to 1e-3 of their size."""
    if isinstance(golden, dict):
        assert isinstance(actual, dict) and list(sorted(actual)) == list(sorted(golden)), path
        for key in golden:
            assert_close(actual[key], golden[key], f"{path}.{key}")
    elif isinstance(golden, list):
        assert isinstance(actual, list) and len(actual) == len(golden), path
        for k, (item, golden_item) in enumerate(zip(actual, golden, strict=True)):
            assert_close(item, golden_item, f"{path}[{k}]")
    elif isinstance(golden, float):
        assert isinstance(actual, float) and actual == pytest.approx(golden, rel=1e-3, abs=1e-4), path
    else:
        assert (type(actual), actual) == (type(golden), golden), path


NAMES = (
    "fast",
    "fast, no atoms, smooth given",
    "fast, not aligned",
    "fast, loop",
    "fast, uneven times",
    "fine",
    "preview",
    "preview, every second state",
    "preview, family",
    "preview, member",
    "preview, frozen member",
    "paper",
    "paper, family",
    "paper, member",
)


# Adam leaves these apart by up to a third after a tenth of the training, between the plain kernels of torch and those
# of AVX-512, while the distances differ by 0.005 Å at most: only their shapes are held, and the distances.
TRAINED = ("decoder.", "static", "latent")


def without_packing(value: Any) -> Any:
    """The value without what packs the trained tensors, which goes by their bits."""
    if not isinstance(value, dict):
        return value
    return {key: {"shape": item["shape"]} if key == "static" else without_packing(item) for key, item in value.items()}


def test_fits_are_recorded():
    """Also the numbers behind the presets, which a user gets who asks for none."""
    from dsr_backend.fitting.config import PRESETS

    from pymol_dsr.shared.options import FitOptions

    presets = {name: asdict(preset) for name, preset in PRESETS.items()}
    defaults = asdict(FitOptions())
    if RECORDING:
        path = GOLDEN / "fits.json"
        digests = recorded("fits.json")["digests"] if path.exists() else {}
        digests[machine()] = {name: exact_digest(name) for name in NAMES}
        record(
            "fits.json",
            {
                "presets": presets,
                "defaults": defaults,
                "digests": digests,
                "figures": {name: figures(name) for name in NAMES},
            },
        )
    golden = recorded("fits.json")
    assert (presets, defaults) == (golden["presets"], golden["defaults"])
    assert sorted(golden["figures"]) == sorted(fits()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_has_the_recorded_figures(name):
    actual, golden = json.loads(json.dumps(figures(name))), recorded("fits.json")["figures"][name]
    assert actual["texts"] == golden["texts"]
    assert_close(without_packing(actual["about"]), without_packing(golden["about"]), "about")
    assert sorted(actual["tensors"]) == sorted(golden["tensors"])
    for key, tensor in golden["tensors"].items():
        actual_tensor = actual["tensors"][key]
        assert [actual_tensor["written as"], actual_tensor["shape"]] == [tensor["written as"], tensor["shape"]], key
        if key.split("/")[-1].startswith(TRAINED):
            continue
        # A mean of values of both signs may be next to nothing: it is held against their size.
        size = tensor["abs sum"] / max(1, np.prod(tensor["shape"]))
        assert actual_tensor["mean"] == pytest.approx(tensor["mean"], abs=5e-3 * size), key
        assert actual_tensor["abs sum"] == pytest.approx(tensor["abs sum"], rel=1e-3), key
    assert sorted(actual["distances"]) == sorted(golden["distances"])
    for key, values in golden["distances"].items():
        assert actual["distances"][key] == pytest.approx(values, rel=0, abs=1e-2), key


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_is_the_recorded_one_to_the_bit(name):
    digests = recorded("fits.json")["digests"]
    if machine() not in digests:
        pytest.skip(f"no digests of this kind of machine are on record: {machine()}")
    assert exact_digest(name) == digests[machine()][name]


# Files of version 0.2.0 -----------------------------------------------------------------------------------------

MAKE_FILES = """
import os, sys
from pymol import cmd
import numpy as np
cmd.fab("AG", "pep", ss=1)
cmd.create("pep", "pep", 1, 2)
cmd.translate([0.5, 0.3, 0], "pep and resi 2", 2, camera=0)
cmd.do("dsr_set backend, " + sys.executable + " -m dsr_backend serve")
cmd.do("dsr_surfaces pep, pep.npz, states=1-2")
cmd.do("dsr_fit pep, 1-2, name=pep_dsr, preset=preview, device=cpu, seed=1, watch=0")
cmd.do("dsr_save pep_dsr, pep.dsr")
cmd.do("dsr_movie pep_dsr, 1-2:0.5, triangles=400, overlay=1")
cmd.save("pep.pse")
"""


def in_pymol(folder: Path, script: str, plugin: bool = True) -> str:
    """Output of a script in a headless PyMOL of its own."""
    (folder / "script.py").write_text(("import pymol_dsr\n" if plugin else "") + script)
    process = subprocess.run(
        [sys.executable, "-m", "pymol", "-cqk", "script.py"],
        cwd=folder,
        env=dict(os.environ, HOME=str(folder)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert process.returncode == 0 and not process.stderr.strip(), process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def files():
    """The folder of the three files; they are written where one is missing and records are made."""
    if RECORDING and not all((GOLDEN / name).exists() for name in COMPANIONS):
        folder = Path("/tmp/dsr-golden")
        folder.mkdir(exist_ok=True)
        with mock.patch.dict(os.environ, DSR_HOME=str(folder)):
            print(in_pymol(folder, MAKE_FILES))
        for name in COMPANIONS:
            (GOLDEN / name).write_bytes((folder / name).read_bytes())
        # The session names a file that is not there.
        shutil.rmtree(folder)
    return GOLDEN


def test_a_surfaces_file_of_0_2_0_is_read(files, tmp_path):
    with np.load(files / "pep.npz", allow_pickle=False) as content:
        counts = content["point_counts"].tolist(), content["face_counts"].tolist()
        assert str(content["format"]) == "dsr-surfaces 1" and content["states"].tolist() == [1.0, 2.0]
        atoms = content["atoms"]
        assert content["points"].shape == content["normals"].shape == (sum(counts[0]), 3)
    out = str(tmp_path / "again.dsr")
    command = [*BACKEND, "fit", str(files / "pep.npz"), "--preset", "preview", "--device", "cpu", "-o", out]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    description, tensors, _ = read_dsr(Path(out).read_bytes())
    assert description["report"]["states"] == [1.0, 2.0] and description["report"]["atoms"] == atoms.shape[1]
    # A fit keeps the atoms to 1/1024 Å, without the motion of the whole molecule.
    fitted_atoms = decoded(description, tensors)["motion.atoms"]
    atom_distances = [np.linalg.norm(xyz[:, :, None] - xyz[:, None], axis=-1) for xyz in (fitted_atoms, atoms)]
    assert np.abs(atom_distances[0] - atom_distances[1]).max() < 0.005
    assert description["report"]["source"] == read_dsr((files / "pep.dsr").read_bytes())[0]["report"]["source"]


def test_a_fit_of_0_2_0_is_read_and_meshed(files, tmp_path):
    description, tensors, texts = read_dsr((files / "pep.dsr").read_bytes())
    assert texts["format"] == "dsr 2" and texts["version"] == "0.2.0" and description["kind"] == "fast"
    out = tmp_path / "pep.obj"
    command = [*BACKEND, "mesh", str(files / "pep.dsr"), "--time", "1.5", "--device", "cpu", "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    lines = [line.split() for line in out.read_text().splitlines()]
    points = np.array([line[1:4] for line in lines if line[:1] == ["v"]], float)
    faces = np.array([[corner.split("/")[0] for corner in line[1:]] for line in lines if line[:1] == ["f"]], int) - 1
    a, b, c = (points[faces[:, k]] for k in range(3))
    golden = recorded("files.json") if (GOLDEN / "files.json").exists() else {}
    volume = float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6.0)
    area = float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2.0)
    if RECORDING:
        record("files.json", {"area": round(area, 3), "volume": round(volume, 3)})
    assert {"area": area, "volume": volume} == pytest.approx(golden, rel=1e-3)
    assert sorted(tensors)[:2] == ["band", "coarse_coefficients"]


def test_a_session_of_0_2_0_plays_and_its_fit_is_there_again(files, tmp_path):
    for name in ("pep.pse", "pep.dsr"):
        (tmp_path / name).write_bytes((files / name).read_bytes())
    out = in_pymol(
        tmp_path,
        f"""
import sys
cmd.load({str(tmp_path / "pep.pse")!r})
print("NAMES", cmd.get_names(), cmd.count_states("pep_dsr"), cmd.count_frames())
cmd.do("dsr_set backend, " + sys.executable + " -m dsr_backend serve")
cmd.do("dsr_status")
cmd.delete("pep_dsr")
cmd.do("dsr_movie pep_dsr, 1-2:0.25, triangles=400")
print("AGAIN", cmd.get_names(), cmd.count_states("pep_dsr"))
stored = cmd._pymol.session.dsr
print("STORED", stored["format"], sorted(stored["fits"]["pep_dsr"]), stored["movies"])
""".replace("import sys", "import sys\nfrom pymol import cmd"),
    )
    assert "NAMES ['pep', 'pep_dsr', 'pep_dsr_atoms', 'pep_dsr_time'] 3 3" in out, out
    # The session names a folder that is not here; the file lies beside it.
    assert re.search(r"^ pep_dsr: its file .*pep\.dsr is missing", out, re.MULTILINE), out
    assert re.search(r"^AGAIN \[.*'pep_dsr'.*\] 5$", out, re.MULTILINE) and "Error" not in out, out
    movie = {
        "fit": "pep_dsr",
        "objects": ["pep_dsr", "pep_dsr_atoms", "pep_dsr_time"],
        "command": "dsr_movie pep_dsr, 1-2:0.5, triangles=400, overlay=1",
    }
    assert "STORED dsr session 1 ['path', 'sha256'] " + str({"pep_dsr": movie}) in out, out


def test_a_session_of_0_2_0_plays_without_the_plugin(files, tmp_path):
    out = in_pymol(
        tmp_path,
        f"""
import sys
from pymol import cmd
cmd.load({str(files / "pep.pse")!r})
cmd.disable("pep pep_dsr_atoms pep_dsr_time")
cmd.set("geometry_export_mode", 1)
assert "pymol_dsr" not in sys.modules
print("STATES", cmd.count_states("pep_dsr"), cmd.get_idtf()[1].count("MODEL_POSITION_LIST"))
""",
        plugin=False,
    )
    assert [line for line in out.splitlines() if not line.startswith("PyMOL>")] == ["STATES 3 1"], out


# Frames -------------------------------------------------------------------------------------------------------


class Line:
    """A backend process, spoken to frame by frame."""

    def __init__(self, home: Path) -> None:
        self.home = str(home)
        # A file: a pipe that nobody reads would fill, and the backend stand still.
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [*BACKEND, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr
        )
        self.number = 0
        self.pending: dict[int, tuple[dict[str, Any], bytes]] = {}
        self.events: list[dict[str, Any]] = []
        self.previews: list[dict[str, Any]] = []
        self.device: dict[str, Any] | None = None
        self.steps: list[dict[str, Any]] = []

    def send(self, method: str, params: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> int:
        self.number += 1
        self.write({"kind": "request", "id": self.number, "method": method, "params": params}, arrays)
        return self.number

    def write(self, header: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
        arrays = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
        header["arrays"] = [{"name": n, "dtype": a.dtype.str, "shape": list(a.shape)} for n, a in arrays.items()]
        text = json.dumps(header).encode()
        payload = b"".join(array.tobytes() for array in arrays.values())
        assert self.process.stdin is not None
        self.process.stdin.write(struct.pack("<4sIQ", b"DSR1", len(text), len(payload)) + text + payload)
        self.process.stdin.flush()

    def read(self) -> dict[str, Any] | None:
        """The next frame's header; replies are kept by their id. None at the end of the stream."""
        assert self.process.stdout is not None
        head = self.process.stdout.read(16)
        if not head:
            return None
        magic, length, size = struct.unpack("<4sIQ", head)
        assert magic == b"DSR1"
        header = json.loads(self.process.stdout.read(length))
        payload = self.process.stdout.read(size)
        if header["kind"] != "event":
            self.pending[header["id"]] = header, payload
        elif header["event"] == "device":
            self.device = self.structure(header)
        elif header["event"] == "preview":
            self.previews.append(self.structure(header))
        else:
            self.events.append(header)
        return header

    def answer(self, number: int) -> tuple[dict[str, Any], bytes]:
        while number not in self.pending:
            assert self.read() is not None, "the backend ended"
        return self.pending.pop(number)

    def ask(
        self, method: str, arrays: dict[str, np.ndarray] | None = None, /, **params: Any
    ) -> tuple[dict[str, Any], bytes]:
        """Send a request, write down what comes back, and return it."""
        number = self.send(method, params, arrays)
        header, payload = self.answer(number)
        self.note(method, params, arrays, header)
        return header, payload

    def note(self, method: str, params: Any, arrays: dict[str, np.ndarray] | None, header: dict[str, Any]) -> None:
        arguments = json.dumps(params, sort_keys=True, ensure_ascii=False)
        request = f"{method} {arguments if len(arguments) < 200 else hashlib.sha256(arguments.encode()).hexdigest()}"
        self.steps.append(
            {
                "asked": request + (f" with {', '.join(sorted(arrays))}" if arrays else ""),
                "answer": self.structure(header),
                "events": self.happened(),
            }
        )

    def happened(self) -> list[Any]:
        """The events since the last answer; of those of progress, how often they come is not on record."""
        events: list[Any] = []
        for header in self.events:
            if header["event"] == "progress":
                params = header["params"]
                entry = {"event": "progress", "phase": params["phase"], "keys": sorted(params)}
            else:
                entry = {"event": header["event"], "params": self.plain(header["params"])}
            if entry not in events:
                events.append(entry)
        self.events.clear()
        return events

    def plain(self, value: Any) -> Any:
        """Texts without the folder and the processes of this run."""
        if isinstance(value, dict):
            return {key: self.plain(item) for key, item in value.items()}
        if not isinstance(value, str):
            return value
        return re.sub(r"process \d+ on \S+\)", "process PID on HOST)", value.replace(self.home, "$DSR_HOME"))

    def structure(self, header: dict[str, Any]) -> dict[str, Any]:
        structure = {key: value for key, value in header.items() if key in ("kind", "id", "code", "event")}
        if "message" in header:
            structure["message"] = self.plain(header["message"]).replace(f"(version {VERSION})", "(version VERSION)")
        for key in ("result", "params"):
            if key in header:
                structure[key] = types(header[key])
        structure["arrays"] = [
            [entry["name"], entry["dtype"], len(entry["shape"]), sorted(set(entry) - {"name", "dtype", "shape"})]
            for entry in header["arrays"]
        ]
        assert set(header) <= {"kind", "id", "code", "event", "message", "result", "params", "arrays"}
        return structure

    def close(self) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.read()
        code = self.process.wait(PATIENCE)
        self.process.stdout.close()
        return code

    def logged(self) -> list[str]:
        """The backend's own lines on stderr."""
        self.stderr.seek(0)
        lines = self.stderr.read().decode().splitlines()
        return [line for line in lines if line.startswith("dsr-backend: ")]


def types(value: Any) -> Any:
    """The value with numbers and texts replaced by their types."""
    if isinstance(value, dict):
        return {key: types(item) for key, item in value.items()}
    if isinstance(value, list):
        kinds = [types(item) for item in value]
        return [f"{len(kinds)} times", kinds[0]] if kinds and all(kind == kinds[0] for kind in kinds) else kinds
    return value if value is None or isinstance(value, bool) else type(value).__name__


@pytest.fixture
def lines(tmp_path) -> Iterator[Any]:
    """Starts backends; afterwards none of them runs."""
    opened: list[Line] = []

    def start() -> Line:
        opened.append(Line(tmp_path / "home"))
        return opened[-1]

    yield start
    for line in opened:
        if line.process.poll() is None:
            line.process.kill()
            line.process.wait()
        line.stderr.close()


def arrays_of(surface) -> dict[str, np.ndarray]:
    arrays = {name: getattr(surface, name) for name in ("points", "normals", "faces", "atoms")}
    return {name: array for name, array in arrays.items() if array is not None}


HELLO = {"protocol": 1, "version": "0.2.0"}
CONFIG = {"preset": "preview", "device": "cpu", "seed": 3}


def good_session(line: Line) -> None:
    """Every method that the plugin calls, with what it sends."""
    first, second = balls((4.0, 4.4), (0.5, 0.0, 0.0), atoms=12)
    line.ask("hello", **HELLO)
    line.ask("ping")
    line.ask("status")
    line.ask("interrupted")
    line.ask("detached")
    line.ask(
        "open",
        fit="one",
        config=CONFIG,
        source={"object": "ball"},
        asked={"states": "1-2"},
        preview={"time": 1, "resolution": 1.5, "triangles": 300},
    )
    line.ask("status")
    for surface in (first, second):
        line.ask("surface", arrays_of(surface), fit="one", state=surface.state)
    line.ask("fit", fit="one")
    line.ask("status")

    radii = {"radii": np.full(12, 1.5, "<f4")}
    line.ask("mesh", fit="one", time=1.5)
    line.ask("mesh", radii, fit="one", time=1, resolution=1.0, triangles=200, level=0.3, blend=True, motion=True)
    line.ask("mesh", fit="one", time=3.5, resolution=1.0, smooth=0.5, steady=True)
    line.ask("paint", {"points": first.points.astype("<f4")}, fit="one", time=1.25)
    line.ask("paint", {"points": np.zeros((0, 3), "<f4")}, fit="one")
    line.ask("grid", fit="one", time=1.5, resolution=1.0)
    mask = (np.arange(12) < 5).astype("|u1")
    line.ask("measure", fit="one", time=1.5, resolution=1.0)
    line.ask("measure", {"selection": mask, "pocket": 1 - mask, **radii}, fit="one", time=2, resolution=1.0)
    truth = {f"truth_{name}": array for name, array in arrays_of(second).items() if name != "atoms"}
    line.ask("compare", truth, fit="one", time=2)
    painted = {"colors": np.full((12, 3), 0.5, "<f4"), "matrix": np.eye(4)}
    for kind in ("ply", "obj", "stl", "glb"):
        line.ask("export", fit="one", time=1.5, resolution=1.0, format=kind)
        line.ask("export", painted, fit="one", time=1.5, resolution=1.0, format=kind, binary=kind == "ply")
    line.ask("export", fit="one", time=1.5, resolution=1.0, format="stl", binary=True)
    line.ask("export", painted, fit="one", times=[1, 1.5, 2], fps=10, resolution=1.0, format="glb")

    _, file = line.ask("save", fit="one")
    line.ask("load", {"file": np.frombuffer(file, np.uint8)}, fit="again")
    line.ask("load", fit="one")
    line.ask("status")
    line.ask("drop", fit="again")
    line.ask("drop", fit="never_there")
    line.ask("status")


def families(line: Line) -> None:
    grows, shrinks = balls((4.0, 4.4), (0.5, 0, 0), atoms=12), balls((4.4, 4.0), (0, 0.5, 0), atoms=12)
    line.ask("open", fit="family", config=CONFIG, trajectories=["grows", "shrinks"])
    for name, series in (("grows", grows), ("shrinks", shrinks)):
        for surface in series:
            line.ask("surface", arrays_of(surface), fit="family", state=surface.state, trajectory=name)
    line.ask("surface", arrays_of(grows[0]), fit="family", state=3)
    line.ask("fit", fit="family")
    line.ask("mesh", fit="family", time=1, resolution=1.0, trajectory="grows")
    line.ask("mesh", fit="family", time=1, resolution=1.0, trajectory="grows", towards="shrinks", share=0.5)
    line.ask("mesh", fit="family", time=1)
    line.ask("mesh", fit="family", time=1, trajectory="other")
    line.ask("mesh", fit="family", time=1, trajectory="grows", towards="shrinks")
    line.ask("mesh", fit="family", time=1, trajectory="grows", towards="shrinks", share=2)
    line.ask("mesh", fit="family", time=1, trajectory="grows", towards="shrinks", share="half")
    line.ask("mesh", fit="one", time=1, trajectory="grows")
    line.ask("open", fit="member", config=CONFIG, family="family", frozen=True)
    line.ask("surface", arrays_of(grows[0]), fit="member", state=1, trajectory="grows")
    line.ask("surface", arrays_of(grows[0]), fit="member", state=1)
    line.ask("fit", fit="member")
    line.ask("open", fit="bad", config=CONFIG, trajectories=[])
    line.ask("open", fit="bad", config=CONFIG, trajectories=["a", "a"])
    line.ask("open", fit="bad", config=CONFIG, trajectories=["a/b"])
    line.ask("open", fit="bad", config=CONFIG, frozen=True)
    line.ask("open", fit="bad", config=CONFIG, family="family", trajectories=["a"])
    line.ask("open", fit="family", config=CONFIG, family="family")
    line.ask("open", fit="bad", config=CONFIG, family="one")
    line.ask("open", fit="bad", config=CONFIG, family="none")
    line.ask("open", fit="bad", config={**CONFIG, "preset": "fast"}, family="family")


def bad_requests(line: Line) -> None:
    [ball] = balls((4.0,), (0.0, 0.0, 0.0), atoms=12)
    line.ask("explode")
    line.ask("cancel", target=12345)
    line.ask("cancel")
    line.ask("stop", fit="one")
    line.ask("stop", fit="../one")
    line.ask("hello", protocol=99, version="9.9")
    line.ask("hello", protocol=0, version="0.0")
    for name in (None, "a/b", ".hidden", "x" * 300):
        line.ask("mesh", fit=name, time=1)
    line.ask("mesh", fit="missing", time=1)
    for time_ in ("1", True):
        line.ask("mesh", fit="one", time=time_)
    line.ask("mesh", fit="one")
    line.ask("mesh", fit="one", time=1, resolution=0)
    line.ask("mesh", fit="one", time=1, resolution=1e-6)
    line.ask("mesh", fit="one", time=1, triangles=0)
    line.ask("mesh", fit="one", time=1, level="far")
    line.ask("mesh", fit="one", time=1, level=1e6)
    line.ask("mesh", fit="one", time=1, blend=1)
    line.ask("mesh", fit="one", time=1, steady="yes")
    line.ask("mesh", fit="one", time=1, smooth=-1)
    line.ask("mesh", fit="one", time=1e9)
    line.ask("mesh", {"radii": np.ones(5, "<f4")}, fit="one", time=1, blend=True)
    line.ask("paint", fit="one", time=1)
    line.ask("paint", {"points": np.zeros((4, 2), "<f4")}, fit="one", time=1)
    line.ask("paint", {"points": np.zeros((4, 3), "<i4")}, fit="one", time=1)
    line.ask("paint", {"points": np.zeros((4, 3), "<f4")}, fit="one")
    line.ask("grid", fit="one", time=1, resolution="fine")
    line.ask("grid", fit="one", time=1, resolution=1e-4)
    line.ask("measure", {"selection": np.ones(5, "|u1")}, fit="one", time=1)
    line.ask("measure", {"pocket": np.zeros(12, "|u1")}, fit="one", time=1)
    line.ask("compare", fit="one", time=1)
    line.ask("compare", {"truth_points": ball.points}, fit="one", time=1)
    for kind in (None, "vrml"):
        line.ask("export", fit="one", time=1, format=kind)
    line.ask("export", fit="one", times=[1, 2], format="ply")
    line.ask("export", fit="one", times=[], format="glb")
    line.ask("export", fit="one", times=[1, "2"], format="glb")
    line.ask("export", fit="one", times=[2, 1], resolution=1.0, format="glb")
    line.ask("export", fit="one", times=[1, 2], fps=0, resolution=1.0, format="glb")
    line.ask("export", {"colors": np.ones((5, 3), "<f4")}, fit="one", time=1, resolution=1.0, format="ply")
    line.ask("export", {"matrix": np.eye(3)}, fit="one", time=1, resolution=1.0, format="ply")
    line.ask("export", fit="one", time=1, format="ply", binary=1)
    line.ask("save", fit="missing")
    line.ask("load", fit="missing")
    line.ask("load", {"file": np.zeros(4, np.uint8)}, fit="bad")
    line.ask("load", {"file": np.full(400, 65, np.uint8)}, fit="bad")
    line.ask("surface", arrays_of(ball), fit="missing", state=1)
    line.ask("fit", fit="missing")
    line.ask("detach", fit="missing")
    for config in (
        {"preset": "slow"},
        {"presets": "fast"},
        {"smooth": -1},
        {"seed": 1.5},
        {"seed": 2**31},
        {"budget": 0},
        {"device": "tpu"},
        {"loop": "yes"},
        {"times": [1, 1]},
        {"times": "1-3"},
    ):
        line.ask("open", fit="bad", config=config)
    line.ask("open", fit="bad", config=[1])
    line.ask("open", fit="bad", config=CONFIG, source="text")
    line.ask("open", fit="bad", config=CONFIG, preview={"time": "now"})
    line.ask("open", fit="bad", config=CONFIG, preview={"time": 1, "triangles": 0})

    line.ask("open", fit="half", config={**CONFIG, "times": [0.0, 2.0]}, source={})
    line.ask("fit", fit="half")
    line.ask("open", fit="half", config={**CONFIG, "times": [0.0, 2.0]}, source={})
    line.ask("detach", fit="half")
    arrays = arrays_of(ball)
    line.ask("surface", arrays, fit="half", state="one")
    line.ask("surface", arrays, fit="half", state=1, trajectory="a")
    for missing in ("points", "normals", "faces"):
        line.ask("surface", {n: a for n, a in arrays.items() if n != missing}, fit="half", state=1)
    line.ask("surface", arrays | {"points": ball.points[:-1]}, fit="half", state=1)
    line.ask("surface", arrays | {"points": ball.points[:, :2]}, fit="half", state=1)
    line.ask("surface", arrays | {"points": ball.points * np.float32("nan")}, fit="half", state=1)
    line.ask("surface", arrays | {"normals": ball.normals * 2}, fit="half", state=1)
    line.ask("surface", arrays | {"faces": ball.faces + len(ball.points)}, fit="half", state=1)
    line.ask("surface", arrays | {"faces": ball.faces[:2]}, fit="half", state=1)
    line.ask("surface", arrays, fit="half", state=1)
    line.ask("surface", arrays, fit="half", state=3)
    line.ask("fit", fit="half")
    line.ask("interrupted")
    line.ask("open", fit="half", config=CONFIG, source={}, resume=True)
    line.ask("drop", fit="half")
    line.ask("interrupted")


def cancelled(line: Line) -> None:
    """A fit that runs is cancelled, and a request that waits behind it."""
    # Enough work for all of this to happen before its end.
    line.ask("open", fit="long", config={"preset": "paper", "device": "cpu"})
    for surface in balls((4.0, 4.4), (0.0, 0.0, 0.0), atoms=12):
        line.ask("surface", arrays_of(surface), fit="long", state=surface.state)
    fit = line.send("fit", {"fit": "long"})
    while not any(event["event"] == "progress" for event in line.events):
        line.read()
    waiting = line.send("mesh", {"fit": "one", "time": 1})
    requests = [(method, params, line.send(method, params)) for method, params in (
        ("status", {}), ("cancel", {"target": waiting}), ("cancel", {"target": fit})
    )]  # fmt: skip
    for method, params, number in [("mesh", {}, waiting), *requests, ("fit", {}, fit)]:
        header, _ = line.answer(number)
        line.events.clear()
        if method == "status":
            # Its progress differs from run to run.
            header["result"]["fits"]["long"] = sorted(header["result"]["fits"]["long"])
        line.note(method, params, None, header)


def on_its_own(line: Line) -> None:
    """A fit in a process of its own, to its end."""
    line.ask("open", fit="alone", config=CONFIG, source={"object": "ball"})
    for surface in balls((4.0, 4.4), (0.5, 0, 0), atoms=12):
        line.ask("surface", arrays_of(surface), fit="alone", state=surface.state)
    line.ask("detach", fit="alone")
    line.ask("open", fit="alone", config=CONFIG)
    phase, end = "", time.monotonic() + PATIENCE
    while phase not in ("ready", "failed"):
        assert time.monotonic() < end, phase
        time.sleep(0.2)
        header, _ = line.answer(line.send("detached", {}))
        phase = header["result"]["fits"]["alone"]["phase"]
    # The number of questions is not on record.
    header["id"] = line.number = line.number // 1000 * 1000 + 500
    # A loss may be there or not when the last status is written.
    header["result"]["fits"]["alone"] = dict.fromkeys(header["result"]["fits"]["alone"], "any")
    line.note("detached", {}, None, header)
    line.ask("stop", fit="alone")
    line.ask("load", fit="alone")
    line.ask("detached")


def test_frames_are_the_recorded_ones(lines):
    line = lines()
    dialogues: dict[str, Any] = {}
    for dialogue in (good_session, families, bad_requests, cancelled, on_its_own):
        dialogue(line)
        dialogues[dialogue.__name__], line.steps, line.number = line.steps, [], line.number // 1000 * 1000 + 1000
    line.ask("shutdown")
    dialogues["the end"] = line.steps
    dialogues["exit code"] = line.close()
    dialogues["device"] = line.device
    dialogues["previews"] = sorted({json.dumps(preview, sort_keys=True) for preview in line.previews})

    packed = lines()
    packed.ask("hello", **HELLO, packed=True)
    saved = np.frombuffer((GOLDEN / "pep.dsr").read_bytes(), np.uint8)
    packed.ask("load", {"file": saved}, fit="packed")
    packed.ask("mesh", fit="packed", time=1)
    packed.ask("grid", fit="packed", time=1, resolution=1.0)
    dialogues["packed"] = packed.steps
    dialogues["exit code at the end of the stream"] = packed.close()

    for name, header in (
        ("a reply is no question", {"kind": "reply", "id": 1, "result": {}}),
        ("an id of text", {"kind": "request", "id": "one", "method": "ping", "params": {}}),
        ("no params", {"kind": "request", "id": 1, "method": "ping"}),
    ):
        broken = lines()
        broken.ask("hello", **HELLO)
        broken.write(header)
        while broken.read() is not None:
            pass
        dialogues[name] = {"code": broken.close(), "stderr": broken.logged()}

    if RECORDING:
        record("wire.json", dialogues)
    golden = recorded("wire.json")
    assert sorted(dialogues) == sorted(golden)
    for dialogue, expected in golden.items():
        actual = json.loads(json.dumps(dialogues[dialogue]))
        if isinstance(expected, list):
            for step, expected_step in zip(actual, expected, strict=False):
                assert step == expected_step, dialogue
        assert actual == expected, dialogue


# Commands, command line and package ------------------------------------------------------------------------------


def test_commands_and_their_arguments_are_the_recorded_ones():
    import pymol

    importlib.import_module("pymol_dsr")
    # Names, order and defaults are what users type; annotations are for developers.
    arguments = {
        name: [
            [
                parameter.name,
                parameter.kind.description,
                "needed" if parameter.default is inspect.Parameter.empty else repr(parameter.default),
            ]
            for parameter in inspect.signature(entry[0]).parameters.values()
            if parameter.name != "_self"
        ]
        for name, entry in pymol.cmd.keyword.items()
        if name.startswith("dsr_")
    }
    if RECORDING:
        record("commands.json", arguments)
    assert arguments == recorded("commands.json")


def help_text() -> str:
    process = subprocess.run(
        [*BACKEND, "--help"],
        env=dict(os.environ, COLUMNS="100", NO_COLOR="1", PYTHONIOENCODING="utf-8"),
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=True,
    )
    assert not process.stderr
    return process.stdout


def test_help_of_every_verb_is_the_recorded_one(capsys, monkeypatch):
    from dsr_backend.cli.main import main

    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")

    def help_of(verb: str) -> str:
        assert main([verb, "--help"]) == 0
        return capsys.readouterr().out

    output = help_text()
    # Names stand four blanks in, what they do behind them or on the next line.
    verbs = re.findall(r"^ {4}([a-z-]+)(?: {2,}|$)", output.split("options:")[0], re.MULTILINE)
    texts = {"dsr-backend": output, **{verb: help_of(verb) for verb in verbs}}
    folder = GOLDEN / "help"
    if RECORDING:
        for path in folder.glob("*.txt"):
            path.unlink()
        folder.mkdir(exist_ok=True)
        for name, text in texts.items():
            (folder / f"{name}.txt").write_text(text, encoding="utf-8")
        (folder / "python.txt").write_text("{}.{}\n".format(*sys.version_info[:2]), encoding="utf-8")
        pytest.skip("help is recorded")
    golden = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.txt")}
    version = golden.pop("python")
    assert sorted(texts) == sorted(golden)
    for name, expected in golden.items():
        actual = texts[name]
        if version.strip() != "{}.{}".format(*sys.version_info[:2]):
            # Other versions of Python break lines and name arguments elsewhere.
            assert words(actual) == words(expected), name
        else:
            assert actual == expected, name


def words(text: str) -> set[str]:
    return set(re.findall(r"[^\s,()\[\]]+", text))


HEADER = [
    "# Name: Dynamical Surface",
    "# Version: VERSION",
    "# Author: the pymol-dsr authors",
    "# License: MIT",
    "# Citation-Required: no",
]


def test_the_zip_is_one_package_that_the_plugin_manager_loads(tmp_path):
    path = tmp_path / "pymol_dsr.zip"
    command = [sys.executable, str(ROOT / "tools" / "plugin_zip.py"), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    with zipfile.ZipFile(path) as content:
        names = content.namelist()
        content.extractall(tmp_path / "startup")
        # The backend's sources travel along, for an installation; PyMOL does not import them.
        plugin_files = [name for name in names if name.endswith(".py") and not name.startswith("pymol_dsr/bundled/")]
        texts = {name: content.read(name).decode() for name in plugin_files}
    assert {name.split("/")[0] for name in names} == {"pymol_dsr"}
    assert "pymol_dsr/__init__.py" in names and "pymol_dsr/LICENSE" in names
    version = json.loads((ROOT / "plugin_manifest.json").read_text())["version"]
    entry = texts["pymol_dsr/__init__.py"]
    head = entry.split('"""')[0].replace(f"# Version: {version}", "# Version: VERSION")
    assert head.splitlines() == HEADER
    for name, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            else:
                modules = [str(node.module)] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            assert not {module.split(".")[0] for module in modules} & {"pymol_dsr", "dsr_backend", "torch"}, name

    code = (
        "import sys\nfrom pymol import cmd, plugins\n"
        f"plugins.startup.__path__.append({str(tmp_path / 'startup')!r})\n"
        "import pmg_tk.startup.pymol_dsr as plugin\n"
        "assert not {'pymol_dsr', 'torch', 'dsr_backend'} & set(sys.modules)\n"
        "print(plugin.__file__, plugin.__version__, plugin.MENU, callable(plugin.__init_plugin__))\n"
        "print(sorted(name for name in cmd.keyword if name.startswith('dsr_')))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
        env={**os.environ, "PYTHONPATH": "", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    first, second = process.stdout.splitlines()[-2:]
    location = tmp_path / "startup" / "pymol_dsr" / "__init__.py"
    assert first == f"{location} {version} Dynamical Surface… True"
    assert second == str(sorted(recorded("commands.json")))
