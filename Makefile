# Kosminar's everyday commands; `make help` lists them.
# Everything is installed into .venv beside this file, from the versions that requirements/ pins.

PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip install --quiet --quiet --root-user-action=ignore --constraint requirements/constraints.txt
TESTS ?= tests

.PHONY: help demo test history simulate faults faults-page check format timing fuzz hostile audit-packages overload bench bench-quick compare test-compare soak endings migrations openapi clean
.DELETE_ON_ERROR:

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1|\2/p' Makefile | while IFS='|' read -r command purpose; do \
		printf '  %-20s %s\n' "$$command" "$$purpose"; done

demo: .venv/.kosminar ## Serve a seeded brand with a test clock until Ctrl-C
	@exec .venv/bin/kosminar demo

test: .venv/.development ## Run the tests; TESTS=tests/core runs some of them
	@.venv/bin/pytest -n 4 --dist worksteal -m "not long" $(TESTS)

history: .venv/.development ## Live all customers' eighteen months of real purchases; `make test` takes a twelfth of them
	@.venv/bin/pytest -n 0 -m long tests/cdnow

simulate: .venv/.development ## Live twenty seeds of bad days, `make test` lives eight; SEEDS=1000 or 100-199, SEED=7, WORKERS=2
	@.venv/bin/python -m tests.simulation

faults: .venv/.development ## Break each line of tests/faults.toml in a copy: its test must fail. ONLY=courier, WORKERS=2
	@.venv/bin/python -m tests.faults

faults-page: .venv/.development ## Refresh the tables of docs/reliability.md and the list of parts from tests/faults.toml
	@.venv/bin/python -m tests.faults.page

check: .venv/.development ## Format, lint, types, layers and tests: what must pass before a change lands
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports
	@$(MAKE) --no-print-directory test

format: .venv/.development ## Format the code and apply the linter's safe repairs
	.venv/bin/ruff format
	.venv/bin/ruff check --fix

fuzz: .venv/.development ## Fuzz the API for long, from its own document; FUZZ_EXAMPLES=500 tries more, FUZZ_SEED=7 repeats
	@seed=$${FUZZ_SEED:-$$(shuf -i 1-999999999 -n 1)}; examples=$${FUZZ_EXAMPLES:-100}; \
	echo "FUZZ_SEED=$$seed FUZZ_EXAMPLES=$$examples"; \
	FUZZ_SEED=$$seed FUZZ_EXAMPLES=$$examples .venv/bin/pytest -n 0 tests/fuzz

timing: .venv/.development ## Compare how long unknown and foreign ids take, by medians of 1,000 calls
	TIMING_CALLS=1000 .venv/bin/pytest tests/security/test_indistinguishable.py -k takes_the_time

hostile: .venv/.development ## Show what hostile requests take of the event loop and of memory, as in docs/security.md
	@.venv/bin/pytest -n 0 -q -s tests/security/test_hostile_*.py tests/engine/test_batch_turns.py | sed -nE 's/^[.FEsx]*( *[0-9.]+ (ms|MiB)  )/\1/p; /passed|failed|^E  /p'

# --strict, because a package that the index knows no advisories of is otherwise passed over as if it were clean.
audit-packages: .venv/.development ## Look the pinned packages up among the known vulnerabilities
	.venv/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off --requirement requirements/constraints.txt

overload: .venv/.kosminar ## Measure ten times the sustainable load, and look for what was lost
	.venv/bin/python -m benchmarks.overload

bench: .venv/.kosminar ## Measure everything against its yardstick and bring docs/performance.md up to date; forty minutes
	.venv/bin/python -m benchmarks

bench-quick: .venv/.kosminar ## The same with smaller sizes, in four to five minutes; ONLY=writes is one part. The page is left alone
	.venv/bin/python -m benchmarks --quick $(if $(ONLY),--only $(ONLY))

compare: .venv/.kosminar ## Compare the CPU time of the work tree with that of BASE=<commit>; PART=calls, AT_MOST=5, HEAD=, PAIRS=, QUICK=1, JSON=1
	@.venv/bin/python -m benchmarks.compare "$(BASE)" $(if $(HEAD),--head "$(HEAD)") $(if $(PART),--part "$(PART)") \
		$(if $(PAIRS),--pairs "$(PAIRS)") $(if $(QUICK),--quick) $(if $(AT_MOST),--at-most "$(AT_MOST)") $(if $(JSON),--json)

test-compare: .venv/.development ## Test `make compare` with a small pair of real runs, and with an interrupt; a minute
	.venv/bin/pytest -n 0 -m long tests/compare

soak: .venv/.kosminar ## Load one server for an hour, watch its memory, audit at the end; SOAK_MINUTES=2 tries it
	.venv/bin/python -m benchmarks.soak --minutes $${SOAK_MINUTES:-60}

endings: .venv/.development ## End the database and processes at bad moments, 20 times each; `make test` does it a few times
	@.venv/bin/pytest -n 0 -m long tests/store

migrations: .venv/.development ## Refresh the checksums of unreleased migrations; RELEASE=0.1.0 freezes them
	@.venv/bin/python -m tests.structure.frozen $(RELEASE)

openapi: .venv/.kosminar ## Refresh docs/openapi.json
	.venv/bin/kosminar openapi > docs/openapi.json

clean: ## Remove .venv and every cache
	rm -rf .venv .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build src/*.egg-info

# Asks each Python for what it needs rather than for its version's name: Debian ships venv without ensurepip.
.venv/.created:
	@for python in python3.11 python3 python3.12 python3.13 python3.14; do \
		if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Making .venv with $$($$python --version)"; \
			$$python -m venv --clear .venv && touch $@; exit; \
		fi; \
	done; \
	echo "Kosminar needs Python 3.11 or newer with venv. On Debian and Ubuntu, as root:" >&2; \
	echo "    apt-get install -y git make python3 python3-venv" >&2; \
	exit 1

# Without build isolation: the pinned setuptools is installed like everything else, from whatever index pip is told to use.
.venv/.kosminar: .venv/.created requirements/direct.txt requirements/constraints.txt pyproject.toml
	@echo "Installing Kosminar into .venv"
	@$(PIP) setuptools --requirement requirements/direct.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.development: .venv/.kosminar requirements/development.txt
	@echo "Installing the tools for development into .venv"
	@$(PIP) --requirement requirements/development.txt
	@touch $@
