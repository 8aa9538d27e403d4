"""The files of a simulation: its molecule, its states with forces, and its checkpoint, in a folder of its name.

`start.safetensors` says what is simulated; `states-K.safetensors` hold states and forces up to
checkpoint K; `checkpoint.safetensors` holds the last one. Each is written whole or not at all. A checkpoint names how
many files of states belong to it, so a run that was killed goes on from the last one that is whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pymol_dsr.shared import atomic_write
from pymol_dsr.shared.fits_folder import SIMULATIONS
from pymol_dsr.shared.frames import parse_json
from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.simulation_options import SimulationOptions
from pymol_dsr.shared.values import ValueFault

from ...runtime.folders import clear_folder, fits_folder

FORMAT = "dsr simulation 1"
LOCK = "owner.lock"
"""The file whose lock the process holds that simulates."""
Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Where a run goes on.

    replica: from 0. step: of the replica. states: of all replicas up to here. blob: OpenMM's own checkpoint, for the
    same platform and machine. positions, velocities: f8[A,3], nm and nm/ps, for any other.
    """

    replica: int
    step: int
    states: int
    platform: str
    blob: bytes
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SimulatedStates:
    """States f4[F,A,3] (Å), forces f4[F,A,3] (kcal/mol/Å), times f8[F] (ps) and replica i4[F] of each."""

    coordinates: NDArray[np.float32]
    forces: NDArray[np.float32]
    times: NDArray[np.float64]
    replicas: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.times)


STATE_KEYS = tuple(field.name for field in fields(SimulatedStates))


def joined(sequences: Sequence[SimulatedStates]) -> SimulatedStates:
    """Return the states of all sequences. Raises ValueError where there are none, or their atoms differ."""
    return SimulatedStates(*(np.concatenate([getattr(states, key) for states in sequences]) for key in STATE_KEYS))


def simulations_folder() -> Path:
    """Return the folder of all simulations, beside that of fits."""
    return fits_folder().parent / SIMULATIONS


class SimulationStore:
    """The folder of one simulation. Raises ValueFault for files that are damaged or of something else."""

    def __init__(self, name: str) -> None:
        self.folder = simulations_folder() / name
        self._files = 0

    def __contains__(self, file: str) -> bool:
        return (self.folder / file).is_file()

    @property
    def exists(self) -> bool:
        """Whether a simulation of this name was begun."""
        return "start.safetensors" in self

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from this simulation inside the block. Raises ValueFault where one of them runs it."""
        lock = filelock.FileLock(self.folder / LOCK, thread_local=False)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise ValueFault(
                f"the simulation {self.folder.name} is under way in another PyMOL ({self.folder}): wait for it, or "
                "give another name="
            ) from error
        except OSError:
            # A folder that can't be written can't be locked; the simulation says so itself.
            pass
        try:
            yield
        finally:
            lock.release()

    def begin(self, molecule: Molecule, coordinates: NDArray[np.float32], options: SimulationOptions) -> None:
        """Drop an earlier simulation of this name and write what is simulated. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        clear_folder(self.folder, LOCK)
        texts, table = molecule.table()
        start: Tensors = {
            "atoms": table,
            "bonds": np.asarray(molecule.bonds, np.int32),
            "hetatm": molecule.hetatm.astype(np.uint8),
            "coordinates": np.asarray(coordinates, np.float32),
        }
        self._write("start", start, {"texts": json.dumps(texts), "options": json.dumps(options.to_json())})
        self._files = 0

    def start(self) -> tuple[Molecule, NDArray[np.float32], SimulationOptions]:
        """Return the molecule, its first coordinates f4[A,3] (Å) and the options."""
        tensors, texts = self._read("start")
        with self._faults("start"):
            molecule = Molecule.of_table(
                json.loads(texts["texts"]), tensors["atoms"], tensors["bonds"], tensors["hetatm"]
            )
            options = SimulationOptions.from_json(parse_json(texts["options"]))
            return molecule, tensors["coordinates"].reshape(len(molecule), 3), options

    def put(self, states: SimulatedStates, checkpoint: Checkpoint) -> None:
        """Write the states since the last call and then the checkpoint. Raises WriteError."""
        files = self._files
        if len(states):
            files += 1
            tensors: Tensors = {key: getattr(states, key) for key in STATE_KEYS}
            self._write(f"states-{files}", tensors, {})
        numbers = [checkpoint.replica, checkpoint.step, checkpoint.states, files]
        self._write(
            "checkpoint",
            {
                "numbers": np.array(numbers, np.int64),
                "blob": np.frombuffer(checkpoint.blob, np.uint8),
                "positions": checkpoint.positions,
                "velocities": checkpoint.velocities,
            },
            {"platform": checkpoint.platform},
        )
        # Only now: states without a checkpoint come again, with the next call, and take the place of this file.
        self._files = files

    def checkpoint(self) -> Checkpoint | None:
        """Return the last checkpoint; None where there is none."""
        if "checkpoint.safetensors" not in self:
            return None
        tensors, texts = self._read("checkpoint")
        with self._faults("checkpoint"):
            replica, step, states, self._files = tensors["numbers"].tolist()
            return Checkpoint(
                replica,
                step,
                states,
                texts["platform"],
                tensors["blob"].tobytes(),
                tensors["positions"],
                tensors["velocities"],
            )

    def states(self) -> SimulatedStates:
        """Return all states up to the checkpoint."""
        files = self._files if self.checkpoint() else 0
        entries = [self._read(f"states-{k}")[0] for k in range(1, 1 + files)]
        with self._faults("states"):
            return joined([SimulatedStates(**{key: entry[key] for key in STATE_KEYS}) for entry in entries])

    def _write(self, stem: str, tensors: Tensors, texts: dict[str, str]) -> None:
        data = save({name: np.ascontiguousarray(array) for name, array in tensors.items()}, {"format": FORMAT, **texts})
        atomic_write.replace(self.folder / f"{stem}.safetensors", data)

    def _read(self, stem: str) -> tuple[Tensors, dict[str, str]]:
        path = self.folder / f"{stem}.safetensors"
        try:
            data = path.read_bytes()
            header = parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")].decode())
            texts = header.get("__metadata__", {}) if isinstance(header, dict) else {}
            if texts.get("format") != FORMAT:
                raise ValueError(f"its format is {texts.get('format')!r}, not {FORMAT!r}")
            return load(data), texts
        except (OSError, SafetensorError, ValueError) as error:
            raise ValueFault(f"{path} can't be read: {error}; simulate anew without resume=1") from error

    @contextmanager
    def _faults(self, stem: str) -> Iterator[None]:
        """Name the file in errors of its content."""
        try:
            yield
        except (KeyError, TypeError, ValueError) as error:
            path = self.folder / f"{stem}.safetensors"
            raise ValueFault(f"{path} is damaged ({error}); simulate anew without resume=1") from error
