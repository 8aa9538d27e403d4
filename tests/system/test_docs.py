"""The documentation: the reference says what the commands say, and what is pointed at is there."""

import importlib.util
import re

import pytest

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
