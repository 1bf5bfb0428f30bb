# make demo    measure two small models on this machine and build their site
# make test    everything that a change must pass
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .venv/constraints.txt

.NOTPARALLEL:
.PHONY: demo test environment bench study format clean

demo: .venv/.with-all
	$(BIN)/llmjoules demo

test: environment
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --ignore=tests/meters --numprocesses 2 --dist worksteal
	$(BIN)/python -m pytest tests/meters -m 'not alone' --numprocesses 2 --dist worksteal  # in real time: mostly waiting
	$(BIN)/python -m pytest tests/meters -m alone

environment: .venv/.with-test

# Zeus is here to be compared with. In a folder of its own and without what it needs elsewhere: see tests/bench/child.py
bench: environment
	@ls .venv/peers/zeus >/dev/null 2>&1 || $(INSTALL) --no-deps --target .venv/peers zeus==0.16.0 || \
		echo "Zeus cannot be installed; its rows say so."
	$(BIN)/python -m tests.bench.bench

# DATA: a clone of github.com/grantwilkins/energy-inference, or some of its files
study: environment
	$(BIN)/python -m llmjoules.sitegen.hotcarbon24 recompute $(DATA) > .venv/derived.json
	mv .venv/derived.json llmjoules/sitegen/hotcarbon24/derived.json
	$(BIN)/python -m llmjoules.sitegen.hotcarbon24 table > site/results/hotcarbon24-table1.jsonl

format: environment
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv build dist public .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/.with-all: .venv/constraints.txt pyproject.toml
	@echo "Installing llmjoules and what it needs (torch takes the longest) ..."
	$(INSTALL) --editable '.[all]'
	@touch $@

.venv/.with-test: .venv/constraints.txt pyproject.toml
	@echo "Installing llmjoules and its tests (torch takes the longest) ..."
	$(INSTALL) --editable '.[all,test]'
	@ls $(BIN)/ruff $(BIN)/mypy $(BIN)/lint-imports >/dev/null 2>&1 || \
		$(INSTALL) --ignore-installed --no-deps ruff mypy import-linter  # found beside that torch, but not as programs
	@if command -v npm >/dev/null; then \
		echo "Installing the checkers of pages (axe-core, html-validate) ..."; \
		npm install --silent --no-fund --no-audit --no-save --prefix .venv/node axe-core@4.14.1 html-validate@10.17.0; \
	fi
	@touch .venv/.with-all $@

# The environment stands apart from everything else, but a torch that $(PYTHON) has is used as it is: it is the one that
# fits the machine's accelerator. Its folder goes at the end of the path, so that pins win over what else lies there.
.venv/constraints.txt: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	@theirs=$$($(PYTHON) -c '$(TORCH_FOLDER)' 2>/dev/null); \
	if [ -n "$$theirs" ]; then \
		echo "Using the torch in $$theirs"; \
		echo "$$theirs" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torch-of-this-machine.pth"; \
		grep -v '^torch==' constraints.txt > $@; \
	else \
		cp constraints.txt $@; \
	fi

define TORCH_FOLDER
import os, torch; version = tuple(map(int, torch.__version__.split(".")[:2])); print(os.path.dirname(torch.__path__[0]) if version >= (2, 11) else "")
endef
