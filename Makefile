# The same commands for a newcomer, for every day and for CI. Each builds .venv first where there is none.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
BENCHMARKS := network statistics explanation reports input duplicates training recipes scoring slides scale
INSTALLED := $(VENV)/.installed

.PHONY: install demo test test-fast check format bench clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("msht needs Python 3.11 or newer; name one with PYTHON=") if sys.version_info < (3, 11) else 0'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/msht demo --out demo

# Three processes on two cores: a quarter of the suite waits for servers, kills and other processes.
test: install
	$(BIN)/pytest --numprocesses 3 --dist worksteal

test-fast: install
	$(BIN)/pytest -m 'not slow' --numprocesses 2

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install
	set -e; for benchmark in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$benchmark; done

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
