"""Numbers that the documentation promises: each is read from its page, and the code has the same."""

from __future__ import annotations

import re

import pytest
from dsr_backend.fitting.paper import checkpoint
from dsr_backend.motion import warp
from dsr_backend.results import level_set
from dsr_backend.server import detached_registry, server

from pymol_dsr.backend import process
from pymol_dsr.fits import connection, fit
from pymol_dsr.scene import timeline
from pymol_dsr.shared import codec, extents, frames, safetensors_header, states, text
from pymol_dsr.shared.messages.reports import MOST_ATOMS
from support.paths import ROOT

WORDS = {"second": 1, "two": 2, "ten": 10}


def alive(option: str) -> int:
    """The value of one of ssh's options that the plugin sets."""
    [value] = (word.partition("=")[2] for word in process.SSH_ALIVE if word.startswith(f"{option}="))
    return int(value)


# Pages, a few words of a sentence as a pattern in which N is the number, and that number in the code.
PROMISES: list[tuple[str, str, float]] = [
    ("wire.md", "N MiB JSON", frames.MAX_JSON / 2**20),
    ("wire.md", "N GiB (?:payload|arrays)", frames.MAX_PAYLOAD / 2**30),
    ("wire.md", "GiB (?:payload|arrays), N arrays", frames.MAX_ARRAYS),
    ("wire.md", "N dimensions", frames.MAX_DIMENSIONS),
    ("wire.md", "unpack to N MiB", frames.MAX_UNPACKED / 2**20),
    ("wire.md", "at most N bytes of one", codec.MAX_RATIO),
    ("wire.md", r"\(N values or more", codec.LEAST_PACKED),
    ("wire.md", "after N seconds the process ends", server.EXIT_SECONDS),
    ("wire.md", "written every N", detached_registry.BEAT),
    ("wire.md", r"`log.txt` \(at most N MiB", detached_registry.MOST_LOG / 2**20),
    ("wire.md", "differs from now by more than N s", detached_registry.LATE),
    ("wire.md", "silent for N s", detached_registry.SILENT),
    ("reliability.md", r"training of preset `paper` \| every N s;", checkpoint.INTERVAL_SECONDS),
    ("reliability.md", "ended N s after `dsr_cancel`", connection.CANCEL_SECONDS),
    ("reliability.md", r"loss curve of a fit \| N points", 2 * fit.MOST_LOSSES),
    ("reliability.md", "N MiB JSON", frames.MAX_JSON / 2**20),
    ("reliability.md", "N GiB arrays", frames.MAX_PAYLOAD / 2**30),
    ("reliability.md", "N million nodes", level_set.MAX_NODES / 1e6),
    ("reliability.md", r"of what is fitted \| N Å", extents.FARTHEST),
    ("scale.md", "gaps above N Å", extents.FARTHEST),
    ("reliability.md", "N nodes along a side", warp.WARP_LIMIT.nodes_per_side),
    ("reliability.md", r"of a state \| N nodes", warp.WARP_LIMIT.nodes),
    ("reliability.md", "N million in all", timeline.ALL_TRIANGLES / 1e6),
    ("reliability.md", "with `detach=1`[:,] N MiB each", detached_registry.MOST_LOG / 2**20),
    ("security.md", "N MiB JSON", frames.MAX_JSON / 2**20),
    ("security.md", "N GiB arrays", frames.MAX_PAYLOAD / 2**30),
    ("security.md", "GiB arrays, N arrays", frames.MAX_ARRAYS),
    ("security.md", "N dimensions", frames.MAX_DIMENSIONS),
    ("security.md", "against the file's size and N MiB", safetensors_header.MAX_HEADER / 2**20),
    ("security.md", "at most N times its", codec.MAX_RATIO),
    ("security.md", "1-999999999` .{0,40}at most N million", MOST_ATOMS / 1e6),
    ("security.md", "N lines of log", connection.LOG_LINES),
    ("security.md", "lines of log in N seconds", connection.LOG_SECONDS),
    ("security.md", "N characters", text.LONGEST_LINE),
    ("security.md", "[Aa]t most N states", states.MAX_STATES),
    ("security.md", "N million nodes", level_set.MAX_NODES / 1e6),
    ("remote.md", "silent for N s", alive("ServerAliveInterval") * alive("ServerAliveCountMax")),
]


@pytest.mark.parametrize(("page", "words", "number"), PROMISES)
def test_the_code_keeps_the_numbers_of_the_pages(page: str, words: str, number: float) -> None:
    [path] = (ROOT / "docs").rglob(page)
    text = " ".join(path.read_text(encoding="utf-8").split())
    pattern = words.replace("N", rf"(\d[\d ]*(?:\.\d+)?|{'|'.join(WORDS)})", 1)
    numbers = {WORDS.get(hit) or float(hit.replace(" ", "")) for hit in re.findall(pattern, text)}
    assert numbers == {number}, f"{page} and the code differ, or no sentence there has these words"


@pytest.mark.parametrize("name", ["MAX_JSON", "MAX_PAYLOAD", "MAX_ARRAYS", "MAX_DIMENSIONS", "MAX_UNPACKED"])
def test_both_ends_have_the_same_caps(name: str) -> None:
    assert getattr(frames, name) == getattr(frames, name)
