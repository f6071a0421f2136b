# Two commands: make demo, make test. Everything they install goes to .venv/ here.
PYTHON ?= python3
SECONDS ?=
BIN := .venv/bin
export PIP_NO_CACHE_DIR := 1
export UV_NO_CACHE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo test lint unit soak bench docs lock clean

setup: .venv/ready

.venv/ready: requirements.lock requirements-setup.lock pyproject.toml
	@echo "Setting up .venv (once; about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "deepmoat needs Python 3.11 or newer: make PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --require-hashes -r requirements-setup.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock \
		|| $(BIN)/pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --no-index -e .
	@touch $@

demo: setup  ## the whole path on loopback: traffic, attack, alert, block; SECONDS=60 ends by itself
	@$(BIN)/deepmoat demo $(if $(SECONDS),--seconds $(SECONDS))

test: setup lint unit  ## everything that must hold

lint: setup
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy

unit: setup
	$(BIN)/pytest -q -ra

soak: setup  ## long runs: more kills, more random input
	HYPOTHESIS_PROFILE=soak $(BIN)/pytest -q -ra

bench: setup  ## us beside the program a user would pick; prints ratios
	$(BIN)/python bench/ingest.py
	$(BIN)/python bench/edge.py
	$(BIN)/python bench/scan.py

docs: setup  ## rewrite the generated reference
	$(BIN)/deepmoat reference docs/reference
	$(BIN)/python -m deepmoat.detect.describe > docs/detectors.md

lock: setup  ## pin again from pyproject.toml
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --extra dev pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header requirements-setup.in -o requirements-setup.lock

clean:
	rm -rf .venv build
