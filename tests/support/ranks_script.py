"""Fits and meshes in FOLDER, from FOLDER/balls.safetensors, by all processes that torchrun starts: test_ranks.py."""

from __future__ import annotations

import sys
from pathlib import Path

from dsr_backend.cli import main as cli_main
from dsr_backend.fitting.config import PRESETS, PaperPreset, Preset
from dsr_backend.fitting.paper.run import fit_trajectory
from dsr_backend.results import dsr_file
from dsr_backend.runtime import distributed
from dsr_backend.surfaces import surfaces_file

from pymol_dsr.shared.options import FitOptions

PAPER = PaperPreset(width=32, layers=3, latent=4, neighbours=10, states=2, cpu_points=64, steps=40)
FAST = Preset(spacing=1.4, density=5.0)


def main(folder: Path) -> None:
    PRESETS["preview"] = FAST
    with distributed.process_group("cpu"):
        run("fit", folder / "balls.safetensors", "--preset", "preview", "-o", folder / "fast.dsr")
        run("export", folder / "fast.dsr", "--times", "1-5:2", "--resolution", "1", "-o", folder / "mesh.ply")
        surfaces = surfaces_file.read_surfaces_file(folder / "balls.safetensors")[0]
        field = fit_trajectory(surfaces, FitOptions(preset="paper", device="cpu"), preset=PAPER)
        if distributed.rank() == 0:
            dsr_file.save(field, folder / "paper.dsr")


def run(*words: object) -> None:
    if code := cli_main.main([*map(str, words), "--device", "cpu"]):
        sys.exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
