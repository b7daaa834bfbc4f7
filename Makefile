# Needs Linux, make, git and Python 3.11 or later with venv. PYTHON=... names another interpreter.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
# One more than CI has cores: tests wait, above all those on the embedded AWS.
WORKERS ?= 3
HISTORIES ?= 1000000
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CALLS := build/policy-calls.json
# Its package imports it too, of which runpy warns.
SAM := $(BIN)/python -W ignore::RuntimeWarning:runpy -m chronos_ec2.local.sam_cli
export SAM_CLI_TELEMETRY := 0
# A user's own pip settings that would keep it from installing into an environment or a folder.
export PIP_USER := 0
export PIP_REQUIRE_VIRTUALENV := 0
# Without byte code each process that a test or a demo starts would compile all that it imports.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

.PHONY: venv
venv: $(INSTALLED) ## Install the package and everything it needs into .venv

# Wheels alone, each with its hash, and no other: a source archive would be built with packages that no lock names.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
LOCKED := $(INSTALL) --only-binary :all: --require-hashes -r requirements
PACKAGE := $(INSTALL) --no-build-isolation -e .
PYTHON_VENV := $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: \
  make PYTHON=python3.x")' && $(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml requirements/dev.txt requirements/cpu.txt requirements/cuda.txt
	$(PYTHON_VENV)
	$(LOCKED)/dev.txt
	$(LOCKED)/cpu.txt 2> /dev/null || $(LOCKED)/cuda.txt
	$(PACKAGE)
	$(BIN)/python -m pip check
	touch $@

.PHONY: cli
cli: ## Install the command line alone into .venv, as a laptop needs it
	$(PYTHON_VENV)
	$(LOCKED)/cli.txt
	$(PACKAGE)

.PHONY: demo
demo: venv ## Deploy onto an embedded AWS, train, forecast, end a hung run, drill: build/demo
	$(BIN)/chronos-ec2 local demo

.PHONY: demo-lifecycle
demo-lifecycle: venv ## Retrain, promote and forecast on new data, by themselves: build/demo-lifecycle
	$(BIN)/python -m chronos_ec2.local.retraining_demo

.PHONY: newcomer
newcomer: ## Do what README's first steps say, in a fresh clone
	$(PYTHON) -m tools.newcomer

.PHONY: screens
screens: venv ## Draw the pictures of docs/img from real runs, and measure the command: build/operator.json
	@mkdir -p build
	$(BIN)/python -m tools.screens

.PHONY: test
test: venv ## Run the tests, in WORKERS=3 processes
	$(BIN)/python -m pytest -n $(WORKERS) -m 'not thorough' --policy-calls=$(CALLS)

.PHONY: test-thorough
test-thorough: venv ## Run the tests that `make test` leaves out, in WORKERS=3 processes
	$(BIN)/python -m pytest -n $(WORKERS) -m thorough

.PHONY: check
check: venv ## Lint, type checks, import contracts, template validation, security scans, commands in situations that go wrong
	@$(MAKE) --no-print-directory --jobs --output-sync lint validate scan commands

.PHONY: lint validate scan commands
lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

validate: venv
	$(SAM) validate --lint

scan: venv
	$(BIN)/python -m verification.template.scans

commands: venv
	$(BIN)/python -m verification.cli --quick

.PHONY: check-cli
check-cli: venv ## Run every command in thousands of situations that go wrong: build/cli.json
	$(BIN)/python -m verification.cli

# What `make test` has recorded of the calls of each role, unless the code has changed since.
$(CALLS): $(INSTALLED) template.yaml $(shell git ls-files agent functions src tests/cli tests/functions tests/template)
	$(BIN)/python -m pytest -q -m 'not thorough' --policy-calls=$@ tests/cli tests/functions tests/template tests/agent/test_process.py

.PHONY: check-stack
check-stack: $(CALLS) ## Build the functions and run each with every event in a container: build/stack.json
	$(SAM) build > build/sam-build.log 2>&1 || { cat build/sam-build.log; exit 1; }
	$(BIN)/python -m verification.functions $(if $(WITHOUT_CONTAINERS),--without-containers)

.PHONY: invoke
invoke: venv ## Run one function in a container: FUNCTION=Sweep EVENT=events/sweep-tick.json
	@$(BIN)/chronos-ec2 local invoke "$(FUNCTION)" "$(EVENT)"

.PHONY: evidence
evidence: venv ## Prove the guarantees again, up to an hour: HISTORIES=20000 for less
	$(BIN)/python -m verification --histories $(HISTORIES)

.PHONY: agent-faults
agent-faults: venv ## Inject faults into instances in containers: build/agent.json
	$(BIN)/python -m verification.instance_faults.faults

.PHONY: torn-uploads
torn-uploads: venv ## Cut off uploads of checkpoints and forecasts at random bytes: build/agent.json
	$(BIN)/python -m verification.agent.torn_uploads
	$(BIN)/python -m verification.agent.forecast_resume

.PHONY: agent-evidence
agent-evidence: agent-faults torn-uploads ## Both, and what needs a quiet machine: interruptions, resume, overhead
	$(BIN)/python -m verification.agent.interrupted_forecasts
	$(BIN)/python -m verification.agent.spot_notice
	$(BIN)/python -m benchmarks.training resume agent
	$(BIN)/python -m benchmarks.data_sync

.PHONY: bench
bench: venv ## Measure training, sweep, data download and boot on this machine: BEFORE=COMMIT to compare the boot with
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.forecast
	$(BIN)/python -m benchmarks.sweep
	$(BIN)/python -m benchmarks.data_sync
	$(BIN)/python -m benchmarks.boot $(BEFORE)

.PHONY: bench-gpu
bench-gpu: ## Measure on a GPU what only it can show, in nine minutes: build/bench-gpu.json
	PYTHONPATH=src:.:build/gpu-packages $(or $(wildcard $(BIN)/python),$(PYTHON)) -m benchmarks.gpu

.PHONY: agent-env
agent-env: venv ## Install the instance's locked packages and train with them
	$(BIN)/python -m tools.agent_lock

# uv resolves for every Python from the oldest that README admits on, or for that of Lambda and the instance, and keeps
# what is pinned unless UPGRADE is set. A lock has the hashes of all files of a version, so that it serves each platform.
PIN = $(BIN)/uv pip compile --quiet --no-config --custom-compile-command 'make lock' --no-annotate --only-binary :all: \
  --generate-hashes $(if $(UPGRADE),--upgrade)
TOOL = $(PIN) --universal --python-version 3.11.2 - -o
LAMBDA = $(PIN) --python-platform x86_64-manylinux_2_28 --python-version 3.13 - -o
LOCAL := src/chronos_ec2/local
TORCH = $(shell sed -n 's/^torch==\([0-9.]*\)+cpu.*/\1/p' requirements/cpu.txt)
# torch and what it needs for CUDA have a lock of their own.
SPLIT := /^\#/ { print > dev; print > cuda; next } \
  /^[a-z]/ { to = /^(cuda-|nvidia-|torch=|triton=)/ && !/^nvidia-ml-py=/ ? cuda : dev } { print > to }

.PHONY: lock
lock: venv ## Pin all dependencies again, with hashes: UPGRADE=1 for the newest versions
	@mkdir -p build
	cat requirements/dev.txt requirements/cuda.txt > build/lock.txt
	printf '%s\n' setuptools torch==$(TORCH) | $(TOOL) build/lock.txt --all-extras pyproject.toml
	awk -v dev=requirements/dev.txt -v cuda=requirements/cuda.txt '$(SPLIT)' build/lock.txt
	echo setuptools | $(TOOL) requirements/cli.txt -c requirements/dev.txt --extra data --extra hub pyproject.toml
	printf '%s\n' boto3 aws-lambda-powertools | $(LAMBDA) functions/requirements.txt -c requirements/dev.txt
	$(BIN)/python -m tools.agent_lock --renew
	echo 'aws-sam-cli' | $(TOOL) $(LOCAL)/sam-requirements.txt
	echo 'ministack[full]' | $(TOOL) $(LOCAL)/emulator-requirements.txt
	echo 'awscli<2' | $(LAMBDA) $(LOCAL)/ec2/instance-requirements.txt
	echo 'pip' | $(LAMBDA) $(LOCAL)/ec2/pip-requirements.txt
	printf '%s\n' awslambdaric boto3 | $(LAMBDA) $(LOCAL)/lambda-runtime-requirements.txt
	printf '%s\n' checkov cloudsplaining | $(TOOL) verification/template/scan-requirements.txt
	echo 'c7n' | $(TOOL) benchmarks/sweep-peers.txt
	printf '%s\n' awscli s5cmd | $(TOOL) benchmarks/sync-peers.txt
	echo 'fev' | $(TOOL) benchmarks/metric-oracles.txt

# ── What `sam build` calls: one rule for all functions, which differ in nothing but the handler. ──
# SAM names the place in ARTIFACTS_DIR. The locked dependencies are installed once and copied from $(SITE).

LOCK := functions/requirements.txt
# Named by what it is made from, so that it is never stale and builds at the same time do not disturb each other.
# Of botocore's data only the services in use stay: all of it is 15 MB zipped.
SITE = build/functions/site-$(shell cat $(LOCK) Makefile | cksum | tr ' ' '-')$(if $(COMPILER),-compiled)
BUILDER = $(firstword $(wildcard $(BIN)/python) $(PYTHON))
# Lambda cannot keep byte code, so a bundle without any is compiled at each cold start, which makes that three times as
# long. Only the runtime's own Python makes byte code of use: it is there if the build finds a Python 3.13.
COMPILER = $(shell for python in $(BUILDER) python3.13; do \
  if "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2> /dev/null; then echo "$$python"; break; fi; done)
COMPILE = $(if $(COMPILER),"$(COMPILER)" -m compileall -q -j 0 --invalidation-mode unchecked-hash -p /var/task -s,true)
SERVICES := s3 ec2 sns sts scheduler lambda
# What Lambda never imports; testing and local are for tests and for laptops.
NOT_IN_LAMBDA := cli client local testing worker

site-packages:
	@test ! -d $(SITE) || exit 0; mkdir -p build/functions; new=$$(mktemp -d $(SITE).XXXXXX); trap 'rm -rf "$$new"' EXIT; \
	$(BUILDER) -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --no-deps \
	  --only-binary=:all: --platform manylinux2014_x86_64 --python-version 3.13 --implementation cp \
	  --target "$$new/site" -r $(LOCK); \
	( cd "$$new/site"; \
	  find botocore/data -mindepth 1 -maxdepth 1 -type d $(SERVICES:%=! -name %) -exec rm -r {} +; \
	  find botocore/data -name 'examples-*' -delete; \
	  rm -rf boto3/data boto3/examples aws_lambda_powertools/event_handler bin ./*.dist-info ); \
	$(COMPILE) "$$new/site" "$$new/site"; \
	$(BUILDER) -c 'import os, sys; os.rename(*sys.argv[1:])' "$$new/site" $(SITE) 2>/dev/null || test -d $(SITE)

build-%: site-packages
	cp -R $(SITE)/. "$(ARTIFACTS_DIR)"
	tar -C src --exclude=__pycache__ $(NOT_IN_LAMBDA:%=--exclude=chronos_ec2/%) -cf - chronos_ec2 | tar -C "$(ARTIFACTS_DIR)" -xf -
	tar --exclude=__pycache__ --exclude=requirements.txt -cf - functions | tar -C "$(ARTIFACTS_DIR)" -xf -
	$(COMPILE) "$(ARTIFACTS_DIR)" "$(ARTIFACTS_DIR)/chronos_ec2" "$(ARTIFACTS_DIR)/functions"
