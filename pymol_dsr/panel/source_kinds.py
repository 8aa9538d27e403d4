"""The sources of states that the page Simulate offers."""

from __future__ import annotations

from dataclasses import dataclass

PHYSICS = ("openmm", "pdbfixer")
GENERATOR_LABEL = "&Generator"


@dataclass(frozen=True)
class SourceKind:
    """One source of states. command: that does the same; task: of `GenerateOptions`, empty for a simulation.

    frames: label of their number; empty for a length in ns. model: label of the learned model that it takes.
    moving: it takes molecules of several states only.
    """

    label: str
    command: str
    hint: str
    task: str = ""
    frames: str = ""
    has_temperature: bool = False
    model: str = ""
    has_replicas: bool = True
    moving: bool = False
    packages: tuple[str, ...] = ()


KINDS = (
    SourceKind(
        "All-atom physics",
        "dsr_simulate",
        "Molecular dynamics of all atoms of a protein in implicit solvent",
        has_temperature=True,
        packages=PHYSICS,
    ),
    SourceKind(
        "A learned potential",
        "dsr_simulate",
        "Replicas of Cα beads side by side, at the temperature of the training; all atoms come back from the molecule",
        model="&Potential",
    ),
    SourceKind(
        "Continue",
        "dsr_continue",
        "States after the last one",
        "continue",
        "&Frames",
        model=GENERATOR_LABEL,
        moving=True,
    ),
    SourceKind(
        "Fill in",
        "dsr_fill",
        "States between each two of the molecule's",
        "fill",
        "&Frames between",
        model=GENERATOR_LABEL,
        has_replicas=False,
        moving=True,
    ),
    SourceKind(
        "More like these",
        "dsr_sample",
        "States that fluctuate as the molecule's do, in no order",
        "sample",
        "&Frames",
        model=GENERATOR_LABEL,
        has_replicas=False,
        moving=True,
    ),
)
