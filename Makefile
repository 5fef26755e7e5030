# `make generate` and `make test` are all there is to know; each installs what it needs into $(VENV).
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
INSTALL = $(RUN) -m pip install --quiet --constraint constraints.txt --editable

.PHONY: generate check test lint format types docs examples bench test-gpu bench-gpu clean

generate: $(VENV)/.base ; $(RUN) -m optloom.codegen generate
check: $(VENV)/.base ; $(RUN) -m optloom.codegen check
test: $(VENV)/.dev ; $(RUN) tests/run.py $(ARGS)
lint: $(VENV)/.dev ; $(RUN) -m ruff check && $(RUN) -m ruff format --check
format: $(VENV)/.dev ; $(RUN) -m ruff check --fix && $(RUN) -m ruff format
types: $(VENV)/.dev ; $(RUN) -m mypy
docs: $(VENV)/.dev ; NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet
examples: $(VENV)/.dev ; for example in examples/*/run.py; do $(RUN) $$example || exit 1; done
bench: $(VENV)/.dev ; for benchmark in benchmarks/[!_]*.py; do $(RUN) $$benchmark || exit 1; done
test-gpu: $(VENV)/.dev ; $(RUN) tests/gpu.py
bench-gpu: $(VENV)/.dev ; $(RUN) benchmarks/gpu.py
clean: ; rm -rf .venv .venv-ci build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# A stamp per set of requirements, every set with the base in it. It is stale when the files that pin them are newer,
# and gone when the interpreter is, or when the checkout was moved (environments hold absolute paths).
USABLE = test -x $(RUN) && test "`cat $(VENV)/.base 2>/dev/null`" = "$(CURDIR)"
IGNORED := $(shell $(USABLE) || rm -f $(VENV)/.base $(VENV)/.dev)

$(VENV)/.base: pyproject.toml constraints.txt | $(RUN) ; $(INSTALL) . && echo "$(CURDIR)" > $@
$(VENV)/.dev: pyproject.toml constraints.txt | $(RUN) ; $(INSTALL) '.[dev]' && echo "$(CURDIR)" | tee $(VENV)/.base > $@
$(RUN): ; $(PYTHON) -m venv $(VENV)
