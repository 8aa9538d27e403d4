"""Mesh files, read back by PyMOL, libigl and numpy."""

import io

import numpy as np
import pytest
from dsr_backend.meshio import to_bytes, write

POINTS = np.array([[10.12345, -2, 3], [-1, -1, 1], [-1, 1, -1], [100, -1.5, -1]])
NORMALS = np.array([[0, 0, 1], [0, -1, 0], [0.6, 0, -0.8], [1, 0, 0]])
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
COLORS = np.array([[1, 0, 0], [0, 1, 0.5], [0.2, 0.4, 0.6], [0, 0, 0]])
TURN = np.array([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])


def cgo_values(cgo, operation, size):
    """The values that follow each occurrence of an operation in a CGO made by PyMOL's PLY reader."""
    from pymol.cgo import BEGIN, COLOR, END, NORMAL, STOP, VERTEX

    lengths = {BEGIN: 1, COLOR: 3, NORMAL: 3, VERTEX: 3, END: 0, STOP: 0}
    found, at = [], 0
    while at < len(cgo):
        if cgo[at] == operation:
            found.append(cgo[at + 1 : at + 1 + size])
        at += 1 + lengths[cgo[at]]
    return np.array(found)


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


@pytest.mark.parametrize("format, binary", [("ply", False), ("ply", True), ("obj", False), ("npz", False)])
def test_an_empty_mesh_is_a_file_too(format, binary):
    nothing = np.empty((0, 3))
    assert to_bytes(nothing, nothing, np.empty((0, 3), int), format, nothing, binary)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": "stl"}, "unknown mesh format 'stl', expected one of ply, obj, npz"),
        ({"format": "obj", "binary": True}, "only ply has a binary kind, 'obj' has not"),
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


def test_a_refused_mesh_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "mesh.ply"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="got indices"):
        write(path, POINTS, NORMALS, FACES + 1)
    assert path.read_bytes() == b"old"
    with pytest.raises(ValueError, match="unknown mesh format ''"):
        write(tmp_path / "mesh", POINTS, NORMALS, FACES)
