"""Entry point of `dsr-backend` and `python -m dsr_backend`."""

from __future__ import annotations

import os
import sys

from .server.stdio import claim_streams


def main(argv: list[str] | None = None) -> int:
    """Run the command line, or the backend itself, and return the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    # Threads that wait must not spin: on a shared machine that made a mesh take ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if arguments == ["serve"]:
        requests, replies = claim_streams()
        from .server.server import serve

        serve(requests, replies)
    from .cli.main import main as run

    return int(run(arguments))


if __name__ == "__main__":
    sys.exit(main())
