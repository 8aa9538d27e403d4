"""The manifest says what the code does, and the package is what PyMOL's Plugin Manager can load."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys

from pymol_dsr.shared.version import VERSION
from support.paths import ROOT
from support.waiting import PATIENCE

MANIFEST = json.loads((ROOT / "plugin_manifest.json").read_text())
PACKAGE = ROOT / "pymol_dsr"


def test_version_and_protocol():
    from pymol_dsr import __version__
    from pymol_dsr.shared import frames

    header = (PACKAGE / "__init__.py").read_text().split('"""')[0]
    assert re.search(r"^# Version: (.*)$", header, re.MULTILINE).group(1) == MANIFEST["version"]
    assert __version__ == VERSION == MANIFEST["version"]
    assert MANIFEST["protocol"] == frames.PROTOCOL


def test_commands_are_the_registered_ones():
    import pymol

    from pymol_dsr.commands import command

    assert MANIFEST["commands"] == sorted(command.COMMANDS)
    for name in MANIFEST["commands"]:
        assert pymol.cmd.keyword[name][0] is command.COMMANDS[name]


def test_the_package_names_all_commands_where_the_plugin_manager_shows_them():
    import pymol_dsr

    named = re.findall(r"\bdsr_\w+", str(pymol_dsr.__doc__).split("help dsr_fit")[0])
    assert sorted(named) == MANIFEST["commands"]


def test_entry_point_and_menu():
    from pymol_dsr import MENU

    module, _, function = MANIFEST["entry_point"].partition(":")
    assert callable(getattr(sys.modules[module], function))
    assert MANIFEST["menu"].endswith(MENU)


def test_every_command_has_pymols_kind_of_help():
    from pymol_dsr.commands import command

    for name, function in command.COMMANDS.items():
        text = function.__doc__
        for heading in ("DESCRIPTION", "USAGE", "SEE ALSO"):
            assert f"\n{heading}\n" in text, (name, heading)
        assert f"\n    {name}" in text
        assert max(map(len, text.splitlines())) <= 120


def test_imports_are_relative_and_need_numpy_only():
    everywhere = {"numpy", "pymol", "pymol2", "chempy", "matplotlib"} | set(sys.stdlib_module_names)
    # Without MDAnalysis long trajectories are loaded whole, and without PIL ffmpeg writes a GIF.
    optional = {"stream.py": {"MDAnalysis"}, "trajectory_file.py": {"MDAnalysis"}, "film.py": {"PIL"}}
    for path in PACKAGE.rglob("*.py"):
        allowed = everywhere | optional.get(path.name, set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            else:
                continue
            assert {n.split(".")[0] for n in names} <= allowed, (path.name, names)


def test_syntax_is_that_of_the_oldest_python():
    assert MANIFEST["python"] == ">=3.10"
    for path in PACKAGE.rglob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 10))


def test_it_loads_under_the_plugin_managers_name_and_without_a_window():
    code = (
        "import sys, pymol\n"
        "from pymol import plugins\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        f"plugins.startup.__path__.append({str(ROOT)!r})\n"
        "import pmg_tk.startup.pymol_dsr as p\n"
    )
    code += "assert 'pymol_dsr' not in sys.modules and 'torch' not in sys.modules\nprint(p.__name__)\n"
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=PATIENCE, check=False)
    assert process.stdout.strip().endswith("pmg_tk.startup.pymol_dsr"), process.stderr


LATE = """
import sys
import pymol_dsr
assert "pymol" not in sys.modules
import pymol2
from pymol_dsr.session import session_of
with pymol2.PyMOL() as one, pymol2.PyMOL() as two:
    assert "dsr_status" not in one.cmd.keyword
    pymol_dsr.register(one.cmd)
    pymol_dsr.register(one.cmd)
    assert "dsr_status" in one.cmd.keyword and "dsr_status" not in two.cmd.keyword
    pymol_dsr.register(two.cmd)
    one.cmd.do("dsr_set workers, 3", log=0, echo=0)
    assert session_of(one.cmd).settings.get("workers") == "3"
    assert session_of(one.cmd) is session_of(one.cmd._weakrefproxy)
    assert session_of(two.cmd).settings.get("workers") == "0", "sessions of two PyMOLs have become one"
"""


def test_a_script_that_imports_pymol_later_registers_the_commands_itself():
    """Each PyMOL then has a session of its own, found by its `cmd` and by the proxy that commands get."""
    process = subprocess.run(
        [sys.executable, "-c", LATE], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert process.returncode == 0, process.stderr
