"""Folders in mdCATH's layout: proteins with coordinates and forces, by temperature and replica."""

from __future__ import annotations

import numpy as np
import pytest
from dsr_backend.sources.potential import mdcath
from dsr_backend.sources.potential.mdcath import files_of, read_folder

from pymol_dsr.shared.learn_options import LearnOptions
from pymol_dsr.shared.values import ValueFault
from support.mdcath import FRAMES, RESIDUES, h5py, write_domain


def ignore() -> None:
    pass


def test_frames_of_all_replicas_at_one_temperature_come_with_their_forces(tmp_path):
    trace = write_domain(tmp_path, "1abcA00")
    [domain], skipped = read_folder(files_of(str(tmp_path)), LearnOptions(temperature=320), ignore)
    assert not skipped and domain.name == "1abcA00" and domain.temperature == 320
    assert domain.frames.protein.residues == RESIDUES and set(domain.frames.protein.chains) == {0}
    np.testing.assert_array_equal(domain.frames.beads, trace)
    assert domain.frames.runs.tolist() == [0] * FRAMES + [1] * FRAMES
    assert domain.frames.forces is not None and domain.frames.forces.shape == trace.shape
    [states_only], _ = read_folder(files_of(str(tmp_path)), LearnOptions(temperature=320, forces=False), ignore)
    assert states_only.frames.forces is None


def test_files_without_forces_are_learned_from_states_unless_forces_are_asked_for(tmp_path):
    write_domain(tmp_path, "1abcA00", forces=False)
    [domain], _ = read_folder(files_of(str(tmp_path)), LearnOptions(temperature=450), ignore)
    assert domain.frames.forces is None
    with pytest.raises(ValueFault, match="has no forces"):
        read_folder(files_of(str(tmp_path)), LearnOptions(temperature=450, forces=True), ignore)


def test_large_proteins_are_left_out_and_named(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    write_domain(tmp_path / "data", "1abcA00")
    write_domain(tmp_path / "data", "2xyzB01", residues=RESIDUES * 2)
    monkeypatch.setattr(mdcath, "MOST_BEADS", 6)
    [domain], [left_out] = read_folder(files_of(str(tmp_path)), LearnOptions(temperature=320), ignore)
    assert domain.name == "1abcA00" and left_out.name == "2xyzB01" and "10 residues" in left_out.reason


def test_folders_and_files_of_another_layout_are_refused_in_one_line(tmp_path, monkeypatch):
    options = LearnOptions(temperature=320)
    with pytest.raises(ValueFault, match="no such folder"):
        files_of(str(tmp_path / "nowhere"))
    with pytest.raises(ValueFault, match=r"holds no file mdcath_dataset_\*\.h5"):
        files_of(str(tmp_path))
    write_domain(tmp_path, "1abcA00")
    with pytest.raises(ValueFault, match="no 300 K, but 320, 450: give temperature="):
        read_folder(files_of(str(tmp_path)), LearnOptions(), ignore)
    path = tmp_path / "mdcath_dataset_1abcA00.h5"
    with h5py.File(path, "a") as file:
        del file["1abcA00/320/1/forces"]
        file["1abcA00/320/1"].create_dataset("forces", data=np.zeros((3, 4, 3), np.float32))
    with pytest.raises(ValueFault, match="1abcA00/320/1: coords"):
        read_folder([path], options, ignore)
    path.write_bytes(b"no HDF5")
    with pytest.raises(ValueFault, match=r"can't be read .*expected is mdcath_dataset_DOMAIN\.h5"):
        read_folder([path], options, ignore)
    # Without the optional package.
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ValueFault, match=r'need h5py.*pip install "pymol-dsr\[formats\]"'):
        read_folder([path], options, ignore)
