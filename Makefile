# `make book` and `make test` need nothing but Python 3.11 or newer, git and make.

PYTHON ?= python3

# The programs of .venv come first, so that what a notebook or a test starts is this project's own.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

PIP := -m pip install --quiet --disable-pip-version-check

# One more than there are cores, since tests wait for programs and servers that they start.
WORKERS := $(shell getconf _NPROCESSORS_ONLN | awk '{ print ($$1 < 3 ? $$1 + 1 : 4) }')
PYTEST = OMP_NUM_THREADS=1 .venv/bin/python -m pytest --durations=25 -n $(WORKERS) --dist loadfile
LONG := clusters or kills or pages

.PHONY: help setup book pages test test-all test-rest check format lock study results benchmark clean

help:  ## show this list (what plain `make` does)
	@echo "minseg: make TARGET [PYTHON=python3.12]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-12s %s\n", $$1, $$2 }'

setup: .venv/.installed  ## create .venv with the exact packages of requirements.lock

book: setup  ## run the notebooks and build the book into book/_build/html
	.venv/bin/jupyter-book build book/ -W --keep-going

pages: book  ## open every built page in a browser without a window (Chromium, if it is there)
	.venv/bin/python -m pytest tests/test_book_pages.py

test: setup  ## run the tests of everything that the README promises
	$(PYTEST) -m "not ($(LONG))"

test-all: test test-rest  ## run all tests, those that take long too

test-rest: setup
	$(PYTEST) -m "$(LONG)"

check: setup  ## lint, formatting, types
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

format: setup  ## put code into the project's format
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

study: setup  ## train what the pages show (hours; MINSEG_PROCESSES=N at once), write results/synthetic.runs
	OMP_NUM_THREADS=1 .venv/bin/python -m results.train_study

results: setup  ## write results/study_synthetic.csv from the stored runs, and the tables made from it
	.venv/bin/python -m results.write_tables

benchmark: setup  ## run every script of benchmarks/
	@for script in benchmarks/*.py; do \
	  echo "== $$script"; .venv/bin/python "$$script" || exit 1; \
	done

# The stamp is written last: an interrupted installation is taken up again.
.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "minseg needs Python 3.11 or newer and '$(PYTHON)' is not; name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
	  exit 1; }
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || { rm -rf .venv && $(PYTHON) -m venv .venv; }
	@echo "Installing the packages of requirements.lock into .venv (several minutes, some GB)"
	@.venv/bin/python $(PIP) -r requirements.lock
	@.venv/bin/python $(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# Made with the oldest Python supported, so that newer ones find the same versions. Packages that
# PyPI offers for Linux only carry a marker, and local version labels (+cu132) are cut off.
lock:  ## resolve pyproject.toml anew and write requirements.lock
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python $(PIP) --upgrade setuptools --editable '.[dev,onnx,stac,weights]'
	echo '# Every package of the environment; written by `make lock`, installed by `make setup`.' > build/lock.txt
	build/lock/bin/python -m pip freeze --all --exclude-editable --exclude pip > build/freeze.txt
	sed -E -e 's/\+[A-Za-z0-9.]+$$//' -e 's/^((nvidia-|cuda-|triton).*)$$/\1; sys_platform == "linux"/' \
	  build/freeze.txt | LC_ALL=C sort -f >> build/lock.txt
	mv build/lock.txt requirements.lock
	rm -rf build/lock build/freeze.txt

clean:  ## remove the built book and the caches (.venv, data and runs stay)
	rm -rf book/_build build .pytest_cache .mypy_cache .ruff_cache
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
