"""The files of a simulation, where one of them can't be written."""

import numpy as np
import pytest
from dsr_backend.sources.simulation.store import Checkpoint, SimulatedStates, SimulationStore


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
