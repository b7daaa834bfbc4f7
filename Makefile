# make demo   set up, deploy onto an embedded AWS, train, forecast
# make test   every check and test
# make invoke FUNCTION=Sweep EVENT=events/sweep-tick.json   one function in a container, on the embedded AWS
# make check-stack [WITHOUT_CONTAINERS=1]   scans, each function with each event in a container, imports, sizes
# make agent-faults   instances in containers meet kills, hangs, cuts: the ends, timed, in build/agent.json
# make torn-uploads   uploads of checkpoints cut off at random bytes, into build/agent.json too
# make agent-evidence   all of build/agent.json: faults, torn_uploads, spot, resume, beat_overhead_percent, sync; half an hour
# make bench    figures of speed on this machine
# make scan     cfn-lint, checkov and parliament on the template
# make agent-env  fetch and install the packages that travel to an instance; agent-lock renews what pins them
# make evidence [HISTORIES=20000]   prove the promises anew, up to an hour
# Any Python from 3.11 on serves; PYTHON=... names another one.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
HISTORIES ?= 1000000
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export SAM_CLI_TELEMETRY := 0

.PHONY: help venv demo invoke bench evidence agent-env agent-evidence agent-faults agent-lock test check check-stack lint scan torn-uploads validate clean site-packages

help:
	@sed -n 's/^# make /make /p' Makefile

venv: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[agent,local,dev]'
	touch $@

demo: venv
	$(BIN)/chronos-ec2 local demo

test: check
	@mkdir -p build
	@# Two at a time: what runs on the embedded AWS mostly waits, so that it and what trains take as long as the rest.
	{ $(BIN)/python -m pytest -m embedded_aws && $(BIN)/python -m pytest -m 'not thorough' tests/agent/training; } \
		> build/test-beside.log 2>&1 & beside=$$!; failed=; \
	$(BIN)/python -m pytest -m 'not embedded_aws' --ignore tests/agent/training || failed=1; \
	wait $$beside || failed=1; cat build/test-beside.log; test -z "$$failed"

invoke: venv
	@$(BIN)/chronos-ec2 local invoke "$(FUNCTION)" "$(EVENT)"

bench: venv
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.sweep
	$(BIN)/python -m benchmarks.data_sync

evidence: venv
	$(BIN)/python -m verification --histories $(HISTORIES)

agent-faults: venv
	$(BIN)/python -m verification.instance_faults.faults

torn-uploads: venv
	$(BIN)/python -m verification.agent.torn_uploads

agent-evidence: agent-faults torn-uploads
	$(BIN)/python -m verification.agent.spot_notice
	$(BIN)/python -m benchmarks.training resume agent
	$(BIN)/python -m benchmarks.data_sync

agent-env: venv
	$(BIN)/python -m tools.agent_lock

agent-lock: venv
	$(BIN)/python -m tools.agent_lock --renew

check: venv
	@$(MAKE) --no-print-directory --jobs --output-sync validate scan lint

lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

check-stack: venv
	@mkdir -p build
	$(BIN)/sam build > build/sam-build.log 2>&1 || { cat build/sam-build.log; exit 1; }
	$(BIN)/python -m pytest -q --policy-calls build/policy-calls.json tests/cli tests/functions tests/template tests/agent/test_process.py
	$(BIN)/python -m verification.functions $(if $(WITHOUT_CONTAINERS),--without-containers)

validate: venv
	$(BIN)/sam validate --lint

scan: venv
	$(BIN)/python -m verification.template.scans

clean:
	rm -rf .aws-sam build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

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
# What Lambda never imports; memory, local and simulation are for tests and for laptops.
NOT_IN_LAMBDA := cli local testing worker

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
	rm -f build/functions/$*.zip
	$(BUILDER) -m zipfile -c build/functions/$*.zip "$(ARTIFACTS_DIR)"/*
	@echo "$* bundle: $$(( $$(wc -c < build/functions/$*.zip) / 1000 )) kB zipped"
