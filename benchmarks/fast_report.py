"""Writes the tables and the picture of fast.py from the JSON files that it leaves in a folder."""

from __future__ import annotations

import importlib.util
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import markdown
import numpy as np
from rows import BETWEEN, FITTED, LATER, NEXT, SUPERPOSED

Values = dict[str, Any]


def write(folder: Path, path: Path, kind: str) -> None:
    """Put together all parts that are in the folder, as the part of the file that is named after the device."""
    sections = {"fit": _fit, "movie": _movie, "peers": _peers, "ablation": _ablation, "jitter": _jitter}
    lines: list[str] = []
    machines, codes, quick = set(), set(), False
    for name, section in sections.items():
        if not (folder / f"{name}.json").exists():
            continue
        record = json.loads((folder / f"{name}.json").read_text())
        machines.add("{name} ({device}, {threads} threads, torch {torch})".format(**record["hardware"]))
        codes.add(record["code"])
        lines += [*section(record["results"], path), ""]
        quick = quick or record["quick"]
    if not lines:
        raise SystemExit(f"{folder} holds no results; run with --parts")
    machine_text = (
        f"{'; '.join(sorted(machines))}, Python {platform.python_version()}; backend {', '.join(sorted(codes))}."
    )
    if quick:
        lines = ["**From few states and seconds (--quick): these figures say nothing.**", "", *lines]
    markdown.put(path, f"fast {kind}", [f"### On {machine_text}", "", *lines[:-1]])


def _pair(scores: Values, group: str) -> str:
    return f"{scores[group]['iou']:.4f} / {scores[group]['nc']:.4f}" if group in scores else ""


def _fit(results: Values, path: Path) -> list[str]:
    groups = (FITTED, BETWEEN, NEXT, LATER)
    some_scores = results["presets"]["fast"]["scores"]
    counts = ", ".join(f"{some_scores[group]['states']} {group}" for group in groups if group in some_scores)
    body = []
    for preset, entry in results["presets"].items():
        body.append(
            [
                f"`{preset}`",
                " and ".join(f"{seconds:.1f}" for seconds in entry["seconds"]),
                *(_pair(entry["scores"], group) for group in groups),
                f"{entry['parameters'] / 1e6:.2f} M",
                f"{entry['bytes'] / 1e6:.1f} MB",
                f"{np.median(entry['mesh']):.3f}",
                f"{entry['together']:.3f}",
            ]
        )
    comparisons = " and ".join(f"{entry['two']} (`{preset}`)" for preset, entry in results["presets"].items())
    start, mesh, pymol = results["start"], results["presets"]["fast"]["together"], results["pymol"]
    scored = (f"{group}, IoU / NC" for group in groups)
    header = ["preset", "two fits, s", *scored, "parameters", "`.dsr`", "mesh, s", "one of many, s"]
    return [
        "#### Fit and mesh",
        "",
        f"PyMOL takes {pymol['1']:.2f} s for one surface, {pymol['1'] / mesh:.1f} times as long as `fast` for one of "
        f"many meshes. Two PyMOL processes take {pymol['2']:.2f} s for each surface, {pymol['2'] / mesh:.1f} times as "
        "long.",
        "",
        *markdown.table(header, body),
        "",
        f"- The scores are of {counts} states.",
        f"- Two fits with one seed give files of {comparisons}, apart from the seconds that are noted in them.",
        f"- *mesh, s* is the median of {len(results['presets']['fast']['mesh'])} meshes at 0.5 Å over the whole range, "
        "each made alone. *One of many* is the time of a mesh when many are made at once, as for a movie.",
        f"- In a new process, the first mesh takes {start['first']:.2f} s and the second {start['second']:.2f} s, "
        f"after {start['imports']:.1f} s of imports and {start['load']:.2f} s to load the file.",
    ]


def _movie(results: Values, path: Path) -> list[str]:
    count, per_surface = results["frames"], results["pymol"]
    best = count * per_surface["2"]
    body = []
    for method in results["methods"]:
        meshes = count * method["mesh"]
        total = method["fit"] + meshes
        quality = _pair(method["scores"], BETWEEN)
        body.append(
            [method["name"], f"{method['fit']:.0f} + {meshes:.0f}", f"{total:.0f}", f"{total / best:.2f}", quality]
        )
    for processes, name in (("1", "one process"), ("2", "two processes")):
        seconds = count * per_surface[processes]
        quality = _pair(results["pymol_scores"], BETWEEN)
        body.append([f"{SUPERPOSED}, {name}", "", f"{seconds:.0f}", f"{seconds / best:.2f}", quality])
    header = ["", "fit + meshes, s", "seconds", "relative to two PyMOLs", "between the states, IoU / NC"]
    first = results["methods"][0]
    return [
        f"#### A movie of {count} frames",
        "",
        f"{first['name']}, takes {first['fit'] + count * first['mesh']:.0f} s for {count} frames, with the fit. "
        f"Two PyMOL processes take {best:.0f} s.",
        "",
        *markdown.table(header, body),
        "",
        "Both ways start from the fitted states, whose surfaces exist already. The seconds of each way are the mean of "
        f"some frames ({results['measured']} meshes), times {count}. A surface by PyMOL has {results['triangles']} "
        f"triangles here. PyMOL, on {per_surface['on']}, makes surfaces in one process by itself.",
    ]


LINES = ["", "seconds", "parameters", "fitted, IoU / NC", "between, IoU / NC"]


def _lines(results: Sequence[Values]) -> list[list[str]]:
    body = []
    for line in results:
        seconds = "" if line["seconds"] is None else f"{line['seconds']:.0f}"
        numbers = "" if line["parameters"] is None else f"{line['parameters'] / 1e6:.2f} M"
        body.append([line["name"], seconds, numbers, *(_pair(line["scores"], group) for group in (FITTED, BETWEEN))])
    return body


def _peers(results: Sequence[Values], path: Path) -> list[str]:
    states = results[0]["scores"][FITTED]["states"]
    fast, *peers = (line for line in results if line["seconds"] is not None)
    best_peer = max(peers, key=lambda line: line["scores"][BETWEEN]["iou"])
    return [
        "#### Other fields",
        "",
        f"Between the states, {fast['name']} has an IoU of {fast['scores'][BETWEEN]['iou']:.4f} after "
        f"{fast['seconds']:.0f} s. The best other field has {best_peer['scores'][BETWEEN]['iou']:.4f} after "
        f"{best_peer['seconds']:.0f} s ({best_peer['name']}).",
        "",
        *markdown.table(LINES, _lines(results)),
        "",
        f"All ran on the same threads and surfaces, one after another, and are scored at {states} states each. The "
        "hash grid (Instant-NGP, `benchmarks/hashgrid.py`) is trained on the samples of `fast` and has as many "
        "parameters, but it knows no motion. The hash grid and `paper` get a fixed time and lower their learning rate "
        "within it.",
    ]


def _ablation(results: Sequence[Values], path: Path) -> list[str]:
    states = results[0]["scores"][FITTED]["states"]
    full_iou = results[0]["scores"][BETWEEN]["iou"]
    worst = min(results, key=lambda line: line["scores"][BETWEEN]["iou"])
    return [
        "#### Value of each part",
        "",
        f"The line with the lowest IoU between the states is *{worst['name']}*: "
        f"{worst['scores'][BETWEEN]['iou']:.4f}, against {full_iou:.4f} with all parts.",
        "",
        *markdown.table(LINES, _lines(results)),
        "",
        "Each line below the first lacks one part of `fast`, or has a plainer part in its place. All are scored at "
        f"{states} states each. `fast` averages over states by a Gaussian whose width it chooses. The eikonal loss "
        "gets its seconds of training (Adam) in addition to a fit, because it starts from the lattices of that fit.",
    ]


def _jitter(results: Values, path: Path) -> list[str]:
    times, step = results["times"], results["step"]
    true = {float(state): values for state, values in results["true"].items()}
    inner_states = {state for state in true if {state - 1.0, state + 1.0} <= true.keys()}
    body = []
    for number, (name, unit) in enumerate((("volume", "Å³"), ("area", "Å²"))):
        of_true = roughness(list(true), [values[number] for values in true.values()], 1.0, inner_states)
        methods = (("`fast`", "field"), ("`fast`, `steady=1`", "steady"), (SUPERPOSED, "pymol"))
        for label, values in ((label, results[method][name]) for label, method in methods):
            fine, coarse = roughness(times, values, step), roughness(times, values, 1.0, inner_states)
            body.append([f"{name}, {unit}", label, f"{fine:.1f}", f"{coarse:.1f}"])
        body.append([f"{name}, {unit}", "true states + PyMOL", "", f"{of_true:.1f}"])
    motion = [
        [
            name,
            f"{entry['speed']:.3f}",
            f"{entry['jump']:.3f}",
            f"{entry['largest']:.3f}",
            f"{entry['jump'] / entry['speed']:.2f}",
            f"{entry['largest'] / entry['speed']:.2f}",
        ]
        for name, entry in results["motion"].items()
    ]
    picture = path.with_name("jitter.png")
    plain, calm = (roughness(times, results[method]["volume"], step) for method in ("field", "steady"))
    lines = [
        "#### Jitter",
        "",
        "Jitter is the mean size of the second difference in time: how much a curve bends from one step to the next. "
        f"In steps of {step} states, the jitter of the volume is {calm:.1f} Å³ with `steady=1` and {plain:.1f} Å³ "
        "without.",
        "",
        *markdown.table(["", "surface", f"steps of {step} states", "steps of 1 state"], body),
        "",
        "`steady=1` of `dsr_movie` averages over time at the fitted states, too. Its IoU / NC are "
        f"{_pair(results['scores'], FITTED)} at the fitted states and {_pair(results['scores'], BETWEEN)} between. The "
        f"steps of 1 state are taken at the {len(inner_states)} states that have true surfaces on both sides.",
        "",
        "The next table has the normal velocity of the field's vertices in Å per state, and its jump at a fitted "
        "state, as means over the vertices:",
        "",
        *markdown.table(["", "size", "mean jump", "largest jump", "mean jump / size", "largest jump / size"], motion),
    ]
    if importlib.util.find_spec("matplotlib"):
        _plot(results, true, picture)
        lines += ["", f"![Volume over time]({picture.name})"]
    return lines


def _plot(results: Values, true: dict[float, Any], picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    step = results["step"]
    figure, axis = pyplot.subplots(figsize=(10, 4), layout="constrained")
    axis.plot(
        results["times"],
        results["pymol"]["volume"],
        color="0.6",
        linewidth=1,
        label=f"{SUPERPOSED}, every {step} states",
    )
    axis.plot(results["times"], results["field"]["volume"], color="C0", linewidth=1.5, label="fast, the same times")
    axis.plot(results["times"], results["steady"]["volume"], color="C1", linewidth=1.5, label="fast, steady=1")
    axis.plot(list(true), [values[0] for values in true.values()], "k.", markersize=4, label="PyMOL, true states")
    axis.set(xlabel="state", ylabel="enclosed volume (Å³)")
    axis.legend(fontsize=8)
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def roughness(times: Sequence[float], values: Sequence[float], step: float, chosen: set[float] | None = None) -> float:
    """Mean |v(t − step) − 2 v(t) + v(t + step)| over the times t, or `chosen` ones, at which all three are known."""
    value_at = dict(zip(times, values, strict=True))
    inner = [at for at in times if {at - step, at + step} <= value_at.keys() and (chosen is None or at in chosen)]
    return float(np.mean([abs(value_at[at - step] - 2.0 * value_at[at] + value_at[at + step]) for at in inner]))
