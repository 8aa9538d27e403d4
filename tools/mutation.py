"""Count the small faults that the unit tests notice: python tools/mutation.py [--count 30] [module ...]

Each mutant is one module with one operator, number or condition changed (by cosmic-ray, `pip install cosmic-ray`). A
child process runs the tests of that module against it; the mutant is killed where a test fails. Mutants are drawn at
random with a fixed seed, first the place, then the change, so that a line with many operators counts once. Changes to
annotations only are passed over. The table goes to stdout, each survivor with its changed line to --out.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib.abc
import importlib.machinery
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MOTION = ["backend/motion/test_motion.py", "backend/motion/test_stretches.py"]
TESTS = {
    "dsr_backend.geometry.connected_components": ["backend/geometry/test_marching_cubes.py"],
    "dsr_backend.geometry.lattice": ["backend/geometry/test_lattice.py"],
    "dsr_backend.geometry.marching_cubes": ["backend/geometry/test_marching_cubes.py"],
    "dsr_backend.geometry.metrics": ["backend/geometry/test_metrics.py"],
    "dsr_backend.geometry.nearest_points": ["backend/geometry/test_nearest_points.py"],
    "dsr_backend.geometry.signed_distance": ["backend/geometry/test_signed_distance.py"],
    "dsr_backend.geometry.triangle_mesh": ["backend/geometry/test_signed_distance.py"],
    "dsr_backend.geometry.unit_cube": ["backend/geometry/test_metrics.py"],
    "dsr_backend.motion.forecast": ["backend/motion/test_forecast.py", "backend/motion/test_motion.py"],
    "dsr_backend.motion.kernels": ["backend/motion/test_kernels.py", *MOTION],
    "dsr_backend.motion.motion": MOTION,
    "dsr_backend.motion.poses": ["backend/motion/test_poses.py", *MOTION],
    "dsr_backend.motion.rigid_parts": ["backend/motion/test_rigid_parts.py", "backend/motion/test_motion.py"],
    "dsr_backend.motion.statistics": ["backend/motion/test_statistics.py"],
    "dsr_backend.motion.stretches": ["backend/motion/test_jumps.py", "backend/motion/test_stretches.py"],
    "dsr_backend.motion.time_axis": ["backend/motion/test_time_axis.py"],
    "dsr_backend.motion.warp": ["backend/motion/test_warp.py", "backend/motion/test_motion.py"],
    "dsr_backend.fields.base": ["backend/fields/test_fast.py"],
    "dsr_backend.fields.fast": ["backend/fields/test_fast.py"],
    "dsr_backend.fields.morph": ["backend/fields/test_morph.py"],
    "dsr_backend.fields.paper": ["backend/fitting/paper/test_loss.py"],
    "dsr_backend.fields.select": ["backend/fields/test_morph.py"],
    "dsr_backend.results.coding": ["backend/results/test_coding.py"],
    "dsr_backend.results.dsr_file": ["backend/results/test_dsr_file.py"],
    "dsr_backend.results.dsr_format": ["backend/results/test_dsr_format.py"],
    "dsr_backend.results.dsr_reader": ["backend/results/test_dsr_reader.py", "backend/results/test_dsr_file.py"],
    "pymol_dsr.shared.codec": ["plugin/shared/test_codec.py"],
    "pymol_dsr.shared.frames": ["plugin/shared/test_frames.py", "plugin/shared/test_codec.py"],
    "pymol_dsr.shared.states": ["plugin/shared/test_states.py"],
    "pymol_dsr.shared.superpose": ["plugin/shared/test_superpose.py"],
    "pymol_dsr.shared.messages.base": ["plugin/shared/test_messages.py", "plugin/backend/test_reply_checks.py"],
    "pymol_dsr.shared.messages.reports": ["plugin/shared/test_messages.py"],
    "pymol_dsr.backend.reply_checks": ["plugin/backend/test_reply_checks.py"],
}
"""The modules, and the test files that state what they do."""
LONGEST = 600
"""Seconds of the CPU for the tests of a module without a change."""
LEAST, PATIENCE = 5, 2
"""A mutant hangs, and counts as killed, after LEAST seconds and PATIENCE times those of the tests without a change."""


def path_of(module: str) -> Path:
    """The file of a module of either package."""
    base = ROOT / "backend" if module.startswith("dsr_backend") else ROOT
    return base / (module.replace(".", "/") + ".py")


class Overlay(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a text in place of its file."""

    def __init__(self, module: str, code: str) -> None:
        self.module, self.code = module, code

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """The module's spec, None for all others."""
        if name != self.module:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin=str(path_of(name)))

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Leave it to Python."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the text as the module."""
        module.__file__ = str(path_of(self.module))
        exec(compile(self.code, module.__file__, "exec"), module.__dict__)


class WithoutAnnotations(ast.NodeTransformer):
    """Removes annotations and docstrings, which no test can notice."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        """An argument without its type."""
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """A function without its return type."""
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """A variable without its type."""
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)


def meaning(code: str) -> str:
    """The code as far as it can change what happens."""
    return ast.dump(WithoutAnnotations().visit(ast.parse(code)))


def mutants(module: str, count: int, seed: int) -> list[str]:
    """Texts of `count` mutants of a module, of fewer where it has fewer places."""
    import cosmic_ray.plugins
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code

    code = path_of(module).read_text(encoding="utf-8")
    tree = get_ast(code)
    places: dict[tuple[int, int], list[tuple[Any, int]]] = {}
    for name in sorted(cosmic_ray.plugins.operator_names()):
        kind = cosmic_ray.plugins.get_operator(name)
        if kind.arguments():
            continue
        operator = kind()
        positions = (start for node in ast_nodes(tree) for start, _ in operator.mutation_positions(node))
        for occurrence, start in enumerate(positions):
            places.setdefault(start, []).append((operator, occurrence))
    draw = random.Random(f"{module} {seed}")
    order = sorted(places)
    draw.shuffle(order)
    texts: list[str] = []
    unchanged = meaning(code)
    for position in order:
        if len(texts) == count:
            break
        mutated = mutate_code(code, *draw.choice(places[position]))
        try:
            if mutated is not None and meaning(mutated) != unchanged:
                texts.append(mutated)
        except SyntaxError:
            continue
    return texts


def run_tests(module: str, code: str, tests: Sequence[str], seconds: int) -> tuple[bool, float]:
    """Run the tests with this text as the module, in a child process: whether they pass, and its seconds of the CPU.

    It is killed after `seconds` of the CPU, or ten times as long by the clock.
    """
    child = os.fork()
    if child:
        _, status, usage = os.wait4(child, 0)
        return status == 0, usage.ru_utime + usage.ru_stime
    # The child: it must never return.
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGALRM, lambda *_: os.killpg(0, signal.SIGKILL))
        signal.alarm(10 * seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        sys.meta_path.insert(0, Overlay(module, code))
        import pytest

        # The tests of `make unit`, with the same examples for every mutant.
        options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
        options += ["-m", "not system and not slow and not gpu"]
        result = pytest.main([*options, *(str(ROOT / "tests" / path) for path in tests)])
        os._exit(0 if result == 0 else 1)
    finally:
        os._exit(1)


def changed(module: str, mutated: str) -> str:
    """The line that differs, as it was and as it is in the mutant."""
    lines = difflib.unified_diff(
        path_of(module).read_text(encoding="utf-8").split("\n"), mutated.split("\n"), n=0, lineterm=""
    )
    return "\n".join(line for line in lines if not line.startswith(("---", "+++")))


def main() -> int:
    """Run the mutants of the modules and print a table; 1 where a module's tests fail without a change."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="*", default=list(TESTS), help="modules, all of the table by default")
    parser.add_argument("--count", type=int, default=30, help="mutants of each module at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/mutants.txt"), help="where survivors are listed")
    options = parser.parse_args()
    # Packages that all children need are imported once; ours are not, nor the plugins of pytest.
    for name in ("torch", "scipy.spatial", "scipy.sparse.csgraph", "pytest", "pymol2", "safetensors.torch"):
        importlib.import_module(name)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows, everything, total = [], 0, 0
    with open(options.out, "w", encoding="utf-8") as survivors:
        for module in options.modules:
            tests = TESTS[module]
            started = time.monotonic()
            passed, seconds = run_tests(module, path_of(module).read_text(encoding="utf-8"), tests, LONGEST)
            if not passed:
                print(f"{module}: its tests fail without a change")
                return 1
            texts = mutants(module, options.count, options.seed)
            limit = LEAST + round(PATIENCE * seconds)
            left = [text for text in texts if run_tests(module, text, tests, limit)[0]]
            for text in left:
                survivors.write(f"{module}\n{changed(module, text)}\n\n")
            survivors.flush()
            killed = len(texts) - len(left)
            everything, total = everything + killed, total + len(texts)
            rows.append(f"| `{module}` | {len(texts)} | {killed} | {time.monotonic() - started:.0f} |")
            print(rows[-1], file=sys.stderr, flush=True)
    print("| module | mutants | killed | seconds |", "|---|---|---|---|", *rows, sep="\n")
    print(f"\n{everything} of {total} mutants killed ({100.0 * everything / max(1, total):.0f} %)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
