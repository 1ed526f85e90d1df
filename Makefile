# Two commands matter: `make book` and `make test`. Each makes its own environment first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help book pdf test test-slow lint lab serve readme clean

PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Parallelism comes from processes (xdist, one kernel a notebook), never from threads inside them.
export OMP_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1
export MKL_NUM_THREADS = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

book: $(READY)  ## build the book and print the path of its first page
	@$(BIN)/python book/build.py

pdf: $(READY)  ## make the book one PDF (needs Chromium or Chrome) and print its path
	@$(BIN)/python book/pdf.py

test: $(READY) lint  ## lint, then run every test, the notebooks and the book included
	@$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

test-slow: $(READY)  ## run every chapter at other parameters too
	@$(BIN)/python -m pytest -n auto --dist worksteal -m slow tests

lint: $(READY)  ## check the style and the types of the code
	@$(BIN)/ruff check .
	@$(BIN)/mypy

lab: $(READY)  ## open the notebooks in JupyterLab
	@$(BIN)/jupytext-config --settings-file $(VENV)/share/jupyter/lab/settings/overrides.json set-default-viewer python
	@$(BIN)/jupyter lab notebooks

serve: book  ## serve the book at http://127.0.0.1:8000 (PORT=... for another port)
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory book/_build/html

readme: $(READY)  ## write the README's table and picture anew from the records
	@$(BIN)/python book/readme.py

clean:  ## remove what was built; the environment stays
	rm -rf book/_build book/_static/vendor build .pytest_cache .ruff_cache .mypy_cache .hypothesis

# The stamp is younger than the lock and the project file exactly when the environment fits them.
$(READY): requirements.lock pyproject.toml
	@test -x $(BIN)/python || { \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or later is needed; say which with: make PYTHON=python3.12 ..." >&2; exit 1; }; \
	  $(PYTHON) -m venv $(VENV); }
	@echo "installing requirements.lock into $(VENV) (a minute or two, once)"
	@$(BIN)/python -m pip install --quiet -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
