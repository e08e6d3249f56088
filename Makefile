# Toban's verbs. Nothing but Python 3.11+ (with venv), git and make is presupposed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
SHELL := /bin/bash

.PHONY: setup demo test test-all check bench bench-anomaly kill-test chaos-test docs format browser

setup: $(STAMP) ## Only the set-up; afterwards .venv/bin/toban runs.

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Say: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "The venv module is missing; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Installing the locked packages into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## The whole story in a pretend world; FRESH=1 forgets the last one, LOCALE=ja speaks Japanese.
	@exec $(BIN)/toban demo $(if $(FRESH),--fresh) $(if $(PORT),--port $(PORT)) $(if $(LOCALE),--locale $(LOCALE))

# What waits for seconds of the real world (Slack's three, a lease, a browser) may miss them on a machine that
# is busy: such a test is tried again, and named at the end.
TESTS := --numprocesses logical --maxprocesses 4 --dist worksteal --reruns 2 -rR

test: $(STAMP) browser ## Every test, on SQLite and PostgreSQL, in a browser where there is one.
	@$(BIN)/python -m pytest $(TESTS)

test-all: $(STAMP) browser ## The same with every crash point and every damage, not a sample of them: each night.
	@TOBAN_TEST_ALL=1 $(BIN)/python -m pytest $(TESTS)

check: $(STAMP) ## Format, lint, types, import contracts.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/lint-imports --no-cache
	@$(BIN)/toban check --policy toban.example.yaml > /dev/null

bench: $(STAMP) ## Prints what it measures and writes it to bench/results/.
	@PYTHONPATH=. $(BIN)/python -m bench $(BENCH)

bench-anomaly: $(STAMP) ## The detector on labelled series, servers and generated services, beside simpler ones.
	@PYTHONPATH=. $(BIN)/python -m bench.anomaly $(BENCH)

kill-test: $(STAMP) ## 200 kills with -9 on each database: nothing lost, nothing doubled.
	@PYTHONPATH=. $(BIN)/python -m bench.kill $(KILL)

chaos-test: $(STAMP) ## Three replicas on PostgreSQL, stopped, cut off and killed in turn, then restarted under load.
	@PYTHONPATH=. $(BIN)/python -m bench.replicas $(CHAOS)

docs: $(STAMP) ## Write the generated parts of the documentation anew.
	@$(BIN)/python -m bot.authorities

format: $(STAMP) ## Rewrite the files as `make check` wants them.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

browser: ## Debian's Chromium for the browser tests, where we may install it.
	@if ! command -v chromium chromium-browser google-chrome >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1 && [ "$$(id -u)" = 0 ]; then \
		echo "Installing chromium for the browser tests …"; \
		(apt-get -o DPkg::Lock::Timeout=500 update -qq && \
		 DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=500 install -y -qq chromium chromium-driver fonts-noto-cjk) >/dev/null 2>&1 \
		|| echo "chromium could not be installed; the browser tests will skip"; \
	fi
