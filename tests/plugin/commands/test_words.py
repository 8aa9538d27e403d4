"""Words that are no numbers, nan among them, for any number of any command."""

from __future__ import annotations

import inspect

import pytest
from pymol import CmdException

from pymol_dsr import register
from pymol_dsr.commands.command import COMMANDS
from pymol_dsr.session import session_of
from pymol_dsr.shared.options import MovieOptions
from pymol_dsr.shared.values import ValueFault
from support.session import ready, refused


def test_no_command_takes_nan_for_a_number(cmd):
    register(cmd)
    tried = 0
    for name, command in COMMANDS.items():
        parameters = inspect.signature(command).parameters.values()
        required = [
            "x"
            for parameter in parameters
            if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        ]
        for parameter in parameters:
            if not isinstance(parameter.default, (int, float)):
                continue
            for word in ("nan", " NaN", "-nan", float("nan")):
                with pytest.raises(CmdException) as error:
                    command(*required, **{parameter.name: word}, _self=cmd)
                assert f"{parameter.name} {word}: it is not a number" in str(error.value), name
                tried += 1
    assert tried > 100


def test_numbers_with_words_for_none_are_no_nan_either():
    with pytest.raises(ValueFault, match="fps nan: it is not a number"):
        MovieOptions.parse(fps="nan")


@pytest.mark.system
@pytest.mark.parametrize("word", ["xyz", "1.5", "", "9" * 30, "\x1b[2J", "²", "on,"])
def test_words_in_the_place_of_any_argument_are_one_line_at_most(plugin, word, tmp_path, monkeypatch):
    """No command ends in a traceback, whichever of its arguments has the word."""
    monkeypatch.chdir(tmp_path)
    session = session_of(plugin)
    session.settings.put("backend", "/bin/false")
    usual = {"name": "fit", "selection": "pep", "filename": "x.dsr", "file": "x.safetensors", "by": "b"}
    refusals = 0
    for name in sorted(set(COMMANDS) - {"dsr_doctor", "dsr_surfaces"}):
        parameters = inspect.signature(COMMANDS[name]).parameters.values()
        required = {
            parameter.name: usual.get(parameter.name, "1")
            for parameter in parameters
            if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        }
        for parameter in parameters:
            if parameter.name in ("_self", "commas"):
                continue
            session.jobs.fits.clear()
            ready(plugin, "fit", "")
            try:
                COMMANDS[name](**{**required, parameter.name: word}, _self=plugin)
            except CmdException as error:
                assert "\n" not in str(error.args[0]) and str(error.args[0]).isprintable(), (name, parameter.name)
                refusals += 1
    assert refusals > 60


@pytest.mark.parametrize("key", ["quiet", "async_"])
def test_switches_say_which_words_they_take(plugin, key):
    ready(plugin, "fit", "")
    words = "0 or 1" if key == "quiet" else "-1 or 0 or 1"
    assert refused(plugin, COMMANDS["dsr_movie"], "fit", **{key: "xyz"}) == f"{key} xyz: it must be {words}"


@pytest.mark.parametrize("value", [True, False, 1, 0, 1.0, "1", " 0 "])
def test_switches_take_what_scripts_write(plugin, value):
    ready(plugin, "fit", "")
    assert COMMANDS["dsr_status"](quiet=value, _self=plugin)
