"""Folders of this checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
SUPPORT = TESTS / "support"
# Small molecules that were once refused or read wrongly.
CASES = TESTS / "data" / "cases"
