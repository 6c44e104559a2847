# Two commands matter: `make demo` shows a service at work, `make test` runs everything. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.requirements
# miqro 1.3.0 as its users have it, for the tests that run services on both.
COMPAT_VENV := $(CURDIR)/.cache/compat/venv
COMPAT_STAMP := $(COMPAT_VENV)/.requirements
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR
# Cargo, clippy and maturin are to see one and the same interpreter, or each builds pyo3 anew.
export PYO3_PYTHON := $(BIN)/python
export VIRTUAL_ENV := $(VENV)

# The extension as the tests and the demo use it: optimised (a debug build warns on import), but quick to build.
PROFILE ?= ci
PYTEST_ARGS ?=
# Most tests wait for something to happen most of their time, so more of them than processors run at once.
WORKERS ?= 4

# What `make test` does, in this order: what fails quickly comes first.
CHECKS := fmt-check lint test-rust build instructions stubs-check types test-py

.PHONY: help all demo test setup compat-venv test-compat build fmt fmt-check lint lint-rust lint-python test-rust test-py types stubs proof-upgrade \
	stubs-check wheel lock clean toolchain toolchain-lint broker

help: ## List the targets
	@echo "make TARGET, where TARGET is one of:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	|| sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1: \2/p' $(MAKEFILE_LIST)

demo: build broker ## Run the echo service against a broker and show what happens
	@$(BIN)/python scripts/demo.py $(DEMO_ARGS)

test: setup toolchain-lint broker ## Run every check and every test
	@$(BIN)/python scripts/run_checks.py $(CHECKS)

all: test wheel ## Run everything, and build the wheel

setup: $(STAMP) ## Make .venv and install the pinned tools

$(STAMP): requirements-dev.txt scripts/setup.sh scripts/lib.sh
	@scripts/setup.sh $(VENV)
	@touch $@

build: setup toolchain ## Build the extension into .venv (PROFILE=dev for a debug build)
	@echo "==> building the extension (profile $(PROFILE)); the first time takes a minute or two" >&2
	@$(BIN)/maturin develop --locked --profile $(PROFILE)

fmt: setup toolchain-lint ## Format everything
	cargo fmt --all
	$(BIN)/ruff check --quiet --fix-only .
	$(BIN)/ruff format .

fmt-check: setup toolchain-lint ## Check the format of everything
	cargo fmt --all --check
	$(BIN)/ruff format --check .

lint: lint-rust lint-python ## Run clippy, without and with the bindings, and ruff

lint-rust: setup toolchain-lint
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --features python,instructions -- -D warnings

lint-python: setup
	$(BIN)/ruff check .

test-rust: toolchain ## Test the engine, without Python
	cargo test --locked

test-py: build broker compat-venv ## Run pytest against a real broker (PYTEST_ARGS="-k loop" for a part, WORKERS=0 for one at a time)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) $(PYTEST_ARGS)

compat-venv: $(COMPAT_STAMP) ## Make .cache/compat/venv with miqro 1.3.0, to compare with

$(COMPAT_STAMP): tests/compat/requirements.txt scripts/setup.sh scripts/lib.sh
	@scripts/setup.sh $(COMPAT_VENV) tests/compat/requirements.txt
	@touch $@

test-compat: build broker compat-venv ## Run services of 1.3.0 on both, and print the table (PYTEST_ARGS as above)
	$(BIN)/python -m pytest tests/compat $(PYTEST_ARGS)
	@cat .cache/compat/report.md

proof-upgrade: wheel broker compat-venv ## Install the wheel over miqro 1.3.0, and run the documented examples before and after
	@scripts/proof_upgrade.sh "$$(ls -t dist/miqro-*.whl | head -1)"

types: build ## Run mypy --strict, and compare the stub of the extension with the extension
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest miqro._native

stubs: setup toolchain ## Write python/miqro/_native.pyi anew from the bindings
	@$(BIN)/python scripts/stubs.py

stubs-check: setup toolchain
	@$(BIN)/python scripts/stubs.py --check

wheel: setup toolchain ## Build the wheel, as it is released, into dist/
	$(BIN)/maturin build --locked --release --out dist

lock: setup ## Resolve each requirements.in into its requirements.txt
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.10 --generate-hashes --no-header \
		requirements-dev.in --output-file requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.10 --generate-hashes --no-header \
		tests/compat/requirements.in --output-file tests/compat/requirements.txt
	$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.10 --generate-hashes --no-header \
		benches/requirements.in --output-file benches/requirements.txt

.PHONY: bench bench-growth bench-setup

# What miqro is measured beside; and matplotlib.
BENCH_VENV := $(CURDIR)/.cache/bench/venv
BENCH_STAMP := $(BENCH_VENV)/.requirements
BENCH := PYTHONPATH=benches:tests $(BIN)/python -m compare

bench: bench-setup ## Measure miqro beside 1.3.0 and its peers (BENCH_ARGS="--rounds 5 --rows publish,receive --quick")
	@$(BENCH) $(BENCH_ARGS)

bench-growth: bench-setup ## Measure how cost grows with topics, handlers, payloads and services (BENCH_ARGS="--write-docs")
	@$(BENCH) --growth $(BENCH_ARGS)

# Always the build that users have.
bench-setup: compat-venv $(BENCH_STAMP) broker
	@$(MAKE) PROFILE=release build
	cargo build --locked --quiet --release --example rumqttc_client

$(BENCH_STAMP): benches/requirements.txt scripts/setup.sh scripts/lib.sh
	@scripts/setup.sh $(BENCH_VENV) benches/requirements.txt
	@touch $@

.PHONY: schema soak bench-async

bench-async: build broker $(BENCH_STAMP) ## Compare asynchronous services with aiomqtt and gmqtt (BENCH_ARGS="--rounds 3"; PROFILE=release)
	PYTHONPATH=benches:tests $(BIN)/python benches/async_services.py $(BENCH_ARGS)

schema: build ## Write docs/miqro.schema.json anew from the structures that read the configuration
	@$(BIN)/python -m miqro schema > docs/miqro.schema.json

# Address space is limited too: what takes memory without end ends here. The fuzzer has a limit of its own.
soak: toolchain ## Give a million random inputs to everything that reads what others write (SOAK_SEED for other ones)
	cargo test --locked --test core --no-run
	ulimit -v 2000000; MIQRO_FUZZ_INPUTS=1000000 MIQRO_FUZZ_SEED=$(or $(SOAK_SEED),1) \
		cargo test --locked --test core fuzz:: -- --nocapture
	MIQRO_FUZZ_INPUTS=1000000 MIQRO_FUZZ_SEED=$(or $(SOAK_SEED),1) \
		cargo test --locked --test core codec_differential
	SIM_SEEDS=$(or $(SOAK_WORLDS),10000) cargo test --locked --test core sim::the_laws_hold
	@scripts/fuzz.sh --runs 1000000 codec
	@scripts/fuzz.sh --runs 100000 protocol yaml journal

.PHONY: fuzz fuzz-corpus

fuzz: toolchain ## Fuzz the codec, the protocol, YAML and the outbox, guided by coverage (FUZZ_SECONDS=60 each)
	@scripts/fuzz.sh $(FUZZ_TARGETS)

fuzz-corpus: toolchain ## Write anew what the fuzzer starts from
	MIQRO_FUZZ_CORPUS=write cargo test --locked --test core fuzz::corpus

.PHONY: faults flood

faults: build broker ## Cut links and kill brokers under load, and count what is lost (FAULTS_ARGS="--qos 2 --fault kill")
	@cd tests && $(BIN)/python -m faults.matrix $(FAULTS_ARGS)

flood: build broker ## Send ten million messages through a broker, and watch the memory (FLOOD_ARGS="--qos 1")
	@cd tests && $(BIN)/python -m faults.flood $(FLOOD_ARGS)

.PHONY: bench-core instructions instructions-accept instructions-python

bench-core: toolchain ## Time the engine's hot paths, without Python (BENCH_ARGS="router" for a part)
	cargo bench --locked --features bench --bench core -- $(BENCH_ARGS)

instructions: setup toolchain ## Count the instructions of the engine's hot paths, and compare with what is recorded
	@scripts/valgrind.sh
	@$(BIN)/python scripts/instructions.py $(INSTRUCTIONS_ARGS)

instructions-accept: setup toolchain ## Record the counts of today in benches/instructions.json
	@scripts/valgrind.sh
	@$(BIN)/python scripts/instructions.py --accept

instructions-python: build ## Count the instructions of a publish as a service sees it (PROFILE=release)
	@scripts/valgrind.sh
	@$(BIN)/python benches/python_instructions.py

clean: ## Remove everything that was built, and .venv
	rm -rf target dist .venv .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache python/miqro/*.so
	find python tests scripts examples -name __pycache__ -type d -prune -exec rm -rf {} +

toolchain:
	@scripts/toolchain.sh

toolchain-lint:
	@scripts/toolchain.sh --lint

broker:
	@scripts/mosquitto.sh > /dev/null
