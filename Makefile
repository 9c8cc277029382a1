# The commands that people type, `make help` lists them. Each sets up what it needs: Python 3.11+, git and make are enough.
.PHONY: help setup repro answer study recommend experiment ui sync why gc readme verify test test-slow test-faults check
.DEFAULT_GOAL := repro
export SHELL  # make's own, /bin/sh: DVC runs the stages with it

# Many containers set it. What pip leaves to Python would then be compiled at every start of a process.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
# Where pip takes torch from, if not from its usual place, whose build for Linux brings CUDA.
TORCH_INDEX ?=
PORT ?= 5000
SIZE ?= 32
MINUTES ?= 30
BIN := .venv/bin
READY := .venv/.ready
# A .venv that was copied, moved or linked here has the programs and the sources of its first place.
OWN := grep -qsF "$(CURDIR)/.venv/bin" $(BIN)/pip
SOURCES := grep -qsxF "$(CURDIR)/src" .venv/lib/python*/site-packages/__editable__.vae_likelihoods-*.pth
# Python compiles what is used when it is used: an installation took 71 s, and takes 56.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
VL := $(BIN)/vae-likelihoods

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## .venv with the packages of constraints.txt; [PYTHON=python3.12] [TORCH_INDEX=where a torch without CUDA is, see README]

ifneq ($(shell $(OWN) && $(SOURCES) && echo own),own)
  .PHONY: $(READY)
endif
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(OWN) || { rm -rf .venv && $(PYTHON) -m venv .venv; }
	$(if $(TORCH_INDEX),$(PIP) --no-deps --index-url "$(TORCH_INDEX)" torch)
	$(PIP) -e '.[dev]'
	touch $@

repro: setup ## the default studies: data, training, evaluation, report
	$(BIN)/dvc repro
	@echo "The answer: reports/index.html    The runs: make ui"

# Here and not in the recipe, which comes after the set-up.
ifeq ($(filter answer,$(MAKECMDGOALS))$(strip $(IMAGES)),answer)
  $(error Say which images: make answer IMAGES=/path/to/photos)
endif
answer: setup ## which likelihood your images want: IMAGES=/path/to/photos [SIZE=32] [MINUTES=30] [ARGS="--seed 1"]
	@$(VL) answer "$(IMAGES)" --size $(SIZE) --minutes $(MINUTES) $(ARGS)

study: setup ## an optional study of params.yaml, and what it needs: STUDY=likelihoods
	@$(VL) study "$(STUDY)"
	@echo "The answer: reports/$(STUDY)/index.html    The runs: make ui"

recommend: setup ## what an evaluated study recommends, how sure, at what cost: STUDY=grey
	@$(VL) recommend --study "$(STUDY)"

experiment: setup ## a published protocol, ours beside the paper's: NAME=iwae [OVERRIDES="seed=0 training.epochs=2"]
	@$(VL) experiment "$(NAME)" $(OVERRIDES)

ui: setup ## MLflow on 127.0.0.1, with the address of each study's view: [PORT=5001]
	@PYTHONWARNINGS=ignore $(VL) ui --port $(PORT)

sync: setup ## MLflow, brought up to date from the files
	@$(VL) sync

why: setup ## why a result is not taken from the store: A=grey/gaussian-8-0 [B=3f2a90] [EVALUATION=yes]
	@$(VL) why $(if $(EVALUATION),--evaluation) "$(A)" $(if $(B),"$(B)")

gc: setup ## what lies in the store and nothing uses: [DROP=yes] removes it, [DAYS=30] only what is older
	@$(VL) gc $(if $(filter yes,$(DROP)),--drop) $(if $(DAYS),--older-than "$(DAYS)")

readme: setup ## the results section of README.md, from reports/
	$(BIN)/python pipelines/report.py --readme README.md

verify: setup ## the default studies of the last commit computed again and compared: [STUDY=digits] that one instead
	@$(VL) verify $(foreach study,$(STUDY),--study $(study))

test: setup ## the quick tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: setup ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

# pip installs what it can; a test that needs a Debian package or a right that is not there fails, and says which.
# Two files at a time: many tests wait.
test-faults: setup ## real servers, schedulers and processes that die: half an hour
	$(PIP) -e '.[dev,s3,faults,slurm,ray,postgres]'
	$(BIN)/python -m pytest -m faults -n 2 --dist loadfile

check: setup ## format, lint, types and spelling of everything, as pre-commit checks what a commit changes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	git ls-files -z | xargs -0 $(BIN)/codespell
