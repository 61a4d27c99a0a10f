# Every target sets up what it needs in .venv, so that any one of them can be the first command in a fresh clone.
#   make demo    linear probe, one adapter and CUFIT on drawn blood cells with 40 % wrong labels
#   make lab     the lessons in JupyterLab
#   make docs    the site, in _docs/; fails on any warning
#   make test    exported code in sync, notebooks clean, notebook tests, pytest; the site and the lessons in Chromium, where there is one
#   make colab   the lessons on the versions that Colab ships, 6 GB (COLAB_PYTHON=/path/to/python3.13)
#   make results run the notebooks again and keep their outputs (NB="nbs/lessons/2_noise.ipynb" for some of them)
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
COLAB_PYTHON ?= python3.13
BIN := .venv/bin
NB ?=

.PHONY: demo test colab lab docs results readme constraints

demo: .venv/ready
	$(BIN)/cufit demo --open

test: .venv/ready-docs
	$(BIN)/python tools/check.py
	CUFIT_SCALE=quick timeout 2400 $(BIN)/nbdev_test --n_workers 2 --do_print
	$(BIN)/python -m pytest -q -rs tests

colab: .venv/ready-dev
	@$(COLAB_PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' || { echo "Colab has Python 3.13, and $(COLAB_PYTHON) is none. Name one: make COLAB_PYTHON=/path/to/python3.13 colab"; exit 1; }
	$(BIN)/uv venv --quiet --clear --python $(COLAB_PYTHON) .venv/colab
	$(BIN)/uv pip install --quiet --python .venv/colab/bin/python --constraint tests/colab.txt --editable .
	CUFIT_COLAB=$(CURDIR)/.venv/colab/bin/python $(BIN)/python -m pytest -q -rs tests/test_colab.py

lab: .venv/ready-dev
	$(BIN)/jupyter lab nbs

docs: .venv/ready-docs
	$(BIN)/python tools/make_site.py
	@echo "Open _docs/index.html"

results: .venv/ready-dev
	$(BIN)/python tools/run_notebooks.py $(NB)

readme: .venv/ready-dev
	$(BIN)/python tools/readme.py

constraints: .venv/ready
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --extra docs --no-annotate --no-header --upgrade --refresh-package cufit setup.py -o constraints.txt

.venv/ready: settings.ini setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 found. Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable .
	touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[dev]"
	touch $@

.venv/ready-docs: .venv/ready-dev
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[dev,docs]"
	touch $@
