"""Files of many kinds end in a surface or in one line: tests/system/corpus.py, a sample of it, or with -m slow all."""

from __future__ import annotations

import pytest

pytest.importorskip("MDAnalysis")
pytest.importorskip("torch")

from pymol_dsr.surfaces import trajectory_file
from pymol_dsr.surfaces.source import ExtractError
from system import corpus

SURFACES = (
    *("ligand.pdb", "double_helix.pdb + double_helix.dcd", "ions.pdb + ions.dcd", "far.pdb + far.dcd"),
    *("watdyn.psf + watdyn.dcd", "bala.prmtop + bala.trj"),
)
LINES = {
    "two_water_gro_multiframe.gro": "end its last line with a line break",
    "adk.psf + empty.dcd": "see that it is whole, or convert it to .xtc",
    "ache.prmtop + ache.mdcrd.bz2": "unpack it",
    "aux_edr.tpr + aux_edr.xtc": "'gmx editconf' (.tpr)",
    "adk_notop.psf + adk_dims.dcd": "PyMOL crashed on it (signal 11)",
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """The cases by name."""
    return {case.name: case for case in corpus.all_cases(tmp_path_factory.mktemp("corpus"))}


def ended(cases, name, folder):
    if name not in cases:
        pytest.skip("MDAnalysisTests is not installed, or has no such file")
    return corpus.run(cases[name], folder)


@pytest.mark.parametrize("name", SURFACES)
def test_a_file_ends_in_a_surface_of_pymols_volume(cases, name, tmp_path):
    outcome = ended(cases, name, tmp_path)
    assert not outcome.line and abs(outcome.difference) < corpus.TOLERANCE, outcome


@pytest.mark.parametrize("name", LINES)
def test_a_file_ends_in_a_line_with_its_name_and_a_remedy(cases, name, tmp_path):
    outcome = ended(cases, name, tmp_path)
    assert LINES[name] in outcome.line and not outcome.fault(), outcome


def test_the_page_has_a_row_for_every_case(cases):
    page = corpus.PAGE.read_text(encoding="utf-8")
    rows = page[page.index(corpus.BEGIN) : page.index(corpus.END)]
    assert [name for name in cases if f"| `{name}`" not in rows] == []


def test_every_trajectory_of_the_package_is_a_case_or_named_as_left_out(cases):
    data = corpus.data_folder("MDAnalysisTests")
    if data is None:
        pytest.skip("MDAnalysisTests is not installed")
    known = {path.name for case in cases.values() for path in case.paths} | set(corpus.LEFT_OUT)
    several = [
        path.name
        for path in data.rglob("*")
        if path.suffix in trajectory_file.READERS and path.name not in known and frames(path) > 1
    ]
    assert several == []


def frames(path):
    try:
        return len(trajectory_file.TrajectoryFile(str(path)))
    except ExtractError:
        return 0


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_file_of_the_corpus_ends_well(tmp_path):
    faults = []
    for number, case in enumerate(corpus.all_cases(tmp_path)):
        folder = tmp_path / str(number)
        folder.mkdir()
        outcome = corpus.run(case, folder)
        faults += [f"{case.name}: {outcome.fault()}"] if outcome.fault() else []
    assert faults == []
