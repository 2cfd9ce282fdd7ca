# Two commands to know: `make demo` and `make test`. `make help` lists the others.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo up down status test test-fast lint bench requirements clean

INSTALLED := .venv/.installed
GOVERNANCE := .venv/bin/governance
PYTEST_ARGS ?=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(INSTALLED): requirements.txt pyproject.toml .ci/bootstrap
	@PYTHON="$(PYTHON)" .ci/bootstrap

demo: $(INSTALLED) ## bring everything up and run the pipelines (BOOKINGS=file.csv.gz ACCESS_LOG=file.gz: on real input)
	@$(GOVERNANCE) demo $(if $(BOOKINGS),--bookings "$(BOOKINGS)") $(if $(ACCESS_LOG),--access-log "$(ACCESS_LOG)")

up: $(INSTALLED) ## start the clusters and Airflow, and wait until they are healthy
	@$(GOVERNANCE) up

down: ## stop everything that belongs to this checkout
	@if [ -d .data ] || [ -x $(GOVERNANCE) ]; then $(MAKE) -s --no-print-directory $(INSTALLED) && $(GOVERNANCE) down; \
	else echo "nothing was started here"; fi

status: $(INSTALLED) ## what runs, where, and how much memory it uses
	@$(GOVERNANCE) status

test: $(INSTALLED) ## the whole suite
	@.ci/suite $(PYTEST_ARGS)

test-fast: $(INSTALLED) ## the inner loop: no Airflow, no Postgres, seconds
	@.venv/bin/python -m pytest -m "not airflow and not pg and not slow" \
		$(wildcard tests/unit tests/spec tests/properties) plugins/governance $(PYTEST_ARGS)

lint: $(INSTALLED) ## style, then types
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

bench: $(INSTALLED) ## speed and memory, measured
	@.venv/bin/python tests/bench/run.py

requirements: ## pin requirements.in anew (needs uv; keeps the versions that still fit)
	@uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make requirements" \
		requirements.in -o requirements.txt

clean: down ## stop everything and delete .data: clusters, keys, passwords, logs
	@rm -rf .data .data.previous .data-checkpoints data-outboxes .test-outcomes.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage junit-*.xml
