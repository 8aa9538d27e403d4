"""Claims stdin and stdout for the protocol."""

from __future__ import annotations

import io
import os


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
