"""Names in the tests and in the plugin say what their values are: no everyday word is one."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from support.paths import ROOT

TEXT = """
about again alone apart aside asked away back began begun both came done each early every everyone few found given gone
got here how kept look looks made many mine more most none nothing now off one only other others ours own part parts
place rest said same seen share shares shown some still stored stuff taken theirs then there thing things told until
wanted way ways went what where which whole wish
"""
WORDS = frozenset(TEXT.split())
# Parameters of public functions and commands, which callers may give by name, have these words in the plugin.
TEXT_OF_PARAMETERS = "asked done every given kept most now only others own place share shown then wanted whole"
OF_PARAMETERS = frozenset(TEXT_OF_PARAMETERS.split())


def bound_names(node: ast.AST, in_class: bool = False) -> Iterator[tuple[int, str]]:
    """Lines and names of variables, parameters and functions; those of a class body may belong to an interface."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not in_class:
            yield child.lineno, child.name
        elif isinstance(child, ast.arg):
            yield child.lineno, child.arg
        elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store) and not in_class:
            yield child.lineno, child.id
        elif isinstance(child, ast.ExceptHandler) and child.name:
            yield child.lineno, child.name
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from bound_names(child, isinstance(child, ast.ClassDef) or (in_class and not is_function))


def everyday_words(source: str, words: frozenset[str] = WORDS) -> list[tuple[int, str]]:
    return sorted({(line, name) for line, name in bound_names(ast.parse(source)) if name.strip("_") in words})


@pytest.mark.parametrize(
    ("folder", "words"), [("tests", WORDS), ("pymol_dsr", WORDS - OF_PARAMETERS)], ids=["tests", "plugin"]
)
def test_no_name_is_an_everyday_word(folder, words):
    paths = sorted((ROOT / folder).rglob("*.py"))
    faults = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in paths
        for line, name in everyday_words(path.read_text("utf-8"), words)
    ]
    assert paths
    assert not faults, "name these by what their values are (docs/contributing.md): " + "; ".join(faults)


def test_every_kind_of_name_is_seen():
    source = """
def told(asked, *, kept=1, **more):
    found, volume = asked
    [part for part in found]
    for place in found:
        with open(place) as stored:
            (lambda one: one)(volume.own)
    try:
        other = other.made
    except OSError as rest:
        volume.seen = 1
class Job:
    now: float
    def share(self, way): ...
"""
    names = "told asked kept more found part place stored one other rest way"
    assert sorted(name for _, name in everyday_words(source)) == sorted(names.split())
