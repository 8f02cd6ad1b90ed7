# Everything a user or developer does, in one place. Nothing but python3.11 (or newer) and make is needed.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
SECONDS ?= 60
MINUTES ?= 10
SEED ?= 1
COMPOSE = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

.PHONY: help up up-local up-docker down demo test format audit bench chaos crashes fuzz clean

help:  ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up:  ## record: in containers where a Docker engine answers, else as local processes
	@if docker info >/dev/null 2>&1; then \
		echo "make up: a Docker engine answers, so this runs in containers (make up-local does without)"; \
		$(MAKE) --no-print-directory up-docker; \
	else \
		echo "make up: no Docker engine answers, so this runs as local processes (make up-docker needs an engine)"; \
		$(MAKE) --no-print-directory up-local; \
	fi

up-local: $(VENV)/run  ## record as local processes with the embedded broker
	@exec $(BIN)/candlewick up

up-docker:  ## record in containers
	@exec $(COMPOSE) up --build

down:  ## stop either, in good order
	@if [ -x $(BIN)/candlewick ]; then $(BIN)/candlewick down; fi
	@if docker info >/dev/null 2>&1; then $(COMPOSE) --profile binance --profile demo down; fi

demo: $(VENV)/run  ## record from a simulated exchange for SECONDS (0: until Ctrl-C), then show the result
	@exec $(BIN)/candlewick demo --seconds $(SECONDS)

test: $(VENV)/dev  ## formatting, lint, types, contracts and all tests
	@$(BIN)/ruff format --check --quiet . || { echo "formatting: run 'make format'"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -n 3

format: $(VENV)/dev  ## format and mend what a tool can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

audit: $(VENV)/dev  ## known vulnerabilities of what is installed, where their list can be had
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.9' || true
	@exec $(BIN)/python .ci/audit.py

bench: $(VENV)/dev  ## ours, the old way and the floor, side by side
	@exec $(BIN)/python -m bench

chaos: $(VENV)/dev  ## break everything at random for MINUTES from SEED, then compare with the truth
	@exec $(BIN)/python -m chaos run --minutes $(MINUTES) --seed $(SEED)

crashes: $(VENV)/dev  ## kill the writer, or refuse it, at every system call of a flush (needs strace)
	@exec $(BIN)/python -m chaos crashes

fuzz: $(VENV)/dev  ## a million hostile inputs for every parser, from SEED
	@exec $(BIN)/python -m chaos fuzz --seed $(SEED)

clean:  ## remove the environment and caches; recorded data stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .pytest_tmp .ruff_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run: pyproject.toml | $(VENV)/bin/python
	@echo "installing Candlewick into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[simulator]'
	@touch $@

$(VENV)/dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing Candlewick and its development tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[simulator,dev]'
	@touch $@ $(VENV)/run
