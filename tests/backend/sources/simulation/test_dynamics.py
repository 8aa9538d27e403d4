"""Molecular dynamics of two or three picoseconds: what is added, refused, kept, and how an interrupted run goes on."""

from dataclasses import replace
from typing import Any

import numpy as np
import openmm
import pytest
from dsr_backend.runtime.errors import Cancelled
from dsr_backend.sources.simulation import dynamics
from dsr_backend.sources.simulation.dynamics import estimate, simulate
from dsr_backend.sources.simulation.prepare import prepare
from dsr_backend.sources.simulation.store import SimulationStore
from openmm import unit

from pymol_dsr.shared.molecule import COLUMNS, Molecule
from pymol_dsr.shared.simulation_options import SimulationOptions
from pymol_dsr.shared.values import ValueFault

pytestmark = pytest.mark.system

FORCE_FIELD = SimulationOptions.forcefield
SHORT = SimulationOptions(ns=0.001, every=0.2, platform="Reference")


class Recorder:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, str, str]] = []
        self.states: list[Any] = []

    def __call__(self, fraction, phase, text="", seconds_left=None) -> None:
        self.lines.append((fraction, phase, text))

    def frames(self, coordinates) -> None:
        self.states.append(coordinates)


def no_check() -> None:
    pass


@pytest.fixture(scope="module")
def scene():
    pymol2 = pytest.importorskip("pymol2")
    with pymol2.PyMOL() as session:
        session.cmd.feedback("disable", "all", "everything")
        yield session.cmd


def built(cmd, sequence: str) -> tuple[Molecule, Any]:
    cmd.delete("all")
    cmd.fab(sequence, "pep", ss=1)
    return alanines_in_scene(cmd)


def alanines_in_scene(cmd) -> tuple[Molecule, Any]:
    model = cmd.get_model("pep")
    rows = [(a.name, a.resn, a.resi, a.chain, a.symbol) for a in model.atom]
    columns: dict[str, Any] = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    bonds = np.array([bond.index for bond in model.bond], np.int32)
    molecule = Molecule(**columns, bonds=bonds, hetatm=np.zeros(len(rows), bool))
    return molecule, np.array([atom.coord for atom in model.atom], np.float32)


@pytest.fixture(scope="module")
def alanines(scene):
    """Three alanines that can be simulated: molecule and coordinates."""
    prepared, relaxed, _ = estimate(*built(scene, "AAA"), SHORT, no_check)
    return prepared.molecule, relaxed


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    return SimulationStore("run")


def run(alanines, store, options=SHORT, ends_with: Any = None):
    """ends_with: an exception after three states."""
    recorder = Recorder()
    lines: list[str] = []

    def check() -> None:
        if ends_with is not None and len(recorder.states) == 3:
            raise ends_with

    molecule, coordinates = alanines
    return simulate(molecule, coordinates, options, store, recorder, check, lines.append), recorder, lines


def test_missing_atoms_terminal_oxygens_and_hydrogens_are_added_and_listed(scene) -> None:
    built(scene, "AKA")
    scene.remove("pep and resi 2 and name CE+NZ")
    prepared = prepare(*alanines_in_scene(scene), FORCE_FIELD, False)
    assert prepared.added[:2] == ("added LYS 2: CE NZ", "added ALA 3: OXT")
    assert "hydrogens for pH 7" in prepared.added[2]
    names = prepared.molecule.names
    assert names.count("OXT") == 1 and names.count("NZ") == 1
    assert len(prepared.coordinates) == len(names) == 12 + 22 + 11
    assert prepare(prepared.molecule, prepared.coordinates, FORCE_FIELD, False).added == ()


def test_deuterium_of_a_structure_by_neutrons_becomes_hydrogen(scene) -> None:
    built(scene, "AKA")
    scene.alter("elem H", "elem, name = 'D', name.replace('H', 'D')")
    molecule, coordinates = alanines_in_scene(scene)
    assert "D" in molecule.elements
    prepared = prepare(molecule, coordinates, FORCE_FIELD, False)
    assert "D" not in prepared.molecule.elements and len(prepared.molecule) == 12 + 22 + 11


@pytest.mark.parametrize("shift", [-2000.0, 20000.0])
def test_a_molecule_far_from_the_origin_is_prepared_where_it_is(scene, shift) -> None:
    built(scene, "AKA")
    scene.remove("pep and resi 2 and name CE+NZ")
    molecule, coordinates = alanines_in_scene(scene)
    near, far = (prepare(molecule, coordinates + np.float32(by), FORCE_FIELD, False) for by in (0.0, shift))
    assert far.added == near.added and far.molecule.names == near.molecule.names
    # Atoms that are added lie a little differently each time.
    backbone = np.isin(near.molecule.names, ("N", "CA", "C"))
    assert np.abs(far.coordinates - shift - near.coordinates)[backbone].max() < 0.02


def test_a_gap_is_refused_or_makes_two_chains(scene) -> None:
    built(scene, "AAAAAA")
    scene.remove("pep and resi 3")
    with pytest.raises(ValueFault, match=r"gaps between residues 2 and 4 of chain .*: gaps=1 takes both sides"):
        prepare(*alanines_in_scene(scene), FORCE_FIELD, False)
    assert prepare(*alanines_in_scene(scene), FORCE_FIELD, True).molecule.names.count("OXT") == 2


def test_residues_that_the_force_field_lacks_are_named_with_what_works(scene) -> None:
    built(scene, "AAAA")
    scene.alter("pep and resi 2", "resn='HEM'")
    scene.alter("pep and resi 3", "resn='HOH'")
    with pytest.raises(
        ValueFault, match=r"HEM 2; water.*HOH 3\); leave the others out, as in dsr_simulate NAME and polym"
    ):
        prepare(*alanines_in_scene(scene), FORCE_FIELD, False)


@pytest.mark.parametrize("platform", ["CPU", "Reference"])
def test_a_molecule_that_a_box_has_cut_is_refused_in_one_line(alanines, platform) -> None:
    molecule, coordinates = alanines
    cut = np.mod(coordinates - coordinates.mean(0) + np.array([3.0, 10.0, 10.0], np.float32), np.float32(20.0))
    with pytest.raises(ValueFault, match=r"(unstable from the start \(Particle coordinate|no finite energy).*mend"):
        estimate(molecule, cut, replace(SHORT, platform=platform), no_check)


def test_states_come_with_times_titles_and_forces_near_the_temperature(alanines, store) -> None:
    generated, recorder, _ = run(alanines, store, replace(SHORT, ns=0.002))
    assert generated.coordinates.shape == (10, len(alanines[0]), 3)
    np.testing.assert_allclose(generated.times, np.arange(1, 11) * 0.2)
    assert generated.titles[0] == "simulated at 300 K, 0.2 ps"
    assert np.array_equal(np.concatenate(recorder.states), generated.coordinates)
    assert recorder.lines[-1][1] == "simulating" and "ns/day" in recorder.lines[-1][2]
    stored_states = store.states()
    assert np.array_equal(stored_states.coordinates, generated.coordinates)
    assert (
        stored_states.forces.shape == stored_states.coordinates.shape
        and 5 < np.sqrt((stored_states.forces**2).mean()) < 60
    )
    assert 100 < float(generated.notes[-1].rpartition(", ")[2].split()[0]) < 500


def test_a_minimisation_is_cancelled_in_its_steps_and_is_the_same_when_it_is_watched(alanines) -> None:
    molecule, coordinates = alanines
    engine = dynamics.Dynamics(prepare(molecule, coordinates, FORCE_FIELD, False), SHORT)
    stretched = (1.05 * coordinates).astype(np.float32)
    steps: list[int] = []
    engine.begin(stretched, 0, lambda: steps.append(1))
    assert len(steps) > 20
    watched = engine.state()[0]
    engine.begin(stretched, 0, minimise=False)
    openmm.LocalEnergyMinimizer.minimize(engine.context, maxIterations=dynamics.MINIMISE_STEPS)
    assert np.array_equal(engine.state()[0], watched)

    def cancelled() -> None:
        steps.append(1)
        if len(steps) == 5:
            raise Cancelled("run was cancelled")

    steps.clear()
    with pytest.raises(Cancelled, match="run was cancelled"):
        engine.begin(stretched, 0, cancelled)
    assert len(steps) == 5


def test_forces_are_the_slope_of_the_energy(alanines) -> None:
    molecule, coordinates = alanines
    engine = dynamics.Dynamics(prepare(molecule, coordinates, FORCE_FIELD, False), SHORT)

    def energy(shift: float) -> float:
        moved = 0.1 * coordinates.astype(float)
        moved[4, 1] += shift
        engine.context.setPositions(moved)
        return engine.context.getState(energy=True).getPotentialEnergy() / unit.kilocalorie_per_mole

    slope = (energy(1e-5) - energy(-1e-5)) / 2e-4
    energy(0.0)
    assert engine.state()[1][4, 1] == pytest.approx(-slope, rel=1e-3)


def test_replicas_start_alike_and_part(alanines, store) -> None:
    generated, _, _ = run(alanines, store, replace(SHORT, ns=0.0004, replicas=2))
    np.testing.assert_allclose(generated.times, [0.2, 0.4, 0.2, 0.4])
    assert generated.titles[2] == "simulated at 300 K, replica 2, 0.2 ps"
    assert np.abs(generated.coordinates[0] - generated.coordinates[2]).max() > 0.01


def test_a_cancelled_run_keeps_its_states_and_goes_on_bit_for_bit(alanines, store) -> None:
    uninterrupted, _, _ = run(alanines, store, SHORT)
    cut, _, _ = run(alanines, store, SHORT, Cancelled)
    assert len(cut.coordinates) == 3
    assert "resume=1 goes on" in " ".join(cut.notes)
    resumed, recorder, _ = run(alanines, store, replace(SHORT, resume=True))
    assert np.array_equal(resumed.coordinates, uninterrupted.coordinates)
    assert np.array_equal(np.concatenate(recorder.states), uninterrupted.coordinates)
    assert np.array_equal(store.states().coordinates, uninterrupted.coordinates)


def test_a_run_that_was_killed_goes_on_from_its_checkpoint_and_may_be_longer(alanines, store, monkeypatch) -> None:
    monkeypatch.setattr(dynamics, "CHECKPOINT_SECONDS", 0.0)
    uninterrupted, _, _ = run(alanines, store, SHORT)
    with pytest.raises(KeyboardInterrupt):
        run(alanines, store, replace(SHORT, ns=0.0008), KeyboardInterrupt)
    resumed, _, _ = run(alanines, store, replace(SHORT, resume=True))
    assert np.array_equal(resumed.coordinates, uninterrupted.coordinates)


def test_resume_says_what_does_not_fit(alanines, store) -> None:
    with pytest.raises(ValueFault, match=r"no checkpoint in .*; simulate without resume=1"):
        run(alanines, store, replace(SHORT, resume=True))
    run(alanines, store, replace(SHORT, ns=0.0004))
    with pytest.raises(ValueFault, match=r"temperature 310.0: the run that goes on has 300.0"):
        run(alanines, store, replace(SHORT, resume=True, temperature=310))
    (store.folder / "checkpoint.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(ValueFault, match=r"checkpoint.safetensors can't be read"):
        run(alanines, store, replace(SHORT, resume=True))


def test_two_processes_do_not_run_one_simulation(alanines, store) -> None:
    with SimulationStore("run").held(), pytest.raises(ValueFault, match=r"run is under way in another PyMOL .*: wait"):
        run(alanines, store, replace(SHORT, ns=0.0004))
    run(alanines, store, replace(SHORT, ns=0.0004))
    run(alanines, store, replace(SHORT, ns=0.0006, resume=True))
    run(alanines, store, replace(SHORT, ns=0.0004))
    assert len(store.states()) == 2


def test_a_full_disk_costs_no_states(alanines, store, monkeypatch) -> None:
    monkeypatch.setattr(SimulationStore, "put", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
    generated, _, lines = run(alanines, store, replace(SHORT, ns=0.0004))
    assert len(generated.coordinates) == 2
    assert "No space left on device; the states so far are in memory" in lines[-1]


def test_a_budget_ends_the_run(alanines, store) -> None:
    generated, _, _ = run(alanines, store, replace(SHORT, ns=1, budget=0.3))
    assert 1 <= len(generated.coordinates) < 5000
    assert "ended by budget=0.3" in generated.notes[0]


def test_a_run_that_comes_to_its_end_was_not_ended_by_its_budget(alanines, store) -> None:
    generated, _, _ = run(alanines, store, replace(SHORT, ns=1e-3 * SHORT.every, budget=0.001))
    assert len(generated.coordinates) == 1
    assert not any("budget" in note for note in generated.notes)


def test_no_states_and_unknown_platforms_are_refused(scene) -> None:
    with pytest.raises(ValueFault, match="shorter than every=1 ps"):
        SimulationOptions(ns=0.0005)
    with pytest.raises(ValueFault, match="100000 is the most: give a larger every="):
        SimulationOptions(ns=1000)
    prepared = prepare(*built(scene, "AAA"), FORCE_FIELD, False)
    with pytest.raises(ValueFault, match=r"platform CUDA: OpenMM has .*CPU.* here"):
        dynamics.Dynamics(prepared, replace(SHORT, platform="CUDA"))
