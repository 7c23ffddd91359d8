# Each target builds its prerequisites. PYTHON, VENV and WORKERS may be overridden.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
FAST := "not slow and not gpu and not network"
# What every model is made of: no servers, browsers or training runs.
CORE := tests/adapters tests/lm tests/nn tests/test_config.py tests/test_patterns.py

.PHONY: setup run static check test studio bench bench-docs clean

run: $(VENV)/.installed ## ten seconds of music into out/first.wav
	@mkdir -p out
	$(BIN)/descant generate "warm slow piano ballad" --duration 10 --seed 7 --output out/first.wav

setup: $(VENV)/.developer ## everything needed for development

static: $(VENV)/.developer ## format, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: static ## before each commit: static, and the tests of what every model is made of
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal -m $(FAST) $(CORE)

test: static ## everything that CI runs
	@# numba compiles librosa here: two workers that write its cache at the same time may crash (numba #10128).
	$(BIN)/python -c 'from descant.audio.analysis import import_librosa; import_librosa("beat", "decompose", "onset")'
	@# One thread per worker, since the workers already run in parallel.
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal -m $(FAST)

studio: ## the page of `descant serve`, from studio/ into the package; needs Node 20.19 or newer
	cd studio && npm ci --no-audit --no-fund && npm run types && npm run check && npm run build

bench: $(VENV)/.developer ## speed on this machine, appended to benchmarks/results.jsonl
	$(BIN)/python benchmarks/run.py

bench-docs: $(VENV)/.developer ## the tables and plots of speed, from benchmarks/results.jsonl
	$(BIN)/python benchmarks/plots.py
	$(BIN)/python benchmarks/table.py

clean: ## remove what the other targets created
	rm -rf $(VENV) out

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.developer: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@# The dependencies of musicnn and basic-pitch can no longer be installed, and only their weights are read.
	@# tinysoundfont depends on a library for audio playback, which the tests do not need.
	$(BIN)/pip install --quiet --no-deps musicnn==0.1.0 basic-pitch==0.4.0 tinysoundfont==0.3.7
	@touch $@
