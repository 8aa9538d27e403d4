"""Four frames of a movie beside each other: python -m pymol -cq examples/movie_strip.py -- adk.dsr strip.png

adk.dsr is a fit of the adenylate kinase trajectory of MDAnalysisTests, as examples/demo.py makes it. The camera follows
the molecule, the time stands in the picture, and the last frame is extrapolated.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from MDAnalysisTests.datafiles import DCD2, PSF
from PIL import Image
from pymol import cmd

# Importing the package registers the dsr_* commands, as in a pymolrc.

STATES = (1, 40, 79, 90)
SIZE = (360, 330)


def main(fit: str, target: str) -> None:
    cmd.load(PSF, "adk")
    cmd.load_traj(DCD2, "adk", state=1)
    cmd.set("bg_rgb", "white")
    cmd.spectrum("resi", "blue_white_red", "adk")
    cmd.hide("everything")
    cmd.viewport(*SIZE)
    cmd.orient("adk", state=40)
    cmd.zoom("adk", 4, state=90)
    cmd.do(f"dsr_load {fit}, adk_dsr")
    cmd.do(f"dsr_movie adk_dsr, {'+'.join(map(str, STATES))}, camera=follow, overlay=1, triangles=30000")
    cmd.set("opaque_background", 1)
    strip = Image.new("RGB", (SIZE[0] * len(STATES), SIZE[1]), "white")
    with tempfile.TemporaryDirectory() as folder:
        for k in range(len(STATES)):
            picture = str(Path(folder) / "frame.png")
            cmd.frame(k + 1)
            cmd.png(picture, *SIZE, ray=1, quiet=1)
            with Image.open(picture) as image:
                strip.paste(image.convert("RGB"), (k * SIZE[0], 0))
    strip.quantize(128).save(target, optimize=True)


main(*sys.argv[-2:])
