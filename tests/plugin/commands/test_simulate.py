"""dsr_simulate with a real PyMOL, a real backend and OpenMM."""

from dataclasses import replace

import numpy as np
import pytest

from pymol_dsr.commands.simulate import dsr_simulate, plan_simulation
from pymol_dsr.session import session_of
from pymol_dsr.shared.simulation_options import SimulationOptions
from pymol_dsr.shared.text import in_words
from pymol_dsr.sources import run
from pymol_dsr.sources.simulation import estimate_text, time_simulation
from pymol_dsr.surfaces.selections import generated_states
from support.scene import coordinates
from support.session import refused
from support.waiting import wait_for


@pytest.mark.system
def test_a_peptide_is_completed_and_simulated_into_an_object_of_its_own(backend, capsys):
    cmd = backend
    pep = cmd.count_atoms("pep")
    assert dsr_simulate("pep", 0.0008, every=0.2, platform="Reference", quiet=0, async_=0, _self=cmd) == "pep_md"
    lines = capsys.readouterr().out
    assert "OXT" in lines and "hydrogens for pH 7" in lines
    assert "0.0008 ns take about" in lines and "ns/day on Reference" in lines
    assert cmd.count_states("pep_md") == 4 and cmd.count_atoms("pep_md") > pep
    assert generated_states("pep_md", cmd) == [1, 2, 3, 4]
    assert cmd.get_title("pep_md", 4).endswith("simulated at 300 K, 0.8 ps")
    origin = session_of(cmd).sources.provenance.get("pep_md", cmd) or {}
    assert origin["simulation"] == "pep_md" and origin["temperature"] == 300 and origin["method"] == "amber99sbildn+obc"
    # Bonds of the new object are whole in every state.
    pairs = np.array([pair[:2] for pair in cmd.get_bonds("pep_md", 1)])
    for state in (1, 4):
        xyz = coordinates(cmd, "pep_md", state)
        assert np.linalg.norm(xyz[pairs[:, 0]] - xyz[pairs[:, 1]], axis=1).max() < 2.2

    before = coordinates(cmd, "pep_md", 4)
    dsr_simulate("pep", 0.0012, every=0.2, platform="Reference", resume=1, quiet=0, async_=0, _self=cmd)
    assert "4 states are there from before" in capsys.readouterr().out
    assert cmd.count_states("pep_md") == 6
    assert np.array_equal(coordinates(cmd, "pep_md", 4), before)


@pytest.mark.system
def test_a_simulation_does_not_go_on_with_another_molecule(backend):
    cmd = backend
    run = {"every": 0.2, "platform": "Reference", "name": "run"}
    cmd.fab("AAA", "ala", ss=1)
    cmd.fab("AHA", "his", ss=1)
    dsr_simulate("ala", 0.0004, _self=cmd, **run)
    line = refused(cmd, dsr_simulate, "his", 0.0008, resume=1, **run)
    assert "resume 1: the simulation run is of 3 residues (ALA ALA ALA), and this molecule has" in line
    assert "3 residues (ALA HIS ALA)" in line
    assert line.endswith("give another name=, or leave resume=1 out, which replaces it")
    assert cmd.count_states("run") == 2
    # Other names of its protonation states are the same residue.
    dsr_simulate("his", 0.0004, _self=cmd, **run)
    cmd.alter("his and resn HIS", "resn = 'HSD'")
    dsr_simulate("his", 0.0008, resume=1, _self=cmd, **run)
    assert cmd.count_states("run") == 4


@pytest.mark.system
def test_a_simulation_that_fails_after_its_preparation_leaves_the_scene_as_it_was(backend):
    cmd = backend
    run = {"every": 0.2, "platform": "Reference", "_self": cmd}
    dsr_simulate("pep", 0.0004, **run)
    assert cmd.get_names("objects", enabled_only=1) == ["pep_md"]
    cmd.delete("pep_md*")
    for enabled in (["pep"], []):
        (cmd.enable if enabled else cmd.disable)("pep")
        line = refused(cmd, dsr_simulate, "pep", 0.0008, temperature=310, resume=1, every=0.2, platform="Reference")
        assert line.startswith("temperature 310.0: the run that goes on has 300.0")
        assert cmd.get_names("objects") == ["pep"] and cmd.get_names("objects", enabled_only=1) == enabled


@pytest.mark.system
def test_a_replica_that_the_user_deletes_ends_the_run_and_the_others_keep_their_start(backend):
    cmd, session = backend, session_of(backend)
    dsr_simulate("pep", 0.01, replicas=2, every=0.2, platform="Reference", async_=1, _self=cmd)
    wait_for(lambda: "pep_md_02" in cmd.get_names("objects"))
    cmd.delete("pep_md_02")
    wait_for(lambda: not session.sources.running)
    assert {"pep_md_01", "pep_md_start"} <= set(cmd.get_names("objects"))
    assert "pep" not in cmd.get_names("objects", enabled_only=1)


@pytest.mark.system
def test_a_simulation_is_timed_without_being_run(backend):
    cmd, session = backend, session_of(backend)
    options = SimulationOptions(ns=0.0008, every=0.2, platform="Reference")
    work = plan_simulation(session, "pep", 1, "", options, "dsr_simulate", cmd)
    assert list(session.sources.running) == ["pep_md"]
    prepared = time_simulation(session.sources, work, print)
    text = estimate_text(prepared, options)
    assert f"{len(prepared.atoms)} atoms, 0.0008 ns take about" in text and text.endswith("ns/day on Reference)")
    assert not session.sources.running and cmd.get_names() == ["pep"]
    # Twice the length takes twice as long.
    longer = estimate_text(replace(prepared, ns_a_day=86.4), replace(options, ns=0.0016))
    assert "take about 1.6 s here" in longer
    greeting = session.jobs.connection.backend().info
    assert greeting is not None and {"openmm", "pdbfixer"} <= set(greeting.packages)


@pytest.mark.system
def test_what_cannot_be_simulated_is_named_and_leaves_nothing_behind(backend):
    cmd = backend
    line = refused(cmd, dsr_simulate, "pep", 0.002, resume=1)
    assert "resume 1: there is no simulation pep_md in" in line and line.endswith("leave resume=1 out")
    assert "no residue has an atom N or C" in refused(cmd, dsr_simulate, "pep and name CA", 0.002, name="x")
    cmd.alter("pep and resi 2", "resn='HEM'")
    line = refused(cmd, dsr_simulate, "pep", 0.002)
    assert "HEM" in line and "dsr_simulate NAME and polymer.protein" in line
    assert "pep_md" not in cmd.get_names("all") and not session_of(cmd).sources.running


def test_faults_are_refused_before_a_backend_is_started(plugin, monkeypatch):
    cmd = plugin
    assert "shorter than every=1 ps" in refused(cmd, dsr_simulate, "pep", 0.0001)
    assert "choose one of" in refused(cmd, dsr_simulate, "pep", forcefield="charmm")
    with monkeypatch.context() as patch:
        patch.setattr(run, "MAX_PAYLOAD", 10_000)
        assert "are the most at once; ask for fewer" in refused(cmd, dsr_simulate, "pep")
    cmd.pseudoatom("pep_md_start")
    assert "pep_md_start is taken by a molecule" in refused(cmd, dsr_simulate, "pep")
    assert session_of(cmd).jobs.connection.running is None
    assert not session_of(cmd).sources.running


def test_durations_are_in_their_largest_unit():
    assert [in_words(s) for s in (0.2, 45, 240, 5400, 2e5)] == ["1 s", "45 s", "4 min", "1.5 h", "2.3 days"]
