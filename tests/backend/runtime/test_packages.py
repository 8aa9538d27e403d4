"""Optional packages that the backend says are installed."""

import sys

from dsr_backend.runtime import packages


def test_packages_are_looked_for_without_being_imported(monkeypatch, tmp_path):
    for name in ("openmm", "deeptime"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported')\n")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    # As Python marks a module that must not be imported.
    monkeypatch.setitem(sys.modules, "pdbfixer", None)
    monkeypatch.setitem(sys.modules, "MDAnalysis", None)
    assert packages.installed_packages() == ("openmm", "deeptime")
