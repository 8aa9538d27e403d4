"""From one structure to another: python -m pymol -cq examples/morph.py -- morph.png

The first and the last state of the adenylate kinase trajectory of MDAnalysisTests, as two structures would be: closed
and open. A fit of these two states shows the way between them; four times of it stand beside each other.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from MDAnalysisTests.datafiles import DCD2, PSF
from PIL import Image
from pymol import cmd

# Importing the package registers the dsr_* commands, as in a pymolrc.

TIMES = ("1.00", "1.33", "1.67", "2.00")
SIZE = (360, 330)


def main(target: str) -> None:
    cmd.load(PSF, "adk")
    cmd.load_traj(DCD2, "adk", state=1)
    cmd.create("ends", "adk", 1, 1)
    cmd.create("ends", "adk", 102, 2)
    cmd.delete("adk")
    cmd.hide("everything")
    cmd.set("bg_rgb", "white")
    cmd.color("gray80", "ends")
    cmd.color("tv_orange", "ends and resi 122-159")
    cmd.color("marine", "ends and resi 30-59")
    cmd.intra_fit("ends and not resi 30-59+122-159", 1)
    cmd.viewport(*SIZE)
    cmd.orient("ends", state=1)
    cmd.zoom("ends", 4, state=2)
    cmd.do("dsr_fit ends, name=morph")
    cmd.do(f"dsr_movie morph, {'+'.join(TIMES)}, overlay=1")
    cmd.set("opaque_background", 1)
    strip = Image.new("RGB", (SIZE[0] * len(TIMES), SIZE[1]), "white")
    with tempfile.TemporaryDirectory() as folder:
        for k in range(len(TIMES)):
            picture = str(Path(folder) / "frame.png")
            cmd.frame(k + 1)
            cmd.png(picture, *SIZE, ray=1, quiet=1)
            with Image.open(picture) as image:
                strip.paste(image.convert("RGB"), (k * SIZE[0], 0))
    strip.quantize(128).save(target, optimize=True)


main(sys.argv[-1])
