# `make demo`, `make test` and `make ui` set up all they need from python3, make and git.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# Airflow starts twice as slowly without byte code.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPATH :=
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo ui test lint format types imports pytest benchmark clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed; this is " + sys.version)'
	$(PYTHON) -m venv "$(VENV)"
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group dev --group demo --editable .
	"$(BIN)/python" -m compileall -q -j 0 "$(VENV)/lib" || true
	touch "$@"

setup: $(VENV)/.ready ## make the virtual environment

demo: setup ## one contact that succeeds and one that meets a failing CRM, through a real Airflow
	"$(BIN)/python" docker/demo.py

ui: setup ## Airflow on 127.0.0.1 with the example flows and the demo CRM
	"$(BIN)/python" docker/ui.py

lint: setup ## ruff
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .

format: setup ## let ruff mend what it can
	"$(BIN)/ruff" check --fix .
	"$(BIN)/ruff" format .

types: setup ## mypy --strict
	"$(BIN)/mypy"

imports: setup ## imports point down
	"$(BIN)/lint-imports"

pytest: setup ## the tests alone
	"$(BIN)/python" -m pytest

test: lint types imports pytest ## lint, types, import contracts, tests

benchmark: setup ## ratios within one run; prints a table
	"$(BIN)/python" benchmarks/operator.py

clean: ## remove everything that make made
	rm -rf "$(VENV)" .demo .ui .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
