# Nacelle: `make help` lists the targets. Everything runs in .venv, which the Makefile makes.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo demo-down test unit slow e2e verify generate format lint types lock images cluster cluster-down

# Where it is set, each of the tests' many processes would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
ROOT := .
GENERATED := crds charts docs/reference
# uv does not read pip's configuration: it is told the index that pip uses, if one is set.
INDEX = $(shell $(BIN)/pip config get global.index-url 2>/dev/null)
COMPILE = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-annotate --custom-compile-command "make lock" $(INDEX:%=--default-index %)
# No CUDA compiler in dev.txt: no test needs the extra gpu-builder.
DEVELOPED := operator builder runtime dev
# Images take the versions of dev.txt. torch's wheel asks for triton, which the builder alone holds.
IN_IMAGES := -c requirements/dev.txt
NO_TRITON := --no-emit-package triton
# Two processes, which take each other's tests when their own are done.
IN_TWO := -n 2 --dist worksteal
# Folders that need not be searched are not imported either.
ON_CLUSTER := tests/e2e tests/nacelle_cluster tests/nacelle_images
NO_CLUSTER := tests --ignore=tests/e2e
CODE := engine operator builder_image runtime_image cli cluster images bench demo tests

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-14s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## from nothing to a streamed answer on a real cluster
	@$(BIN)/python -m nacelle_demo

demo-down: $(READY) ## take the demo and its cluster down
	@$(BIN)/python -m nacelle_demo down

# The cluster's tests mostly wait for it. Each target's output comes in one piece, at its end.
test: verify ## everything: verify, then the slow tests beside the end-to-end tests
	@echo "slow and end-to-end tests, side by side (minutes)"
	@$(MAKE) -s -j2 --output-sync=target slow e2e

unit: $(READY) ## unit tests, under a minute
	@OMP_NUM_THREADS=1 $(BIN)/pytest -q $(IN_TWO) -m "not e2e and not slow" $(NO_CLUSTER)

slow: $(READY) ## tests that take longer: real engines, interpreted kernels, a real API server
	@$(BIN)/pytest -q $(IN_TWO) -m "slow and not e2e" $(NO_CLUSTER)

e2e: $(READY) ## tests on a real cluster
	@$(BIN)/pytest -q -m e2e $(ON_CLUSTER)

verify: lint types unit ## lint, types, unit tests, and generated files compared with fresh ones
	@scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	cp -r --parents $(GENERATED) "$$scratch"; \
	$(MAKE) -s generate ROOT="$$scratch"; \
	for folder in $(GENERATED); do \
	  diff -r "$$folder" "$$scratch/$$folder" || { echo "$$folder is out of date: make generate"; exit 1; }; \
	done

generate: $(READY) ## write the generated files: the resource definitions and their reference
	@$(BIN)/python -m nacelle_operator.api.crd $(ROOT)
	@$(BIN)/python -m nacelle_operator.api.reference $(ROOT)

format: $(READY) ## put the code into its form
	@$(BIN)/ruff format -q $(CODE)
	@$(BIN)/ruff check -q --fix --select I $(CODE)

lint: $(READY) ## form, lint and the borders between the parts
	@$(BIN)/ruff format --check -q $(CODE)
	@$(BIN)/ruff check -q $(CODE)
	@$(BIN)/lint-imports --no-cache

types: $(READY) ## strict types
	@$(BIN)/mypy

lock: $(READY) ## resolve the dependencies anew into requirements/, with hashes
	@$(COMPILE) $(DEVELOPED:%=--extra %) --upgrade -o requirements/dev.txt pyproject.toml
	@$(COMPILE) --extra builder $(IN_IMAGES) -o requirements/builder.txt pyproject.toml
	@for extra in operator gpu-builder runtime; do \
	  $(COMPILE) --extra $$extra $(IN_IMAGES) $(NO_TRITON) -o requirements/$$extra.txt pyproject.toml; \
	done
	@$(COMPILE) $(IN_IMAGES) $(NO_TRITON) -o requirements/torch.txt requirements/torch.in
	@$(COMPILE) --extra triton $(IN_IMAGES) -o requirements/triton.txt pyproject.toml
	@$(COMPILE) --extra triton -o requirements/triton-server.txt pyproject.toml requirements/triton-server.in

images: $(READY) ## build the images (IMAGES=triton: that one) and push them to the cluster's registry
	@$(BIN)/python -m nacelle_images publish $(IMAGES)

cluster: $(READY) ## bring the embedded Kubernetes up
	@$(BIN)/python -m nacelle_cluster up

cluster-down: $(READY) ## take it down without a trace
	@$(BIN)/python -m nacelle_cluster down

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "make: $(PYTHON) is not Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "make: $(PYTHON) cannot make virtual environments: apt-get install python3-venv"; exit 1; }
	@echo "preparing .venv from requirements/dev.txt (minutes the first time)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install -q --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
