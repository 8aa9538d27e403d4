"""Fits and meshes in FOLDER, from FOLDER/balls.npz, of as many processes as have been started: see test_ranks.py."""

from __future__ import annotations

import sys
from pathlib import Path

from dsr_backend import checkpoint, cli, paper, ranks, surfaces
from dsr_backend.config import PRESETS, FitConfig, PaperPreset, Preset

PAPER = PaperPreset(width=32, layers=3, latent=4, neighbours=10, states=2, cpu_points=64, steps=40)
FAST = Preset(spacing=1.4, density=5.0, iterations=12, decoder_steps=40, batch=2048)


def main(folder: Path) -> None:
    PRESETS["quick"] = FAST
    with ranks.group("cpu"):
        run("fit", folder / "balls.npz", "--preset", "quick", "-o", folder / "fast.dsr")
        run("export", folder / "fast.dsr", "--times", "1-5:2", "--resolution", "1", "-o", folder / "mesh.ply")
        found = surfaces.read(folder / "balls.npz")[0]
        field = paper.fit(found, FitConfig(preset="paper", device="cpu"), preset=PAPER)
        if ranks.rank() == 0:
            checkpoint.save(field, folder / "paper.dsr")


def run(*words: object) -> None:
    if code := cli.main([*map(str, words), "--device", "cpu"]):
        sys.exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
