"""Names and docstrings in both packages, the tests and the scripts: no everyday word names, no question word opens."""

from __future__ import annotations

import ast
import io
import tokenize
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


# The further trajectories of a source, which its methods take by that name.
OF_SOURCES = frozenset({"others"})


FOLDERS = ("pymol_dsr", "backend", "tests", "benchmarks", "examples", "tools")
OPENINGS = frozenset(("What", "Those", "Of", "How"))


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("pymol_dsr", WORDS - OF_PARAMETERS),
        ("backend", WORDS - OF_SOURCES),
        *((folder, WORDS) for folder in FOLDERS[2:]),
    ],
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


def docstrings(source: str) -> list[tuple[int, str]]:
    """Lines and texts of docstrings, those below an attribute or a constant too."""
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Expr)]
    texts = [(node.lineno, node.value.value) for node in statements if isinstance(node.value, ast.Constant)]
    return [(line, text) for line, text in texts if isinstance(text, str)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_docstring_opens_with_a_word_that_makes_it_read_twice(folder):
    faults = [
        f"{path.relative_to(ROOT)}:{line}: {text.split()[0]}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in docstrings(path.read_text("utf-8"))
        if text.split()[:1] and text.split()[0] in OPENINGS
    ]
    assert not faults, "open these with what the thing is or does (docs/contributing.md): " + "; ".join(faults)


def comments(source: str) -> list[tuple[int, str]]:
    """Lines and texts of comments; the lines of one that goes on are one text."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    texts: list[tuple[int, str]] = []
    last = -1
    for token in tokens:
        if token.type != tokenize.COMMENT:
            continue
        line, text = token.start[0], token.string.lstrip("# ")
        if last == line - 1:
            texts[-1] = (texts[-1][0], f"{texts[-1][1]} {text}")
        else:
            texts.append((line, text))
        # A comment after code ends on its line.
        last = line if token.line.strip().startswith("#") else -1
    return texts


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_comment_opens_with_a_word_that_makes_it_read_twice(folder):
    faults = [
        f"{path.relative_to(ROOT)}:{line}: {text.split()[0]}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in comments(path.read_text("utf-8"))
        if text.split()[:1] and text.split()[0] in OPENINGS
    ]
    assert not faults, "open these with their subject (docs/contributing.md): " + "; ".join(faults)


def test_every_kind_of_comment_is_seen():
    source = "# What\n# goes on\n\nx = '# Of'  # How\n# Those\n"
    assert comments(source) == [(1, "What goes on"), (4, "How"), (5, "Those")]


def test_every_kind_of_docstring_is_seen():
    source = '''"""What a module is."""
LIMIT = 3
"""Of a fit."""
class Fit:
    """How it goes."""
    def run(self):
        """Those that run."""
        return "What"
'''
    assert [text.split()[0] for _, text in sorted(docstrings(source))] == ["What", "Of", "How", "Those"]


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
