# Two commands: `make demo` shows the appliance at work, `make test` proves it.
# Everything is installed into .venv of this folder; apt packages only for the tests.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet
SUDO   := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# pytest workers; each carries whole servers, so more than the cores does not help.
JOBS   ?= 2

.PHONY: help demo test check lint unit wheelhouse sbom clean
.DEFAULT_GOAL := help

help: ## this text
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.edge ## the digital twin, the daemon and a corroding NaOH line (KEEP=1 goes on)
	$(BIN)/ncm-edge demo $(if $(KEEP),--keep)

test: $(VENV)/.apt $(VENV)/.test $(VENV)/.hmi lint unit ## install what the tests need, then run all of them

lint: $(VENV)/.test ## ruff, mypy --strict on edge, import contracts
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.test ## pytest only
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) $(ARGS)

check: $(VENV)/.edge ## validate firmware_config/
	$(BIN)/ncm-edge check

# EXTRAS=gpu, EXTRAS=cpu,uvloop ...: what the appliance is to have (pyproject.toml).
EXTRAS ?= cpu

wheelhouse: $(VENV)/.edge ## dist/*.tar.gz: installs on a PC without a network (EXTRAS=cpu)
	$(BIN)/python -m export.deliver.wheelhouse --extras $(EXTRAS) --out dist

sbom: $(VENV)/.edge ## dist/sbom.cdx.json: software bill of materials, CycloneDX
	$(BIN)/python -m export.deliver.wheelhouse --sbom dist/sbom.cdx.json

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) tests/hmi/node_modules build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "ncm-edge needs Python 3.11 or newer; '$(PYTHON)' is not. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' \
	  || { echo "Python's venv module is missing. On Debian: apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.edge: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e '.[cpu]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e '.[cpu,export,benchmark,page,test]'
	@touch $@ $(VENV)/.edge

# systemd-analyze verifies the unit; a machine without apt keeps the tests, which then skip with a reason.
$(VENV)/.apt: tests/apt-packages.txt | $(VENV)/bin/python
	@if dpkg -s $$(cat $<) >/dev/null 2>&1; then :; \
	elif command -v apt-get >/dev/null; then \
	  $(SUDO) apt-get update -qq && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $$(cat $<) >/dev/null; \
	else echo "apt-get not found; tests that need $$(cat $< | tr '\n' ' ') will skip"; fi
	@touch $@

# A real HMI for the tests: Node-RED and its dashboard from npm. Where npm or its registry is missing
# the tests that need it skip with a reason, and the next run tries again.
$(VENV)/.hmi: tests/hmi/package.json tests/hmi/package-lock.json | $(VENV)/bin/python
	@command -v npm >/dev/null || ! command -v apt-get >/dev/null || \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null 2>&1 || true
	@if ! command -v npm >/dev/null; then echo "npm not found; the tests of a real HMI (tests/hmi) will skip"; \
	elif (cd tests/hmi && npm ci --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error); then touch $@; \
	else echo "npm could not install tests/hmi/package.json; the tests of a real HMI will skip"; fi
