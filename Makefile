# Two commands do everything on a machine with Python 3.11 or later and make:
#   make run    every job once, on a sample
#   make test   the whole suite

PYTHON ?= python3
SCALE ?= 1
PORT ?= 3000
CONSOLE_PORT ?= 3001
VENV := .venv
BIN := $(VENV)/bin
# An exported PYTHONPATH or virtual environment of another project must not leak into ours.
export PYTHONPATH :=
# What a process compiles, the next one reads.
export PYTHONDONTWRITEBYTECODE :=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install run dev test test-fast check format bench lock clean docs

help: ## List what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(VENV)/.installed ## Create .venv from the lock, with what tests and checks need

# Samples and the UI need no test tools: a first `make run` installs a fifth fewer packages.
$(VENV)/.installed-run: requirements/run.txt requirements/install.txt pyproject.toml
	@PYTHON="$(PYTHON)" sh requirements/install.sh $(VENV) requirements/run.txt "150 MB"
	@touch $@

$(VENV)/.installed: requirements/dev.txt requirements/install.txt pyproject.toml
	@PYTHON="$(PYTHON)" sh requirements/install.sh $(VENV) requirements/dev.txt "350 MB"
	@touch $(VENV)/.installed-run $@

run: $(VENV)/.installed-run ## Run all jobs once on a sample of about 200,000 rows (SCALE=10 for more)
	@$(BIN)/python -m cath_dagster.development run --scale $(SCALE)

dev: $(VENV)/.installed-run ## Open the console, the UI and the daemon on the sample; Ctrl-C stops everything
	@$(BIN)/python -m cath_dagster.development dev --scale $(SCALE) --port $(PORT) --console-port $(CONSOLE_PORT)

# One process more than there are cores: some tests wait for servers most of the time. Those of one stack stay together.
PYTEST = $(BIN)/pytest -n $$($(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 1)') --dist loadgroup -rs $(if $(COVERAGE),--cov --cov-report=term)

test: install ## Run the whole suite
	@$(PYTEST)

test-fast: install ## Run what needs no stack: no processes, pods, browser or further servers
	@$(PYTEST) -m "not stack" --hypothesis-profile fast

check: install ## Format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m cath_dagster.development.documentation --check

format: install ## Format and repair what can be repaired
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: install ## Measure, as ratios of one run (PUBLISH=1 writes docs/benchmark.md)
	@$(BIN)/python -m benchmarks $(if $(PUBLISH),--publish)

docs: install ## Write the generated parts of the documentation anew
	@$(BIN)/python -m cath_dagster.development.documentation

lock: install ## Lock the dependencies anew
	@UV_CUSTOM_COMPILE_COMMAND="make lock" sh requirements/lock.sh $(BIN)/uv

clean: ## Stop the embedded PostgreSQL and remove what was made
	@python=$(BIN)/python; test -x $$python || python=$(PYTHON); $$python -c \
		'from pathlib import Path; from cath_dagster.development.postgres import remove_state; remove_state(Path(".local"))'
	@rm -rf .local .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage htmlcov
