# make demo: register two brains.  make test: check everything.  Nothing needs to be installed first.
VENV ?= .venv
BIN = $(VENV)/bin
# The first of these that exists and runs; override with make PYTHON=...
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)

# One process more than there are cores, for tests that wait for processes of their own.
JOBS ?= $(shell $(BIN)/python -c 'import os; print(min(4, os.cpu_count() + 1))')
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder

# The versions that the tests last passed with, where they are known for this Python and machine.
PLATFORM = $(shell $(PYTHON) -c 'import sys, sysconfig; print(*sys.version_info[:2], sep=".", end="-"); print(sysconfig.get_platform())')
LOCK = .ci/lock-$(PLATFORM).txt

.PHONY: demo test check lint docs coverage bench fuzz lock audit clean

demo: $(VENV)/.demo
	$(BIN)/bilevelmorph demo --out demo-output

# Everything; the continuous integration runs this.
test: lint
	$(PYTEST)

# The fast half, for the hand.
check: lint
	$(PYTEST) -m "not slow"

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

coverage: $(VENV)/.test
	$(PYTEST) --cov=bilevelmorph --cov-report=term:skip-covered

bench: $(VENV)/.test
	$(BIN)/python benchmarks/layers.py

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 found; give make PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python setup.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/.test: $(VENV)/bin/python setup.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo,test]' $(if $(wildcard $(LOCK)),-c $(LOCK))
	@touch $@ $(VENV)/.demo

# Ten minutes of damaged files for every reader.
fuzz: $(VENV)/.test
	$(BIN)/python tests/fuzzing.py --minutes 10 --out fuzz-output

# Takes the versions of this environment as those of the tests.
lock: $(VENV)/.test
	$(BIN)/python -m pip freeze --exclude-editable > $(LOCK)

# Compares them with known flaws, which takes the internet; packages of which nothing is known fail too.
audit: $(VENV)/audit/bin/pip-audit
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip -r $(LOCK)

$(VENV)/audit/bin/pip-audit: $(VENV)/bin/python
	$(BIN)/python -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit

clean:
	rm -rf $(VENV) demo-output fuzz-output site
