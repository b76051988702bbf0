# `make` prints what there is. Needed on a new machine: Python 3.11 or later, make, git. Nothing is installed outside
# of the virtual environment. Another interpreter: `make test PYTHON=python3.13 VENV=.venv-3.13`.

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
# More arguments for pytest or the bench: `make test ARGS="-k pack -n 0"`.
ARGS ?=
# `make test COVERAGE=1` measures branch coverage and fails under the floor in pyproject.toml.
COVERAGE ?=
# `make fuzz TIMES=500` tries ten times more made-up files; each run makes others.
TIMES ?= 50
# `make torture ALL=1` leaves nothing to chance and takes half an hour; FROM=1234 goes on where it ended.
ALL ?=
FROM ?=
# `make differential OLD=../before/.venv/bin/python`: the interpreter of the version to compare with.
OLD ?=
# `make lock UPGRADE=--upgrade` moves every pin; without it only what pyproject.toml asks for moves.
UPGRADE ?=

# The suite starts some hundred processes: without bytecode on the disk, each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
	--no-emit-find-links --custom-compile-command "make lock" $(UPGRADE)
WORKERS := -n auto --dist worksteal
# Seconds for one test, fixtures included: one that waits for ever is a failure, not a suite that hangs.
TIMEOUT := --timeout 300
COVERED := $(if $(COVERAGE),--cov --cov-report=term)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-cluster test ranges lint format check bench fuzz scale torture mutants differential powercut soak pages lock wheel clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# What the demo's sandbox has received, and the ids of all of it.
RECEIVED := .backfill/sandbox/sandbox.sqlite3 --table ids

demo: $(VENV)/.runtime ## run every job in jobs/ against the embedded sandbox: no account, nothing leaves this machine
	@$(BIN)/backfill run jobs --target sandbox || test $$? -eq 3
	@echo
	@echo 'What the sandbox has, id by id, against what each run has delivered:'
	@for job in jobs/*.yaml; do \
		told=$$($(BIN)/backfill reconcile -q "$$job" --against $(RECEIVED)) || { echo "$$told"; exit 1; }; \
		echo "$$told" | sed -n '2s/^/  /p'; \
	done
	@echo
	@echo 'Rows were rejected on purpose: the samples carry the faults that real exports have. Look at next:'
	@echo '  export PATH="$$PWD/$(BIN):$$PATH"     puts `backfill` on the PATH of this shell; or install it: docs/install.md'
	@echo '  backfill status                every run, from its ledger'
	@echo '  backfill rejects               each row that was not sent, and why'
	@echo '  make demo                      once more: nothing is sent twice'
	@echo '  jobs/ and sample_data/         what was run; README.md says what to do with your own export'
	@echo '  backfill sandbox               shows every call that was received, until Ctrl-C, at http://127.0.0.1:8888/'

demo-cluster: $(VENV)/.dev ## one run on three machines, two of which die: PostgreSQL, a store of objects, all on loopback
	@$(BIN)/python -m bench.cluster_demo $(ARGS)

test: $(VENV)/.dev ## the whole test suite (ARGS="-k word", COVERAGE=1)
	$(BIN)/python -m pytest $(WORKERS) $(TIMEOUT) $(COVERED) $(ARGS)

# What changes most between versions of what we stand on: SQL, readers, values, HTTP, the command line.
SHORT ?= tests/mapping/test_oracle.py tests/mapping/test_timestamps.py tests/project/test_docs.py tests/cli/test_cli.py \
	tests/cli/test_samples.py tests/deliver/test_transport.py tests/job/test_schema.py tests/sources/test_csv_cases.py \
	tests/sources/test_parquet_values.py tests/sources/test_ndjson.py tests/sources/test_database.py \
	tests/sources/test_buckets.py tests/sources/test_delta.py tests/sources/test_excel.py tests/sources/test_iceberg.py \
	tests/sources/test_mongodb.py tests/sources/test_mysql.py tests/sources/test_postgres.py tests/sources/test_typed.py \
	tests/tracking/test_verdicts.py $(wildcard tests/sources/test_sql*.py)

ranges: $(VENV)/.dev ## the suite in short with the newest and with the oldest versions that pyproject.toml admits
	@for versions in highest lowest-direct; do \
		echo "$$versions versions" && \
		$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)-$$versions && \
		$(BIN)/uv pip install --quiet --python $(VENV)-$$versions/bin/python --resolution $$versions \
			--group test --editable ".[all]" && \
		$(VENV)-$$versions/bin/python -m pytest $(WORKERS) --quiet $(SHORT) || exit 1; \
	done

lint: $(VENV)/.dev ## formatting, ruff, mypy --strict, the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## let ruff format the code and mend what it safely can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint test ## lint and test: what a change must pass

bench: $(VENV)/.dev ## speed and memory beside the SDK and a hand-written script (needs nginx; some minutes)
	$(BIN)/python -m bench $(ARGS)

scale: $(VENV)/.dev ## time and memory of a dry run as its source grows ten times in each way (some minutes; ARGS="--way rows")
	$(BIN)/python -m bench.scale $(ARGS)

fuzz: $(VENV)/.dev ## readers, SQL and mapping against their oracles, on TIMES=50 times as many made-up files as make test
	BACKFILL_TEST_TIMES=$(TIMES) $(BIN)/python -m pytest $(WORKERS) $(ARGS) tests/mapping/test_oracle.py \
		tests/job/test_document.py tests/job/test_faults.py tests/runs/test_crash.py \
		tests/ledger/test_states.py tests/sources

torture: $(VENV)/.dev ## kill, signal, starve of disk and damage runs at random (10 minutes; ALL=1 kills at every failpoint)
	$(BIN)/python -m tests.torture $(if $(ALL),--all) $(if $(FROM),--from $(FROM)) $(ARGS)

mutants: $(VENV)/.dev ## put small mistakes into the modules that decide, one at a time, and see whether a test fails (some minutes)
	CI=1 $(BIN)/mutmut run --max-children 2 $(ARGS)
	$(BIN)/mutmut results

differential: $(VENV)/.dev ## compare with another version, call by call, on 300 made-up jobs (OLD=../before/.venv/bin/python)
	$(BIN)/python -m tests.differential $(OLD) $(BIN)/python $(ARGS)

powercut: $(VENV)/.dev ## cut the power of a recorded run at 200 random instants (needs strace; 4 minutes; ARGS="--cuts 50 --seed 7")
	$(BIN)/python -m tests.torture.power_cut_main $(ARGS)

soak: $(VENV)/.dev ## ten million calls through random faults and kills (10 minutes; ARGS="--calls 200000")
	$(BIN)/python -m tests.torture.soak $(ARGS)

pages: $(VENV)/.dev ## write docs/problems.md, destinations.md and sandbox.md again, after a change of rules, explain, advice or tests/conformance
	$(BIN)/python -m tests.support.code_pages

lock: $(VENV)/.dev ## write the lock files again after a change of dependencies in pyproject.toml (UPGRADE=--upgrade)
	$(LOCK) --output-file requirements.lock pyproject.toml
	$(LOCK) --output-file requirements-build.lock --constraints requirements.lock --group build
	$(LOCK) --output-file requirements-dev.lock --constraints requirements.lock \
		--constraints requirements-build.lock --all-extras --group dev pyproject.toml
	$(LOCK) --output-file requirements-all.lock --constraints requirements-dev.lock --extra all pyproject.toml

wheel: $(VENV)/.runtime ## build dist/backfill-*.whl
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/backfill-*.whl

clean: ## remove the virtual environment and what the tools leave behind; runs in .backfill/ stay
	rm -rf $(VENV) $(VENV)-highest $(VENV)-lowest-direct build dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache mutants

# The environment is made in two steps, so that the demo need not wait for the developers' tools. A stamp is older
# than its lock only when the lock has changed; then everything is made anew, so that nothing unlocked lingers.
$(VENV)/.runtime: requirements.lock requirements-build.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "backfill needs Python 3.11 or later: make PYTHON=...")'
	@echo 'Making $(VENV) (a minute, once)'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --require-hashes --no-deps -r requirements.lock -r requirements-build.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@echo 'Adding the tools of development'
	@$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	@touch $@
