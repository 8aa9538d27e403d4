"""Binary glTF files (GLB), still and animated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import __version__
from .checks import CheckedMesh, checked_mesh, unit_normals

FPS = 30.0
"""Frames per second of an animated GLB where none is named, as PyMOL plays movies."""


@dataclass(frozen=True)
class AnimationFrame:
    """The mesh at one time, as for `to_bytes`: points [N,3] Å, normals [N,3], faces [M,3], colors [N,3] or None."""

    time: float
    points: ArrayLike
    normals: ArrayLike
    faces: ArrayLike
    colors: ArrayLike | None = None


def animated_glb(frames: Sequence[AnimationFrame], fps: float = FPS, matrix: ArrayLike | None = None) -> bytes:
    """Meshes at several times as the content of one GLB that plays them, in the order given.

    Every frame is a mesh of its own, since triangles come and go, and is shown for 1/fps seconds: its node is scaled to
    nothing at all other times, which is how glTF 2.0 hides a mesh. The nodes lie at the middle of the whole movie, so
    that what is scaled to nothing stays inside it. The extras of each node have its time.

    Raises ValueError as `to_bytes` does, and for no frames or an fps that is not above 0.
    """
    if not frames:
        raise ValueError("an animation needs at least one frame, got none")
    if not 0.0 < fps < float("inf"):
        raise ValueError(f"fps must be above 0, got {fps}")
    meshes = [checked_mesh(frame.points, frame.normals, frame.faces, frame.colors, matrix) for frame in frames]
    corners = [corner for mesh in meshes if len(mesh.points) for corner in (mesh.points.min(0), mesh.points.max(0))]
    middle = 0.5 * (np.min(corners, axis=0) + np.max(corners, axis=0)) if corners else np.zeros(3)
    file = _Glb()
    channels: list[dict[str, Any]] = []
    samplers: list[dict[str, Any]] = []
    children = []
    for number, (frame, mesh) in enumerate(zip(frames, meshes, strict=True)):
        node = file.node(f"time {frame.time:g}", mesh, -middle)
        node["extras"] = {"time": frame.time}
        children.append(file.add("nodes", node))
        if len(frames) == 1:
            continue
        if number:
            node["scale"] = [0.0, 0.0, 0.0]
        last = number == len(frames) - 1
        keys = [number, number + 1] if not number else [0, number, number + 1]
        shown = [1.0, 0.0] if not number else [0.0, 1.0, 1.0 if last else 0.0]
        scales = np.repeat(np.array(shown, "<f4")[:, None], 3, axis=1)
        samplers.append(
            {
                "input": file.array(np.array(keys, "<f4") / np.float32(fps), bounds=True),
                "output": file.array(scales),
                "interpolation": "STEP",
            }
        )
        channels.append({"sampler": number, "target": {"node": children[-1], "path": "scale"}})
    root = {"name": "surface", "translation": middle.tolist(), "children": children}
    file.document["scenes"] = [{"nodes": [file.add("nodes", root)]}]
    if channels:
        file.document["animations"] = [{"name": "movie", "channels": channels, "samplers": samplers}]
    return file.content()


def glb_bytes(mesh: CheckedMesh) -> bytes:
    file = _Glb()
    file.document["scenes"] = [{"nodes": [file.add("nodes", file.node("surface", mesh, np.zeros(3)))]}]
    return file.content()


class _Glb:
    """A binary glTF 2.0 file under construction."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {
            "asset": {
                "version": "2.0",
                "generator": f"pymol-dsr {__version__}",
                "extras": {"unit": "angstrom", "metres_per_unit": 1e-10},
            },
            "scene": 0,
        }
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        """Enter something into one of the document's lists; its index there."""
        entries: list[dict[str, Any]] = self.document.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def node(self, name: str, mesh: CheckedMesh, shift: NDArray[np.float64]) -> dict[str, Any]:
        """A node with the mesh, moved by `shift`; without one where the mesh is empty, which glTF does not know."""
        node: dict[str, Any] = {"name": name}
        if len(mesh.faces):
            attributes = {
                "POSITION": self.array((mesh.points + shift).astype("<f4"), target=34962, bounds=True),
                "NORMAL": self.array(unit_normals(mesh.normals).astype("<f4"), target=34962),
            }
            if mesh.colors is not None:
                attributes["COLOR_0"] = self.array(_linear(mesh.colors).astype("<f4"), target=34962)
            if "materials" not in self.document:
                # glTF's own default is bare metal, which is black where there is nothing to mirror.
                matte = {"metallicFactor": 0.0, "roughnessFactor": 0.6}
                self.add("materials", {"name": "surface", "pbrMetallicRoughness": matte})
            corners = self.array(mesh.faces.astype("<u4").ravel(), target=34963)
            primitive = {"attributes": attributes, "indices": corners, "material": 0}
            node["mesh"] = self.add("meshes", {"name": name, "primitives": [primitive]})
        return node

    def array(self, values: NDArray[Any], target: int | None = None, bounds: bool = False) -> int:
        """Append an array, f4[N], f4[N,3] or u4[N]; the index of its accessor. target: what a GPU uses it for."""
        view: dict[str, Any] = {"buffer": 0, "byteOffset": self._size, "byteLength": values.nbytes}
        if target is not None:
            view["target"] = target
        accessor: dict[str, Any] = {
            "bufferView": self.add("bufferViews", view),
            "componentType": 5126 if values.dtype.kind == "f" else 5125,
            "count": len(values),
            "type": "VEC3" if values.ndim == 2 else "SCALAR",
        }
        if bounds:
            for key, bound in (("min", values.min(axis=0)), ("max", values.max(axis=0))):
                accessor[key] = np.atleast_1d(bound).tolist()
        self._chunks.append(values.tobytes())
        self._size += values.nbytes
        return self.add("accessors", accessor)

    def content(self) -> bytes:
        if self._chunks:
            self.document["buffers"] = [{"byteLength": self._size}]
        text = json.dumps(self.document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        total = 20 + len(text) + (8 + self._size if self._chunks else 0)
        if total >= 2**32:
            raise ValueError(
                f"a GLB holds less than 4.3 GB and this one needs {total / 1e9:.1f}: fewer times or triangles"
            )
        head = [b"glTF", _u4(2), _u4(total), _u4(len(text)), b"JSON", text]
        body = [_u4(self._size), b"BIN\0", *self._chunks] if self._chunks else []
        return b"".join(head + body)


def _u4(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _linear(colors: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The light of colours as screens and PyMOL number them (sRGB), from 0 to 1: glTF counts light."""
    value = colors / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
