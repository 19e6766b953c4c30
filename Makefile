# `make demo`, `make test` and `make ui` set up all they need from python3, make and git.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# Airflow starts twice as slowly without byte code.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPATH :=
PYTHON ?= python3
VENV := .venv
PIP = "$(VENV)/bin/python" -m pip --quiet --disable-pip-version-check
RUN = "$(VENV)/bin/python"
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(1 + len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)')

# A virtual environment holds absolute paths and one Python's packages: it is of no use to another Python, nor after
# the checkout was moved. So the stamp is named after both.
PLACE := $(shell $(PYTHON) -c 'import hashlib, os, sys; print(hashlib.sha256((sys.version + os.getcwd()).encode()).hexdigest()[:12])')
CONSTRAINTS := $(shell $(PYTHON) -c 'import sys; print("constraints-3.10.txt" if sys.version_info < (3, 11) else "constraints.txt")')
READY := $(VENV)/.ready-$(PLACE)

.PHONY: help setup demo ui test long fuzz lint format types imports servers browser screenshots pytest coverage benchmark test-matrix audit clean

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1 \2/p' Makefile | while read -r name text; do printf '%-11s %s\n' "$$name" "$$text"; done

$(READY): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed; this is " + sys.version)'
	if [ ! -e "$@" ]; then rm -rf "$(VENV)" && $(PYTHON) -m venv "$(VENV)"; fi
	$(PIP) install --upgrade "pip>=25.1"
	$(PIP) install --constraint "$(CONSTRAINTS)" --group dev --group demo --editable ".[draw,parquet,postgres]"
	$(RUN) -m compileall -q -j 0 "$(VENV)/lib" || true
	touch "$@"

setup: $(READY) ## make the virtual environment

demo: setup ## one contact that succeeds, one that meets a failing CRM, and 1,000 in a replay
	$(RUN) docker/demo.py

ui: setup ## Airflow on 127.0.0.1 with the example flows and the demo CRM
	$(RUN) docker/ui.py

lint: setup ## ruff
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: setup ## apply ruff's fixes and format
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

types: setup ## mypy --strict
	$(RUN) -m mypy

imports: setup ## imports point down
	$(RUN) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

servers: ## install PostgreSQL and the programs of other people for the tests, where that can be done
	tests/servers/install_postgres.sh
	tests/servers/install_foreign.sh

browser: setup ## install Chromium and Playwright for the tests, where that can be done
	CONSTRAINTS="$(CONSTRAINTS)" tests/servers/install_browser.sh

# Tests wait for servers and processes most of the time: one worker more than there are cores. What measures time or a
# rate runs after the others, by itself. To run some: make pytest ARGS="-k name"
pytest: setup ## the tests alone; ARGS="-k name" runs some
	$(RUN) -m pytest $(if $(ARGS),$(ARGS),-n $(WORKERS) --dist worksteal -m "not long and not alone")
	$(if $(ARGS),,$(RUN) -m pytest -m "alone and not long")

coverage: setup servers ## the tests with a report of the lines they run
	$(RUN) -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term:skip-covered --cov-report=html:.coverage-html

test: lint types imports servers pytest ## lint, types, import contracts, tests

long: setup servers browser ## the tests that take minutes: many kills, real Airflows and a real browser
	$(RUN) -m pytest -n $(WORKERS) --dist worksteal -m "long and not alone"
	$(RUN) -m pytest -m "long and alone"
	FUZZ_FACTOR=5 $(RUN) -m pytest -n $(WORKERS) --dist worksteal tests/fuzz
	$(RUN) -m tests.airflow.approvals
	$(RUN) -m tests.airflow.replay_with_killed_worker
	$(RUN) -m tests.airflow.broken_flow
	$(RUN) -m tests.airflow.clear_and_resend
	$(RUN) -m tests.airflow.connection_form
	$(RUN) -m tests.airflow.flow_pages
	$(RUN) -m tests.airflow.native_places
	$(RUN) -m tests.airflow.pages
	$(RUN) -m tests.airflow.scheduled_syncs

screenshots: setup browser ## take the pictures of the documentation again, in docs/images
	$(RUN) -m tests.airflow.screenshots docs/images

fuzz: setup ## the fuzzing tests, with fifty times as many examples; FUZZ_FACTOR=N for others
	FUZZ_FACTOR=$${FUZZ_FACTOR:-50} $(RUN) -m pytest tests/fuzz

benchmark: setup ## ratios within one run; prints a table
	$(RUN) benchmarks/operator.py
	$(RUN) benchmarks/replay.py
	$(RUN) benchmarks/cursor.py
	$(RUN) benchmarks/large_ledger.py
	$(RUN) benchmarks/pages.py
	$(RUN) benchmarks/mapped.py
	$(RUN) benchmarks/parsing.py

test-matrix: servers ## the tests with the lowest and with the newest dependencies, each in .matrix/; prints a table
	$(PYTHON) tests/matrix.py

audit: ## known vulnerabilities of the versions that the tests run with, where the advisory service can be reached
	$(PYTHON) tests/audit.py constraints.txt constraints-3.10.txt

clean: ## remove everything that make made
	rm -rf "$(VENV)" .matrix .peers .demo .ui .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage-html build dist
	find airflow_whatsapp_flows benchmarks dags docker tests -name __pycache__ -type d -prune -exec rm -rf {} +
