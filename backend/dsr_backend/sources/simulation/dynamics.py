"""Molecular dynamics of all atoms with OpenMM: Langevin dynamics in implicit solvent, with checkpoints.

Bonds to hydrogen are fixed and hydrogens weigh 4 amu, which allows steps of 4 fs. Forces are kept with the states.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.simulation_options import PICOSECONDS_A_STEP, SimulationOptions
from pymol_dsr.shared.text import one_line
from pymol_dsr.shared.values import ValueFault

from ...runtime.errors import Cancelled
from ..contract import MOST_TITLES, Check, Generated, Report
from .prepare import FORCE_FIELD_FILES, Prepared, openmm_modules, prepare
from .store import Checkpoint, SimulatedStates, SimulationStore, joined

HYDROGEN_MASS = 4.0
FRICTION = 1.0
"""Per ps."""
MINIMISE_STEPS = 500
CHECKPOINT_SECONDS = 30.0
SLICE_SECONDS = 0.2
"""Seconds of steps between two looks at whether the user has cancelled."""
KCAL_PER_MOL_ANGSTROM = 1.0 / 41.84
"""kcal/mol/Å in a kJ/mol/nm."""
GAS_CONSTANT = 0.0083144626
"""kJ/mol/K."""
HOTTEST = 3.0
"""Times the temperature that was asked for; hotter, the run has gone wrong."""
REMEDY = "mend clashes of the structure, or start from another state"
TIMING_STEPS = 20
MINIMUM_TIMING_SECONDS = 0.2


@dataclass(frozen=True)
class Speed:
    """Speed of a simulation here: ns a day, on the platform of that name."""

    ns_a_day: float
    platform: str

    def seconds(self, nanoseconds: float) -> float:
        """Return the seconds that so many ns take."""
        return 86400.0 * nanoseconds / self.ns_a_day


class Dynamics:
    """One molecule in an OpenMM context."""

    def __init__(self, prepared: Prepared, options: SimulationOptions) -> None:
        """Make the context. Raises ValueFault for a platform that OpenMM does not have here."""
        self._omm = omm = openmm_modules()
        unit = omm.unit
        force_field = omm.app.ForceField(*FORCE_FIELD_FILES[options.forcefield])
        self.system = force_field.createSystem(
            prepared.topology,
            nonbondedMethod=omm.app.NoCutoff,
            constraints=omm.app.HBonds,
            hydrogenMass=HYDROGEN_MASS * unit.amu,
        )
        self._integrator = omm.openmm.LangevinMiddleIntegrator(
            options.temperature, FRICTION / unit.picosecond, PICOSECONDS_A_STEP
        )
        self.failure: type[Exception] = omm.openmm.OpenMMException
        self._temperature = options.temperature
        self._freedom = 3 * self.system.getNumParticles() - self.system.getNumConstraints()
        self._set_seed(options.seed)
        self.context = _context(omm, self.system, self._integrator, options.platform)
        self.platform = str(self.context.getPlatform().getName())

    def _set_seed(self, seed: int) -> None:
        # 0 would be a seed from the clock.
        self._integrator.setRandomNumberSeed(1 + seed)

    def begin(
        self, coordinates: NDArray[np.float32], seed: int, check: Check = lambda: None, minimise: bool = True
    ) -> None:
        """Start from coordinates f4[A,3] in Å: minimise their energy, and draw velocities.

        check: raises Cancelled, and is called after each step of the minimiser, which takes minutes for thousands of
        atoms.
        """
        self._set_seed(seed)
        self.context.reinitialize()
        self.context.setPositions(0.1 * coordinates.astype(np.float64))
        self.context.applyConstraints(1e-6)
        if minimise:
            minimise_energy(self._omm.openmm, self.context, check)
        self.context.setVelocitiesToTemperature(self._temperature, 1 + seed)

    def step(self, count: int) -> None:
        """Advance by steps of 4 fs."""
        self._integrator.step(count)

    def state(self) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        """Return positions f4[A,3] (Å), forces f4[A,3] (kcal/mol/Å) and the temperature in K."""
        state = self.context.getState(positions=True, forces=True, energy=True)
        unit = self._omm.unit
        positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom).astype(np.float32)
        forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
        kinetic = state.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole)
        kelvin = 2.0 * kinetic / (self._freedom * GAS_CONSTANT)
        return positions, (KCAL_PER_MOL_ANGSTROM * forces).astype(np.float32), float(kelvin)

    def checkpoint(self) -> tuple[bytes, NDArray[np.float64], NDArray[np.float64]]:
        """Return OpenMM's checkpoint, positions in nm and velocities in nm/ps, both f8[A,3]."""
        state = self.context.getState(positions=True, velocities=True)
        unit = self._omm.unit
        return (
            self.context.createCheckpoint(),
            np.array(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)),
            np.array(state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond)),
        )

    def resume(self, checkpoint: Checkpoint, seed: int) -> bool:
        """Take up a checkpoint; return whether random numbers go on, too: the run is then as if never interrupted."""
        if checkpoint.platform == self.platform:
            try:
                self.context.loadCheckpoint(checkpoint.blob)
                return True
            except self.failure:
                # It is of another version of OpenMM or another number of threads.
                pass
        self._set_seed(seed + 1 + checkpoint.step)
        self.context.reinitialize()
        self.context.setPositions(checkpoint.positions)
        self.context.setVelocities(checkpoint.velocities)
        return False

    def speed(self) -> Speed:
        """Time a few steps."""
        count = TIMING_STEPS
        self.step(5)
        while True:
            started = time.perf_counter()
            self.step(count)
            # The steps of a GPU run on.
            self.context.getState(energy=True)
            seconds = time.perf_counter() - started
            if seconds >= MINIMUM_TIMING_SECONDS:
                return Speed(count * PICOSECONDS_A_STEP * 1e-3 * 86400.0 / seconds, self.platform)
            count *= 2


def minimise_energy(openmm: Any, context: Any, check: Check) -> None:
    """Minimise the energy of a context, at most MINIMISE_STEPS steps. check: raises Cancelled; it is called in each."""

    class Watch(openmm.MinimizationReporter):  # type: ignore[misc]
        error: Cancelled | None = None

        def report(self, *_: Any) -> bool:
            """Return whether to stop: an error can't pass through OpenMM, which begins anew some times."""
            try:
                if self.error is None:
                    check()
            except Cancelled as error:
                self.error = error
            return self.error is not None

    watch = Watch()
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=MINIMISE_STEPS, reporter=watch)
    if watch.error is not None:
        raise watch.error


def _context(omm: SimpleNamespace, system: Any, integrator: Any, platform: str) -> Any:
    """Return a context. Raises ValueFault for a platform that is not there."""
    if platform == "auto":
        return omm.openmm.Context(system, integrator)
    known = [omm.openmm.Platform.getPlatform(k).getName() for k in range(omm.openmm.Platform.getNumPlatforms())]
    if platform not in known:
        raise ValueFault(f"platform {platform}: OpenMM has {', '.join(known)} here")
    return omm.openmm.Context(system, integrator, omm.openmm.Platform.getPlatformByName(platform))


def estimate(
    molecule: Molecule, coordinates: NDArray[np.float32], options: SimulationOptions, check: Check
) -> tuple[Prepared, NDArray[np.float32], Speed]:
    """Prepare a molecule: all its atoms, their coordinates f4[M,3] (Å) of least energy nearby, and the speed here.

    Raises ValueFault for what can't be simulated.
    """
    prepared = prepare(molecule, coordinates, options.forcefield, options.gaps)
    check()
    dynamics = Dynamics(prepared, options)
    try:
        dynamics.begin(prepared.coordinates, options.seed, check)
        relaxed = dynamics.state()[0]
        if not np.isfinite(relaxed).all():
            raise ValueFault("the molecule has no finite energy: atoms lie on each other; mend the structure first")
        check()
        return prepared, relaxed, dynamics.speed()
    except dynamics.failure as error:
        raise ValueFault(f"the molecule is unstable from the start ({one_line(error)}): {REMEDY}") from error


def simulate(
    molecule: Molecule,
    coordinates: NDArray[np.float32],
    options: SimulationOptions,
    store: SimulationStore,
    report: Report,
    check: Check,
    log: Callable[[str], None],
) -> Generated:
    """Simulate a molecule with all its atoms from coordinates f4[A,3] in Å, as `estimate` returns them.

    A cancelled run returns the states that it has. log: takes lines about files that can't be written. Raises
    ValueFault, and Cancelled where there is no state yet.
    """
    prepared = prepare(molecule, coordinates, options.forcefield, True)
    if len(prepared.molecule) != len(molecule):
        raise ValueFault(f"{len(prepared.molecule) - len(molecule)} atoms are missing: prepare the molecule first")
    return _Simulation(prepared, options, store, report, check, log).run()


class _Simulation:
    """A simulation under way."""

    def __init__(
        self,
        prepared: Prepared,
        options: SimulationOptions,
        store: SimulationStore,
        report: Report,
        check: Check,
        log: Callable[[str], None],
    ) -> None:
        self._prepared, self._options, self._store = prepared, options, store
        self._report, self._check, self._log = report, check, log
        self._dynamics = Dynamics(prepared, options)
        self._notes: list[str] = []
        self._kept: list[SimulatedStates] = []
        self._unwritten: list[SimulatedStates] = []
        self._count = 0
        self._total = options.states * options.replicas
        self._step_seconds = 0.0
        self._stopped = ""
        # Steps and seconds of this run alone, for the speed.
        self._steps, self._seconds = 0, 0.0
        self._kelvin: list[float] = []
        self._last: Checkpoint

    def run(self) -> Generated:
        with self._store.held():
            return self._run()

    def _run(self) -> Generated:
        options = self._options
        self._started = self._written = time.monotonic()
        replica, step = 0, 0
        if options.resume:
            replica, step = self._resume()
        else:
            self._begin_files()
        try:
            for number in range(replica, options.replicas):
                self._replica(number, step if number == replica else 0)
                if self._stopped:
                    break
        except Cancelled:
            self._stopped = "cancelled"
            if not self._count:
                raise
        self._write(force=True)
        return self._generated()

    def _begin_files(self) -> None:
        try:
            self._store.begin(self._prepared.molecule, self._prepared.coordinates, self._options)
        except OSError as error:
            self._log(f"checkpoints can't be written: {error}")

    def _resume(self) -> tuple[int, int]:
        """Take up the states and the checkpoint of the folder, and return the replica and its step."""
        checkpoint = self._store.checkpoint()
        if checkpoint is None:
            raise ValueFault(f"there is no checkpoint in {self._store.folder}; simulate without resume=1")
        earlier = self._store.start()[2]
        # Replicas that have ended are not made longer.
        fixed = ("temperature", "every", "forcefield", "seed", "replicas", *(["ns"] if earlier.replicas > 1 else []))
        for key in fixed:
            if getattr(earlier, key) != getattr(self._options, key):
                raise ValueFault(
                    f"{key} {getattr(self._options, key)}: the run that goes on has {getattr(earlier, key)}; give the "
                    "same, or simulate anew without resume=1"
                )
        states = self._store.states()
        if states.coordinates.shape[1:] != self._prepared.coordinates.shape:
            raise ValueFault(
                f"the run that goes on is of {states.coordinates.shape[1]} atoms, and these are "
                f"{len(self._prepared.molecule)}; simulate anew without resume=1"
            )
        self._keep(states, written=True)
        self._dynamics.begin(self._prepared.coordinates, self._options.seed + checkpoint.replica, minimise=False)
        if not self._dynamics.resume(checkpoint, self._options.seed):
            self._notes.append("goes on from the checkpoint's positions with other random numbers: another platform")
        elif self._dynamics.platform != "Reference":
            self._notes.append(f"goes on from the checkpoint; on {self._dynamics.platform} not bit for bit")
        return checkpoint.replica, checkpoint.step

    def _replica(self, number: int, step: int) -> None:
        options, interval = self._options, self._options.steps_a_state
        if step == 0:
            self._report(self._count / self._total, "minimising")
            self._dynamics.begin(self._prepared.coordinates, options.seed + number, self._check)
        while step < interval * options.states and not self._stopped:
            self._advance(interval)
            step += interval
            positions, forces, kelvin = self._dynamics.state()
            if not np.isfinite(positions).all() or kelvin > HOTTEST * options.temperature:
                raise ValueFault(
                    f"the simulation became unstable after {step * PICOSECONDS_A_STEP:g} ps ({kelvin:.0f} K): {REMEDY}"
                )
            self._kelvin.append(kelvin)
            self._keep(
                SimulatedStates(
                    positions[None],
                    forces[None],
                    np.array([step * PICOSECONDS_A_STEP]),
                    np.array([number], np.int32),
                )
            )
            self._tell(kelvin)
            is_late = options.budget is not None and time.monotonic() - self._started > options.budget
            if is_late and self._count < self._total:
                self._stopped = f"ended by budget={options.budget:g}"
            blob, places, velocities = self._dynamics.checkpoint()
            self._last = Checkpoint(number, step, self._count, self._dynamics.platform, blob, places, velocities)
            self._write()

    def _advance(self, steps: int) -> None:
        """Take steps, and look now and then whether the user has cancelled."""
        while steps:
            self._check()
            slice_steps = steps
            if self._step_seconds:
                slice_steps = min(steps, max(1, int(SLICE_SECONDS / self._step_seconds)))
            elif steps > TIMING_STEPS:
                slice_steps = TIMING_STEPS
            started = time.perf_counter()
            try:
                self._dynamics.step(slice_steps)
            except self._dynamics.failure as error:
                raise ValueFault(f"the simulation became unstable ({error}): {REMEDY}") from error
            seconds = time.perf_counter() - started
            self._step_seconds = seconds / slice_steps
            self._steps, self._seconds = self._steps + slice_steps, self._seconds + seconds
            steps -= slice_steps

    def _keep(self, states: SimulatedStates, written: bool = False) -> None:
        self._kept.append(states)
        if not written:
            self._unwritten.append(states)
        self._count += len(states)
        self._report.frames(states.coordinates)

    def _ns_a_day(self) -> float:
        return self._steps * PICOSECONDS_A_STEP * 1e-3 * 86400.0 / max(self._seconds, 1e-9)

    def _tell(self, kelvin: float) -> None:
        elapsed = time.monotonic() - self._started
        seconds_a_state = elapsed * (self._options.steps_a_state / max(self._steps, 1))
        left = (self._total - self._count) * seconds_a_state
        if self._options.budget is not None:
            left = min(left, max(0.0, self._options.budget - elapsed))
        text = f"{self._ns_a_day():.3g} ns/day, {kelvin:.0f} K"
        self._report(self._count / self._total, "simulating", text, left)

    def _write(self, force: bool = False) -> None:
        """Write states and a checkpoint, every CHECKPOINT_SECONDS."""
        if not self._unwritten or (not force and time.monotonic() - self._written < CHECKPOINT_SECONDS):
            return
        self._written = time.monotonic()
        try:
            self._store.put(joined(self._unwritten), self._last)
            self._unwritten.clear()
        except OSError as error:
            self._log(f"the checkpoint can't be written: {error}; the states so far are in memory")

    def _generated(self) -> Generated:
        options, states = self._options, joined(self._kept)
        replica = states.replicas.tolist()
        prefixes = ["" if options.replicas == 1 else f"replica {number + 1}, " for number in replica]
        titles = tuple(
            f"simulated at {options.temperature:g} K, {prefix}{ps:g} ps"
            for prefix, ps in zip(prefixes, states.times.tolist(), strict=True)
        )
        if self._stopped:
            self._notes.append(f"{self._stopped} after {states.times[-1]:g} ps; resume=1 goes on")
        if self._kelvin:
            self._notes.append(
                f"{self._ns_a_day():.3g} ns/day on {self._dynamics.platform}, {np.mean(self._kelvin):.0f} K on average"
            )
        return Generated(
            states.coordinates,
            states.times,
            options.forcefield,
            notes=tuple(self._notes),
            titles=titles if len(titles) <= MOST_TITLES else (),
            model={
                "temperature": options.temperature,
                "seed": options.seed,
                "simulation": self._store.folder.name,
                "picoseconds": float(states.times[-1]),
                "platform": self._dynamics.platform,
                "resumed": self._options.resume,
            },
        )
