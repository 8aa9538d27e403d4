"""`python tools/gpu_kit.py [FILE]`: all that `benchmarks/gpu.py` needs on a bare machine, as one archive.

It holds both packages, the benchmarks, the tests of the GPU, and PyMOL's surfaces of the AdK opening: the fitted states
and those that are scored. The surfaces are rounded as on the wire, to 1/1024 Å, so that the archive stays small.
"""

from __future__ import annotations

import dataclasses
import io
import json
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import numpy as np
import rows
from dsr_backend.surfaces import surfaces_file
from dsr_backend.surfaces.surface import Surface

from pymol_dsr.shared.codec import STEP

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("pymol_dsr", "backend/dsr_backend", "benchmarks", "tests/cuda")
MOST_BYTES = 40_000_000


def write(target: Path, folder: Path = ROOT / "build" / "tables" / "dims") -> int:
    """Write the archive from the surfaces in `folder`, made by PyMOL if they are not there; return its bytes."""
    row = rows.ROWS["dims"]
    rows.prepare(row, folder, None, ROOT / "build" / "tables" / "trajectories")
    listed, meta = surfaces_file.read_surfaces_file(rows.surfaces_path(folder, "truth"))
    surfaces = {int(surface.state): surface for surface in listed}
    states = {"training": row.training, "fitted": row.groups["fitted"], "between": row.groups["between"]}
    needed = sorted(set().union(*states.values()))
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "dims.safetensors")
        surfaces_file.write_surfaces_file(path, [_rounded(surfaces[state]) for state in needed], meta)
        files = {"surfaces/dims.safetensors": path.read_bytes(), "surfaces/dims.json": json.dumps(states).encode()}
    for name in FOLDERS:
        for source in sorted((ROOT / name).rglob("*.py")):
            files[source.relative_to(ROOT).as_posix()] = source.read_bytes()
    for name in ("LICENSE", "tests/cuda/pytest.ini"):
        files[name] = (ROOT / name).read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w:xz", preset=3) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"gpu-kit/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return target.stat().st_size


def _rounded(surface: Surface) -> Surface:
    """Return the surface with points, normals and atoms in steps of 1/1024, which pack well."""
    points, normals, atoms = (
        None if values is None else (np.rint(values / STEP) * STEP).astype(np.float32)
        for values in (surface.points, surface.normals, surface.atoms)
    )
    return dataclasses.replace(surface, points=points, normals=normals, atoms=atoms)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "gpu-kit.tar.xz"
    size = write(target)
    print(f"{target}: {size / 1e6:.1f} MB")
    if size > MOST_BYTES:
        sys.exit(f"{target} has {size} bytes, more than {MOST_BYTES}: score fewer states")
