# Every target works as the first command on a fresh machine with Python 3.11, Node.js and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTHON_PARTS := $(VENV)/.installed
NODE_PARTS := node_modules/.installed
MUTATED := $(VENV)/mutated
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet

# Debian keeps PostgreSQL's server programs off the PATH.
WITH_POSTGRES := PATH="$$PATH$$(printf ':%s' /usr/lib/postgresql/*/bin)"

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test soak fuzz fork check mutants bench bench-check devnet lock clean redis postgres systemd openssl

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile

setup: $(PYTHON_PARTS) $(NODE_PARTS) ## make .venv with .venv/bin/chimera, and the devnet's parts

demo: setup ## follow a real protocol on a local chain, and compare every account with it
	$(BIN)/python -m devnet.demo

test: setup redis postgres systemd openssl ## run every test
	$(WITH_POSTGRES) $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

soak: setup redis ## live through 2,000 blocks of random faults
	$(BIN)/python -m devnet.soak

fuzz: setup ## look for ten minutes for input that breaks a decoder
	CHIMERA_FUZZ_SECONDS=$${CHIMERA_FUZZ_SECONDS:-600} CHIMERA_FUZZ_SEED=$${CHIMERA_FUZZ_SEED:-$$(date +%s)} \
		$(BIN)/python -m pytest tests/fuzz

fork: ## run the fork tests on the chain behind CHIMERA_FORK_URL
	@test -n "$$CHIMERA_FORK_URL" || { \
		echo "make fork needs the URL of a node: CHIMERA_FORK_URL=https://... make fork" >&2; \
		exit 2; }
	@$(MAKE) --no-print-directory setup
	$(BIN)/python -m pytest tests/fork/test_forked.py -k endpoint

check: $(PYTHON_PARTS) ## run every static check
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_house.py

mutants: $(PYTHON_PARTS) ## break the arithmetic and the detection, and list what no test notices
	rm -rf $(MUTATED) && mkdir $(MUTATED)
	cp -R abis chimera config tests pyproject.toml $(MUTATED)
	cd $(MUTATED) && ../bin/mutmut run --max-children 1 && ../bin/mutmut results

bench: setup redis ## measure, side by side
	$(BIN)/python -m benchmarks

bench-check: $(PYTHON_PARTS) redis ## measure, and fail where a ratio is 1.5 times worse than it was stored
	$(BIN)/python -m benchmarks --check

devnet: setup ## run the local chain of config/devnet.toml until Ctrl-C
	$(BIN)/python -m devnet.stage

lock: $(PYTHON_PARTS) ## pin anew what pyproject.toml allows
	$(BIN)/pip install --quiet uv
	$(COMPILE) --upgrade --group dev pyproject.toml --output-file requirements-dev.lock
	$(COMPILE) --upgrade --constraint requirements-dev.lock pyproject.toml \
		--output-file requirements.lock

clean: ## remove everything that the targets made
	rm -rf $(VENV) node_modules build dist .coverage .devnet-cache .hypothesis config/devnet.db*
	rm -rf .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Chimera needs Python 3.11 or newer: install it, or name it: make PYTHON=..." >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/apt-install $(notdir $(PYTHON))-venv
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(PYTHON_PARTS): $(VENV)/.made requirements-dev.lock pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes \
		--requirement requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(NODE_PARTS): package.json package-lock.json
	@command -v npm >/dev/null || { \
		echo "The devnet needs Node.js and npm: install them (Debian: apt-get install npm)." >&2; \
		exit 1; }
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

redis:
	@command -v redis-server >/dev/null || .ci/apt-install redis-server

postgres:
	@$(WITH_POSTGRES) command -v initdb >/dev/null || .ci/apt-install postgresql

systemd:
	@command -v systemd-analyze >/dev/null || .ci/apt-install systemd

openssl:
	@command -v openssl >/dev/null || .ci/apt-install openssl
