# Everything runs in a virtual environment at .venv, made on first use from exact versions (requirements.lock).
# Needs Python 3.11 or later, git and make; another interpreter: make PYTHON=/path/to/python demo

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell command -v python3.11 || command -v python3)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable

.PHONY: help demo test docs lint types lock protos

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

demo: $(VENV)/.stamp-base ## tune the example program: 50 evaluations, measured on this CPU
	$(BIN)/autotune search examples/transformer_block.hlo --budget 50

test: $(VENV)/.stamp-dev ## run the whole test suite
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

docs: $(VENV)/.stamp-docs ## build the documentation: site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: $(VENV)/.stamp-dev ## check style and formatting (ruff)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.stamp-dev ## check types (mypy --strict)
	$(BIN)/mypy

protos: $(VENV)/.stamp-dev ## regenerate protos/*_pb2.py, *_pb2_grpc.py and their stubs
	$(BIN)/python -m protos.generate

lock: $(VENV)/.stamp-venv ## resolve every dependency anew and write requirements.lock
	$(BIN)/python .ci/lock.py requirements.lock

# A stamp stands for "installed": a second run installs nothing until the requirements change.
$(VENV)/.stamp-venv:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or later is needed, but '$(PYTHON)' is not one (found: $$("$(PYTHON)" --version 2>&1 || true))." >&2; \
	  echo "Install it, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' comes without venv; on Debian and Ubuntu: apt install python3-venv (or python3.11-venv)." >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/.stamp-base: $(VENV)/.stamp-venv pyproject.toml requirements.lock
	@echo "Installing xla-autotune into $(VENV) (a minute or two, once)"
	@$(INSTALL) .
	@touch $@

$(VENV)/.stamp-docs: $(VENV)/.stamp-venv pyproject.toml requirements.lock
	@echo "Installing xla-autotune with what builds its documentation into $(VENV) (a minute or two, once)"
	@$(INSTALL) '.[docs]'
	@touch $(VENV)/.stamp-base $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-venv pyproject.toml requirements.lock
	@echo "Installing xla-autotune with the tools for developers into $(VENV) (some minutes, once)"
	@$(INSTALL) '.[cluster,dev,docs,remote,report,tensorflow,tpu,train]'
	@touch $(VENV)/.stamp-base $(VENV)/.stamp-docs $@
