# Two commands matter: `make demo` and `make test`. Both set up all they need by themselves.
VENV := .venv
BIN := $(VENV)/bin
DATA ?= data
HTTP ?= 127.0.0.1:7700
HTTPS ?= 127.0.0.1:7743
OUT ?= dist/pilothouse-agent.pyz
ARGS ?=
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench agent lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv with everything: .venv/bin/pilothouse, .venv/bin/pilothouse-agent
	@scripts/setup

demo: setup ## Start the server and one node on this machine, run a command on it (DATA=directory, default: data)
	@exec $(BIN)/python scripts/demo.py --data "$(DATA)" --http "$(HTTP)" --https "$(HTTPS)"

test: lint ## Lint, then run all tests (ARGS="-k name" for some, WORKERS=0 for one process)
	@scripts/npm test --silent
	@exec $(BIN)/python scripts/with_postgresql.py $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: setup ## ruff, mypy --strict, the import contract; tsc and biome for the console
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	scripts/npm run --silent check

format: setup ## Let ruff and biome format the code and mend what they can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	scripts/npm run --silent format

bench: setup ## The benchmarks, as ratios measured in one run
	@exec $(BIN)/python -m bench $(ARGS)

agent: setup ## The agent as one file (OUT=file, default: dist/pilothouse-agent.pyz); the server serves the same one
	@mkdir -p "$(dir $(OUT))"
	cp src/pilothouse/gateway/files/pilothouse-agent.pyz "$(OUT)"

lock: setup ## Renew requirements.lock from the two pyproject.toml files
	$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-header --no-annotate --group dev \
		pyproject.toml agent/pyproject.toml -o requirements.lock

clean: ## Remove .venv, caches and builds (not data directories)
	rm -rf $(VENV) dist build src/pilothouse/gateway/files src/pilothouse/wire/console-files console/node_modules .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests bench scripts agent -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
