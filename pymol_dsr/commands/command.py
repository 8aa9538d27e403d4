"""The decorator of every dsr_* command: expected errors become one CmdException."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from pymol import CmdException, cmd, parsing

from ..session import session_of
from ..shared import text
from ..shared.values import is_nan
from .arguments import fit_name, fit_of
from .expected import EXPECTED
from .running import is_typed

COMMANDS: dict[str, Callable[..., Any]] = {}


# Arguments that commands turn into numbers themselves, with the words that they take; all others are parsed as options.
SWITCHES = {
    **dict.fromkeys(("async_", "plot", "ray", "watch"), ("-1", "0", "1")),
    **dict.fromkeys(("binary", "quiet", "split"), ("0", "1")),
}


# Typed commands whose first argument is the name of a fit; they wait for what it is busy with.
FOLLOWERS = frozenset(
    f"dsr_{verb}" for verb in ("movie", "color", "levels", "measure", "eval", "export", "save", "occupancy", "still")
)
# The one that writes PyMOL's movie, and waits for the movie that is being loaded.
FILM = "dsr_film"


COMMA_REMEDY = (
    "join states with + as in 1+5+9 and objects as in one+two, write spaces between numbers as in levels=10 50, "
    "and give what follows by name as in preset=fast"
)


class _Shown:
    """Calls `call`, and looks like `function` to PyMOL's parser.

    PyMOL 2.5 does not look through a wrapper, and would not say that a command was typed (quiet=0).
    """

    def __init__(self, call: Callable[..., Any], function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._call = call
        self.__code__ = function.__code__
        self.__defaults__ = function.__defaults__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)


def _switch_word(value: Any) -> str:
    """Return a switch as users type it; scripts write True and 1.0, too."""
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return str(int(value)) if is_whole else str(value).strip()


def _refuse_unnamed_after_named(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], _self: Any) -> None:
    """Raise CmdException for a typed line as `levels=10, 50`: PyMOL would take 50 for the first argument left."""
    layer = _self._parser.layer.get(_self._parser.nest)
    if (getattr(layer, "args", None), getattr(layer, "kw_args", None)) != (list(args), kwargs):
        # A call from Python, which has no such arguments.
        return
    for (key, value), (following_key, following) in itertools.pairwise(parsing.parse_arg(layer.com2, _self=_self)):
        if key is not None and following_key is None and following is not None:
            raise CmdException(
                text.one_line(
                    f"{name}: a comma ends an argument, so '{following[:80]}' does not belong to {key}={value[:80]}; "
                    f"{COMMA_REMEDY}"
                )
            )


def _check_words(name: str, bound: inspect.BoundArguments) -> None:
    """Raise CmdException for words that are not the numbers or switches of their arguments, or one too many."""
    for key, value in bound.arguments.items():
        # Python's own conversions take nan for a number, or fail with a traceback.
        default = bound.signature.parameters[key].default
        if isinstance(default, (int, float)) and is_nan(value):
            raise CmdException(f"{key} {value}: it is not a number")
        if isinstance(default, int) and key in SWITCHES and _switch_word(value) not in SWITCHES[key]:
            raise CmdException(text.one_line(f"{key} {str(value)[:80]}: it must be {' or '.join(SWITCHES[key])}"))
    extra = bound.arguments.get("commas")
    if extra:
        raise CmdException(f"{name}: a comma ends an argument, so '{extra[0]}' belongs to nothing; {COMMA_REMEDY}")


def _fit_to_wait_for(name: str, bound: inspect.BoundArguments) -> str:
    """Return the fit that a typed command waits for, as it is busy or others wait for it; empty where it can run.

    `async_=0` waits for nothing.
    """
    _self = bound.arguments.get("_self")
    if _self is None or not is_typed(bound.arguments.get("quiet", 1), _self):
        return ""
    if str(bound.arguments.get("async_", -1)).strip() == "0":
        return ""
    session = session_of(_self)
    if name == FILM:
        return session.queues.fit_of_movie()
    fit = fit_of(session, fit_name(next(iter(bound.arguments.values())), _self))
    return fit if session.queues.must_wait(fit) else ""


def _fill_in_empty(name: str, bound: inspect.BoundArguments) -> None:
    """Give arguments that were left empty their defaults: PyMOL's parser has None between two commas.

    Raises CmdException for one that has no default.
    """
    for key in [key for key, value in bound.arguments.items() if value is None]:
        bound.arguments[key] = bound.signature.parameters[key].default
        if bound.arguments[key] is inspect.Parameter.empty:
            raise CmdException(f"{name}: {key} is empty; see 'help {name}'")


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a dsr_* command: expected faults become one CmdException, stray commas are explained."""
    name = function.__name__
    signature = inspect.signature(function)

    def call(*args: Any, **kwargs: Any) -> Any:
        _self = signature.bind(*args, **kwargs).arguments.get("_self", cmd)
        try:
            session_of(_self).molecules.follow(_self)
            return function(*args, **kwargs)
        except CmdException as error:
            message = str(error.args[0]) if error.args else ""
            if message == text.one_line(message):
                raise
            raise CmdException(text.one_line(message)) from error
        except EXPECTED as error:
            raise CmdException(text.error_line(error)) from error

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        _refuse_unnamed_after_named(name, args, kwargs, kwargs.get("_self", cmd))
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise CmdException(f"{name}: {error}; see 'help {name}'") from error
        _fill_in_empty(name, bound)
        args, kwargs = bound.args, bound.kwargs
        _check_words(name, bound)
        fit = _fit_to_wait_for(name, bound) if name in FOLLOWERS or name == FILM else ""
        if fit:
            _self = bound.arguments["_self"]
            session_of(_self).queues.add(fit, name, functools.partial(call, *args, **kwargs), _self)
            print(f" {name}: waits for {fit}")
            return None
        return call(*args, **kwargs)

    entry = _Shown(wrapper, function)
    # PyMOL prints help as it stands, with the headings at the margin.
    entry.__doc__ = f"\n{inspect.cleandoc(function.__doc__ or '')}\n"
    COMMANDS[name] = entry
    return entry
