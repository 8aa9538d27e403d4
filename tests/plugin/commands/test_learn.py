"""dsr_learn and simulations by a potential, with a real PyMOL, a real backend and OpenMM."""

import numpy as np
import pytest

from pymol_dsr.commands.learn import dsr_learn
from pymol_dsr.commands.simulate import dsr_simulate
from pymol_dsr.session import session_of
from support.scene import coordinates
from support.session import refused


@pytest.mark.system
def test_a_potential_is_learned_from_a_simulation_and_simulates_all_atoms(backend, capsys):
    cmd = backend
    cmd.fab("AAAAAA", "ala", ss=1)
    dsr_simulate("ala", 0.012, every=0.1, platform="Reference", _self=cmd)
    assert dsr_learn("ala_md", name="ala6", budget=2, quiet=0, async_=0, _self=cmd) == "ala6"
    lines = capsys.readouterr().out
    assert "120 frames of 6 beads; the force map lowers the rms force from" in lines
    assert "calibrated with the averages of its frames" in lines and "models/ala6.dsrm" in lines

    # Without forces, from the scene: the first atoms of another object.
    cmd.create("frames", "ala_md and resi 1-5")
    cmd.set_title("frames", 1, "")
    dsr_learn("frames", name="few", calibrate=0, budget=1, quiet=0, async_=0, _self=cmd)
    lines = capsys.readouterr().out
    assert "120 frames of 5 beads; without forces" in lines and "not calibrated" in lines

    name = dsr_simulate("ala_md", 0.0006, model="ala6", every=0.2, replicas=2, quiet=0, async_=0, _self=cmd)
    assert name == "ala_md_cg" and cmd.get_object_list(name) == ["ala_md_cg_01", "ala_md_cg_02"]
    assert "at 300 K, the temperature of the training" in capsys.readouterr().out
    assert cmd.count_states("ala_md_cg_02") == 3
    assert cmd.count_atoms("ala_md_cg_01") == cmd.count_atoms("ala_md")
    assert "coarse-grained by ala6 at 300 K, replica 2, 0.6 ps of the model" in cmd.get_title("ala_md_cg_02", 3)
    origin = session_of(cmd).sources.provenance.get("ala_md_cg_01", cmd) or {}
    assert origin["model"] == "ala6" and "simulation" not in origin
    pairs = np.array([pair[:2] for pair in cmd.get_bonds("ala_md_cg_01", 1)])
    xyz = coordinates(cmd, "ala_md_cg_01", 3)
    assert np.linalg.norm(xyz[pairs[:, 0]] - xyz[pairs[:, 1]], axis=1).max() < 2.5

    cmd.fab("AAAWAA", "other", ss=1)
    line = refused(cmd, dsr_simulate, "other", 0.0006, every=0.2, model="ala6")
    assert "has learned no TRP; it knows ALA" in line
    assert "known are ala6, few" in refused(cmd, dsr_simulate, "ala", 0.001, model="nobody")


def test_faults_are_refused_before_a_backend_is_started(plugin):
    cmd = plugin
    assert "nothing" in refused(cmd, dsr_learn, "nothing")
    assert "choose" in refused(cmd, dsr_learn, "pep", "magic")
    assert "a potential" in refused(cmd, dsr_simulate, "pep", model="../x")
    assert session_of(cmd).jobs.connection.running is None
    assert not session_of(cmd).sources.running
