"""The picture of docs/colour.md, in headless PyMOL: python -m pymol -cq examples/colour_motion.py

Adenylate kinase opening, coloured by domain, by how far the surface goes and by which way it goes at state 40. The fit
is a coarse one, made in ten seconds.
"""

from __future__ import annotations

from pathlib import Path

from MDAnalysisTests.datafiles import DCD2, PSF
from PIL import Image, ImageDraw, ImageFont
from pymol import cmd

# Importing the package registers the dsr_* commands, as in a pymolrc.
from pymol_dsr import __version__

OUT = Path("docs/colour-motion.png")
SIZE = (420, 400)
STATE = 40
SHOWN = {
    "dsr_color adk_dsr": "dsr_color adk_dsr, atoms",
    "dsr_color adk_dsr, motion": "dsr_color adk_dsr, motion (Angstrom)",
    "dsr_color adk_dsr, velocity": "dsr_color adk_dsr, velocity (Angstrom per state)",
}


def picture(line: str, title: str) -> Image.Image:
    cmd.do(line, log=0, echo=0)
    cmd.sync()
    draft = OUT.with_suffix(".draft.png")
    cmd.png(str(draft), *SIZE, ray=1, quiet=1)
    with Image.open(draft) as image:
        labelled = image.convert("RGB")
    draft.unlink()
    ImageDraw.Draw(labelled).text((14, 10), title, fill=(60, 60, 60), font=ImageFont.load_default(15))
    return labelled


def main() -> None:
    print(f"pymol_dsr {__version__}")
    cmd.feedback("disable", "objectmolecule", "results details actions")
    cmd.load(PSF, "adk")
    cmd.load_traj(DCD2, "adk", state=1)
    cmd.color("gray80", "adk")
    cmd.color("skyblue", "adk and resi 30-67")
    cmd.color("salmon", "adk and resi 118-167")
    for line in ("dsr_fit adk, 1-79:6, preset=preview, async_=0", "dsr_movie adk_dsr, 1-79:6+40, async_=0"):
        cmd.do(line, log=0, echo=0)
        cmd.sync()
    cmd.hide("everything", "adk")
    cmd.bg_color("white")
    cmd.set("ray_opaque_background", 1)
    cmd.set("ray_shadows", 0)
    cmd.set("ambient", 0.25)
    cmd.orient("adk", state=STATE)
    cmd.zoom("adk", 9, state=STATE)
    # Room for the bar below and the title above.
    cmd.move("y", 1.0)
    cmd.set("state", STATE)
    sheet = Image.new("RGB", (SIZE[0] * len(SHOWN), SIZE[1]), "white")
    for column, (line, title) in enumerate(SHOWN.items()):
        sheet.paste(picture(line, title), (column * SIZE[0], 0))
    # Steps of 5 are not seen and take half the bytes.
    sheet.point(lambda v: 5 * (v // 5)).save(OUT, optimize=True)
    print(f"{OUT}: {OUT.stat().st_size / 1000:.0f} kB")
    cmd.quit()


main()
