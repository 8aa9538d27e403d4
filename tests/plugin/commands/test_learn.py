"""dsr_learn and what uses its models, with a real PyMOL, a real backend and OpenMM."""

import re

import numpy as np
import pytest

from pymol_dsr.commands.generate import dsr_continue, dsr_fill, dsr_sample
from pymol_dsr.commands.learn import dsr_learn
from pymol_dsr.commands.simulate import dsr_simulate
from pymol_dsr.session import session_of
from support.scene import coordinates, put
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

    run = {"model": "ala6", "every": 0.2, "replicas": 2, "quiet": 0, "async_": 0}
    assert "there is no checkpoint" in refused(cmd, dsr_simulate, "ala_md", 0.0006, resume=1, **run)
    # One that ended earlier and goes on is the same as one without a stop.
    dsr_simulate("ala_md", 0.0004, name="short", _self=cmd, **run)
    dsr_simulate("ala_md", 0.0006, name="short", resume=1, _self=cmd, **run)
    assert "the run that goes on has 0" in refused(
        cmd, dsr_simulate, "ala_md", 1, name="short", seed=1, resume=1, **run
    )
    capsys.readouterr()
    name = dsr_simulate("ala_md", 0.0006, _self=cmd, **run)
    for state in (1, 3):
        assert np.array_equal(coordinates(cmd, "short_02", state), coordinates(cmd, "ala_md_cg_02", state))
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


@pytest.mark.system
def test_a_simulation_that_another_molecule_has_replaced_is_not_learned_from(backend, capsys):
    cmd = backend
    cmd.fab("AAAAA", "ala", ss=1)
    run = {"ns": 0.012, "every": 0.1, "platform": "Reference", "name": "run"}
    for seed, stale in ((1, "seed"), (2, "molecule")):
        dsr_simulate("ala", seed=seed, _self=cmd, **run)
        session = cmd.get_session()
        cmd.fab("GGGGG", "gly", ss=1)
        dsr_simulate("gly" if stale == "molecule" else "ala", _self=cmd, **run)
        cmd.set_session(session)
        line = refused(cmd, dsr_learn, "run", calibrate=0, budget=1)
        assert "the states of run are not in the simulation run that is kept" in line
        assert line.endswith("simulate it again, or type 'create NEW, run' and learn from NEW, without forces")
    cmd.create("new", "run")
    capsys.readouterr()
    dsr_learn("new", calibrate=0, budget=1, quiet=0, async_=0, _self=cmd)
    assert "120 frames of 5 beads; without forces" in capsys.readouterr().out
    # A simulation that only lies elsewhere is the same.
    dsr_simulate("ala", _self=cmd, **run)
    cmd.rotate("x", 90, "run", 0, object=None)
    dsr_learn("run", calibrate=0, budget=1, quiet=0, async_=0, _self=cmd)
    assert "the force map" in capsys.readouterr().out


def fluctuating(cmd, name, residues, seed, count=230):
    """An object whose atoms move about with a memory."""
    cmd.fab("A" * residues, name, ss=1)
    rng, body = np.random.default_rng(seed), coordinates(cmd, name, 1)
    by = np.zeros(body.shape)
    for state in range(1, count + 1):
        cmd.create(name, name, 1, state)
        put(cmd, name, state, body + by)
        by = 0.9 * by + 0.03 * rng.normal(size=body.shape)


@pytest.mark.system
def test_a_generator_is_learned_goes_on_and_generates_without_training(backend, capsys):
    cmd = backend
    for number in (1, 2):
        fluctuating(cmd, f"run{number}", 6, number)
    assert dsr_learn("run1 run2", "generator", budget=2, quiet=0, async_=0, _self=cmd) == "run1_net"
    lines = capsys.readouterr().out
    assert "run1: 458 steps in 2 trajectories of 6 residues" in lines
    assert "held-out error over the baseline's: 1.000 " in lines and "models/run1_net.dsrm" in lines
    assert "dsr_continue SELECTION, method=net, model=run1_net uses it" in lines
    dsr_learn("run1 run2", "generator", name="run1_net", budget=1, resume=1, quiet=0, async_=0, _self=cmd)
    assert "of them before)" in capsys.readouterr().out
    assert "learned from other states" in refused(
        cmd, dsr_learn, "run1 run2", "generator", states="1-225", name="run1_net", resume=1
    )

    for function, arguments, count in (
        (dsr_continue, {"frames": 4, "replicas": 2}, 4),
        (dsr_fill, {"states": "10+20", "frames": 3}, 5),
        (dsr_sample, {"frames": 6}, 6),
    ):
        name = function("run2", method="net", model="run1_net", quiet=0, async_=0, _self=cmd, **arguments)
        lines = capsys.readouterr().out
        assert "model run1_net, learned from 458 steps of run1: " in lines and "training" not in lines
        [first, *_] = cmd.get_object_list(name)
        assert cmd.count_states(first) == count and cmd.count_atoms(first) == cmd.count_atoms("run2")
        pairs = np.array([pair[:2] for pair in cmd.get_bonds(first, 1)])
        xyz = coordinates(cmd, first, count)
        assert np.linalg.norm(xyz[pairs[:, 0]] - xyz[pairs[:, 1]], axis=1).max() < 2.5

    line = refused(cmd, dsr_learn, kind="generator", folder="nowhere")
    assert "folder=nowhere: there is no such folder where the backend runs" in line
    line = refused(cmd, dsr_continue, "run2 and resi 1-5", method="net", model="run1_net")
    assert "of another protein (run1, 6 residues AAAAAA), and here are 5 residues AAAAA: select those residues" in line
    assert "say method=net, model=run1_net" in refused(cmd, dsr_continue, "run2", model="run1_net")
    assert "known are run1_net: dsr_learn" in refused(cmd, dsr_sample, "run2", method="net", model="nobody")
    assert "this is a generator, not a potential" in refused(cmd, dsr_simulate, "run2", 0.001, model="run1_net")


def test_faults_are_refused_before_a_backend_is_started(plugin):
    cmd = plugin
    assert "objects nothing: no object has such atoms (there: pep)" in refused(cmd, dsr_learn, "nothing")
    assert "objects: name objects with states" in refused(cmd, dsr_learn)
    for key, value in (("forces", "1"), ("calibrate", 0), ("temperature", 310)):
        line = refused(cmd, dsr_learn, "pep", "generator", **{key: value})
        assert line.endswith(f"{key} {value}: it goes with kind=potential; leave it out for a generator")
    assert "choose potential or generator" in refused(cmd, dsr_learn, "pep", "magic")
    assert "leave one out" in refused(cmd, dsr_learn, "pep", "generator", folder="atlas")
    assert "choose one of small, large" in refused(cmd, dsr_learn, "pep", "generator", preset="huge")
    cmd.pseudoatom("water", resn="HOH")
    assert "no residues with N, CA and C" in refused(cmd, dsr_learn, "water", "generator")
    assert "a potential" in refused(cmd, dsr_simulate, "pep", model="../x")
    assert session_of(cmd).jobs.connection.running is None
    assert not session_of(cmd).sources.running


@pytest.mark.system
def test_a_potential_of_two_proteins_simulates_a_mutant_with_its_own_side_chains(backend, capsys):
    cmd = backend
    for name, sequence in (("ala", "AAAAA"), ("gly", "GAGV")):
        cmd.fab(sequence, name, ss=1)
        dsr_simulate(name, 0.0105, every=0.1, platform="Reference", _self=cmd)
    dsr_learn("ala_md gly_md", name="both", calibrate=0, budget=2, quiet=0, async_=0, _self=cmd)
    lines = capsys.readouterr().out
    assert "ala_md: 105 frames of 5 beads" in lines and "gly_md: 105 frames of 4 beads" in lines

    # With refine=1, whose bonds are those of the force field.
    arguments = {"model": "both", "every": 0.2, "quiet": 0, "async_": 0, "_self": cmd}
    name = dsr_simulate("ala_md", 0.0004, mutate="A2G+A4V", refine=1, name="mutant", **arguments)
    lines = capsys.readouterr().out
    assert re.search(r"mutant: 0.0004 ns take about [0-9.]+ s here \([0-9.]+ ms a step", lines)
    assert "calibrated for ala_md, not for this sequence (ALA2GLY, ALA4VAL)" in lines and "refine=1" in lines
    residues: list[str] = []
    cmd.iterate("mutant and name CA", "residues.append(resn)", space={"residues": residues})
    assert residues == ["ALA", "GLY", "ALA", "VAL", "ALA"]
    assert cmd.count_atoms("mutant and resi 2 and name CB") == 0 and cmd.count_atoms("mutant and resi 4") == 16
    assert "A2G+A4V coarse-grained by both" in cmd.get_title(name, 2)
    pairs = np.array([pair[:2] for pair in cmd.get_bonds("mutant", 1)])
    assert len(pairs) == cmd.count_atoms("mutant") - 1
    xyz = coordinates(cmd, "mutant", 2)
    assert np.linalg.norm(xyz[pairs[:, 0]] - xyz[pairs[:, 1]], axis=1).max() < 2.0

    assert "has no LYS with the number 2; there is ALA" in refused(
        cmd, dsr_simulate, "ala_md", mutate="K2G", model="both"
    )
    line = refused(cmd, dsr_simulate, "ala_md", 0.0004, mutate="A2W", model="both", every=0.2)
    assert "has learned no TRP; it knows ALA, GLY, VAL" in line
    assert "mutate=A2G goes with model=NAME" in refused(cmd, dsr_simulate, "ala", mutate="A2G")
    line = refused(cmd, dsr_simulate, "ala", mutate="2G", model="both")
    assert "it is neither mutations as A5G or A5G+K7R nor none" in line
