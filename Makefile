# Everything runs in .venv, which these targets make themselves: only Python 3.11+, pip and make are needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n auto -q
# Tests of the house rules, of the harness and of what is deployed, or with a server of their own: another one would tell
# nothing new.
NO_SERVER := --ignore=tests/contract --ignore=tests/chaos --ignore=tests/deploy --ignore=tests/server/test_tls.py
# Servers that `make compat` tests; each but valkey, which `make test` has covered.
SERVERS ?= redis-6.2 redis-7.0 redis-8.2

.DEFAULT_GOAL := help
.PHONY: help demo test quick check chaos compat wheel clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## kill workers under load and prove that no job is lost (half a minute)
	@$(BIN)/reliq demo

test: $(VENV)/.installed  ## the whole test suite, on a real server
	@$(PYTEST)

quick: $(VENV)/.installed  ## the suite without the slow tests
	@$(PYTEST) -m "not slow"

check: $(VENV)/.installed  ## static checks: ruff, mypy, import-linter, luacheck
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@if command -v luacheck >/dev/null; then luacheck --quiet lua; \
	elif [ -n "$$CI" ]; then echo "luacheck is missing (Debian: lua-check)" >&2; exit 1; \
	else echo "SKIPPED luacheck: not installed (Debian: lua-check)"; fi

chaos: $(VENV)/.installed  ## break reliq for some minutes: crash points, random faults, and broken builds that must be found
	@$(BIN)/python -m chaos sweep

compat: $(VENV)/.installed  ## the suite on Redis 6.2, 7.0 and 8.2 (SERVERS="redis-6.2 ...")
	@for server in $(SERVERS); do \
	  if version=$$($(BIN)/python -m chaos.servers $$server); then \
	    echo "== $$server: $$version"; \
	    RELIQ_TEST_SERVER=$$server $(PYTEST) $(NO_SERVER) || exit 1; \
	  elif [ -n "$$CI" ]; then echo "$$server is missing" >&2; exit 1; \
	  else echo "SKIPPED $$server: not installed"; fi; \
	done

wheel: $(VENV)/.installed  ## build sdist and wheel into dist/
	@rm -rf dist
	@$(BIN)/python -m build -q --no-isolation --outdir dist .
	@ls dist

clean:  ## remove the virtual environment, caches and builds
	@rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "reliq needs Python 3.11 or newer; try make PYTHON=python3.12")'
	@echo "Installing reliq and its development tools into $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check -q -e '.[dev]'
	@touch $@
