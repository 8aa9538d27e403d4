"""nan is not a number for any number of any command."""

from __future__ import annotations

import inspect

import pytest
from pymol import CmdException

from pymol_dsr import register
from pymol_dsr.commands.command import COMMANDS
from pymol_dsr.shared.options import MovieOptions
from pymol_dsr.shared.values import ValueFault


def test_no_command_takes_nan_for_a_number(cmd):
    register(cmd)
    tried = 0
    for name, command in COMMANDS.items():
        parameters = inspect.signature(command).parameters.values()
        required = ["x" for one in parameters if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
        for one in parameters:
            if not isinstance(one.default, (int, float)):
                continue
            for word in ("nan", " NaN", "-nan", float("nan")):
                with pytest.raises(CmdException) as error:
                    command(*required, **{one.name: word}, _self=cmd)
                assert f"{one.name} {word}: it is not a number" in str(error.value), name
                tried += 1
    assert tried > 100


def test_numbers_with_words_for_none_are_no_nan_either():
    with pytest.raises(ValueFault, match="fps nan: it is not a number"):
        MovieOptions.parse(fps="nan")
