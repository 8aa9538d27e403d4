"""`python tools/plugin_zip.py [FILE]`: the plugin alone as a zip for PyMOL's Plugin Manager.

One package, since PyMOL refuses an archive of two, with its examples and its LICENSE; the backend's package is in
`bundled`, for dsr_install. The same sources give the same bytes.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "pymol_dsr"


def write(target: Path) -> int:
    """Write the zip; how many files it holds."""
    package = ROOT / PACKAGE
    paths = sorted([*package.rglob("*.py"), *(package / "examples").glob("*.pdb.gz")])
    files = {path.relative_to(ROOT).as_posix(): path for path in paths}
    for path in sorted((ROOT / "backend").rglob("*.py")):
        files[f"{PACKAGE}/bundled/{path.relative_to(ROOT / 'backend').as_posix()}"] = path
    files[f"{PACKAGE}/LICENSE"] = ROOT / "LICENSE"
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, path.read_bytes())
    return len(files)


if __name__ == "__main__":
    # The Plugin Manager takes the module's name from the file's.
    archive = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / f"{PACKAGE}.zip"
    print(f"{archive}: {write(archive)} files")
