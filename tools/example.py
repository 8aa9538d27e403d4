"""`python tools/example.py`: the files of dsr_example, from the project's own trajectories of Trp-cage.

Heavy atoms, superposed: trpcage.pdb.gz has the first states at 300 K, trpcage_open.pdb.gz the state at 450 K that is
farthest from the first one. The same trajectories give the same bytes.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import pymol2

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "benchmarks/data"
TARGET = ROOT / "pymol_dsr/examples"
STATES = 20


def write() -> None:
    """Write both files."""
    TARGET.mkdir(exist_ok=True)
    with pymol2.PyMOL() as pymol:
        cmd = pymol.cmd
        cmd.feedback("disable", "all", "everything")
        for kelvin in (300, 450):
            name = f"trpcage_{kelvin}k"
            cmd.load(str(SOURCE / f"{name}.pdb"), name)
            cmd.load_traj(str(SOURCE / f"{name}.xtc"), name, state=1)
            cmd.remove(f"{name} and hydro")
            cmd.intra_fit(f"{name} and name CA", 1)
        offsets = cmd.intra_rms_cur("trpcage_450k and name CA", 1)
        cmd.create("open", "trpcage_450k", 1 + offsets.index(max(offsets)), 1)
        cmd.align("open and name CA", "trpcage_300k and name CA", cycles=0, mobile_state=1, target_state=1)
        for state in range(1, STATES + 1):
            cmd.create("trpcage", "trpcage_300k", state, state)
        for name, file in (("trpcage", "trpcage"), ("open", "trpcage_open")):
            text = cmd.get_pdbstr(name, 0 if name == "trpcage" else 1)
            (TARGET / f"{file}.pdb.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
            print(f"{file}.pdb.gz: {cmd.count_states(name)} states of {cmd.count_atoms(name)} atoms")


if __name__ == "__main__":
    write()
