# `make generate` and `make test` are all there is to know; each installs what it needs into $(VENV).
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
INSTALL = $(RUN) -m pip install --quiet --constraint constraints.txt --editable

.PHONY: generate check test lint format types examples bench clean

generate: $(VENV)/.base ; $(RUN) -m optloom.codegen generate
check: $(VENV)/.base ; $(RUN) -m optloom.codegen check
test: $(VENV)/.dev ; $(RUN) tests/run.py $(ARGS)
lint: $(VENV)/.dev ; $(RUN) -m ruff check && $(RUN) -m ruff format --check
format: $(VENV)/.dev ; $(RUN) -m ruff check --fix && $(RUN) -m ruff format
types: $(VENV)/.dev ; $(RUN) -m mypy
examples: $(VENV)/.dev ; for example in examples/*/run.py; do $(RUN) $$example || exit 1; done
bench: $(VENV)/.dev ; for benchmark in benchmarks/[a-z]*.py; do $(RUN) $$benchmark || exit 1; done
clean: ; rm -rf .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# A stamp per set of requirements: older than the files that pin them means stale. Every set includes the base.
$(VENV)/.base: pyproject.toml constraints.txt | $(VENV)/bin/python ; $(INSTALL) . && touch $@
$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python ; $(INSTALL) '.[dev]' && touch $@ $(VENV)/.base
$(VENV)/bin/python: ; $(PYTHON) -m venv $(VENV)
