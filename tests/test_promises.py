"""Numbers that the documentation promises: each is read from its page, and the code has the same."""

from __future__ import annotations

import re
from collections.abc import Callable

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


# A sentence of a page, each number of it as (N), and these numbers in the code.
PROMISES: dict[str, list[tuple[str, Callable[[], tuple[float, ...]]]]] = {
    "architecture.md": [
        (
            "(N) MiB JSON, (N) GiB payload, (N) arrays, (N) dimensions",
            lambda: (
                protocol.MAX_JSON / 2**20,
                protocol.MAX_PAYLOAD / 2**30,
                protocol.MAX_ARRAYS,
                protocol.MAX_DIMENSIONS,
            ),
        ),
        ("packed arrays may unpack to (N) MiB", lambda: (protocol.MAX_UNPACKED / 2**20,)),
        ("deflate makes at most (N) bytes of one", lambda: (coding.MOST_RATIO,)),
        ("Large arrays ((N) values or more)", lambda: (protocol.LEAST_PACKED,)),
        ("after (N) seconds the process ends whatever it does", lambda: (server.EXIT_SECONDS,)),
        ("written every (N) as long as it lives", lambda: (detached.BEAT,)),
        ("`log.txt` (at most (N) MiB)", lambda: (detached.MOST_LOG / 2**20,)),
        ("Where the status is older than (N) s", lambda: (detached.LATE,)),
        ("on another machine and silent for (N) s", lambda: (detached.SILENT,)),
    ],
    "reliability.md": [
        ("training of preset `paper` | every (N) s;", lambda: (training.SECONDS,)),
        ("ended (N) s after `dsr_cancel`", lambda: (jobs.CANCEL_SECONDS,)),
        ("the curve is kept whole in (N) points", lambda: (jobs.MOST_LOSSES,)),
        ("loss curve of a fit | (N) points", lambda: (2 * jobs.MOST_LOSSES,)),
        (
            "a frame | (N) MiB JSON, (N) GiB arrays",
            lambda: (protocol.MAX_JSON / 2**20, protocol.MAX_PAYLOAD / 2**30),
        ),
        ("a lattice to mesh | (N) million nodes", lambda: (mesher.MOST_NODES / 1e6,)),
        ("samples in memory | (N) GiB", lambda: (trainer.MOST_SAMPLE_BYTES / 2**30,)),
        ("triangles of a movie | (N) million in all", lambda: (scene.ALL_TRIANGLES / 1e6,)),
        ("by fits with `detach=1`, (N) MiB each", lambda: (detached.MOST_LOG / 2**20,)),
    ],
    "security.md": [
        (
            "((N) MiB JSON, (N) GiB arrays, (N) arrays, (N) dimensions)",
            lambda: (
                backend_protocol.MAX_JSON / 2**20,
                backend_protocol.MAX_PAYLOAD / 2**30,
                backend_protocol.MAX_ARRAYS,
                backend_protocol.MAX_DIMENSIONS,
            ),
        ),
        ("against the file's size and (N) MiB", lambda: (checkpoint.MAX_HEADER / 2**20,)),
        ("which is at most (N) times its bytes", lambda: (coding.MOST_RATIO,)),
        ("atoms written as `1-999999999` at most (N) million", lambda: (answers.MOST_ATOMS / 1e6,)),
        ("(N) lines of log in (N) seconds are printed", lambda: (jobs.LOG_LINES, jobs.LOG_SECONDS)),
        ("a line has at most (N) characters", lambda: (answers.LONGEST_LINE,)),
        ("at most (N) states, told before they are made", lambda: (states.MAX_STATES,)),
        ("the largest lattice there is ((N) million nodes", lambda: (mesher.MOST_NODES / 1e6,)),
    ],
    "remote.md": [
        (
            "a line that is silent for (N) s",
            lambda: (alive("ServerAliveInterval") * alive("ServerAliveCountMax"),),
        ),
    ],
}


@pytest.mark.parametrize(
    ("page", "sentence", "numbers"),
    [(page, sentence, numbers) for page, promises in PROMISES.items() for sentence, numbers in promises],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_code_keeps_the_numbers_of_the_pages(
    page: str, sentence: str, numbers: Callable[[], tuple[float, ...]]
) -> None:
    text = " ".join((ROOT / "docs" / page).read_text(encoding="utf-8").split())
    number = rf"(\d[\d ]*(?:\.\d+)?|{'|'.join(WORDS)})"
    pattern = re.escape(sentence).replace(re.escape("(N)"), number)
    hits = re.findall(pattern, text)
    assert len(hits) == 1, f"{page} says it {len(hits)} times"
    said = hits[0] if isinstance(hits[0], tuple) else (hits[0],)
    assert tuple(WORDS.get(word) or float(word.replace(" ", "")) for word in said) == numbers()


@pytest.mark.parametrize("name", ["MAX_JSON", "MAX_PAYLOAD", "MAX_ARRAYS", "MAX_DIMENSIONS", "MAX_UNPACKED"])
def test_both_ends_have_the_same_caps(name: str) -> None:
    assert getattr(protocol, name) == getattr(backend_protocol, name)
