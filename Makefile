# Every target sets up what it needs in .venv, so that any one of them can be the first command in a fresh clone.
#   make demo    linear probe, one adapter and CUFIT on drawn blood cells with 40 % wrong labels
#   make lab     the lessons in JupyterLab
#   make docs    the site, in _docs/; fails on any warning
#   make test    in sync, clean, the notebooks, the tests; the site, a lesson and the widgets in Chromium, where there is one
#   make test-all  that, and the rest: slow tests, every page and every lesson in a browser, Colab's versions (make test-rest: these alone)
#   make colab   the lessons on the versions that Colab ships, 6 GB (COLAB_PYTHON=/path/to/python3.13)
#   make results run the notebooks again and keep their outputs (NB="nbs/lessons/2_noise.ipynb" for some of them)
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
COLAB_PYTHON ?= python3.13
BIN := .venv/bin
NB ?=

.PHONY: demo test test-rest test-all colab lab docs results readme constraints

demo: .venv/ready
	$(BIN)/cufit demo --open

test: .venv/ready-docs
	$(BIN)/python tools/run_tests.py

test-rest: .venv/ready-peers
	$(BIN)/python tools/run_tests.py --rest

test-all: test test-rest

colab: .venv/ready-dev
	@$(COLAB_PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' || { echo "Colab has Python 3.13, and $(COLAB_PYTHON) is none. Name one: make COLAB_PYTHON=/path/to/python3.13 colab"; exit 1; }
	$(BIN)/uv venv --quiet --clear --python $(COLAB_PYTHON) .venv/colab
	$(BIN)/uv pip install --quiet --python .venv/colab/bin/python --constraint tests/colab.txt --editable .
	CUFIT_COLAB=$(CURDIR)/.venv/colab/bin/python $(BIN)/python -m pytest -q -rs tests/test_colab.py

lab: .venv/ready-dev
	$(BIN)/jupyter lab nbs/lessons/0_start_here.ipynb

docs: .venv/ready-docs
	$(BIN)/python tools/make_site.py
	@echo "Open _docs/index.html"

results: .venv/ready-dev
	$(BIN)/python tools/run_notebooks.py $(NB)

readme: .venv/ready-dev
	$(BIN)/python tools/readme.py

constraints: .venv/ready
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --extra docs --extra peers --no-annotate --no-header --upgrade --refresh-package cufit setup.py -o constraints.txt

# Compiled once here, not at the first import of each process that may not write: half a minute for ten seconds of every start.
.venv/ready: settings.ini setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 found. Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable .
	touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable ".[dev]"
	touch $@

.venv/ready-docs: .venv/ready-dev
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable ".[dev,docs]"
	touch $@

# What slow tests hold our own against, 150 MB.
.venv/ready-peers: .venv/ready-docs
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[dev,docs,peers]"
	touch $@
