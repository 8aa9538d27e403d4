"""The picture of docs/measures.md, in headless PyMOL: python -m pymol -cq examples/measure.py

Adenylate kinase opening (DIMS molecular dynamics, from MDAnalysisTests), fitted to every second state up to 79: the
volume of the pocket where its substrates bind, between the domains LID and NMP and the core, and which residues move.
Writes docs/measures.png.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from MDAnalysisTests.datafiles import DCD2, PSF
from pymol import cmd

from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.measure import dsr_measure

SITE = "resi 9-14+31+36+57-58+84-85+88+92+119+123+156+158+167+200"
LID, NMP = range(122, 160), range(30, 60)

cmd.load(PSF, "adk")
cmd.load_traj(DCD2, "adk", state=1)
dsr_fit("adk", "1-79:2", watch=0, quiet=0)
with tempfile.TemporaryDirectory() as folder:
    table = os.path.join(folder, "measures.csv")
    measured = dsr_measure("adk_dsr", "1-89:2", file=table, pocket=SITE, plot=0, quiet=0)
    Path("docs/measures.png").write_bytes(Path(folder, "measures.png").read_bytes())
assert measured is not None
for name, members in (("LID", LID), ("NMP", NMP), ("core", set(range(1, 215)) - {*LID, *NMP})):
    residues = [r for r in measured.residues if int(r.resi) in members]
    area = sum(r.area for r in residues)
    print(f"{name}: {sum(r.speed * r.area for r in residues) / area:.3f} A per state over {area:.0f} A^2")
