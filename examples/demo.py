"""The main job on a real trajectory, in headless PyMOL: python -m pymol -cq examples/demo.py

Adenylate kinase opening (DIMS molecular dynamics, 102 states, 3341 atoms, from MDAnalysisTests): fitted to every second
state up to 79, measured against PyMOL's own surfaces, and shown at every half state up to 90. Writes into demo/:
adk.dsr, adk.csv, adk.png, table.txt, contact_sheet.png, adk.mp4 (or .gif) and adk.pse.
"""

from __future__ import annotations

import csv
import os
import sys
import time
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
from MDAnalysisTests.datafiles import DCD2, PSF
from PIL import Image, ImageDraw, ImageFont
from pymol import cmd

# Importing the package registers the dsr_* commands, as in a pymolrc.
from pymol_dsr.analysis import evaluation
from pymol_dsr.analysis.evaluation import StateScores
from pymol_dsr.shared.scoring import FIELD

OUT = Path("demo")
SHOWN = (1, 14, 27, 40, 53, 66, 79, 90)
FIRST, LAST_FITTED, LAST, STEP = 1, 79, 90, 0.5
SIZE = (480, 400)
FRAMES_PER_SECOND = 15
started = time.perf_counter()


def say(text: str) -> None:
    print(f"[{time.perf_counter() - started:5.0f} s] {text}", flush=True)


def run(line: str) -> None:
    """Type one command, as a user would."""
    say(f"PyMOL> {line}")
    cmd.do(line, log=0, echo=0)
    cmd.sync()
    sys.stdout.flush()


def expect(*names: str) -> None:
    """Stop the demo where a command did not make its objects: PyMOL itself goes on after an error."""
    missing = set(names) - set(cmd.get_names("objects"))
    if missing:
        say(f"stopped: {', '.join(sorted(missing))} not made; the message is above")
        os._exit(1)


def ray(path: Path) -> Image.Image:
    cmd.png(str(path), *SIZE, ray=1, quiet=1)
    with Image.open(path) as image:
        picture = image.convert("RGB")
    path.unlink()
    return picture


def label(image: Image.Image, text: str) -> Image.Image:
    ImageDraw.Draw(image).text((10, 8), text, fill=(70, 70, 70), font=ImageFont.load_default(18))
    return image


def kind_of(state: float) -> str:
    if state > LAST_FITTED:
        return "extrapolated"
    return "fitted" if state == int(state) and int(state) % 2 else "between"


def number_of(state: float) -> int:
    """The movie's state that shows this time."""
    return round((state - FIRST) / STEP) + 1


def contact_sheet(scores: dict[int, str]) -> None:
    """Eight states: PyMOL's own surface above, the field's below."""
    sheet = Image.new("RGB", (SIZE[0] * 4, SIZE[1] * 4), "white")
    for number, state in enumerate(SHOWN):
        cmd.disable("all")
        cmd.create("own", "adk", state, 1, zoom=0)
        cmd.show_as("surface", "own")
        pymol_picture = label(ray(OUT / "own.png"), f"state {state}: PyMOL's surface")
        cmd.delete("own")
        name = "adk_dsr" if state <= LAST_FITTED else "adk_dsr_future"
        cmd.enable(name)
        cmd.frame(number_of(state))
        field = label(ray(OUT / "field.png"), f"state {state}, {kind_of(state)}: IoU {scores.get(state, '')}")
        column, row = number % 4, 2 * (number // 4)
        sheet.paste(pymol_picture, (column * SIZE[0], row * SIZE[1]))
        sheet.paste(field, (column * SIZE[0], (row + 1) * SIZE[1]))
    sheet.save(OUT / "contact_sheet.png")
    say("contact sheet: demo/contact_sheet.png")


def movie() -> None:
    """The whole states as frames; in PyMOL the halves between them play too."""
    cmd.disable("all")
    cmd.enable("adk_dsr")
    cmd.enable("adk_dsr_future")
    times = range(FIRST, LAST + 1)
    try:
        writer = imageio.get_writer(OUT / "adk.mp4", fps=FRAMES_PER_SECOND, quality=8, macro_block_size=16)
    except (ImportError, RuntimeError) as error:
        say(f"no encoder for mp4 ({error}); writing a GIF")
        writer = imageio.get_writer(OUT / "adk.gif", duration=1000 / FRAMES_PER_SECOND, loop=0)
    with writer:
        for count, moment in enumerate(times, 1):
            cmd.frame(number_of(moment))
            writer.append_data(np.asarray(label(ray(OUT / "frame.png"), f"state {moment:g}, {kind_of(moment)}")))
            if count % 30 == 0:
                say(f"movie: {count} of {len(times)} frames")


def session() -> None:
    """The movie as maps with an isosurface: a tenth of what meshes would take."""
    for name in ("adk_dsr", "adk_dsr_future", "adk_dsr_atoms"):
        cmd.delete(name)
    run(f"dsr_movie adk_dsr, states={FIRST}-{LAST}:{STEP}, object=adk_surface, as_=map, resolution=1.4")
    expect("adk_surface", "adk_surface_future")
    cmd.disable("adk")
    cmd.color("palecyan", "adk_surface")
    cmd.set("isosurface_algorithm", 1)
    cmd.set("pse_binary_dump", 1)
    cmd.save(str(OUT / "adk.pse"))
    say(f"session: demo/adk.pse, {(OUT / 'adk.pse').stat().st_size / 1e6:.0f} MB")


def main() -> None:
    OUT.mkdir(exist_ok=True)
    cmd.feedback("disable", "objectmolecule", "results details actions")
    cmd.load(PSF, "adk")
    cmd.load_traj(DCD2, "adk", state=1)
    run(f"dsr_fit adk, states={FIRST}-{LAST_FITTED}:2")
    run("dsr_save adk_dsr, demo/adk.dsr")
    run("dsr_eval adk_dsr, states=1-99, file=demo/adk.csv")
    # Exact at the fitted states and as fine as PyMOL's: the contact sheet shows them with their scores beside these.
    run(f"dsr_movie adk_dsr, states={FIRST}-{LAST}:{STEP}, steady=0, triangles=30000")
    expect("adk_dsr", "adk_dsr_future", "adk_dsr_atoms")

    with open(OUT / "adk.csv", newline="") as stream:
        rows = [
            StateScores(int(r["state"]), r["group"], r["method"], *(float(r[m]) for m in (*evaluation.METRICS, "rmsd")))
            for r in csv.DictReader(stream)
        ]
    (OUT / "table.txt").write_text("\n".join(evaluation.score_table(rows)) + "\n")
    scores = {row.state: f"{row.iou:.3f}" for row in rows if row.method == FIELD}
    cmd.bg_color("white")
    cmd.set("ray_opaque_background", 1)
    cmd.set("ray_shadows", 0)
    cmd.set("ambient", 0.25)
    cmd.hide("everything", "adk_dsr_atoms")
    cmd.orient("adk")
    cmd.zoom("adk", 2, state=0)
    contact_sheet(scores)
    movie()
    session()
    say("done: see demo/")
    cmd.quit()


main()
