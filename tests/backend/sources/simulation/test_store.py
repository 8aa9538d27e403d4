"""The files of a simulation: one of them can't be written, or its folder has others."""

import numpy as np
import pytest
from dsr_backend.sources.simulation.store import Checkpoint, SimulatedStates, SimulationStore

from pymol_dsr.shared.simulation_options import SimulationOptions
from support.molecules import backbone_molecule


def states(*picoseconds: float) -> SimulatedStates:
    times = np.array(picoseconds)
    positions = np.zeros((len(times), 2, 3), np.float32)
    return SimulatedStates(positions, positions, times, np.zeros(len(times), np.int32))


def checkpoint(count: int) -> Checkpoint:
    return Checkpoint(0, 50 * count, count, "Reference", b"", np.zeros((2, 3)), np.zeros((2, 3)))


def test_states_whose_checkpoint_could_not_be_written_are_there_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    store = SimulationStore("run")
    # A folder of that name is in the way, as a full disk is.
    blocked = store.folder / "checkpoint.safetensors"
    blocked.mkdir(parents=True)
    with pytest.raises(OSError, match="can't be written"):
        store.put(states(0.2, 0.4), checkpoint(2))
    blocked.rmdir()
    store.put(states(0.2, 0.4, 0.6), checkpoint(3))
    store.put(states(0.8), checkpoint(4))
    assert SimulationStore("run").states().times.tolist() == [0.2, 0.4, 0.6, 0.8]


def test_a_new_simulation_begins_in_a_folder_with_whatever_else_in_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    store = SimulationStore("run")
    molecule = backbone_molecule(2)
    with store.held():
        store.put(states(0.2), checkpoint(1))
        (store.folder / "copies").mkdir()
        (store.folder / "copies" / "states-1.safetensors").touch()
        store.begin(molecule, np.zeros((len(molecule), 3), np.float32), SimulationOptions())
        assert {path.name for path in store.folder.iterdir()} == {"owner.lock", "start.safetensors"}
    assert SimulationStore("run").checkpoint() is None
