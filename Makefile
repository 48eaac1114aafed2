# `make help` lists the targets. Everything is installed into $(VENV); nothing outside this folder is touched.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# The clients of Triton and KServe pin an older protobuf than Ray and onnx need: they live apart.
CLIENTS := .venv-clients
# What lists and audits dependencies installs a check of URLs that `import ray` would load, in every process of Ray.
AUDIT := .venv-audit
RECIPE ?= optimization/recipes/signals.yaml

.DEFAULT_GOAL := help
.PHONY: help install install-dev run serve wheel test test-hosts test-ids check sbom audit format stubs benchmark clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## make the virtual environment

install-dev: $(VENV)/.installed-dev ## the same, with what tests and checks need

run: install ## make a small model, then serve it until Ctrl-C
	@$(BIN)/python -m optimization $(RECIPE)
	@exec $(BIN)/serve run serve_config.yaml

serve: install ## serve what serve_config.yaml names until Ctrl-C
	@exec $(BIN)/serve run serve_config.yaml

wheel: install ## make the wheel that `ray up cluster.yaml` installs on every host
	@rm -rf build dist && mkdir dist
	@$(BIN)/pip wheel --disable-pip-version-check --quiet --no-deps --wheel-dir dist .
	@rm -rf build && ls dist

test: install-dev $(CLIENTS)/.installed ## run the tests
	@$(BIN)/pytest -n 3 $(ARGS)

test-hosts: install-dev ## `ray up` on three hosts of network namespaces; needs root, minutes, and 8 GiB
	@$(BIN)/pytest -m hosts tests/hosts $(ARGS)

test-ids: install-dev ## whether every test has the same name in each run
	@for seed in 1 2; do PYTHONHASHSEED=$$seed $(BIN)/pytest --collect-only | grep '::' >.test-ids-$$seed & sleep 2; done; wait
	@test -s .test-ids-1 || { echo "no test was collected"; exit 1; }
	@diff .test-ids-1 .test-ids-2 || { echo "these tests have another name in each run"; exit 1; }
	@rm .test-ids-1 .test-ids-2

check: install-dev ## lint, types and dependency arrows
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

sbom: install-dev $(AUDIT)/.installed ## write sbom.json: all that is installed, as CycloneDX has it
	@$(AUDIT)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON --output-file sbom.json $(BIN)/python

audit: $(AUDIT)/.installed ## known weaknesses of what constraints.txt pins, where PyPI answers
	@$(AUDIT)/bin/python -m tests.audit

format: install-dev ## rewrite the code in the house's format
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

stubs: install-dev ## write the modules of inference.proto and remote_write.proto
	@$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. deployments/oip/inference.proto telemetry/forwarding/remote_write.proto

benchmark: install-dev ## requests per second against plain Ray Serve; ten minutes under watch
	@$(BIN)/python -m benchmarks.ingress
	@$(BIN)/python -m benchmarks.watch

clean: ## remove environments, artifacts and caches
	rm -rf $(VENV) $(CLIENTS) $(AUDIT) artifacts runs .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Trimtab needs Python 3.11 or newer, got %d.%d: call make PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV): a minute or more, the first time."
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[mnist1d]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(AUDIT)/.installed: tests/audit-requirements.txt
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/pip install --disable-pip-version-check --requirement $<
	@touch $@

$(CLIENTS)/.installed: tests/clients/requirements.txt
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip install --disable-pip-version-check --requirement $<
	@touch $@
