# The environment is .venv in this directory; nothing else is touched, except that `make test` may install
# the servers its tests talk to from the system's packages (tests/support/install-servers says which).

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

# The first Python on the PATH that is new enough; `make PYTHON=/path/to/python3 install` names another.
PYTHON = $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$python && break; done)
ENVIRONMENT = test -n "$(PYTHON)" || { echo "marginwatch needs Python 3.11 or newer: install it (Debian, Ubuntu: apt-get install python3 python3-venv), or run make PYTHON=/path/to/it" >&2; exit 1; }; \
	"$(PYTHON)" deploy/environment.py

# Tests at once: most of them wait for servers, so twice as many as two cores have turns for.
WORKERS ?= 4

.DEFAULT_GOAL := help
.PHONY: help install demo test soak bench pictures lint format types lock servers clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP)  ## make the environment in .venv and install marginwatch into it

$(STAMP): pyproject.toml constraints.txt
	@$(ENVIRONMENT) install $(VENV)

$(DEV_STAMP): pyproject.toml constraints.txt
	@$(ENVIRONMENT) install --dev $(VENV)

demo: $(STAMP)  ## run the daemon against a simulated exchange, about a minute
	@$(BIN)/marginwatch demo

test: $(DEV_STAMP) servers  ## run every test, those against real servers included
	@$(BIN)/python -m pytest -m "not soak" -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

soak: $(DEV_STAMP) servers  ## run the long fault rounds
	@$(BIN)/python -m pytest -m soak --timeout=3600 $(PYTEST_ARGS)

bench: $(DEV_STAMP)  ## measure the hot path, ccxt's handler beside it
	@$(BIN)/python -m tests.bench

pictures: $(DEV_STAMP) servers  ## take all pictures of docs/ anew, from the demo
	@$(BIN)/python -m tests.pictures

lint: $(DEV_STAMP)  ## check style
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

format: $(DEV_STAMP)  ## put the code into shape
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

types: $(DEV_STAMP)  ## check types
	@$(BIN)/mypy

lock:  ## write constraints.txt anew from pyproject.toml
	@$(ENVIRONMENT) lock

servers:
	@tests/support/install-servers

clean:  ## remove the environment and every cache
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
