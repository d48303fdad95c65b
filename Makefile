# The front door: `make help` says what there is. Every target makes the environment it needs.

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
EMULATOR := tests/emulator/node_modules
# More arguments for pytest: make test ARGS="-k cursor"
ARGS ?=
# Temporary folders in memory, where there is room: a disk makes the tests wait for every fsync.
TMP := $(shell test -z "$$TMPDIR" && df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 4000000 { print "TMPDIR=/dev/shm" }')
# Compiled modules are kept: the tests start hundreds of processes.
KEEP := PYTHONDONTWRITEBYTECODE=

.DEFAULT_GOAL := help
.PHONY: help demo test test-wheel test-floors emulator check fix bench docs docs-serve dist clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## Import a folder of old data, edit it, export it, move it to a bucket
	@$(BIN)/python examples/demo.py

test: $(VENV)/.installed $(EMULATOR)/.installed ## Run the tests, on every core
	@$(TMP) $(KEEP) $(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

test-wheel: $(VENV)/.installed ## Run the shipped conformance suite against the built wheel
	@scripts/test_wheel.sh $(BIN)/python

test-floors: $(VENV)/.installed $(EMULATOR)/.installed ## Run the tests with the oldest dependencies we accept
	@scripts/test_floors.sh $(BIN)/python $(ARGS)

emulator: $(EMULATOR)/.installed ## Install the local Cloudflare that the tests run against

check: $(VENV)/.installed ## Lint, check formatting, types and generated tables
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/pyright
	@$(BIN)/python scripts/capability_table.py --check

fix: $(VENV)/.installed ## Repair what `make check` can repair
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format
	@$(BIN)/python scripts/capability_table.py

bench: $(VENV)/.installed ## Measure against the building blocks on this machine
	@$(BIN)/python -m benchmarks local

docs: $(VENV)/.installed-docs ## Build the documentation into site/
	@$(BIN)/zensical build --clean --strict

docs-serve: $(VENV)/.installed-docs ## Serve the documentation while you write it
	@$(BIN)/zensical serve

dist: $(VENV)/.installed ## Build the wheel and the source archive into dist/
	@rm -rf dist
	@$(BIN)/python -m build

clean: ## Remove everything that was made
	rm -rf $(VENV) dist build site .demo .hypothesis .pytest_cache .mypy_cache .ruff_cache *.egg-info
	rm -rf $(EMULATOR)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "storage-providers needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Say which one to use: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || { echo "Making $(VENV) …"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing storage-providers and its tools into $(VENV) …"
	@$(PIP) install --editable '.[dev]'
	@touch $@

$(EMULATOR)/.installed: tests/emulator/package.json tests/emulator/package-lock.json
	@scripts/install_emulator.sh
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@$(PIP) install --editable '.[docs]'
	@touch $@
