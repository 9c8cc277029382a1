# The few commands that people type. Each sets up what it needs: Python 3.11+, git and make are enough.
.PHONY: repro study recommend experiment test test-slow test-faults setup ui sync why gc readme verify check
.DEFAULT_GOAL := repro

PYTHON ?= python3
PORT ?= 5000
BIN := .venv/bin
READY := .venv/.ready

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# The default studies: data, sweeps, evaluation, report.
repro: setup
	$(BIN)/dvc repro
	@echo "The answer: reports/index.html    The runs: make ui"

# One of the optional studies of params.yaml, and what it needs: make study STUDY=likelihoods
study: setup
	@$(BIN)/python pipelines/study.py "$(STUDY)"
	@echo "The answer: reports/$(STUDY)/index.html    The runs: make ui"

# A published protocol, ours beside the paper's: make experiment NAME=iwae [OVERRIDES="seed=0 training.epochs=2"]
experiment: setup
	@$(BIN)/python pipelines/experiment.py "$(NAME)" $(OVERRIDES)

# What an evaluated study recommends, how sure, at what cost: make recommend STUDY=grey
recommend: setup
	@$(BIN)/python pipelines/recommend.py --study "$(STUDY)"

test: setup
	$(BIN)/python -m pytest -n 2

test-slow: setup
	$(BIN)/python -m pytest -m slow

# Real servers, schedulers and processes that die: half an hour at most. pip installs what it can; a test that
# needs a Debian package or a right that is not there fails, and says which. Two files at a time: many tests wait.
test-faults: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,s3,faults,slurm,ray,postgres]'
	$(BIN)/python -m pytest -m faults -n 2 --dist loadfile

# MLflow on 127.0.0.1, with the address of each study's view.
ui: setup
	@PYTHONWARNINGS=ignore $(BIN)/python pipelines/ui.py --port $(PORT)

# Bring MLflow up to date from the files.
sync: setup
	$(BIN)/python pipelines/sync.py

# Why a cell is not taken from the store, or what differs between two keys: make why A=grey/gaussian-8-0 [B=3f2a90]
why: setup
	@$(BIN)/python pipelines/why.py $(if $(EVALUATION),--evaluation) "$(A)" $(if $(B),"$(B)")

# What lies in the store and nothing uses; drop it: make gc DROP=yes, or only what is older: DAYS=30
gc: setup
	@$(BIN)/python pipelines/gc.py $(if $(filter yes,$(DROP)),--drop) $(if $(DAYS),--older-than "$(DAYS)")

# The results table of README.md, from reports/.
readme: setup
	$(BIN)/python pipelines/report.py --readme README.md

# Compute the default studies of the last commit again, from nothing in a clean clone, and compare;
# or an optional one: make verify STUDY=digits
verify: setup
	@$(BIN)/python pipelines/verify.py $(foreach study,$(STUDY),--study $(study))

# What pre-commit runs, over everything.
check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
