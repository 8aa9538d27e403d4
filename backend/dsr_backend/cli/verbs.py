"""The verbs of dsr-backend and their arguments.

Nothing here imports torch.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

from pymol_dsr.shared.ensemble_options import OccupancyOptions
from pymol_dsr.shared.fits_folder import MODEL
from pymol_dsr.shared.learn_options import LearnOptions
from pymol_dsr.shared.options import (
    FINE_RESOLUTION,
    FORMATS,
    HALFWAY,
    PRESETS,
    RESOLUTION,
    STATES_AFTER,
    BatchOptions,
    ExportOptions,
    FitOptions,
    MeasureOptions,
    MeshOptions,
)
from pymol_dsr.shared.source_options import FRAMES, GenerateOptions, MorphOptions

from .. import __version__
from ..batch import cluster
from ..runtime import memory
from .batch import run_batch
from .doctor import run_doctor
from .evaluate import run_eval
from .fit import run_fit
from .generate import run_generate, run_morph
from .io import PLOTS
from .learn import KINDS, run_learn
from .measure import run_measure
from .mesh import NODES, run_export, run_mesh
from .occupancy import run_occupancy
from .processes import run_fit_detached, run_serve
from .surfaces import run_surfaces

Run: TypeAlias = Callable[[argparse.Namespace], int]
Verb: TypeAlias = Callable[[str, Run, str, str], Any]
"""Adds a verb by its name, the function that runs it, a sentence about it, and an example; returns its parser."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _gigabytes(text: str) -> float:
    """Parse the value of `--max-memory`. Raises argparse.ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is no number of gigabytes above 0")
    if sys.platform != "linux":
        raise argparse.ArgumentTypeError(f"a ceiling of memory needs Linux, and this is {sys.platform}: leave it out")
    return value


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; `run` of what it parses runs the verb."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="dsr-backend",
        description="Dynamical surfaces on files: one continuous surface from all states of a molecule.",
        epilog="example:\n"
        "  dsr-backend fit topology.psf trajectory.dcd --states 1-79:2 -o adk.dsr\n"
        "  dsr-backend export adk.dsr --times 1-79:0.5 -o meshes/adk.ply\n\n"
        "Lengths are in Å, times are state numbers from 1. The exit code is 0, 1 where the work failed,\n"
        "2 for bad input and 130 after Ctrl-C.",
        formatter_class=shape,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"dsr-backend {__version__}")
    verbs = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    def verb(name: str, run: Run, text: str, example: str) -> Any:
        subparser = verbs.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=f"example:\n  dsr-backend {example}",
            formatter_class=shape,
            allow_abbrev=False,
        )
        subparser.set_defaults(run=run)
        return subparser

    fit = _add_fit(verb)
    _add_surfaces(verb)
    for add in (_add_continue, _add_fill, _add_sample, _add_morph):
        add(verb)
    batch, teach = _add_batch(verb), _add_learn(verb)
    mesh, export = _add_meshes(verb)
    score, gauge, filled = _add_eval(verb), _add_measure(verb), _add_occupancy(verb)
    for reader in (mesh, export, score, gauge, filled):
        reader.add_argument("--trajectory", metavar="NAME", help="trajectory of a family")
        reader.add_argument("--towards", metavar="NAME", help="another trajectory, to go --share of the way to it")
        reader.add_argument("--share", help=f"0 (--trajectory) to 1 (--towards) (default: {HALFWAY:g})")
    doctor = verb("doctor", run_doctor, "check this installation, with remedies", "doctor --device cuda")
    for subparser in (fit, batch, teach, mesh, export, score, gauge, filled, doctor):
        subparser.add_argument("--device", default=FitOptions.device, help="auto (default), cpu, cuda or cuda:1")
    runner = verb(
        "fit-detached",
        run_fit_detached,
        "fit the surfaces that dsr_fit with detach=1 has sent",
        "fit-detached adk_dsr",
    )
    runner.add_argument("name", help="name of the fit, in $DSR_HOME/fits")

    server = verb(
        "serve",
        run_serve,
        "answer PyMOL on stdin and stdout",
        "serve\n\nin PyMOL:\n  dsr_set backend, ssh -T gpu01 dsr-backend serve",
    )
    for subparser in (fit, runner, server):
        subparser.add_argument(
            memory.OPTION, type=_gigabytes, metavar="GB", help="fail rather than take more memory (Linux only)"
        )
    return parser


def _add_topology_options(subparser: Any, atoms: str) -> None:
    """Add the options of surfaces that a PyMOL makes. atoms: of what, in words."""
    subparser.add_argument("--selection", help=f"PyMOL selection of {atoms} (default: all)")
    subparser.add_argument(
        "--unwrap",
        action="store_true",
        help="make molecules of a topology whole that the periodic box cuts, and let none jump through it",
    )
    subparser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="setting of PyMOL that shapes a topology's surfaces, as surface_mode=1 or solvent_radius=1.6; "
        "may be repeated",
    )


def _add_table_options(subparser: Any, drawn: str) -> None:
    """Add the files that a table over the states goes to. drawn: what the plot shows, in words."""
    subparser.add_argument("--csv", help="also write every row as a .csv table")
    subparser.add_argument("--plot", help=f"also draw {drawn} over the states, as .{', .'.join(PLOTS)}")


def _add_fit(verb: Verb) -> Any:
    """Add `fit`."""
    fit = verb(
        "fit",
        run_fit,
        "fit surfaces files, or a topology and a trajectory where there is a PyMOL",
        "fit adk.safetensors --states 1-79:2 -o adk.dsr\n"
        "  dsr-backend fit a.safetensors b.safetensors -o family.dsr\n"
        "  dsr-backend fit d.safetensors --family family.dsr -o d.dsr",
    )
    fit.add_argument(
        "input",
        nargs="+",
        help="surfaces file (.safetensors or .npz, from dsr_surfaces), or several: trajectories to fit together, "
        "named as their files; or a topology and its trajectory, as PyMOL reads them (.dcd .xtc .trr ...)",
    )
    fit.add_argument("-o", "--output", required=True, help="fit to write, ending in .dsr")
    fit.add_argument("--states", default="all", help="states to fit: 1-150, 1-79:2, 1+5+9 or all (default)")
    fit.add_argument(
        "--resume", action="store_true", help="preset paper: go on with the training kept as OUTPUT.training"
    )
    _add_topology_options(fit, "a topology's atoms")
    fit.add_argument("--preset", help=f"{' or '.join(PRESETS)} (default: {FitOptions.preset}, or that of the --family)")
    fit.add_argument("--family", metavar="FILE", help="fit of several trajectories whose network this one starts from")
    fit.add_argument("--frozen", action="store_true", help="leave the network of the --family as it is")
    fit.add_argument("--smooth", help="width in states of the smoothing over time, or auto (default)")
    fit.add_argument("--seed", help=f"seed of random numbers (default: {FitOptions.seed})")
    fit.add_argument("--budget", metavar="SECONDS", help="most seconds to train (default: none)")
    fit.add_argument(
        "--no-align",
        dest="align",
        action="store_false",
        help="leave the motion of the whole molecule in the field",
    )
    fit.add_argument("--loop", action="store_true", help="the first state follows the last one again")
    fit.add_argument(
        "--breaks",
        help="last states of runs that were saved one after the other, as 12+24, or none: nothing is blended across "
        "(default: auto, where the molecule jumps)",
    )
    fit.add_argument(
        "--times",
        dest="times_file",
        metavar="FILE",
        help="text file with the time of every state, in any unit, where they are uneven",
    )
    return fit


def _add_surfaces(verb: Verb) -> None:
    """Add `surfaces`."""
    make = verb(
        "surfaces",
        run_surfaces,
        "make PyMOL's surfaces of a topology and a trajectory, where there is a PyMOL",
        'surfaces top.pdb traj.xtc --states 1-10000:10 --selection "polymer" -o traj.safetensors',
    )
    make.add_argument(
        "input",
        nargs="+",
        help="topology and trajectory; .xtc, .trr, .dcd, .tng and others are read state by state by MDAnalysis",
    )
    make.add_argument("-o", "--output", required=True, help="surfaces file to write, ending in .safetensors or .npz")
    make.add_argument("--states", default="all", help="states: 1-150, 1-10000:10, 1+5+9 or all (default)")
    _add_topology_options(make, "the topology's atoms")
    make.add_argument("--workers", type=int, default=0, help="processes at once (default: as many as cores, at most 8)")


def _add_continue(verb: Verb) -> None:
    """Add `continue`."""
    source = verb(
        "continue",
        run_generate,
        "generate states after the last one of a trajectory, where there is a PyMOL",
        "continue top.psf traj.dcd --frames 20 -o next.pdb",
    )
    _add_source_options(source, "continue", f"states (default: {FRAMES['continue']})")
    source.add_argument("--replicas", help="independent continuations, a file each (default: 1)")
    source.add_argument("--ordered", help="1 or 0: whether the states are a time series (default: auto)")


def _add_fill(verb: Verb) -> None:
    """Add `fill`."""
    source = verb(
        "fill",
        run_generate,
        "generate states between those of a trajectory, where there is a PyMOL",
        "fill top.psf traj.dcd --states 1-101:20 --frames 19 -o path.pdb",
    )
    _add_source_options(source, "fill", f"states, between each two (default: {FRAMES['fill']})")
    source.add_argument("--sample", action="store_true", help="a path with fluctuations, not the mean path")


def _add_sample(verb: Verb) -> None:
    """Add `sample`."""
    source = verb(
        "sample",
        run_generate,
        "generate states like those of an ensemble, where there is a PyMOL",
        "sample models.pdb --frames 50 -o more.pdb",
    )
    _add_source_options(source, "sample", f"states (default: {FRAMES['sample']})")


def _add_morph(verb: Verb) -> None:
    """Add `morph`."""
    source = verb(
        "morph",
        run_morph,
        "generate the way from one structure to another, of the atoms that both have, where there is a PyMOL",
        "morph closed.pdb open.pdb --frames 30 -o morph.pdb",
    )
    _add_source_options(
        source,
        "fill",
        f"states (default: {MorphOptions.frames})",
        inputs="structures, at least two, or one with several states",
        states="",
        states_help="of one file, its states to morph through; of several, one of each",
    )
    source.add_argument("--no-align", dest="align", action="store_false", help="leave the structures where they are")


def _add_source_options(
    source: Any,
    task: str,
    frames_help: str,
    inputs: str = "topology and trajectory",
    states: str = "all",
    states_help: str = "states to start from: 1-150, 1-101:20, 1+5+9 or all (default)",
) -> None:
    """Add the options of a verb that generates states.

    task: of the backend; states: the default of --states; inputs, frames_help, states_help: help texts.
    """
    source.set_defaults(task=task)
    source.add_argument("input", nargs="+", help=inputs)
    source.add_argument("-o", "--output", required=True, help="states to write, ending in .pdb or .cif")
    source.add_argument("--states", default=states, help=states_help)
    source.add_argument("--selection", help="PyMOL selection of the atoms (default: all)")
    source.add_argument("--frames", help=frames_help)
    source.add_argument("--method", help=f"how, or auto by a back-test (default: {GenerateOptions.method})")
    source.add_argument("--seed", help=f"seed of random numbers (default: {GenerateOptions.seed})")


def _add_batch(verb: Verb) -> Any:
    """Add `batch`."""
    batch = verb(
        "batch",
        run_batch,
        "fit and score the trajectories of a list, several at once, here or on a cluster",
        "batch manifest.csv --out fits --workers 8\n\n"
        "manifest.csv (all but name and input may be left out):\n"
        "  name,input,trajectory,selection,states,preset,evaluate,unwrap\n"
        "  a,a.safetensors,,,1-99:2,fast,2-98:2,\n"
        "  b,b.pdb,b.xtc,polymer,1-1000:10,,,1\n\n"
        "What is finished is not done again; what failed is listed at the end.",
    )
    batch.add_argument("manifest", help="list of trajectories, as .csv")
    batch.add_argument("--out", required=True, metavar="DIR", help="folder for NAME.dsr and summary.csv")
    batch.add_argument("--workers", help="fits at once (default: as many as cores)")
    batch.add_argument("--cluster", choices=sorted(cluster.CLUSTERS), help="each worker a job there, by dask-jobqueue")
    batch.add_argument("--cores", help=f"of a job of the --cluster (default: {BatchOptions.cores})")
    batch.add_argument("--memory", help=f"of a job of the --cluster (default: {BatchOptions.memory})")
    return batch


def _add_learn(verb: Verb) -> Any:
    """Add `learn`."""
    teach = verb(
        "learn",
        run_learn,
        "learn a coarse-grained potential, or a generator, from the proteins of a list",
        "learn manifest.csv --temperature 320 -o broad.dsrm\n"
        "  dsr-backend learn atlas --kind generator --states 1-10000:10 -o net.dsrm\n\n"
        "manifest.csv (all but name and input may be left out):\n"
        "  name,input,trajectory,states\n"
        "  a,mdcath_dataset_1abcA00.h5,,\n"
        "  b,b.pdb,b.xtc,1-5000:5\n\n"
        "Files in mdCATH's layout (.h5) bring forces; others are learned from their states alone. A generator also\n"
        "learns from a folder in ATLAS' layout, and by the processes that torchrun starts.",
    )
    teach.add_argument("manifest", help="list of proteins, as .csv; for a generator, or a folder in ATLAS' layout")
    teach.add_argument("-o", "--output", required=True, help=f"model to write, ending in {MODEL}")
    teach.add_argument("--kind", choices=KINDS, default=KINDS[0], help=f"what to learn (default: {KINDS[0]})")
    teach.add_argument("--states", help="states of each trajectory of a folder, as 1-10000:10 (default: all)")
    teach.add_argument("--temperature", help=f"of the states, in K (default: {LearnOptions.temperature:g})")
    teach.add_argument("--forces", help="1, 0 or auto: learn from forces, or from states alone (default: auto)")
    teach.add_argument("--calibrate", help="1 or 0: calibrate the ensemble (default: 1)")
    teach.add_argument("--preset", help=f"small or large, size of the network (default: {LearnOptions.preset})")
    teach.add_argument("--budget", metavar="SECONDS", help=f"most seconds to learn (default: {LearnOptions.budget:g})")
    teach.add_argument("--resume", action="store_true", help="go on with the model that OUTPUT is")
    teach.add_argument("--seed", help=f"seed of random numbers (default: {LearnOptions.seed})")
    return teach


def _add_meshes(verb: Verb) -> tuple[Any, Any]:
    """Add `mesh` and `export`."""
    mesh = verb("mesh", run_mesh, "write the surface at one time", "mesh adk.dsr --time 12.5 -o surface.ply")
    mesh.add_argument("fit", help="fit, as .dsr")
    mesh.add_argument("--time", type=float, required=True, help="state number, fractions allowed")

    export = verb(
        "export",
        run_export,
        "write the surfaces at many times",
        "export adk.dsr --times 1-79:0.5 -o meshes/adk.ply",
    )
    export.add_argument("fit", help="fit, as .dsr")
    export.add_argument("--times", required=True, help="times: 12.5, 1-79:2, 1-10:0.25 or all")
    export.add_argument("--fps", help=f"times per second of a .glb (default: {ExportOptions.fps:g})")

    *endings, last_ending = FORMATS
    for writer, target in (
        (mesh, f"mesh to write, as .{', .'.join(endings)} or .{last_ending}"),
        (
            export,
            "meshes to write; for several times, surface.ply becomes surface_0001.00.ply, ..., "
            "and surface.glb is one file that plays them",
        ),
    ):
        writer.add_argument("-o", "--output", required=True, help=target)
        writer.add_argument("--level", help=f"level in Å, outwards (default: {MeshOptions.level:g})")
        nodes = writer.add_mutually_exclusive_group()
        nodes.add_argument(
            "--resolution", help=f"Å between nodes (default: {RESOLUTION:g}, {FINE_RESOLUTION:g} of preset fine)"
        )
        nodes.add_argument(
            "--nodes", type=int, help=f"nodes along the longest side, {NODES[0]} to {NODES[1]}, for any --resolution"
        )
        writer.add_argument("--triangles", help="most triangles per mesh (default: no limit)")
        writer.add_argument("--text", action="store_true", help="write .ply as text, which PyMOL loads; not binary")
    return mesh, export


def _add_eval(verb: Verb) -> Any:
    """Add `eval`."""
    score = verb(
        "eval",
        run_eval,
        "score a fit against PyMOL's own surfaces, beside the nearest fitted state held",
        "eval adk.dsr adk-all.safetensors --csv adk.csv",
    )
    score.add_argument("fit", help="fit, as .dsr")
    score.add_argument("truth", help="surfaces file with the true surfaces")
    score.add_argument(
        "--states", help=f"states to compare (default: the fitted range and {STATES_AFTER} states after it)"
    )
    _add_table_options(score, "the scores")
    return score


def _add_measure(verb: Verb) -> Any:
    """Add `measure`."""
    gauge = verb(
        "measure",
        run_measure,
        "measure a fitted surface over time: area, volume, speed, the share of some atoms, a pocket",
        "measure adk.dsr --states 1-79:0.5 --csv adk.csv --plot adk.png",
    )
    gauge.add_argument("fit", help="fit, as .dsr")
    gauge.add_argument(
        "--states",
        help="times: 1-79, 1-10:0.25 (default: the fitted states, or every state of their range where these are fewer "
        "than five)",
    )
    gauge.add_argument(
        "--selection",
        metavar="ATOMS",
        help="numbers from 1, among the fitted atoms, of those whose share is measured, as 1-50+60: what is nearest "
        "to their centres",
    )
    gauge.add_argument("--pocket", metavar="ATOMS", help="numbers of such atoms that line a pocket to be measured")
    gauge.add_argument("--resolution", help=f"Å between nodes (default: {MeasureOptions.resolution:g})")
    _add_table_options(gauge, "it")
    return gauge


def _add_occupancy(verb: Verb) -> Any:
    """Add `occupancy`."""
    filled = verb(
        "occupancy",
        run_occupancy,
        "show the space that the states of an ensemble fill, as nested surfaces",
        'occupancy adk.dsr --states 1-79 --levels "10 50 90" -o adk.ply\n'
        "  dsr-backend occupancy run1.safetensors run2.safetensors",
    )
    filled.add_argument("input", nargs="+", help="fit (.dsr) or surfaces file; of several, all states together")
    filled.add_argument("--states", help="states of each (default: the fitted ones, or all of a surfaces file)")
    levels = " ".join(f"{level:g}" for level in OccupancyOptions.levels)
    filled.add_argument("--levels", help=f"least percentages of the states that fill the space (default: {levels})")
    filled.add_argument("--resolution", help=f"Å between nodes (default: {OccupancyOptions.resolution:g})")
    filled.add_argument("--weights", metavar="FILE", help="text file with a weight for each state (default: all alike)")
    filled.add_argument("-o", "--output", help="meshes to write: adk.ply becomes adk_10.ply, adk_50.ply, ...")
    return filled
