# Every target works from a fresh clone with Python 3.11 or newer; each creates .venv when needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: venv demo test test-contract test-cluster check lab notebooks screenshots bench clean

venv: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: $(STAMP)   ## the main job, from nothing: start the lab, break it, find the cause, act, verify, archive
	$(BIN)/runbook demo

test: $(STAMP) check   ## every test that can run on this machine
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST)

test-contract: $(STAMP)   ## the emulators against real servers, as far as those are on this machine; builds nothing
	$(BIN)/python -m tests.cluster --contract

# Only a file named on the command line counts: the one of the environment may be production.
test-cluster: $(STAMP)   ## what speaks to a cluster, on a real one: our own, or make test-cluster KUBECONFIG=FILE
	$(if $(filter command line,$(origin KUBECONFIG)),,$(BIN)/runbook lab control-plane build)
	$(BIN)/python -m tests.cluster $(if $(filter command line,$(origin KUBECONFIG)),$(KUBECONFIG))

check: $(STAMP)   ## style, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lab: $(STAMP)   ## start the lab and leave it running
	$(BIN)/runbook lab up

notebooks: $(STAMP)   ## JupyterLab on the runbooks
	$(BIN)/jupyter lab --ip=127.0.0.1 notebooks

screenshots: $(STAMP)   ## the pictures of the documentation, made anew on the lab in a real browser
	$(BIN)/python -m tests.browser.screenshots

bench: $(STAMP)   ## ratios against peers, measured side by side
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
