"""Plots of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from .evaluation import FIELD, StateScores

PANELS = (
    ("iou", "IoU"),
    ("nc", "normal consistency"),
    ("chamfer_l1", "Chamfer L1 (normalised)"),
    ("chamfer_sq", "Chamfer squared (normalised)"),
    ("rmsd", "RMSD from the state before (Å)"),
)


def plot_scores(path: str, rows: Sequence[StateScores], title: str) -> bool:
    """The metrics and the RMSD over the states as a PNG; False where matplotlib is not there."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        return False
    # Without pyplot, which would choose a window toolkit beside PyMOL's.
    figure = Figure(figsize=(11, 9), layout="constrained")
    FigureCanvasAgg(figure)
    *panels, corner = figure.subplots(3, 2, sharex=True).flat
    trained = [r.state for r in rows if r.group == "training"]
    for axes, (metric, label) in zip(panels, PANELS, strict=True):
        if trained:
            axes.axvspan(min(trained), max(trained), color="0.93", label="fitted range")
        if metric == "rmsd":
            part = [r for r in rows if r.method == FIELD]
            axes.plot([r.state for r in part], [r.rmsd for r in part], ".-", color="0.35", lw=1.2, ms=4)
        else:
            for method, look in LOOKS.items():
                part = [r for r in rows if r.method == method and r.group != "training"]
                if part:
                    name = "field, other states" if method == FIELD else method
                    values = [getattr(r, metric) for r in part]
                    axes.plot([r.state for r in part], values, marker=".", label=name, **look)
            part = [r for r in rows if r.group == "training"]
            if part:
                values = [getattr(r, metric) for r in part]
                axes.plot([r.state for r in part], values, "k.", ms=4, label="field, fitted states")
        if metric.startswith("chamfer"):
            axes.ticklabel_format(axis="y", scilimits=(-2, 3))
        axes.set_title(label, fontsize="medium", loc="left")
        axes.grid(alpha=0.3)
        axes.margins(x=0.01)
        if metric not in ("iou", "nc"):
            axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in panels[-2:]:
        axes.set_xlabel("state")
        axes.tick_params(labelbottom=True)
    corner.axis("off")
    corner.legend(*panels[0].get_legend_handles_labels(), loc="center", frameon=False)
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    return True


LOOKS = {
    FIELD: {"color": "C0", "lw": 1.8, "ms": 6, "zorder": 3},
    "hold nearest": {"color": "C2", "lw": 1.2, "ms": 4},
    "atoms linear": {"color": "C1", "lw": 1.2, "ms": 4},
    "atoms smoothed": {"color": "C4", "lw": 1.2, "ms": 4, "ls": "--"},
    "surface_type 3": {"color": "C3", "lw": 1.2, "ms": 4, "ls": ":"},
}
