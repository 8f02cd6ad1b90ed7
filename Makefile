# Everything a user or developer does, in one place. Nothing but make and Python 3.11 or newer is needed: the first such
# Python on PATH is taken, or the one that is named: make PYTHON=/path/to/python3.12 …

BIN := .venv/bin
SECONDS ?= 60
MINUTES ?= 10
HOURS ?= 2
SYMBOLS ?= 40
BROKER ?= single
SEED ?= 1

.PHONY: help install install-dev up up-local up-docker down demo demo-docker status test types tests test-lowest format docs pictures audit bench bench-check bench-ratios chaos soak hosts crashes fuzz clean

help:  ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install:  ## the command .venv/bin/candlewick, and nothing more
	@exec sh .ci/environment run

install-dev:
	@exec sh .ci/environment dev

# Recipes below end in exec: then make tells the program itself of a TERM, and has no word to add to a clean Ctrl-C.
up:  ## record: in containers where a Docker engine answers, else as local processes
	@if sh .ci/containers answer; then \
		echo "make up: a Docker engine answers, so this runs in containers (make up-local does without)"; \
		exec sh .ci/containers up; \
	else \
		echo "make up: no Docker engine answers, so this runs as local processes (make up-docker needs an engine)"; \
		exec sh .ci/environment run candlewick up; \
	fi

up-local:  ## record as local processes with the embedded broker
	@exec sh .ci/environment run candlewick up

up-docker:  ## record in containers
	@exec sh .ci/containers up

down:  ## stop either, in good order
	@if [ -x $(BIN)/candlewick ]; then $(BIN)/candlewick down; fi
	@if sh .ci/containers answer; then sh .ci/containers down; fi

status:  ## what lives, what flows and what is stored: of the containers where they run, else of ./data
	@if sh .ci/containers runs; then exec sh .ci/containers status; fi; exec sh .ci/environment run candlewick status

demo:  ## record from a simulated exchange for SECONDS (0: until Ctrl-C), then show the result
	@exec sh .ci/environment run candlewick demo --seconds $(SECONDS)

demo-docker:  ## record from a simulated exchange in containers, into ./demo-data, until Ctrl-C
	@exec sh .ci/containers demo

test: install-dev  ## formatting, lint, types, contracts and all tests
	@$(BIN)/ruff format --check --quiet . || { echo "formatting: run 'make format'"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/lint-imports
	@$(MAKE) --no-print-directory -j2 types tests

types: install-dev  ## types alone
	@$(BIN)/mypy

tests: install-dev  ## tests alone
	@$(BIN)/pytest -n 4 --dist worksteal

test-lowest:  ## all tests with the lowest version of every dependency that pyproject.toml names
	@exec sh .ci/environment lowest pytest -n 4 --dist worksteal

format: install-dev  ## format and mend what a tool can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: install-dev  ## write docs/commands.md anew, from the commands themselves
	@$(BIN)/python -m tests.support.command_reference > docs/commands.md

pictures: install-dev  ## make README's pictures anew, from the demonstration (needs Chromium)
	@$(BIN)/python -m tests.support.pictures

audit: install-dev  ## known vulnerabilities of what is installed, where their list can be had
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.9' || true
	@exec $(BIN)/python .ci/audit.py

bench: install-dev  ## ours, what people use and the best plain loop, side by side
	@exec $(BIN)/python -m bench

bench-check: install-dev  ## what is slower than the ratios that are kept
	@exec $(BIN)/python -m bench --check

bench-ratios: install-dev  ## measure those ratios anew and keep them
	@exec $(BIN)/python -m bench --write

chaos: install-dev  ## break everything at random for MINUTES from SEED, then compare (BROKER=single|sentinel|cluster)
	@exec $(BIN)/python -m chaos run --minutes $(MINUTES) --seed $(SEED) --broker $(BROKER)

soak: install-dev  ## HOURS at the real pace, with an ordinary week's faults
	@exec $(BIN)/python -m chaos soak --hours $(HOURS) --seed $(SEED) --symbols $(SYMBOLS) $(if $(REPORT),--report $(REPORT))

hosts: install-dev  ## hosts that share a market die, hang, come and are cut off (Linux, as root)
	@exec $(BIN)/python -m chaos hosts

crashes: install-dev  ## kill the writer, or refuse it, at every system call of a flush (needs strace; or STORE=objects)
	@exec $(BIN)/python -m chaos crashes $(if $(filter objects,$(STORE)),--objects)

fuzz: install-dev  ## a million hostile inputs for every parser, from SEED
	@exec $(BIN)/python -m chaos fuzz --seed $(SEED)

clean:  ## remove the environment and caches; recorded data stays
	rm -rf candlewick/dashboard/node_modules candlewick/dashboard/page/vendor
	rm -rf .venv .venv-lowest .venv-peers .mypy_cache .pytest_cache .pytest_tmp .ruff_cache .import_linter_cache .hypothesis
