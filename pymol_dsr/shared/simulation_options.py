"""Options of simulations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .values import Options, Value, ValueFault

FORCE_FIELDS = ("amber99sbildn+obc",)
ALL_ATOMS = "allatom"
PICOSECONDS_A_STEP = 0.004
MOST_STATES = 100_000
MUTATION = r"([A-Z])(-?\d+[A-Z]?)([A-Z])"
"""A mutation: letters of both residues, and the number between them."""


@dataclass(frozen=True)
class SimulationOptions(Options):
    """Molecular dynamics of all atoms in implicit solvent, or of beads by a learned potential.

    budget: None for no limit. gaps: else a gap in a chain is refused. Raises ValueFault for no or too many states.
    """

    ns: Annotated[float, Value("length of each replica", unit="ns", above=0, most=1e6)] = 0.1
    temperature: Annotated[float, Value("temperature", unit="K", least=1, most=1000)] = 300.0
    replicas: Annotated[int, Value("independent runs from the same state", least=1, most=1000)] = 1
    every: Annotated[float, Value("time between two states", unit="ps", least=0.02, most=1e6)] = 1.0
    forcefield: Annotated[str, Value("force field and solvent", choices=FORCE_FIELDS)] = FORCE_FIELDS[0]
    gaps: Annotated[bool, Value("take both sides of a gap in a chain as ends of chains")] = False
    budget: Annotated[float | None, Value("most seconds to simulate", unit="s", above=0, absent="none")] = None
    resume: Annotated[bool, Value("go on from the checkpoint of an earlier run of this name")] = False
    seed: Annotated[int, Value("seed of random numbers", least=0, most=2**31 - 1)] = 0
    model: Annotated[str, Value("allatom, or the name of a learned potential", names="a potential")] = ALL_ATOMS
    platform: Annotated[
        str, Value("OpenMM's platform", choices=("auto", "CPU", "Reference", "CUDA", "OpenCL", "HIP"))
    ] = "auto"
    refine: Annotated[bool, Value("minimise the energy of each state of a potential, all atoms by OpenMM")] = False
    mutate: Annotated[
        str | None,
        Value(
            "mutations of the residues that a potential simulates",
            pattern=rf"{MUTATION}(\+{MUTATION})*",
            form="mutations as A5G or A5G+K7R",
            absent="none",
        ),
    ] = None

    @property
    def steps_a_state(self) -> int:
        """Number of steps between two states."""
        return max(1, round(self.every / PICOSECONDS_A_STEP))

    @property
    def states(self) -> int:
        """Number of states of each replica."""
        return int(1000.0 * self.ns / (self.steps_a_state * PICOSECONDS_A_STEP) + 1e-6)

    def check_together(self) -> None:
        """Check the number of states, and what a potential alone can do. Raises ValueFault."""
        if self.model == ALL_ATOMS and (self.refine or self.mutate):
            key = "refine=1" if self.refine else f"mutate={self.mutate}"
            raise ValueFault(f"{key} goes with model=NAME, a potential that dsr_learn has made")
        if not self.states:
            raise ValueFault(f"ns {self.ns:g} is shorter than every={self.every:g} ps: there would be no state")
        if self.states * self.replicas > MOST_STATES:
            raise ValueFault(
                f"ns {self.ns:g} and every={self.every:g} make {self.states * self.replicas} states; {MOST_STATES} is "
                "the most: give a larger every="
            )
