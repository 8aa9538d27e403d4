"""Writes meshes as binary glTF files (GLB), still and animated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pymol_dsr.shared.values import JsonObject

from ... import __version__
from .checks import CheckedMesh, checked_mesh, unit_normals

FPS = 30.0
"""Default frames per second of an animated GLB: PyMOL's own default for movies."""

# Constants of the glTF 2.0 specification.
_COMPONENTS = {"<f4": 5126, "<u4": 5125, "<u2": 5123, "<i2": 5122, "|i1": 5120}
_QUANTIZATION = "KHR_mesh_quantization"
_STEPS = 32767
# The last one of the indices that two bytes hold ends a strip.
_MOST_SHORT_INDICES = 65535
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963


@dataclass(frozen=True)
class AnimationFrame:
    """The mesh at one time: points [N,3] Å, normals [N,3], faces [M,3], colors [N,3] (0 to 1) or None."""

    time: float
    points: ArrayLike
    normals: ArrayLike
    faces: ArrayLike
    colors: ArrayLike | None = None


def animated_glb(
    frames: Sequence[AnimationFrame],
    fps: float = FPS,
    matrix: ArrayLike | None = None,
    provenance: JsonObject | None = None,
) -> bytes:
    """Return the content of one GLB that plays meshes at several times, in the order given.

    Every frame is a mesh of its own, since the triangulation changes over time, and is visible for 1/fps seconds: its
    node is scaled to nothing at all other times, which is how glTF 2.0 hides a mesh. The nodes lie at the centre of the
    whole movie, so that a node that is scaled to nothing stays inside it. The extras of each node hold its time.

    Points are written as steps of 1/65534 of the movie's extent, normals in one byte and colours in two (the extension
    KHR_mesh_quantization, which viewers know): half as many bytes as numbers of four bytes take.

    matrix: rigid motion [4,4] or None; provenance: origin of generated states; both as of `export.write.to_bytes`.
    Raises ValueError for malformed arrays, for no frames and for an fps that is not above 0.
    """
    if not frames:
        raise ValueError("an animation needs at least one frame, got none")
    if not 0.0 < fps < float("inf"):
        raise ValueError(f"fps must be above 0, got {fps}")
    meshes = [checked_mesh(frame.points, frame.normals, frame.faces, frame.colors, matrix) for frame in frames]
    corners = [corner for mesh in meshes if len(mesh.points) for corner in (mesh.points.min(0), mesh.points.max(0))]
    centre = 0.5 * (np.min(corners, axis=0) + np.max(corners, axis=0)) if corners else np.zeros(3)
    reach = max((float(np.abs(corner - centre).max()) for corner in corners), default=0.0)
    step = reach / _STEPS or 1.0
    document = _GlbDocument(provenance)
    for key in ("extensionsUsed", "extensionsRequired"):
        document.json[key] = [_QUANTIZATION]
    channels: list[dict[str, Any]] = []
    samplers: list[dict[str, Any]] = []
    children = []
    for index, (frame, mesh) in enumerate(zip(frames, meshes, strict=True)):
        node = document.node(f"time {frame.time:g}", mesh, -centre, step)
        node["extras"] = {"time": frame.time}
        node["scale"] = [step] * 3
        children.append(document.add("nodes", node))
        if len(frames) == 1:
            continue
        if index:
            node["scale"] = [0.0, 0.0, 0.0]
        samplers.append(_visibility_sampler(document, index, len(frames), fps, step))
        channels.append({"sampler": index, "target": {"node": children[-1], "path": "scale"}})
    root = {"name": "surface", "translation": centre.tolist(), "children": children}
    document.json["scenes"] = [{"nodes": [document.add("nodes", root)]}]
    if channels:
        document.json["animations"] = [{"name": "movie", "channels": channels, "samplers": samplers}]
    return document.content()


def _visibility_sampler(document: _GlbDocument, index: int, count: int, fps: float, step: float) -> dict[str, Any]:
    """Return the sampler that shows frame `index` of `count` for its 1/fps seconds, the last frame to the end.

    step: the scale of a node that is shown.
    """
    keys = [index, index + 1] if not index else [0, index, index + 1]
    last = index == count - 1
    visible = [1.0, 0.0] if not index else [0.0, 1.0, 1.0 if last else 0.0]
    scales = np.repeat(step * np.array(visible, "<f4")[:, None], 3, axis=1)
    return {
        "input": document.array(np.array(keys, "<f4") / np.float32(fps), bounds=True),
        "output": document.array(scales),
        "interpolation": "STEP",
    }


def glb_bytes(mesh: CheckedMesh, provenance: JsonObject | None = None) -> bytes:
    """Return the content of a GLB with one mesh; provenance: origin of its states, where they were generated."""
    document = _GlbDocument(provenance)
    document.json["scenes"] = [{"nodes": [document.add("nodes", document.node("surface", mesh, np.zeros(3)))]}]
    return document.content()


class _GlbDocument:
    """A binary glTF 2.0 file under construction."""

    def __init__(self, provenance: JsonObject | None) -> None:
        extras: JsonObject = {"unit": "angstrom", "metres_per_unit": 1e-10}
        if provenance:
            extras["provenance"] = provenance
        self.json: dict[str, Any] = {
            "asset": {
                "version": "2.0",
                "generator": f"pymol-dsr {__version__}",
                "extras": extras,
            },
            "scene": 0,
        }
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        """Append an entry to one of the document's lists; return its index."""
        entries: list[dict[str, Any]] = self.json.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def node(
        self, name: str, mesh: CheckedMesh, shift: NDArray[np.float64], step: float | None = None
    ) -> dict[str, Any]:
        """Return a node with the mesh, moved by `shift` f8[3]; without a mesh where it is empty, which glTF forbids.

        step: Å, of the whole numbers that the points become; None writes numbers of four bytes.
        """
        node: dict[str, Any] = {"name": name}
        if len(mesh.faces):
            points, normals = mesh.points + shift, unit_normals(mesh.normals)
            colors = None if mesh.colors is None else _linear(mesh.colors)
            is_short = step is not None and len(points) <= _MOST_SHORT_INDICES
            if step is not None:
                points, normals = np.rint(points / step).astype("<i2"), np.rint(normals * 127).astype("i1")
                colors = None if colors is None else np.rint(colors * 65535).astype("<u2")
            else:
                points, normals = points.astype("<f4"), normals.astype("<f4")
                colors = None if colors is None else colors.astype("<f4")
            attributes = {
                "POSITION": self.array(points, target=_ARRAY_BUFFER, bounds=True),
                "NORMAL": self.array(normals, target=_ARRAY_BUFFER, normalized=step is not None),
            }
            if colors is not None:
                attributes["COLOR_0"] = self.array(colors, target=_ARRAY_BUFFER, normalized=step is not None)
            if "materials" not in self.json:
                # glTF's default material is metal, which is black in a scene without light to reflect.
                matte = {"metallicFactor": 0.0, "roughnessFactor": 0.6}
                self.add("materials", {"name": "surface", "pbrMetallicRoughness": matte})
            corners = self.array(mesh.faces.astype("<u2" if is_short else "<u4").ravel(), target=_ELEMENT_ARRAY_BUFFER)
            primitive = {"attributes": attributes, "indices": corners, "material": 0}
            node["mesh"] = self.add("meshes", {"name": name, "primitives": [primitive]})
        return node

    def array(
        self, values: NDArray[Any], target: int | None = None, bounds: bool = False, normalized: bool = False
    ) -> int:
        """Append an array [N] or [N,3] of one of the _COMPONENTS; return its accessor's index.

        target: the GPU buffer it is for. normalized: whether whole numbers stand for -1 to 1, or 0 to 1.
        """
        raw = values.tobytes()
        view: dict[str, Any] = {"buffer": 0, "byteOffset": self._size, "byteLength": len(raw)}
        row = values.itemsize * (values.shape[1] if values.ndim == 2 else 1)
        if target == _ARRAY_BUFFER and row % 4:
            # Vertices begin at multiples of four bytes.
            view["byteStride"] = row + -row % 4
            padded = np.zeros((len(values), view["byteStride"]), np.uint8)
            padded[:, :row] = np.frombuffer(raw, np.uint8).reshape(len(values), row)
            raw = padded.tobytes()
            view["byteLength"] = len(raw)
        raw += bytes(-len(raw) % 4)
        if target is not None:
            view["target"] = target
        accessor: dict[str, Any] = {
            "bufferView": self.add("bufferViews", view),
            "componentType": _COMPONENTS[values.dtype.str],
            "count": len(values),
            "type": "VEC3" if values.ndim == 2 else "SCALAR",
        }
        if normalized:
            accessor["normalized"] = True
        if bounds:
            for key, bound in (("min", values.min(axis=0)), ("max", values.max(axis=0))):
                accessor[key] = np.atleast_1d(bound).tolist()
        self._chunks.append(raw)
        self._size += len(raw)
        return self.add("accessors", accessor)

    def content(self) -> bytes:
        """Return the file's content. Raises ValueError past 4.3 GB, the most that a GLB can hold."""
        if self._chunks:
            self.json["buffers"] = [{"byteLength": self._size}]
        text = json.dumps(self.json, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        total = 20 + len(text) + (8 + self._size if self._chunks else 0)
        if total >= 2**32:
            raise ValueError(
                f"a GLB holds less than 4.3 GB and this one needs {total / 1e9:.1f}: fewer times or triangles"
            )
        header = [b"glTF", _u4(2), _u4(total), _u4(len(text)), b"JSON", text]
        body = [_u4(self._size), b"BIN\0", *self._chunks] if self._chunks else []
        return b"".join(header + body)


def _u4(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _linear(colors: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Convert sRGB colours, as PyMOL and screens use them, to linear ones from 0 to 1, as glTF requires."""
    value = colors / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
