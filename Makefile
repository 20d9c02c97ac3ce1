# What one types. Works with python3 (3.11 or later) and make; everything else goes into .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install -qq --disable-pip-version-check \
          --constraint constraints.txt --build-constraint constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check docs bench clean

help:  ## this list
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.ready  ## customize the embedded model on a shop's questions; leaves demo/report.html
	$(BIN)/sartor demo demo

test: $(VENV)/.ready-dev  ## all tests
	$(BIN)/python -m pytest -q --numprocesses logical --maxprocesses 4 --dist loadfile

check: $(VENV)/.ready-dev  ## style, types, the direction of imports, and the docs, strictly
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: $(VENV)/.ready-dev  ## the documentation at http://127.0.0.1:8000
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --strict

bench: $(VENV)/.ready-dev  ## the journey on every folder of ../shared/data; prints a table
	$(BIN)/python benchmarks/domains.py

clean:  ## everything that was made, .venv included
	rm -rf $(VENV) demo site dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache \
		.hypothesis
	find src tests benchmarks pretraining -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.pip: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "sartor needs Python 3.11 or later; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
			"Install one and say which: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "making $(VENV)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check \
		--constraint constraints.txt pip
	@touch $@

$(VENV)/.ready: $(VENV)/.pip pyproject.toml
	@echo "installing sartor and what it runs on (some minutes the first time)" >&2
	@$(PIP) --editable ".[all]"
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@echo "installing what its tests and checks need" >&2
	@$(PIP) --group dev
	@touch $@
