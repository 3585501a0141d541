# make demo: train R1-Zero from the embedded base model. make test: pass the tests. Both set up .venv first.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
AHA := $(VENV)/bin/aha

.PHONY: install demo test test-slow lint clean

install: $(VENV)/.installed

# PyTorch comes first and pinned: left to itself, pip takes the newest build with gigabytes of CUDA libraries.
# TORCH= names another build; one that is already in the environment is kept.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "aha needs Python 3.11 or newer; set PYTHON=" && false)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -c 'import torch' 2>/dev/null || $(VENV)/bin/pip install --quiet --disable-pip-version-check '$(TORCH)'
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: install
	$(AHA) run demo --out runs/demo

test: install
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy
	$(VENV)/bin/pytest

test-slow: install
	$(VENV)/bin/pytest -m slow

lint: install
	$(VENV)/bin/ruff check --fix

clean:
	rm -rf $(VENV) build src/*.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
