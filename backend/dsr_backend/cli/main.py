"""Parses the command line of dsr-backend and runs its verbs.

Nothing here imports torch before the arguments and the paths are known to be good.
"""

from __future__ import annotations

import io
import re
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from pymol_dsr.shared.text import error_line, one_line

from ..runtime import memory
from ..runtime.errors import RequestError
from .io import CommandError
from .options import on_command_line
from .verbs import build_parser

# The file of Python's own frames while it imports, and seconds between two looks for them.
IMPORTING, IMPORT_POLL = "<frozen importlib._bootstrap>", 0.05


def main(argv: Sequence[str]) -> int:
    """Run one command; its exit code: 0, 1 where the work failed, 2 for bad input, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without Å shall cost a letter, not the result.
            stream.reconfigure(errors="replace")
    try:
        options = build_parser().parse_args(argv)
    except SystemExit as end:
        return int(end.code or 0)
    if threading.current_thread() is threading.main_thread():
        # As schedulers end a job: leave through `finally`, so that no file and no PyMOL stays behind.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if getattr(options, "max_memory", None) is not None:
        memory.set_limit(options.max_memory)
    try:
        if threading.current_thread() is threading.main_thread():
            # From here on, Ctrl-C leaves through `finally`, too; before, it ends the process (see __main__).
            signal.signal(signal.SIGINT, _interrupt)
        return int(options.run(options))
    except KeyboardInterrupt:
        return _refuse("cancelled", 130)
    except RequestError as error:
        return _refuse(str(error), 2 if error.code == "bad-request" else 1)
    except ValueError as error:
        return _refuse(str(error), 2)
    except CommandError as error:
        return _refuse(str(error), 1)
    except OSError as error:
        return _refuse(error_line(error), 1)
    except (MemoryError, RuntimeError) as error:
        # Torch says so on the CPU with a plain RuntimeError.
        if isinstance(error, RuntimeError) and not re.search("out of memory|allocate memory", str(error)):
            raise
        advice = "use a coarser resolution, fewer states or --device cpu"
        return _refuse(f"{memory.exhausted()} ran out of memory ({error}): {advice}", 1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, after the end of an import that is under way.

    Half-loaded libraries, such as torch, abort where an exception passes through them.
    """
    while frame is not None:
        if frame.f_code.co_filename == IMPORTING:
            later = threading.Timer(IMPORT_POLL, signal.raise_signal, (number,))
            later.daemon = True
            later.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _refuse(text: str, code: int) -> int:
    print(f"dsr-backend: {on_command_line(one_line(text))}", file=sys.stderr)
    return code
