# What a newcomer types: `make demo`, then `make test`. `make help` lists the rest.
SHELL := bash
.DEFAULT_GOAL := help
MELTANO := .venv/bin/meltano
# Start-up is twice as fast with compiled modules.
unexport PYTHONDONTWRITEBYTECODE

plugins := $(wildcard meltano.yml */*.meltano.yml extract/tap-*/*.meltano.yml plugins/locks/*.txt plugins/*/*/pyproject.toml)

.PHONY: help
help: ## Show this
	@grep -Eh '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 10

.PHONY: setup
setup: .venv/.setup ## Install everything, into this folder

.venv/.setup: requirements.txt orchestrate/setup.sh $(plugins)
	@orchestrate/setup.sh
	@touch $@

.venv/.setup-dev: requirements.txt requirements-dev.txt orchestrate/setup.sh $(plugins)
	@orchestrate/setup.sh dev
	@touch $@ .venv/.setup

.PHONY: demo
demo: .venv/.setup ## See the whole path: Postgres and SaaS → BigQuery → dbt → Metabase
	@$(MELTANO) --log-level=warning invoke sandbox up
	@$(MELTANO) run product-daily close-daily intercom-daily stripe-daily
	@$(MELTANO) --log-level=warning invoke sandbox tour

# A suite is a process of its own. Three run beside each other: tests wait as much as they work.
# A suite whose files are gone (the sample company's, say) is left out.
company := plugins/utilities/sandbox/tests/company
walk := $(wildcard $(company)/test_product_daily.py)
# The jobs' tests in three parts that take about as long: jobs of one source; all four sources, and what
# changes in them, is missing or fails; all four as they are.
one-source := stripe stripe_marts dagster_runs two_runs_at_once when_things_break
changes := missing_sources only_what_changed pull_requests streams tutorials when_apis_fail
jobs-of-one := $(wildcard $(patsubst %,$(company)/jobs/test_%.py,$(one-source)))
jobs-changed := $(wildcard $(patsubst %,$(company)/jobs/test_%.py,$(changes)))
jobs := $(filter-out $(jobs-of-one) $(jobs-changed),$(wildcard $(company)/jobs/test_*.py))
configuration := $(wildcard $(company)/configuration)
loaders := plugins/loaders
extractors := plugins/extractors
sandbox := $(filter-out $(company),$(wildcard plugins/utilities/sandbox/tests/*))
# The other packages, and what holds for the project.
others := $(filter-out plugins/utilities/sandbox/,$(dir $(wildcard plugins/utilities/*/pyproject.toml))) tests
# Searches of these packages that take long to find a fault.
thorough := $(loaders) $(extractors) $(sandbox) plugins/utilities/bigquery-lock plugins/utilities/local-servers

suites = $(MAKE) --no-print-directory --keep-going --jobs=3 \
	$(if $(filter output-sync,$(.FEATURES)),--output-sync=target) $(foreach suite,$(1),$(if $($(suite)),suite-$(suite)))

.PHONY: test
test: .venv/.setup-dev ## Run the packages' tests, and product-daily on two days: minutes
	@echo "Suites run three at a time. Each prints what it found when it ends."
	@$(call suites,loaders sandbox others extractors walk)

# The suites of jobs copy one world in which each job has run. The first of them makes it; the
# second begins with stacks of its own.
.PHONY: test-all
test-all: export LOADED_WORLD := $(CURDIR)/.cache/loaded-world
test-all: test ## Run all tests: those of `make test`, long searches for faults, and every job and fault on the sandbox
	@rm -rf $(LOADED_WORLD)
	@echo "Three suites beside each other, each with a sandbox of its own."
	@$(call suites,jobs-changed jobs-of-one thorough jobs configuration)
	@rm -rf $(LOADED_WORLD)

suite-thorough: only := thorough
# The settings are the project's, also where a suite is one package that has its own.
suite-%:
	@.venv/bin/pytest -c pyproject.toml -m '$(or $(only),not thorough)' $($*)

.PHONY: lint
lint: .venv/.setup-dev ## Check format, types, SQL and YAML
	@.venv/bin/pre-commit run --all-files

.PHONY: check
check: ## Say what the next run lacks, even if Meltano can't start; SOURCES="close stripe" for some
	@.meltano/utilities/stack/venv/bin/stack check $(SOURCES)

.PHONY: bench
bench: .venv/.setup-dev ## Measure: bytes billed, CPU seconds and peak memory, beside others
	@.venv/bin/python plugins/loaders/target-bigquery-arrow/bench/bytes_billed.py
	@.venv/bin/python plugins/loaders/target-bigquery-arrow/bench/records.py
	@.venv/bin/python plugins/extractors/tap-postgres-arrow/bench/postgres.py
	@.venv/bin/python plugins/extractors/tap-airbyte-manifest/bench/throughput.py

.PHONY: lock
lock: ## Lock all dependencies with hashes; UPGRADE=1 for newer ones
	@.venv/bin/python orchestrate/lock.py $(if $(UPGRADE),--upgrade)

.PHONY: clean
clean: ## Stop the sandbox and remove what setup and runs have made
	@if [ -x $(MELTANO) ]; then $(MELTANO) --log-level=warning invoke sandbox reset || true; fi
	@rm -rf .venv .tools .meltano .sandbox .cache transform/target transform/logs
