# `make demo` and `make test` are all the set-up there is: each makes its own virtual environment on first use.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
# Rooms whose tests start programs and wait for them: they need processors less than they need time.
PROGRAMS := $(addprefix tests/,e2e cloud device edge serving testbed transport)
# Where to take a CPU build of torch from, e.g. TORCH_INDEX="--index-url https://..."; empty: the default index.
TORCH_INDEX ?=
# Options of the demo, e.g. DEMO="--json --seconds 20".
DEMO ?=
# Options of the fuzzer, e.g. FUZZ="tier --executions 100000".
FUZZ ?=
# Options of the stack, e.g. STACK="--profile chaos".
STACK ?=
# Options of the chaos runs, e.g. CHAOS="--runs 30 --seed 7".
CHAOS ?= --runs 1000 --record results/chaos.jsonl

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-long test-stack chaos fuzz check bench results results-codec zoo stack-up stack-down clean

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-13s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# Everything but training: no torch, no download beyond a few wheels.
$(VENV)/.demo: pyproject.toml constraints.txt build_rans.py protocol/rans.c | $(VENV)/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[testbed]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt build_rans.py protocol/rans.c | $(VENV)/bin/python
	$(PIP) install --quiet --constraint constraints.txt $(TORCH_INDEX) torch
	$(PIP) install --quiet --constraint constraints.txt --editable '.[all,dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo  ## Play a moving link against the real programs and write report.html
	$(BIN)/isthmus demo $(DEMO)

test: $(VENV)/.dev  ## Run the tests: what computes, a worker for each core, then what waits for programs, three at a time
	$(PYTEST) -m "not slow and not long" $(PROGRAMS:%=--ignore=%) --numprocesses auto --dist loadfile --no-loadscope-reorder
	$(PYTEST) -m "not slow and not long" $(PROGRAMS) --numprocesses 3 --dist loadfile --no-loadscope-reorder --reruns 1 --rerun-show-tracebacks

test-slow: $(VENV)/.dev  ## Run the tests that compute for seconds
	$(PYTEST) -m "slow and not long" --numprocesses auto --reruns 1 --rerun-show-tracebacks

test-long: $(VENV)/.dev  ## Run the tests that take minutes
	$(PYTEST) -m long --timeout 1200

fuzz: $(VENV)/.dev  ## Feed ten million damaged inputs to everything that reads strangers' bytes
	$(BIN)/python -m tests.fuzz $(FUZZ)

chaos: $(VENV)/.dev  ## Kill, stall and cut programs at random, and read in their histories that nothing was lost
	$(BIN)/python -m tests.chaos $(CHAOS)

check: $(VENV)/.dev  ## Style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev  ## Run every benchmark: one JSON object each
	$(BIN)/python -m benchmarks

results: $(VENV)/.dev  ## Run every benchmark and rewrite docs/results.md
	$(BIN)/python -m benchmarks --results docs/results.md

zoo: $(VENV)/.dev  ## Cut architectures of torchvision and timm everywhere; resumes where it stopped
	$(BIN)/python -m benchmarks.zoo --folder results/zoo --page docs/zoo.md

results-codec: $(VENV)/.dev  ## Train compressors on Fashion-MNIST and CIFAR-10 (hours) and write their figures; resumes where it stopped
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.rate_fashion
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.rate_levels
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.rate_cifar
	$(BIN)/python -m benchmarks rate_fashion --results docs/results.md
	$(BIN)/python -m benchmarks rate_levels --results docs/results.md
	$(BIN)/python -m benchmarks rate_cifar --results docs/results.md

stack-up:  ## Bring up broker, cloud, edge and two devices in containers; STACK="--profile chaos|obs|postgres"
	PYTHON=$(PYTHON) $(PYTHON) compose/stack.py up $(STACK)

stack-down:  ## Stop the containers; their volumes stay
	$(PYTHON) compose/stack.py down

test-stack: $(VENV)/.dev  ## Install an engine where there is none, bring the stack up, kill containers, check answers
	PYTHON=$(abspath $(BIN))/python compose/prepare.sh
	PYTHON=$(abspath $(BIN))/python ISTHMUS_STACK=1 $(BIN)/python -m pytest -m long -s tests/stack --reruns 1 --rerun-show-tracebacks; status=$$?; \
	  $(PYTHON) compose/stack.py down --volumes --engine; exit $$status

clean:  ## Remove what the targets made
	rm -rf $(VENV) runs results report.html .mypy_cache .ruff_cache .pytest_cache .import_linter_cache protocol/_rans.so
