"""dsr-backend serve and fit-detached."""

from __future__ import annotations

import argparse

from pymol_dsr.shared.names import is_name, rule_against

from ..runtime.folders import fits_folder


def run_fit_detached(options: argparse.Namespace) -> int:
    """Run `dsr-backend fit-detached`, the process of one detached fit, and return the exit code."""
    from ..server import detached_runner

    if not is_name(options.name):
        raise ValueError(f"a fit can't be named {options.name[:100]!r}: {rule_against(options.name)}")
    return detached_runner.run_detached(fits_folder(), options.name)


def run_serve(options: argparse.Namespace) -> int:
    """Run `dsr-backend serve` until the plugin hangs up."""
    from ..server.server import serve
    from ..server.stdio import claim_streams

    serve(*claim_streams())
