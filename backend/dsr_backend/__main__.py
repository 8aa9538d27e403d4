"""Entry point of `dsr-backend` and `python -m dsr_backend`."""

from __future__ import annotations

import os
import signal
import sys
import threading


def main(argv: list[str] | None = None) -> int:
    """Run the command line, or the backend itself, and return the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if threading.current_thread() is threading.main_thread():
        # Imports take half a second, in which Ctrl-C would be a traceback, or an abort of a library.
        signal.signal(signal.SIGINT, _end_at_once)
    # Threads that wait must not spin: on a shared machine that made a mesh take ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if arguments == ["serve"]:
        from .server.stdio import claim_streams

        requests, replies = claim_streams()
        from .server.server import serve

        serve(requests, replies)
    from .cli.main import main as run

    return int(run(arguments))


def _end_at_once(number: int, frame: object) -> None:
    """End the process before it has begun anything."""
    os.write(2, b"dsr-backend: cancelled\n")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
