"""The verb `batch` of dsr-backend."""

from __future__ import annotations

import argparse
from pathlib import Path

from pymol_dsr.shared.options import BatchOptions

from ..batch import manifest, run, summary
from .io import input_path, live_progress
from .options import parse_options


def run_batch(options: argparse.Namespace) -> int:
    """Run `dsr-backend batch` and return the exit code."""
    batch_options = parse_options(BatchOptions, options)
    tasks = manifest.read_manifest(input_path(options.manifest))
    folder = Path(options.out).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with live_progress() as progress:
        rows = run.run(
            tasks,
            folder,
            batch_options,
            lambda text: progress.line(f"dsr-backend: {text}"),
        )
    failed = [row for row in rows.values() if row.failed]
    print(f"{folder / summary.SUMMARY}: {len(rows) - len(failed)} of {len(tasks)} fitted")
    for row in failed:
        print(f"failed: {row.name}: {row.failed}")
    return 1 if failed else 0
