"""The pictures of the window in docs/: xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" .venv/bin/python -m pymol
-W 860 -H 640 tools/panel_pictures.py, with `import pymol_dsr` in ~/.pymolrc.py. Needs MDAnalysisTests; minutes.
"""

import os
import time
import traceback

from MDAnalysisTests.datafiles import DCD2, PSF
from PIL import Image
from pymol import cmd
from pymol.Qt import QtCore, QtWidgets

import pymol_dsr


def picture(name):
    """Save PyMOL's window, in which the panel is docked; fewer colours would band the surfaces."""
    import pymol.gui

    window = pymol.gui.get_qtwindow()
    window.pymolwidget.repaint()
    screenshot = QtWidgets.QApplication.primaryScreen().grabWindow(0).copy(window.frameGeometry())
    # In PyMOL, __file__ is that of PyMOL.
    path = os.path.join(os.path.dirname(os.path.dirname(pymol_dsr.__file__)), "docs", f"panel-{name}.png")
    screenshot.save(path)
    with Image.open(path) as full:
        pixels = full.convert("RGB")
    pixels.save(path, optimize=True)


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain")
        yield 50


def steps():
    from pymol_dsr.session import session_of

    cmd.set("bg_rgb", "white")
    cmd.load(PSF, "adk")
    cmd.load_traj(DCD2, "adk", state=1)
    cmd.show_as("cartoon")
    cmd.spectrum("resi")
    cmd.frame(41)
    cmd.orient("adk")
    session = session_of(cmd)
    session.windows.show_panel()
    jobs, panel = session.jobs, session.windows.panel
    fit, play, quality = panel.fit, panel.play, panel.quality
    yield from wait_until(lambda: "GB)" in fit.device.currentText(), 60)
    fit.states.setText("1-79:2")
    yield 500
    fit.fit_button.click()
    yield from wait_until(
        lambda: "adk_dsr_preview" in cmd.get_names() and str(jobs.fits["adk_dsr"].phase) == "fit", 400
    )
    yield 2000
    picture("fit")
    yield from wait_until(fit.play_button.isEnabled, 400)
    # Its line names the seconds of this run, on a machine that may have other work.
    jobs.fits["adk_dsr"].timing = None
    drawn = []
    play.live.shown.connect(drawn.append)
    fit.play_button.click()
    index = play.controls.color.findText("by motion")
    play.controls.color.setCurrentIndex(index)
    play.controls.color.activated.emit(index)
    # So that the scale of the colours has seen the whole motion.
    for at in (100, 7900, 2450):
        play.player.slider.setValue(at)
        drawn.clear()
        yield from wait_until(lambda at=at: drawn and drawn[-1].request.fine and drawn[-1].request.time == at / 100, 30)
    yield 500
    picture("play")
    play.controls.color.setCurrentIndex(0)
    # The mesh adapts to the other work of this machine.
    play.controls.resolution.setValue(0.6)
    measure = panel.measure
    panel.tabs.setCurrentWidget(measure)
    measure.states.setText("1-79:4")
    measure.pocket.setText("resi 9-14+31+36+57-58+84-85+88+92+119+123+156+158+167+200")
    yield 300
    measure.button.click()
    yield from wait_until(measure.save.isEnabled, 200)
    measure.slider.setValue(4100)
    measure.view.table.setCurrentCell(0, 0)
    yield 2500
    picture("measure")
    cmd.delete("dsr_residue")
    cmd.orient("adk")
    panel.tabs.setCurrentWidget(play)
    play.player.slider.setValue(6000)
    yield 1500
    panel.tabs.setCurrentWidget(quality)
    quality.states.setText("1-100:5")
    yield 300
    quality.button.click()
    yield from wait_until(quality.save.isEnabled, 400)
    yield 500
    picture("quality")
    yield from ensembles(panel)
    yield from simulation(panel)
    jobs.close()


def ensembles(panel):
    """Show the occupancy of one run of Trp-cage, and the landscape of another on its axes."""
    cmd.delete("all")
    data = os.path.join(os.path.dirname(os.path.dirname(pymol_dsr.__file__)), "benchmarks/data")
    for name, run in (("warm", "trpcage_300k"), ("hot", "trpcage_450k")):
        cmd.load(f"{data}/{run}.pdb", name)
        cmd.load_traj(f"{data}/{run}.xtc", name, state=1)
    cmd.show_as("cartoon")
    cmd.intra_fit("warm and name CA", 1)
    page = panel.ensembles
    panel.tabs.setCurrentWidget(page)
    yield from wait_until(lambda: page.ensemble.findText("warm") >= 0, 30)
    page.ensemble.setEditText("warm")
    page.occupancy_button.click()
    yield from wait_until(
        lambda: "warm_occupancy_50" in cmd.get_names("all") and page.landscape_button.isEnabled(), 200
    )
    page.ensemble.setEditText("hot")
    page.reference.setCurrentIndex(page.reference.findText("warm"))
    page.landscape_button.click()
    yield from wait_until(lambda: page.map.landscape is not None and page.landscape_button.isEnabled(), 200)
    page.show_nearest(*page.map.landscape.result.axes[97])
    cmd.disable("warm")
    cmd.zoom("warm_occupancy_10", 4)
    yield 1500
    picture("ensembles")


def simulation(panel):
    """Simulate a helix of nine residues."""
    cmd.delete("all")
    cmd.frame(1)
    cmd.fab("ACDEFGHIK", "pep", ss=1)
    page = panel.simulate
    panel.tabs.setCurrentWidget(page)
    yield from wait_until(lambda: page.molecule.currentText() == "pep" and page.button.isEnabled(), 30)
    page.length.setValue(0.02)
    page.button.click()
    yield from wait_until(lambda: panel.status.text() == "pep_md: ready", 200)
    cmd.show_as("cartoon", "pep_md")
    cmd.zoom("pep_md", 4)
    yield 1500
    picture("simulate")


def run(generator):
    try:
        wait = next(generator)
    except StopIteration:
        cmd.quit()
    except BaseException:
        traceback.print_exc()
        cmd.quit(1)
    else:
        QtCore.QTimer.singleShot(wait, lambda: run(generator))


QtCore.QTimer.singleShot(1500, lambda: run(steps()))
