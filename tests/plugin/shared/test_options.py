"""Options: every field is checked in one place, and an error shows the key and the value in one line."""

from __future__ import annotations

import pytest

from pymol_dsr.shared import options
from pymol_dsr.shared.options import (
    AppearanceOptions,
    ColorOptions,
    EvaluationOptions,
    ExportOptions,
    FieldOptions,
    FitOptions,
    LevelOptions,
    MeasureOptions,
    MeshOptions,
    MovieOptions,
    StartOptions,
)
from pymol_dsr.shared.values import ValueFault, fields_of

ALL = (
    ColorOptions, EvaluationOptions, ExportOptions, FitOptions, LevelOptions, MeasureOptions, FieldOptions,
    MeshOptions, MovieOptions, StartOptions,
)  # fmt: skip


@pytest.mark.parametrize("kind", ALL)
def test_every_field_has_a_default_that_passes_its_own_check_and_a_meaning(kind):
    defaults = kind()
    for name, field in fields_of(kind).items():
        assert field.value.text
        assert getattr(defaults, name) == getattr(kind, name) == field.check(field.default)


@pytest.mark.parametrize(
    "words, expected",
    [
        ({"smooth": "auto", "budget": "none", "seed": "7"}, FitOptions(seed=7)),
        ({"smooth": "2.5", "budget": 60, "align": 0}, FitOptions(smooth=2.5, budget=60.0, align=False)),
        ({"loop": "1", "times": ""}, FitOptions(loop=True)),
        ({"smooth": "", "preset": " paper ", "align": True}, FitOptions(preset="paper")),
        ({"device": "cuda:1"}, FitOptions(device="cuda:1")),
    ],
)  # fmt: skip
def test_words_of_a_user_become_values(words, expected):
    assert FitOptions.parse(**words) == expected


@pytest.mark.parametrize(
    "words, message",
    [
        ({"preset": "slow"}, "preset slow: choose one of fast, fine, preview, paper"),
        ({"smooth": "-1"}, "smooth -1: it must lie between 0 and 100 states, or be auto"),
        ({"smooth": "wide"}, "smooth wide: it is neither a number nor auto"),
        ({"smooth": "nan"}, "smooth nan: it is neither a number nor auto"),
        ({"budget": float("nan")}, "budget nan: it is neither a number nor none"),
        ({"smooth": "inf"}, "smooth inf: it is neither a finite number nor auto"),
        ({"budget": "0"}, "budget 0: it must be above 0 s, or be none"),
        ({"seed": "1.5"}, "seed 1.5: it is not a whole number"),
        ({"seed": 2**31}, "seed 2147483648: it must lie between 0 and 2147483647"),
        ({"device": "tpu"}, "device tpu: it must be auto, cpu, cuda or cuda:1"),
        ({"align": "2"}, "align 2: it must be 0 or 1"),
    ],
)
def test_wrong_words_are_refused_in_one_line(words, message):
    with pytest.raises(ValueFault) as error:
        FitOptions.parse(**words)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "data, message",
    [
        ({"preset": ["fast"]}, "preset ['fast']: choose one of"),
        ({"smooth": float("nan")}, "smooth nan: it is neither a finite number nor auto"),
        ({"budget": True}, "budget True: it is neither a finite number nor none"),
        ({"seed": 1.5}, "seed 1.5: it is not a whole number"),
        ({"align": 1}, "align 1: it must be true or false"),
        ({"times": "1-3"}, "times 1-3: it is neither a list of numbers nor none"),
        ({"times": [1.0, "2"]}, "times [1.0, '2']: it is neither a list of numbers nor none"),
        ({"times": [1.0]}, "times must be of two states at least, got 1"),
        ({"times": [1.0, 3.0, 3.0]}, "state 2 is at 3 and state 3 at 3"),
        ({"smoth": 1, "sead": 2}, "there is no option sead, smoth; known are align, breaks, budget, device"),
    ],
)
def test_wrong_values_of_json_are_refused(data, message):
    with pytest.raises(ValueFault) as error:
        FitOptions.from_json(data)
    assert message in str(error.value)


def test_options_there_and_back_over_json():
    fit_options = FitOptions(
        preset="preview", smooth=2, seed=2**31 - 1, budget=60, device="cpu", align=False, times=(0, 1, 4)
    )
    assert FitOptions.from_json(fit_options.to_json()) == fit_options
    assert fit_options.to_json()["times"] == [0.0, 1.0, 4.0]
    assert FitOptions.from_json({}) == FitOptions()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: StartOptions(frozen=True), "frozen 1: it keeps the network of a family; give family= too"),
        (lambda: StartOptions(family="a/b"), "family a/b: use 1 to 80 letters"),
        (lambda: FieldOptions("a", "a", 0.5), "towards a: it is the trajectory itself"),
        (lambda: FieldOptions("a", "b"), "towards b: give share= too, from 0 (a) to 1 (b)"),
        (lambda: FieldOptions("a", "", 0.5), "share 0.5: it says how far towards another trajectory"),
        (lambda: FieldOptions("a", "b", 1.5), "share 1.5: it must lie between 0 and 1"),
        (lambda: MeshOptions(resolution=0.0), "resolution 0.0: it must lie between 0.01 and 10 Å"),
        (lambda: MeshOptions(triangles=5), "triangles 5: it must be at least 100"),
        (lambda: MovieOptions(camera="follow", representation="map"), "camera follow: maps say nothing of the atoms"),
        (lambda: MovieOptions(movie=False, fps=3.0), "movie 0: fps, play, camera and intro are the movie's"),
        (lambda: ColorOptions(by="map"), "by map: name the map with map="),
        (lambda: ColorOptions(file="a.csv"), "file a.csv: it goes with by=values, not with by=atoms"),
        (lambda: LevelOptions.parse(levels="0 1+2"), "levels 1+2: it is not a number"),
        (lambda: LevelOptions((1.0, 1.0)), "levels: 1 is given twice"),
        (lambda: LevelOptions(()), "levels are empty"),
        (lambda: LevelOptions(tuple(map(float, range(21)))), "21 levels are asked for; 20 is the most"),
        (lambda: EvaluationOptions.of_words("hold cubic"), "baselines cubic: choose one of hold, linear, smooth"),
        (lambda: ExportOptions("stl", True), "binary 1: only .ply comes in two kinds, .stl in one"),
        (lambda: MeasureOptions.parse(top=-1), "top -1: it must be at least 0"),
        (lambda: AppearanceOptions.parse(steady="maybe"), "steady maybe: it must be 0 or 1, or auto"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused(make, message):
    with pytest.raises(ValueFault) as error:
        make()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_field_between_two_trajectories_is_halfway_for_a_user_who_says_no_more():
    assert FieldOptions.parse(trajectory="a", towards="b", share="") == FieldOptions("a", "b", 0.5)
    assert FieldOptions.parse(trajectory="a", towards="b", share="0.25", steady=1) == FieldOptions("a", "b", 0.25, True)
    assert FieldOptions.parse(trajectory="a", towards="") == FieldOptions("a")


def test_baselines_of_a_user():
    assert EvaluationOptions.of_words("none").baselines == ()
    assert EvaluationOptions.of_words("smooth hold").baselines == ("smooth", "hold")
    assert set(EvaluationOptions().baselines) < set(options.BASELINES)


def test_a_long_selection_is_taken_whole():
    atoms = f"index {'+'.join(map(str, range(2, 2002, 2)))}"
    chosen = MeasureOptions.parse(selection=atoms, pocket=atoms)
    assert (chosen.selection, chosen.pocket) == (atoms, atoms)
