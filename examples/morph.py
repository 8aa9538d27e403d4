"""From one structure to another: python -m pymol -cq examples/morph.py -- morph.png

The first and the last state of the adenylate kinase trajectory of MDAnalysisTests, as two structures would be: closed
and open, which lacks three residues and all hydrogens, under another name of its chain. Four states of the morph stand
beside each other, its atoms in their surface.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from MDAnalysisTests.datafiles import DCD2, PSF
from PIL import Image
from pymol import cmd

# Importing the package registers the dsr_* commands, as in a pymolrc.
import pymol_dsr  # noqa: F401

STATES = (1, 5, 9, 13)
SIZE = (360, 330)


def main(target: str) -> None:
    cmd.load(PSF, "adk")
    cmd.load_traj(DCD2, "adk", state=1)
    cmd.create("closed", "adk", 1, 1)
    cmd.create("open", "adk and not hydro and not resi 1-3", 102, 1)
    cmd.alter("open", "chain, segi = 'B', ''")
    cmd.delete("adk")
    cmd.hide("everything")
    cmd.show("cartoon")
    cmd.set("bg_rgb", "white")
    cmd.do(f"dsr_morph closed, open, {STATES[-1]}")
    cmd.color("gray80", "closed_morph")
    cmd.color("tv_orange", "closed_morph and resi 122-159")
    cmd.color("marine", "closed_morph and resi 30-59")
    cmd.do("dsr_color closed_morph_dsr, atoms")
    cmd.viewport(*SIZE)
    cmd.orient("closed_morph", state=1)
    cmd.zoom("closed_morph", 4, state=STATES[-1])
    cmd.set("opaque_background", 1)
    strip = Image.new("RGB", (SIZE[0] * len(STATES), SIZE[1]), "white")
    with tempfile.TemporaryDirectory() as folder:
        for number, state in enumerate(STATES):
            picture = str(Path(folder) / "frame.png")
            cmd.frame(state)
            cmd.png(picture, *SIZE, ray=1, quiet=1)
            with Image.open(picture) as image:
                strip.paste(image.convert("RGB"), (number * SIZE[0], 0))
    strip.quantize(128).save(target, optimize=True)


main(sys.argv[-1])
