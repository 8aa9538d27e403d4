"""Numbers that the documentation promises: each is read from its page, and the code has the same."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT
from dsr_backend import checkpoint, coding, detached, mesher, server, trainer, training
from dsr_backend import protocol as backend_protocol

from pymol_dsr import answers, jobs, launcher, protocol, scene, states

WORDS = {"second": 1, "two": 2, "ten": 10}


def alive(option: str) -> int:
    """The value of one of ssh's options that the plugin sets."""
    [value] = (word.partition("=")[2] for word in launcher._SSH_ALIVE if word.startswith(f"{option}="))
    return int(value)


# Pages, a few words of a sentence as a pattern in which N is the number, and that number in the code.
PROMISES: list[tuple[str, str, float]] = [
    ("architecture.md", "N MiB JSON", protocol.MAX_JSON / 2**20),
    ("architecture.md", "N GiB (?:payload|arrays)", protocol.MAX_PAYLOAD / 2**30),
    ("architecture.md", "GiB (?:payload|arrays), N arrays", protocol.MAX_ARRAYS),
    ("architecture.md", "N dimensions", protocol.MAX_DIMENSIONS),
    ("architecture.md", "unpack to N MiB", protocol.MAX_UNPACKED / 2**20),
    ("architecture.md", "at most N bytes of one", coding.MOST_RATIO),
    ("architecture.md", r"\(N values or more", protocol.LEAST_PACKED),
    ("architecture.md", "after N seconds the process ends", server.EXIT_SECONDS),
    ("architecture.md", "written every N", detached.BEAT),
    ("architecture.md", r"`log.txt` \(at most N MiB", detached.MOST_LOG / 2**20),
    ("architecture.md", "is older than N s", detached.LATE),
    ("architecture.md", "silent for N s", detached.SILENT),
    ("reliability.md", r"training of preset `paper` \| every N s;", training.SECONDS),
    ("reliability.md", "ended N s after `dsr_cancel`", jobs.CANCEL_SECONDS),
    ("reliability.md", "kept in N points", jobs.MOST_LOSSES),
    ("reliability.md", r"loss curve of a fit \| N points", 2 * jobs.MOST_LOSSES),
    ("reliability.md", "N MiB JSON", protocol.MAX_JSON / 2**20),
    ("reliability.md", "N GiB arrays", protocol.MAX_PAYLOAD / 2**30),
    ("reliability.md", "N million nodes", mesher.MOST_NODES / 1e6),
    ("reliability.md", r"samples in memory \| N GiB", trainer.MOST_SAMPLE_BYTES / 2**30),
    ("reliability.md", "N million in all", scene.ALL_TRIANGLES / 1e6),
    ("reliability.md", "with `detach=1`[:,] N MiB each", detached.MOST_LOG / 2**20),
    ("security.md", "N MiB JSON", backend_protocol.MAX_JSON / 2**20),
    ("security.md", "N GiB arrays", backend_protocol.MAX_PAYLOAD / 2**30),
    ("security.md", "GiB arrays, N arrays", backend_protocol.MAX_ARRAYS),
    ("security.md", "N dimensions", backend_protocol.MAX_DIMENSIONS),
    ("security.md", "against the file's size and N MiB", checkpoint.MAX_HEADER / 2**20),
    ("security.md", "at most N times its", coding.MOST_RATIO),
    ("security.md", "1-999999999` .{0,40}at most N million", answers.MOST_ATOMS / 1e6),
    ("security.md", "N lines of log", jobs.LOG_LINES),
    ("security.md", "lines of log in N seconds", jobs.LOG_SECONDS),
    ("security.md", "N characters", answers.LONGEST_LINE),
    ("security.md", "[Aa]t most N states", states.MAX_STATES),
    ("security.md", "N million nodes", mesher.MOST_NODES / 1e6),
    ("remote.md", "silent for N s", alive("ServerAliveInterval") * alive("ServerAliveCountMax")),
]


@pytest.mark.parametrize(("page", "words", "number"), PROMISES)
def test_the_code_keeps_the_numbers_of_the_pages(page: str, words: str, number: float) -> None:
    [path] = (ROOT / "docs").rglob(page)
    text = " ".join(path.read_text(encoding="utf-8").split())
    pattern = words.replace("N", rf"(\d[\d ]*(?:\.\d+)?|{'|'.join(WORDS)})", 1)
    said = {WORDS.get(hit) or float(hit.replace(" ", "")) for hit in re.findall(pattern, text)}
    assert said == {number}, f"{page} and the code differ, or no sentence there has these words"


@pytest.mark.parametrize("name", ["MAX_JSON", "MAX_PAYLOAD", "MAX_ARRAYS", "MAX_DIMENSIONS", "MAX_UNPACKED"])
def test_both_ends_have_the_same_caps(name: str) -> None:
    assert getattr(protocol, name) == getattr(backend_protocol, name)
