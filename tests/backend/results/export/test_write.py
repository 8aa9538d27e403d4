"""Mesh files, read back by PyMOL, libigl, trimesh, pygltflib, Khronos' validator and numpy."""

import io
import json
import os
import shutil
import struct
import subprocess
from typing import Any

import numpy as np
import pytest
from dsr_backend.results.export.gltf import AnimationFrame, animated_glb
from dsr_backend.results.export.write import to_bytes

from pymol_dsr.shared.options import FORMATS

POINTS = np.array([[10.12345, -2, 3], [-1, -1, 1], [-1, 1, -1], [100, -1.5, -1]])
NORMALS = np.array([[0, 0, 1], [0, -1, 0], [0.6, 0, -0.8], [1, 0, 0]])
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
COLORS = np.array([[1, 0, 0], [0, 1, 0.5], [0.2, 0.4, 0.6], [0, 0, 0]])
TURN = np.array([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
SCREEN_STEP = 1 / 255


def write(path, points, normals, faces, colors=None, binary=False, matrix=None):
    """Write a mesh to a file whose ending names the format."""
    format = path.suffix.lower().removeprefix(".")
    path.write_bytes(to_bytes(points, normals, faces, format, colors, binary, matrix))


def closed() -> tuple[Any, Any, Any]:
    """Points, normals and faces of `bumpy`."""
    points, normals, faces = bumpy()[:3]
    return points, normals, faces


def bumpy(turn=0.0, shift=(40.0, -20.0, 300.0)):
    """A closed surface like an exported one, far from the origin, and colours that vary over it."""
    from skimage.measure import marching_cubes

    x, y, z = np.meshgrid(*3 * [np.arange(-12, 12.5, 1.0)], indexing="ij")
    field = np.sqrt(x**2 + y**2 + z**2) - 8.0137 - 1.5 * np.sin(0.5 * x + turn) * np.cos(0.4 * y)
    points, faces, normals, _ = marching_cubes(field, 0.0, gradient_direction="descent")
    normals = -normals / np.linalg.norm(normals, axis=1, keepdims=True)
    assert ((points - 12) * normals).sum(axis=1).min() > 0
    colors = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    return points - 12 + np.array(shift), normals, faces, colors


@pytest.fixture
def validator():
    """The content of a GLB -> the report of Khronos' glTF validator."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    module_folder = subprocess.run(["npm", "root", "-g"], capture_output=True, text=True, check=False).stdout.strip()
    env = dict(os.environ, NODE_PATH=os.pathsep.join(filter(None, [os.environ.get("NODE_PATH"), module_folder])))
    code = """
        const chunks = [];
        process.stdin.on('data', (chunk) => chunks.push(chunk));
        process.stdin.on('end', () => require('gltf-validator')
            .validateBytes(new Uint8Array(Buffer.concat(chunks)), {maxIssues: 0})
            .then((report) => console.log(JSON.stringify(report))));
    """
    if subprocess.run(
        ["node", "-e", "require('gltf-validator')"], env=env, capture_output=True, check=False
    ).returncode:
        pytest.skip("gltf-validator is not installed (npm install -g gltf-validator)")

    def validate(content):
        process = subprocess.run(["node", "-e", code], input=content, env=env, capture_output=True, check=True)
        return json.loads(process.stdout)

    return validate


def screen(colors):
    """Light as numbers for a screen (sRGB), the other way than the files."""
    colors = np.asarray(colors, dtype=float)
    return np.where(colors <= 0.0031308, 12.92 * colors, 1.055 * colors ** (1 / 2.4) - 0.055)


def pieces(content):
    """The JSON and the binary part of a GLB."""
    assert content[:4] == b"glTF" and struct.unpack("<II", content[4:12]) == (2, len(content))
    length, kind = struct.unpack("<I4s", content[12:20])
    assert kind == b"JSON"
    return json.loads(content[20 : 20 + length]), content[28 + length :]


def accessor(document, body, number):
    entry = document["accessors"][number]
    view = document["bufferViews"][entry["bufferView"]]
    raw = body[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    kind = np.dtype({5126: "<f4", 5125: "<u4", 5123: "<u2", 5122: "<i2", 5120: "i1"}[entry["componentType"]])
    if entry["type"] != "VEC3":
        return np.frombuffer(raw, kind)
    row = 3 * kind.itemsize
    stride = view.get("byteStride", row)
    assert stride % 4 == 0 and view["byteOffset"] % 4 == 0
    rows = np.frombuffer(raw, np.uint8).reshape(entry["count"], stride)[:, :row]
    values = np.frombuffer(rows.tobytes(), kind).reshape(-1, 3)
    return values / np.iinfo(kind).max if entry.get("normalized") else values


def cgo_values(cgo, operation, size):
    """The values that follow each occurrence of an operation in a CGO made by PyMOL's PLY reader."""
    from pymol.cgo import BEGIN, COLOR, END, NORMAL, STOP, VERTEX

    lengths = {BEGIN: 1, COLOR: 3, NORMAL: 3, VERTEX: 3, END: 0, STOP: 0}
    operations, at = [], 0
    while at < len(cgo):
        if cgo[at] == operation:
            operations.append(cgo[at + 1 : at + 1 + size])
        at += 1 + lengths[cgo[at]]
    return np.array(operations)


def test_pymol_reads_the_text_ply():
    pytest.importorskip("pymol")
    from pymol.cgo import COLOR, NORMAL, VERTEX, from_plystr

    cgo = from_plystr(to_bytes(POINTS, NORMALS, FACES, "ply", COLORS))
    corners = FACES.ravel()
    np.testing.assert_allclose(cgo_values(cgo, VERTEX, 3), POINTS[corners], atol=1e-5)
    np.testing.assert_allclose(cgo_values(cgo, NORMAL, 3), NORMALS[corners], atol=1e-5)
    np.testing.assert_allclose(cgo_values(cgo, COLOR, 3), COLORS[corners], atol=0.5 / 255)


def test_pymol_loads_a_written_ply_where_it_belongs(tmp_path):
    pymol2 = pytest.importorskip("pymol2")
    path = tmp_path / "mesh.ply"
    write(path, POINTS, NORMALS, FACES, matrix=TURN)
    with pymol2.PyMOL() as session:
        session.cmd.load(str(path), "mesh")
        low, high = session.cmd.get_extent("mesh")
    moved = np.stack([5 - POINTS[:, 1], 6 + POINTS[:, 0], 7 + POINTS[:, 2]], axis=1)
    np.testing.assert_allclose(low, moved.min(axis=0), atol=1e-4)
    np.testing.assert_allclose(high, moved.max(axis=0), atol=1e-4)


@pytest.mark.parametrize("name, binary", [("mesh.ply", False), ("mesh.ply", True), ("MESH.OBJ", False)])
@pytest.mark.parametrize("colors", [None, COLORS])
def test_libigl_reads_ply_and_obj(tmp_path, name, binary, colors):
    igl = pytest.importorskip("igl")
    path = tmp_path / name
    write(path, POINTS, NORMALS, FACES, colors, binary)
    points, faces = igl.read_triangle_mesh(str(path))
    np.testing.assert_allclose(points, POINTS, atol=1e-5)
    np.testing.assert_array_equal(faces, FACES)


def test_libigl_reads_the_normals_of_an_obj(tmp_path):
    igl = pytest.importorskip("igl")
    path = tmp_path / "mesh.obj"
    write(path, POINTS, NORMALS, FACES, matrix=TURN)
    _, _, normals, faces, _, normal_faces = igl.readOBJ(str(path))
    turned = np.stack([-NORMALS[:, 1], NORMALS[:, 0], NORMALS[:, 2]], axis=1)
    np.testing.assert_allclose(normals, turned, atol=1e-5)
    np.testing.assert_array_equal(normal_faces, faces)


def test_binary_ply_byte_by_byte():
    content = to_bytes(POINTS, NORMALS, FACES, "ply", COLORS, binary=True)
    header, body = content.split(b"end_header\n", 1)
    assert header.startswith(b"ply\nformat binary_little_endian 1.0\n")
    vertices = np.frombuffer(body[: 4 * 27], [("xyz", "<f4", 3), ("normal", "<f4", 3), ("rgb", "u1", 3)])
    np.testing.assert_array_equal(vertices["xyz"], POINTS.astype("<f4"))
    np.testing.assert_array_equal(vertices["normal"], NORMALS.astype("<f4"))
    np.testing.assert_array_equal(vertices["rgb"], [[255, 0, 0], [0, 255, 128], [51, 102, 153], [0, 0, 0]])
    polygons = np.frombuffer(body[4 * 27 :], [("count", "u1"), ("indices", "<i4", 3)])
    assert (polygons["count"] == 3).all()
    np.testing.assert_array_equal(polygons["indices"], FACES)


def test_npz(tmp_path):
    path = tmp_path / "mesh.npz"
    write(path, POINTS, NORMALS, FACES, COLORS)
    with np.load(path, allow_pickle=False) as file:
        assert {name: str(file[name].dtype) for name in file} == {
            "points": "float32",
            "normals": "float32",
            "faces": "int32",
            "colors": "uint8",
        }
        np.testing.assert_array_equal(file["points"], POINTS.astype(np.float32))
        np.testing.assert_array_equal(file["faces"], FACES)
    with np.load(io.BytesIO(to_bytes(POINTS, NORMALS, FACES, "npz")), allow_pickle=False) as file:
        assert set(file) == {"points", "normals", "faces"}


KINDS = [("ply", False), ("ply", True), ("obj", False), ("stl", False), ("glb", False), ("npz", False)]


@pytest.mark.parametrize("format, binary", KINDS)
def test_an_empty_mesh_is_a_file_too(format, binary):
    no_points = np.empty((0, 3))
    assert to_bytes(no_points, no_points, np.empty((0, 3), int), format, no_points, binary)


def test_every_format_is_tested_here():
    assert {format for format, _ in KINDS} == set(FORMATS)


@pytest.mark.parametrize("format, binary", [kind for kind in KINDS if kind[0] != "npz"])
def test_trimesh_reads_the_surface_that_was_written(tmp_path, format, binary):
    trimesh = pytest.importorskip("trimesh")
    points, normals, faces, colors = bumpy()
    path = tmp_path / f"mesh.{format}"
    write(path, points, normals, faces, colors, binary, matrix=TURN)
    (read,) = trimesh.load_scene(path, process=format == "stl", maintain_order=True).geometry.values()
    # trimesh keeps a file's normals only until it computes its own.
    read_normals = read.vertex_normals.copy()
    moved = points @ TURN[:3, :3].T + TURN[:3, 3]
    assert read.is_watertight and read.is_winding_consistent
    assert (len(read.vertices), len(read.faces)) == (len(points), len(faces))
    np.testing.assert_allclose(read.bounds, [moved.min(axis=0), moved.max(axis=0)], atol=1e-4)
    volume = trimesh.Trimesh(points, faces, process=False).volume
    assert volume > 1000 and read.volume == pytest.approx(volume, rel=1e-4)
    if format == "stl":
        # Corners are shared again only by where they are, so in another order.
        corners = moved[faces]
        flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        dot = (read.face_normals * flat).sum(axis=1)
        np.testing.assert_allclose(dot, np.linalg.norm(flat, axis=1), atol=1e-5)
        return
    np.testing.assert_allclose(read.vertices, moved, atol=1e-4)
    np.testing.assert_array_equal(read.faces, faces)
    np.testing.assert_allclose(read_normals, normals @ TURN[:3, :3].T, atol=1e-4)
    if format == "glb":
        light = read.visual.vertex_attributes["color"]
        np.testing.assert_allclose(screen(light)[:, :3], colors, atol=SCREEN_STEP)
    else:
        np.testing.assert_allclose(read.visual.vertex_colors[:, :3] / 255, colors, atol=SCREEN_STEP)


def test_stl_byte_by_byte():
    content = to_bytes(POINTS, NORMALS, FACES, "stl", COLORS)
    assert len(content) == 84 + 50 * 4 and not content.startswith(b"solid")
    assert struct.unpack("<I", content[80:84]) == (4,)
    rows = np.frombuffer(content[84:], [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attributes", "<u2")])
    np.testing.assert_array_equal(rows["corners"], POINTS[FACES].astype("<f4"))
    np.testing.assert_allclose(np.linalg.norm(rows["normal"], axis=1), 1, atol=1e-6)
    # Outward for corners that go round anticlockwise.
    corners = POINTS[FACES]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 1])
    np.testing.assert_allclose((rows["normal"] * flat).sum(axis=1), np.linalg.norm(flat, axis=1), rtol=1e-5)
    assert (rows["attributes"] == 0).all()


def test_a_triangle_without_area_has_no_normal_in_an_stl():
    content = to_bytes(POINTS, NORMALS, [[0, 1, 1]], "stl")
    assert np.frombuffer(content[84:96], "<f4").tolist() == [0, 0, 0]


# GLB


def test_glb_says_that_one_unit_is_an_angstrom():
    document, body = pieces(to_bytes(POINTS, NORMALS, FACES, "glb", COLORS, matrix=TURN))
    assert document["asset"]["extras"] == {"unit": "angstrom", "metres_per_unit": 1e-10}
    (node,) = document["nodes"]
    assert not {"scale", "matrix", "translation", "rotation"} & set(node)
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    moved = np.stack([5 - POINTS[:, 1], 6 + POINTS[:, 0], 7 + POINTS[:, 2]], axis=1)
    np.testing.assert_array_equal(accessor(document, body, attributes["POSITION"]), moved.astype("<f4"))
    # Half of what a screen can show is a fifth of the light.
    light = accessor(document, body, attributes["COLOR_0"])
    assert light[1].tolist() == pytest.approx([0, 1, 0.2158605], abs=1e-6)


def test_glb_has_unit_normals_only():
    document, body = pieces(
        to_bytes(POINTS, np.array([[0, 0, 0], [0, -7, 0], [0.6, 0, -0.8], [1, 0, 0]]), FACES, "glb")
    )
    normals = accessor(document, body, document["meshes"][0]["primitives"][0]["attributes"]["NORMAL"])
    np.testing.assert_allclose(normals, np.array([[0, 0, 1], [0, -1, 0], [0.6, 0, -0.8], [1, 0, 0]]), atol=1e-6)


def movie(count=4):
    frames = []
    for number in range(count):
        points, normals, faces, colors = bumpy(0.7 * number)
        frames.append(AnimationFrame(1 + 0.5 * number, points, normals, faces, colors))
    return frames


def seen_at(document, body, seconds):
    """Which nodes a viewer shows at that moment: those whose scale is not 0."""
    shown_at = []
    (animation,) = document["animations"]
    for channel in animation["channels"]:
        assert channel["target"]["path"] == "scale"
        sampler = animation["samplers"][channel["sampler"]]
        assert sampler["interpolation"] == "STEP"
        keys, scales = (accessor(document, body, sampler[channel_end]) for channel_end in ("input", "output"))
        scale = scales[max(0, np.searchsorted(keys, seconds, side="right") - 1)]
        if scale.any():
            assert scale.tolist() == pytest.approx(document["nodes"][0]["scale"])
            shown_at.append(channel["target"]["node"])
    return shown_at


def test_an_animated_glb_shows_each_time_in_turn():
    frames = movie(4)
    document, body = pieces(animated_glb(frames, fps=10))
    times = [
        document["nodes"][seen_at(document, body, second)[0]]["extras"]["time"] for second in (0, 0.15, 0.25, 0.35)
    ]
    assert times == [1, 1.5, 2, 2.5]
    for second in np.arange(0, 0.4, 0.01) + 0.005:
        assert len(seen_at(document, body, second)) == 1
    # A viewer that does not begin again stays at the last frame.
    [last] = seen_at(document, body, 5.0)
    assert document["nodes"][last]["extras"]["time"] == 2.5
    # The last frame is shown as long as the others before it begins again.
    ends = [document["accessors"][sampler["input"]]["max"][0] for sampler in document["animations"][0]["samplers"]]
    assert max(ends) == pytest.approx(0.4)
    # Without its animation, a viewer shows the first time alone.
    scales = [node.get("scale") for node in document["nodes"] if "extras" in node]
    assert scales[0][0] > 0 and scales[1:] == [[0, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_the_vertices_of_a_movie_are_few_bytes_and_where_they_were():
    frames = movie(4)
    content = animated_glb(frames, fps=10)
    document, body = pieces(content)
    assert document["extensionsRequired"] == document["extensionsUsed"] == ["KHR_mesh_quantization"]
    root = next(node for node in document["nodes"] if node["name"] == "surface")
    step = document["nodes"][0]["scale"][0]
    for frame, mesh in zip(frames, document["meshes"], strict=True):
        [primitive] = mesh["primitives"]
        values = {key: accessor(document, body, number) for key, number in primitive["attributes"].items()}
        np.testing.assert_allclose(values["POSITION"] * step + root["translation"], frame.points, atol=0.51 * step)
        lengths = np.linalg.norm(values["NORMAL"], axis=1)
        # As near to 1 as the validator wants them in bytes.
        assert np.abs(lengths - 1).max() < 0.00769
        assert ((values["NORMAL"] * frame.normals).sum(1) / lengths).min() > 0.9999
        linear = values["COLOR_0"]
        screen = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        # Meshes have colours of whole steps; linear ones in a byte would be off by five of them near black.
        np.testing.assert_allclose(screen, frame.colors, atol=1.01 * SCREEN_STEP)
        np.testing.assert_array_equal(accessor(document, body, primitive["indices"]).reshape(-1, 3), frame.faces)
    # 20 bytes for each vertex and 6 for each triangle, where numbers of four bytes took 36 and 12.
    expected_bytes = sum(20 * len(frame.points) + 6 * len(frame.faces) for frame in frames)
    assert len(body) == pytest.approx(expected_bytes, rel=0.01)


def test_pygltflib_and_trimesh_read_the_movie(tmp_path):
    pygltflib, trimesh = pytest.importorskip("pygltflib"), pytest.importorskip("trimesh")
    frames = movie(3)
    path = tmp_path / "movie.glb"
    path.write_bytes(animated_glb(frames, matrix=TURN))
    file = pygltflib.GLTF2().load(str(path))
    assert len(file.meshes) == 3 and len(file.animations[0].channels) == 3
    assert [node.extras["time"] for node in file.nodes if node.mesh is not None] == [1, 1.5, 2]
    scene = trimesh.load(path, process=False, maintain_order=True)
    for frame in frames:
        mesh = scene.geometry[f"time {frame.time:g}"]
        assert mesh.is_watertight and len(mesh.vertices) == len(frame.points)
        np.testing.assert_array_equal(mesh.faces, frame.faces)
    # The first one is where it belongs, the others hide inside it.
    moved = frames[0].points @ TURN[:3, :3].T + TURN[:3, 3]
    np.testing.assert_allclose(scene.bounds, [moved.min(axis=0), moved.max(axis=0)], atol=1e-4)


def nothing_at_all():
    return to_bytes(np.empty((0, 3)), np.empty((0, 3)), np.empty((0, 3), int), "glb")


@pytest.mark.parametrize(
    "make",
    [
        lambda: to_bytes(*closed(), "glb", bumpy()[3], matrix=TURN),
        lambda: to_bytes(*closed(), "glb"),
        nothing_at_all,
        lambda: animated_glb(movie(5)),
        lambda: animated_glb(movie(1)),
        lambda: animated_glb(
            [movie(1)[0], AnimationFrame(2, np.empty((0, 3)), np.empty((0, 3)), np.empty((0, 3), int))]
        ),
    ],
    ids=["coloured", "plain", "empty", "movie", "movie of one", "movie that ends empty"],
)
def test_khronos_validator_finds_nothing(validator, make):
    report = validator(make())
    # A file without a surface has a node without a mesh: worth a hint (2 and 3), not a warning.
    assert [issue for issue in report["issues"]["messages"] if issue["severity"] < 2] == []
    assert report["issues"]["numInfos"] + report["issues"]["numHints"] <= (1 if make is nothing_at_all else 0)
    assert report["info"]["version"] == "2.0"


def test_the_validator_finds_faults(validator):
    content = to_bytes(POINTS, NORMALS, FACES, "glb").replace(b'"count":4', b'"count":9')
    assert validator(content)["issues"]["numErrors"] > 0


@pytest.mark.parametrize(
    "frames, fps, message",
    [
        ([], 30, "at least one frame, got none"),
        (movie(1), 0, "fps must be above 0, got 0"),
        (movie(1), np.nan, "fps must be above 0, got nan"),
        ([AnimationFrame(1, POINTS, NORMALS[:3], FACES)], 30, "one normal per point, got 3 for 4 points"),
    ],
)
def test_what_a_movie_refuses(frames, fps, message):
    with pytest.raises(ValueError, match=message):
        animated_glb(frames, fps)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": "stp"}, "unknown mesh format 'stp', expected one of ply, obj, stl, glb, npz"),
        ({"format": "obj", "binary": True}, "two kinds of ply, and 'obj' has one kind"),
        ({"points": POINTS[:3]}, "got 4 for 3 points|got indices 0 to 3"),
        ({"points": POINTS * np.nan}, "points must be finite; row 0 is not"),
        ({"normals": NORMALS[:3]}, "one normal per point, got 3 for 4 points"),
        ({"normals": NORMALS[:, :2]}, r"normals must have shape \[N, 3\], got \[4, 2\]"),
        ({"faces": FACES + 1}, "faces must index 4 points, got indices 1 to 4"),
        ({"faces": FACES - 1}, "faces must index 4 points, got indices -1 to 2"),
        ({"faces": FACES * 1.0}, "faces must be integers"),
        ({"colors": COLORS[:2]}, "one colour per point, got 2 for 4 points"),
        ({"colors": COLORS * 255}, "colors must lie from 0 to 1, got 0 to 255"),
        ({"matrix": np.eye(3)}, r"matrix must have shape \[4, 4\], got \[3, 3\]"),
        ({"matrix": np.diag([2, 2, 2, 1])}, "matrix must be a rotation"),
        ({"matrix": np.diag([-1, 1, 1, 1])}, "matrix must be a rotation"),
        ({"matrix": TURN.T}, "last row 0 0 0 1"),
        ({"matrix": np.full((4, 4), np.nan)}, "matrix must be a rotation"),
    ],
)
def test_what_is_refused(change, message):
    arguments = {"points": POINTS, "normals": NORMALS, "faces": FACES, "format": "ply", **change}
    with pytest.raises(ValueError, match=message):
        to_bytes(**arguments)
