# Everything here needs only make and Python 3.12 or newer; the tools come from requirements.lock.
# Written for GNU make 3.81, which macOS ships.

VENV := .venv
PYTHON := $(VENV)/bin/python
# Touched when the environment holds what requirements.lock says.
STAMP := $(VENV)/.installed
PACKAGES := launcher oauth proxy vault

# Several processes, see tests/conftest.py; `make test AT_ONCE=` runs one test after the other.
AT_ONCE := -n auto --dist worksteal

# What starts few processes and waits for little.
QUICK := tests/test_architecture.py tests/test_docs.py tests/test_advisories.py tests/oauth tests/proxy \
	tests/vault tests/standin tests/launcher/setup tests/launcher/text tests/isolation/test_plan.py \
	tests/isolation/test_mountinfo.py tests/isolation/test_names.py tests/isolation/test_survey.py \
	--deselect tests/vault/test_many.py --deselect tests/vault/test_flips.py \
	--deselect tests/oauth/test_keeper_processes.py

# Without bytecode the imports of one start cost three times as much.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo check test slow hostile heavy load lint browser docs house trace lock audit-lock clean

help:
	@echo "make demo      log in to a stand-in Discord, run an agent, show what each side saw"
	@echo "make setup     install everything into $(VENV) (the other targets do this by themselves)"
	@echo "make check     run what takes less than a minute: style, types, and the tests that start nothing"
	@echo "make test      run the tests"
	@echo "make slow      run the tests that would make 'make test' slow"
	@echo "make hostile   let a hostile program attack real runs, and list what each protection keeps away"
	@echo "make heavy     run what takes minutes: kills in the middle of things, load, fuzz"
	@echo "make load      ten minutes of requests over many token lifetimes"
	@echo "make browser   run the tests that drive a real Chromium"
	@echo "make lint      check style and types"
	@echo "make docs      write the command reference into docs/commands.md"
	@echo "make trace     make one request, and list the files that it goes through"
	@echo "make house     draw who imports whom, and measure files and functions"
	@echo "make lock      pin the dependencies anew (LOCK_FLAGS=--upgrade for newer ones)"
	@echo "make audit-lock  compare the pins with the known advisories in .ci/advisories.txt"
	@echo "make clean     remove $(VENV) and everything generated"

setup: $(STAMP)

demo: $(STAMP)
	@$(PYTHON) examples/demo.py

check: lint
	$(PYTHON) -m pytest -q $(AT_ONCE) -m "not browser and not heavy and not slow" $(QUICK) $(ARGS)

test: $(STAMP)
	$(PYTHON) -m pytest -q $(AT_ONCE) --durations=10 -m "not browser and not heavy and not slow" $(ARGS)

slow: $(STAMP)
	$(PYTHON) -m pytest -q $(AT_ONCE) -m slow $(ARGS)

lint: $(STAMP)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

hostile: $(STAMP)
	$(PYTHON) -m pytest -q -s -m "heavy or not heavy" tests/hostile $(ARGS)

heavy: $(STAMP)
	$(PYTHON) -m pytest -q -s -m heavy $(ARGS)

load: $(STAMP)
	LOAD_SECONDS=600 $(PYTHON) -m pytest -q -s -m heavy tests/heavy/test_load.py -k lives

browser: $(STAMP)
	@if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then \
		if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
			echo "make: the browser tests need chromium and chromedriver on PATH" >&2; \
			echo "make: on Debian: sudo apt-get install chromium chromium-driver" >&2; \
			exit 1; \
		fi; \
		apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium chromium-driver; \
	fi
	$(PYTHON) -m pytest -q -m browser $(ARGS)

docs: $(STAMP)
	$(PYTHON) -m tests.test_docs

trace: $(STAMP)
	@$(PYTHON) -m tests.trace

house: $(STAMP)
	@$(PYTHON) -m tests.house

lock: $(PYTHON)
	@[ -x $(VENV)/bin/uv ] || $(PYTHON) -m pip install -qq uv
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		--group dev --output-file requirements.lock $(LOCK_FLAGS) pyproject.toml

# Needs no network. A release must pass it, and lines must have been added by hand before.
audit-lock: $(STAMP)
	@$(PYTHON) -m tests.test_advisories

clean:
	rm -rf $(VENV) dist .hypothesis .mypy_cache .ruff_cache .screenshots
	find $(PACKAGES) tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(PYTHON):
	@for python in python3 python3.13 python3.12 python3.14; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null || continue; \
		if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
			echo "make: $$python cannot create virtual environments" >&2; \
			echo "make: on Debian: sudo apt-get install python3-venv" >&2; \
			exit 1; \
		fi; \
		"$$python" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }; \
		exit 0; \
	done; \
	echo "make: no Python 3.12 or newer found as python3, python3.12, python3.13 or python3.14" >&2; \
	exit 1

$(STAMP): $(PYTHON) requirements.lock pyproject.toml
	@echo "installing into $(VENV) (once, and again when requirements.lock changes) ..."
	@$(PYTHON) -m pip install -qq --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	@$(PYTHON) -m pip install -qq --disable-pip-version-check --no-compile --no-build-isolation --no-deps --editable .
	@$(PYTHON) -m compileall -q -j 0 $(VENV)/lib $(PACKAGES)
	@touch $@
