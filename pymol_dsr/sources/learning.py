"""Learns a potential or a generator; `beads` and `backbones` collect what they are learned from."""

from __future__ import annotations

from ..fits.fit import Say
from ..shared import messages
from .jobs import SourceJob, Sources


def run_learning(
    sources: Sources, job: SourceJob, request: messages.LearnPotential | messages.LearnGenerator, say: Say
) -> messages.LearnResult:
    """Learn a potential or a generator. Raises Cancelled or BackendError."""
    try:
        result = sources.ask(job, request, say)
    finally:
        sources.discard(job)
    for note in result.notes:
        say(f" {job.name}: {note}")
    of_generator = isinstance(request, messages.LearnGenerator)
    use = "dsr_continue SELECTION, method=net" if of_generator else "dsr_simulate SELECTION"
    say(f" {job.name}: learned, in {result.path}; {use}, model={job.name} uses it")
    return result
