# `make` alone lists the targets. All that is installed goes into .venv, all that is built into .tools.

PYTHON ?= python3
UV ?= uv
IMAGE ?= countersign:dev
BASE_IMAGE ?= python:3.11-slim
ENGINE ?= $(firstword $(notdir $(foreach engine,docker podman buildah,$(shell command -v $(engine)))))

pip := .venv/bin/python -m pip --disable-pip-version-check --quiet
# uv is quicker; where it is not there, or cannot reach what pip can, pip does the same.
install = { $(UV) pip install --quiet --compile-bytecode --python .venv/bin/python $(1) 2>/dev/null || $(pip) install $(1); }
# The locks are complete, so nothing needs to be resolved: quick, and each file is checked by its hash.
locked := --no-deps --require-hashes
# Tests start hundreds of processes; each would compile all that is ours.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test lint format check bench bench-profile soak fuzz e2e tour tools packages image chart-readme schema requirements clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/runtime  ## signed, unsigned, tampered and wrongly signed images before the real server; ONCE=1: no waiting
	@.venv/bin/countersign demo $(if $(ONCE),--once)

test:  ## everything: tools, lint, types, import contracts, all tests, also on a real cluster
	@$(MAKE) --no-print-directory --jobs=3 lint tools packages
	.venv/bin/pytest -n auto -q

check: lint  ## the quick half of it: no cluster, no Go
	.venv/bin/pytest -m 'not cluster and not tools' -n auto -q

lint: .venv/development  ## ruff, strict mypy, import contracts
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

format: .venv/development  ## rewrite the code in its one form
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

bench: .venv/development bench-tools  ## speed and memory, beside the last run; TIMES=3, RECORD=1: into docs/performance.md
	.venv/bin/python -m tests.bench.run --times $(or $(TIMES),1) $(if $(RECORD),--record)

bench-profile: .venv/development bench-tools  ## a flame graph of one row of it, into .tools/bench/profile.svg; ROW='warm: digest'
	.venv/bin/python -m tests.bench.profile $(if $(ROW),'$(ROW)')

soak: .venv/development bench-tools  ## all kinds of reviews before a hostile registry; MINUTES=30, REVIEWS=300000
	.venv/bin/python -m tests.bench.soak --minutes $(or $(MINUTES),30) --reviews $(or $(REVIEWS),300000)

.PHONY: bench-tools
bench-tools:
	@make --no-print-directory --silent -f tests/cluster/tools/Makefile BIN=.tools/bin bench

fuzz: .venv/development  ## change accepted signatures at random, and compare with sigstore-python; SECONDS=600
	.venv/bin/python -m tests.fuzz --seconds $(or $(SECONDS),600)

e2e: .venv/development tools packages  ## only the tests on a real cluster
	.venv/bin/pytest -m cluster

tour: .venv/development tools packages  ## write docs/tour.md anew: an installation's life on a real cluster, in a terminal
	rm -f .tools/tour.md
	-.venv/bin/pytest -q tests/e2e/test_tour.py
	cp .tools/tour.md docs/tour.md

tools:  ## build Kubernetes, cosign and the other real tools into .tools/bin; needs Go, once twelve minutes
	@MAKEFLAGS= tests/cluster/tools/build .tools/bin

packages:  ## the Debian packages of a test cluster; needs root
	@tests/cluster/tools/packages

image:  ## build the container image IMAGE upon BASE_IMAGE by ENGINE: docker, podman or buildah
	$(ENGINE) build $(if $(filter docker,$(ENGINE)),,--format=docker) --build-arg BASE_IMAGE=$(BASE_IMAGE) --tag $(IMAGE) .

chart-readme:  ## write charts/countersign/README.md anew from its values; needs `make tools`
	.tools/bin/helm-docs --chart-search-root=charts --sort-values-order=file --log-level=error

schema: .venv/development  ## write policies/trustpolicy.schema.json anew from the models
	.venv/bin/python -m policies.generate_schema

requirements:  ## lock the dependencies of pyproject.toml anew, with hashes; needs uv
	requirements/lock $(UV)

clean:  ## remove .venv, caches and clusters; ALL=1: the built tools and images too
	rm -rf .venv .tools/cluster build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	$(if $(ALL),rm -rf .tools)

.venv/runtime: requirements/build.txt requirements/runtime.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later is needed: make PYTHON=…")'
	@echo "installing into .venv"
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@$(call install,$(locked) -r requirements/build.txt -r requirements/runtime.txt)
	@$(call install,--no-deps --no-build-isolation --editable .)
	@touch $@

.venv/development: requirements/development.txt .venv/runtime
	@echo "installing what tests need into .venv"
	@$(call install,$(locked) -r requirements/development.txt)
	@touch $@
