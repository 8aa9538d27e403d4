"""The documentation: the reference says what the commands say, and what is pointed at is there."""

import importlib.util
import inspect
import re
import shlex

import pytest
from dsr_backend.cli.verbs import build_parser

from support.paths import ROOT

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize(("tool", "page"), [("reference", "commands"), ("protocol", "protocol")])
def test_a_generated_page_is_up_to_date(tool, page):
    spec = importlib.util.spec_from_file_location(tool, ROOT / "tools" / f"{tool}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert getattr(module, tool)() == written, f"run python tools/{tool}.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        if path:
            assert (page.parent / path).exists(), target
        else:
            assert anchor in headings, target


def test_commands_named_in_the_documentation_exist():
    from pymol_dsr.commands.command import COMMANDS

    for page in PAGES:
        named = set(re.findall(r"\bdsr_[a-z]+\b", page.read_text(encoding="utf-8")))
        # The package of the backend and modules of it.
        unknown = named - set(COMMANDS) - {"dsr_backend", "dsr_file", "dsr_format", "dsr_reader"}
        assert not unknown, f"{page.name}: {', '.join(sorted(unknown))}"


def code_lines(text: str) -> list[str]:
    """Lines of code blocks without their comments, and code between backticks."""
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    lines = [re.split(r"\s#\s", line)[0].strip() for block in blocks for line in block.splitlines()]
    return lines + [
        code.strip() for code in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_of_commands_have_the_arguments_of_the_commands(page):
    from pymol_dsr.commands.command import COMMANDS

    for line in code_lines(page.read_text(encoding="utf-8")):
        name, _, text = line.partition(" ")
        # A line of USAGE has its options in brackets.
        if name not in COMMANDS or not text or "[" in text:
            continue
        arguments = [argument.strip() for argument in text.split(",")]
        named = {argument.partition("=")[0] for argument in arguments if re.match(r"[a-z_]+=", argument)}
        parameters = inspect.signature(COMMANDS[name]).parameters
        assert not named - set(parameters), line
        in_order = [argument for argument in arguments if not re.match(r"[a-z_]+=|[….]+$", argument)]
        # An argument behind `commas` or a star is given by name.
        by_place = [key for key, value in parameters.items() if value.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        assert len(in_order) <= len(by_place), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_of_dsr_backend_are_understood(page, capsys):
    for line in code_lines(page.read_text(encoding="utf-8")):
        if not re.match(r"dsr-backend [a-z]", line) or re.search(r"…|\.\.\.|\[|\|", line):
            continue
        try:
            build_parser().parse_args(shlex.split(line)[1:])
        except SystemExit as end:
            error = capsys.readouterr().err
            # A sentence names a verb with one of its options.
            assert "the following arguments are required" in error, f"{line}: {error}"
            assert end.code == 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_for_pymol_can_be_pasted(page):
    """PyMOL takes a comment for one on a line of its own only, and what follows its semicolon for a command."""
    text = page.read_text(encoding="utf-8")
    blocks = [block.splitlines() for block in re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]
    typed = [block for block in blocks if any(re.match(r"dsr_[a-z]+ ", line) for line in block)]
    for line in [line for block in typed for line in block]:
        is_comment = line.startswith("#")
        assert (";" not in line) if is_comment else ("#" not in line), line
