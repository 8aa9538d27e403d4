"""Entry point of `dsr-backend` and `python -m dsr_backend`."""

from __future__ import annotations

import io
import os
import sys


def claim_streams() -> tuple[io.BufferedReader, io.BufferedWriter]:
    """Take stdin and stdout for the protocol alone.

    Whatever prints to stdout from here on, in Python, C or a child process, reaches stderr; whatever reads
    stdin finds its end. Called before anything heavy is imported.
    """
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return requests, replies


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    # Threads that wait must not spin: on a shared machine that made a mesh take ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if arguments == ["serve"]:
        requests, replies = claim_streams()
        from .server import serve

        serve(requests, replies)
    from .cli import main as run

    return int(run(arguments))


if __name__ == "__main__":
    sys.exit(main())
