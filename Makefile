# make run [ARGS="data=debug epochs=2"], make test, make test-fast, make test-all, make lint, make bench, make install
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
PYTEST_ARGS ?= -n 2 --dist worksteal

.PHONY: run test test-fast test-all lint bench docs-pictures format install clean
run: install
	$(BIN)/python -m vae_exp $(ARGS)

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS) -m "not exhaustive"

test-all: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

test-fast: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS) -m "not slow and not exhaustive"

bench: install
	$(BIN)/python -m benchmarks $(ARGS)

docs-pictures: install
	$(BIN)/python -m benchmarks pictures tour $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: .venv/installed

.venv/installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --constraint constraints.txt torch
	$(BIN)/python -m pip install --constraint constraints.txt --editable . --group dev
	touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache
