"""The picture of a landscape, drawn by matplotlib (optional)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from .messages import LandscapeResult
from .plots import BLUE, DPI, named_places

SIZE = (11.0, 6.6)  # inches
MOST_KT = 6.0
COLORS = (BLUE, "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2")
REFERENCE = "0.45"


def render(result: LandscapeResult, residues: Sequence[str], title: str) -> bytes:
    """Draw free energy, time scales, macrostates over the states, RMSD, RMSF and secondary structure; the .png.

    residues: their numbers. Raises ImportError where matplotlib is not installed.
    """
    # Optional, and half a second to import.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 3)
    _draw_energy(figure, figure.add_subplot(grid[0, 0]), result)
    _draw_profile(figure.add_subplot(grid[0, 1]), result)
    _draw_scales(figure.add_subplot(grid[0, 2]), result)
    _draw_states(figure.add_subplot(grid[1, 0]), result)
    _draw_residues(figure.add_subplot(grid[1, 1]), result, residues)
    _draw_structure(figure.add_subplot(grid[1, 2]), result, residues)
    figure.suptitle(title, x=0.01, ha="left")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI)
    return picture.getvalue()


def macrostate_color(number: int) -> str:
    """Return the colour of a macrostate (from 0); of a state outside the Markov model (-1) grey."""
    return COLORS[number % len(COLORS)] if number >= 0 else "0.7"


def _draw_energy(figure: Any, axes: Any, result: LandscapeResult) -> None:
    first, second = result.edges
    drawn = axes.pcolormesh(first, second, result.free_energy.T, cmap="viridis", vmin=0.0, vmax=MOST_KT)
    figure.colorbar(drawn, ax=axes, label="kT", shrink=0.9)
    if result.reference_axes is not None:
        axes.plot(*result.reference_axes.T, ".", color="k", ms=1.5, alpha=0.3, label="reference")
    for number, macrostate in enumerate(result.macrostates):
        center = result.axes[macrostate.place]
        axes.plot(*center, "o", color=macrostate_color(number), mec="w", ms=9)
        axes.annotate(str(number + 1), center, color="w", ha="center", va="center", fontsize=6)
    _dress(axes, "free energy", f"{result.kind} 1", f"{result.kind} 2")


def _draw_profile(axes: Any, result: LandscapeResult) -> None:
    weights = np.exp(-np.nan_to_num(result.free_energy, nan=np.inf))
    middle = 0.5 * (result.edges[0][1:] + result.edges[0][:-1])
    with np.errstate(divide="ignore"):
        profile = -np.log(weights.sum(1))
    profile -= profile.min()
    axes.plot(middle, np.where(np.isfinite(profile), profile, np.nan), color=COLORS[0])
    if result.reference_axes is not None:
        counts = np.histogram(result.reference_axes[:, 0], result.edges[0])[0].astype(float)
        with np.errstate(divide="ignore"):
            known = -np.log(counts / counts.max())
        axes.plot(middle, np.where(np.isfinite(known), known, np.nan), color=REFERENCE, label="reference")
        axes.legend(frameon=False, fontsize="small")
    _dress(axes, "free energy along the first axis (kT)", f"{result.kind} 1", "")


def _draw_scales(axes: Any, result: LandscapeResult) -> None:
    if not len(result.lags):
        axes.text(0.5, 0.5, "no Markov model", ha="center", va="center", transform=axes.transAxes, color=REFERENCE)
        axes.set_axis_off()
        return
    for column, color in zip(result.timescales.T, COLORS, strict=False):
        axes.plot(result.lags, column, ".-", color=color)
    lags = np.array(result.lags, float)
    axes.fill_between(lags, lags, color="0.9", lw=0)
    axes.axvline(result.lag, color=REFERENCE, lw=0.8, ls=":")
    axes.set_yscale("log")
    _dress(axes, "implied time scales (states)", "lag (states)", "")


def _draw_states(axes: Any, result: LandscapeResult) -> None:
    order = np.arange(1, len(result.rmsd) + 1)
    for number in sorted(set(result.macrostate.tolist())):
        chosen = result.macrostate == number
        label = f"{number + 1}" if number >= 0 else "none"
        axes.plot(order[chosen], result.rmsd[chosen], ".", color=macrostate_color(number), ms=3, label=label)
    axes.legend(frameon=False, fontsize="small", title="macrostate", title_fontsize="small", ncols=2)
    _dress(axes, "RMSD from the native state (Å)", "state, series after series", "")


def _draw_residues(axes: Any, result: LandscapeResult, residues: Sequence[str]) -> None:
    axes.plot(result.rmsf, color=COLORS[0])
    if result.reference_rmsf is not None:
        axes.plot(result.reference_rmsf, color=REFERENCE, label="reference")
        axes.legend(frameon=False, fontsize="small")
    _name_residues(axes, residues)
    axes.set_ylim(bottom=0.0)
    _dress(axes, "RMSF (Å)", "residue", "")


def _draw_structure(axes: Any, result: LandscapeResult, residues: Sequence[str]) -> None:
    if result.helix is None or result.strand is None:
        text = "no secondary structure\nof CA atoms alone"
        axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=REFERENCE)
        axes.set_axis_off()
        return
    places = np.arange(len(residues))
    axes.fill_between(places, result.helix, step="mid", color=COLORS[1], alpha=0.7, lw=0, label="helix")
    axes.fill_between(
        places, result.helix, result.helix + result.strand, step="mid", color="#e5b800", lw=0, label="strand"
    )
    axes.legend(frameon=False, fontsize="small")
    _name_residues(axes, residues)
    axes.set_ylim(0.0, 1.0)
    _dress(axes, "secondary structure, fraction of the states", "residue", "")


def _name_residues(axes: Any, residues: Sequence[str]) -> None:
    places = named_places(residues, 8)
    axes.set_xticks(places, [residues[index] for index in places])


def _dress(axes: Any, title: str, horizontal: str, vertical: str) -> None:
    axes.set_title(title, fontsize="medium", loc="left")
    axes.set_xlabel(horizontal)
    axes.set_ylabel(vertical)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
