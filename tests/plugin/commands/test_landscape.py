"""dsr_ensemble in real PyMOL: residues that objects have in common, what it says, returns, writes and refuses."""

from __future__ import annotations

import csv
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from pymol_dsr.analysis.landscape import EnsembleLandscape, ResidueStates, in_common, request_of
from pymol_dsr.backend.process import BackendError
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.landscape import dsr_ensemble
from pymol_dsr.fits.fit import Activity, Phase
from pymol_dsr.session import session_of
from pymol_dsr.shared.ensemble_options import LandscapeOptions
from pymol_dsr.shared.values import JsonObject
from pymol_dsr.sources.atoms import read_states
from pymol_dsr.surfaces.selections import GENERATED_TITLE
from pymol_dsr.surfaces.source import ExtractError
from support.paths import ROOT
from support.scene import build_peptide
from support.session import ready, refused


def residues(cmd, selection, states="all"):
    return ResidueStates.of(read_states(selection, states, cmd))


# Residues


def test_residues_are_their_backbone(peptide):
    listed = residues(peptide, "pep", "1-2")
    assert len(listed.keys) == 9 and listed.keys[0][2] == "ALA" and (listed.places >= 0).all()
    peptide.alter("resi 3", "resn = 'PRO'")
    donors = request_of([residues(peptide, "pep", "1-2")], [], LandscapeOptions()).donors
    assert donors is not None and donors.tolist() == [1, 1, 0, 1, 1, 1, 1, 1, 1]
    backbone = listed.coordinates(True)
    assert backbone.shape == (2, 9, 4, 3)
    # N to CA, CA to C, C to O.
    assert np.linalg.norm(np.diff(backbone, axis=2), axis=3) == pytest.approx(1.4, abs=0.2)
    assert np.array_equal(listed.coordinates(False)[:, :, 0], backbone[:, :, 1])


def test_waters_are_no_residues_where_some_states_lack_them(plugin):
    """Models of NMR may have waters of their own, whose oxygens are named as those of the backbone."""
    cmd = plugin
    cmd.pseudoatom("water", name="O", elem="O", resn="HOH", resi="500", hetatm=1)
    cmd.create("both", "pep or water", 1, 1)
    for state in range(2, 7):
        cmd.create("both", "pep", state, state)
    assert cmd.count_atoms("both") == cmd.count_atoms("pep") + 1
    assert "9 and 6" in refused(cmd, dsr_ensemble, "both"), "too few states, and 9 residues"


def test_objects_of_one_sequence_correspond_whatever_their_numbers_are(peptide):
    peptide.create("copy", "pep")
    peptide.alter("copy", "resi = str(int(resi) + 100); chain = 'Z'")
    matched, line = in_common([residues(peptide, "pep"), residues(peptide, "copy")])
    assert [len(group.keys) for group in matched] == [9, 9] and not line


def test_mutants_keep_their_mutated_residues(peptide):
    peptide.create("mutant", "pep")
    peptide.alter("mutant and resi 3+5", "resn = 'GLY'")
    matched, line = in_common([residues(peptide, "pep"), residues(peptide, "mutant")])
    assert [len(member.keys) for member in matched] == [9, 9]
    chain = matched[0].keys[0][0]
    assert line == f"mutated residues are compared, too, by their CA atoms: {chain}:3 ASP/GLY, {chain}:5 GLY/PHE"
    # With a third of the residues changed, it is another protein.
    peptide.alter("mutant and resi 8", "resn = 'ALA'")
    assert "up to 3 others are left out" in in_common([residues(peptide, "pep"), residues(peptide, "mutant")])[1]


def test_objects_with_missing_residues_share_the_others(peptide):
    peptide.create("short", "pep and not resi 3+9")
    matched, line = in_common([residues(peptide, "pep"), residues(peptide, "short")])
    assert [len(group.keys) for group in matched] == [7, 7] and matched[0].keys == matched[1].keys
    assert line == "7 residues are in all of pep, short; up to 2 others are left out"
    places = [group.coordinates(False)[0] for group in matched]
    assert np.array_equal(*places)
    peptide.alter("short", "chain = 'Z'")
    with pytest.raises(ExtractError, match="have 0 residues in common"):
        in_common([residues(peptide, "pep"), residues(peptide, "short")])


def test_a_gap_is_no_bond_and_calpha_alone_is_enough(peptide):
    peptide.remove("resi 4")
    listed = residues(peptide, "pep")
    request = request_of([listed], [], LandscapeOptions())
    assert (
        request.follows is not None
        and request.follows.tolist() == [0, 1, 1, 0, 1, 1, 1, 1]
        and request.coordinates.shape == (6, 8, 4, 3)
    )
    peptide.remove("not name CA")
    assert request_of([residues(peptide, "pep")], [], LandscapeOptions()).coordinates.shape == (6, 8, 1, 3)


def test_another_chain_is_no_bond_however_near(peptide):
    peptide.alter("pep and resi 6-9", "chain = 'Z'")
    peptide.sort("pep")
    request = request_of([residues(peptide, "pep")], [], LandscapeOptions())
    assert request.follows is not None and request.follows.tolist() == [0, 1, 1, 1, 1, 0, 1, 1, 1]


def test_a_reference_of_one_state_is_the_native_one(peptide):
    listed = residues(peptide, "pep")
    request = request_of([listed], [residues(peptide, "pep", "3")], LandscapeOptions())
    assert request.reference is None and not request.reference_lengths
    assert request.native is not None and np.array_equal(request.native, listed.coordinates(False)[2, :, 0])
    request = request_of([listed, listed], [listed], LandscapeOptions())
    assert request.lengths == (6, 6) and request.reference_lengths == (6,)
    assert request.reference is not None and len(request.reference) == 6


# Refusals


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("nope", 'selection nope: Invalid selection name "nope"'),
        (
            "pep and resi 1-3",
            "selection pep and resi 1-3: it has 3 residues with a CA atom, and a landscape takes 4 or",
        ),
        ("one", "one is a fit, and a landscape is of atoms; name its molecule, pep"),
        ("pep, reference=one", "one is a fit, and a landscape is of atoms; name its molecule, pep"),
        ("pep and name N", "pep: a landscape is of a protein's CA atoms, and here are none; try dsr_occupancy"),
        ("pep, lag=0", "lag 0: it must be at least 1 states"),
        ("pep, states=1", "states 1: it must lie between 2 and 20"),
        ("pep, ordered=2", "ordered 2: choose one of auto, 0, 1"),
        ("pep, only=1-9", "9 is past the end"),
        ("pep, file=x.png", "file x.png: it must end in .csv"),
        ("pep, reference=nope", 'selection nope: Invalid selection name "nope"'),
        ("pep, split=1, states=2", "split 1: the scene has pep_macro2 already; delete pep_macro* first"),
        ("pep, split=2", "split 2: it must be 0 or 1"),
    ],
)
def test_mistakes_are_one_line_and_start_nothing(plugin, capfd, arguments, message):
    jobs = session_of(plugin).jobs
    build_peptide(plugin, "pep_macro2", 1)
    ready(plugin, "one", "")
    plugin.do(f"dsr_ensemble {arguments}")
    errors = [text for text in capfd.readouterr().out.splitlines() if text.startswith(" Error: ")]
    assert len(errors) == 1 and message in errors[0], errors
    assert jobs.connection.running is None and list(jobs.fits) == ["one"]


# With the backend


@pytest.fixture
def trpcage(backend):
    """`warm` at 300 K and `hot` at 450 K: the same peptide of 20 residues, 170 and 160 states."""
    folder = ROOT / "benchmarks" / "data"
    for name, file in (("warm", "trpcage_300k"), ("hot", "trpcage_450k")):
        backend.load(str(folder / f"{file}.pdb"), name)
        backend.load_traj(str(folder / f"{file}.xtc"), name, state=1)
    return backend


@pytest.mark.system
def test_a_landscape_against_a_reference(trpcage, tmp_path, capfd):
    pytest.importorskip("deeptime", reason="extra simulate")
    cmd = trpcage
    file = tmp_path / "hot.csv"
    for state in range(1, 161):
        cmd.set_title("hot", state, f"{GENERATED_TITLE}frame {state}")
    for state in range(1, 171):
        cmd.set_title("warm", state, f"{GENERATED_TITLE}frame {state}")
    for name, seconds, count in (("hot", 8.0, 160), ("warm", 32.0, 170)):
        origin: JsonObject = {"kind": "simulate", "cpu_seconds": seconds, "generated_states": count}
        session_of(cmd).sources.provenance.put(name, origin)
    landscape = dsr_ensemble("hot", reference="warm", states=3, split=1, file=str(file), quiet=0, async_=0, _self=cmd)
    assert isinstance(landscape, EnsembleLandscape)
    output = capfd.readouterr().out
    result = landscape.result
    assert result.kind == "TICA" and landscape.states[-1] == ("hot", 160) and len(landscape.residues) == 20
    assert "TICA of the distances between CA atoms, 160 states, lag 3" in output
    assert "Jensen-Shannon divergence from warm" in output and "bootstrap" in output and "hold" in output
    # As measured: independent samples a CPU second.
    assert landscape.costs == (8.0, 32.0) and result.samples is not None and result.reference_samples is not None
    assert 2.0 < result.samples < 160.0 and 1.0 < result.reference_samples < 170.0
    ratio = (result.samples / 8.0) / (result.reference_samples / 32.0)
    assert landscape.acceleration == pytest.approx(ratio)
    assert f"in 8 CPU s, warm: {result.reference_samples:.1f} in 32 CPU s; {ratio:.2g} times as many" in output
    # The hot one moves more, and is farther from the first state of the reference.
    assert result.reference_rmsf is not None and result.rmsf.mean() > 1.3 * result.reference_rmsf.mean()
    assert result.helix is not None and 0.2 < result.helix.mean() < 0.7
    # Macrostates are objects, of all atoms, with all states of the Markov model.
    counts = [cmd.count_states(f"hot_macro{number}") for number in (1, 2, 3)]
    assert sum(counts) == int((result.macrostate >= 0).sum()) and cmd.count_atoms("hot_macro1") == 304
    assert counts == [sum(map(len, landscape.members(number).values())) for number in range(3)]
    assert cmd.get_title("hot_macro1", 1) == f"{GENERATED_TITLE}frame {landscape.members(0)['hot'][0]}"
    # They are fitted as any others.
    dsr_fit("hot_macro1 and resi 1-4", "1-2", preset="preview", name="macro", async_=0, _self=cmd)
    assert session_of(cmd).jobs.fits["macro"].phase is Phase.READY
    del session_of(cmd).jobs.fits["macro"]
    # A place on the map is a state.
    axes_point = result.axes[41]
    assert landscape.nearest(*axes_point) == ("hot", 42)
    with open(file, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 160 and rows[41]["state"] == "42"
    assert float(rows[41]["axis_1"]) == pytest.approx(axes_point[0])
    # From 1, as in the names of their objects; 0 is none.
    assert [int(row["macrostate"]) for row in rows] == (result.macrostate + 1).tolist()
    names = {path.name for path in tmp_path.iterdir()} - {"home"}
    assert names >= {"hot.csv", "hot_residues.csv", "hot_timescales.csv", "hot_scores.csv", "hot_figures.csv"}
    with open(tmp_path / "hot_figures.csv", newline="") as stream:
        figures = {row["figure"]: float(row["value"]) for row in csv.DictReader(stream)}
    assert figures["js_bits"] == pytest.approx(result.js) and figures["acceleration"] == pytest.approx(ratio)
    assert "js_runs_bits" not in figures
    assert file.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    assert not session_of(cmd).jobs.fits


def test_the_state_nearest_to_a_place_is_that_in_the_spread_of_each_axis():
    # One axis spreads a hundred times as far as the other, as on a map whose axes fill its sides.
    axes = np.array([[0.0, 0.0], [100.0, 1.0], [40.0, 1.0], [0.0, 1.0]])
    states = [("pep", number) for number in (1, 2, 3, 4)]
    landscape = EnsembleLandscape(states, (), "", cast(Any, SimpleNamespace(axes=axes)))
    assert landscape.nearest(22.0, 1.0) == ("pep", 3)
    assert landscape.nearest(15.0, 0.9) == ("pep", 4)
    assert landscape.nearest(30.0, 0.1) == ("pep", 1)


def test_an_object_is_one_run_of_an_ensemble(plugin):
    line = "selection pep+pep: the object pep occurs twice; each object is one trajectory"
    assert refused(plugin, dsr_ensemble, "pep+pep") == line


def test_a_landscape_is_entered_as_one_and_not_as_a_fit(plugin, monkeypatch):
    jobs, activities = session_of(plugin).jobs, []

    def no_backend(*args):
        activities.append(jobs.fits["pep_ensemble"].activity)
        raise BackendError("lost", "there is no backend")

    monkeypatch.setattr(jobs.connection, "backend", no_backend)
    assert "there is no backend" in refused(plugin, dsr_ensemble, "pep")
    assert activities == [Activity.LANDSCAPE] and not jobs.fits
