# SPDX-License-Identifier: Apache-2.0
# Every target brings what it needs: a virtual environment in .venv, made and kept up to date by stamp files in it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# Real clients and databases that tests talk to: the Debian package, and a program that comes with it.
CLIENTS := docker.io:/usr/sbin/dockerd notary:/usr/bin/notary skopeo:/usr/bin/skopeo podman:/usr/bin/podman \
  buildah:/usr/bin/buildah umoci:/usr/bin/umoci docker-registry:/usr/bin/docker-registry postgresql:/usr/lib/postgresql/*/bin/postgres \
  mariadb-server:/usr/sbin/mariadbd softhsm2:/usr/bin/softhsm2-util nginx:/usr/sbin/nginx wrk:/usr/bin/wrk hey:/usr/bin/hey

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: up
up: $(VENV)/.services ## Run signer, notary server and registry until Ctrl-C, with their state in ./var
	@exec $(BIN)/troth up

.PHONY: test
test: $(VENV)/.test clients ## Run all tests, a file a process; ARGS="-k name" chooses some
	@# Bytecode is kept, whatever the caller's environment says: hundreds of programs of ours are started.
	@PYTHONDONTWRITEBYTECODE= exec $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.test ## Fuzz the parsers for an hour; SECONDS_EACH=60 is shorter
	@for target in metadata multipart; do \
	  $(BIN)/python tests/fuzz/fuzz_$$target.py $(or $(SECONDS_EACH),1800); \
	done

.PHONY: bench
bench: $(VENV)/.test clients ## Measure beside the Go peers, and write docs/reference/benchmarks.md; an hour
	@exec $(BIN)/python tests/bench/run.py $(ARGS)

.PHONY: lint
lint: $(VENV)/.lint ## Check style, format and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy --num-workers=auto

.PHONY: fix
fix: $(VENV)/.lint ## Mend what style and format checks can mend
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

.PHONY: clean
clean: ## Remove the virtual environment and caches; the state in ./var stays
	@rm -rf $(VENV) dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -path ./var -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# Without root the tests still run; they say at their end what they left out, and in CI they fail.
.PHONY: clients
clients:
	@missing=; \
	for client in $(CLIENTS); do compgen -G "$${client#*:}" >/dev/null || missing+=" $${client%%:*}"; done; \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing the Debian packages$$missing …"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  { apt-get -qq update && apt-get -qq install --yes --no-install-recommends $$missing; } >/dev/null \
	    || echo "They could not be installed."; \
	else \
	  echo "For the tests with real clients, install the Debian packages$$missing (and run as root)."; \
	fi

# The first Python that is new enough and really runs: a name may be a version manager's shim for nothing.
# Debian's Python may come without ensurepip; then its own pip puts one into the environment.
# Stock pip lacks --group: newer than what Python 3.11 brings is needed.
$(VENV)/.pip:
	@for python in python3.11 python3 ""; do \
	  [ -z "$$python" ] || ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || break; \
	done; \
	[ -n "$$python" ] || { echo "Python 3.11 or later is needed: python3.11 or python3 must be it" >&2; exit 1; }; \
	echo "Making a virtual environment in $(VENV) …"; \
	rm -rf $(VENV); \
	if "$$python" -c 'import ensurepip' 2>/dev/null; then "$$python" -m venv $(VENV); \
	else "$$python" -m venv --without-pip $(VENV); "$$python" -m pip --quiet --python $(BIN)/python install pip; fi
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.services: $(VENV)/.pip pyproject.toml
	@echo "Installing troth and what its services need …"
	@$(PIP) install --editable '.[services]'
	@touch $@

$(VENV)/.test: $(VENV)/.services
	@echo "Installing what the tests need …"
	@$(PIP) install --group test --group fuzz
	@touch $@

$(VENV)/.lint: $(VENV)/.services
	@echo "Installing what the checks need …"
	@$(PIP) install --group dev
	@touch $@
