# Two commands: `make demo` shows what the engine does, `make test` proves it. Each sets up what it needs in .venv.

PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
DEMO := out/demo
READY := .venv/ready
HELM := .cache/tools/helm
HELM_VERSION := v3.18.6

.PHONY: help setup demo test lint types imports format schemas docs helm secrets audit sbom lock soak bench clean

help:  ## what can be made
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(READY)  ## the virtual environment, with the exact packages of requirements.lock

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: needs Python 3.11 or 3.12 on the PATH (or PYTHON=/path/to/python)"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: $(READY)  ## simulate a small bank, run the real dataflow over it, show what it found
	@rm -rf $(DEMO)
	$(BIN)/segone simulate --customers 200 --days 180 --seed 7 --out $(DEMO)/bank
	$(BIN)/segone run --input $(DEMO)/bank/events --output $(DEMO)/run --examples
	$(BIN)/segone score $(DEMO)/run --truth $(DEMO)/bank/truth
	@echo
	@echo "events:  $(DEMO)/bank/events     truth: $(DEMO)/bank/truth (the engine never reads it)"
	@echo "signals: $(DEMO)/run/signals.*   more:  $(BIN)/segone explain $(DEMO)/run --customer ID"
	@echo "live:    $(BIN)/segone watch $(DEMO)/run"
	@echo
	@$(BIN)/segone report $(DEMO)/run --truth $(DEMO)/bank/truth --worst 8 --out $(DEMO)/report.html

test: $(READY)  ## the whole suite; with Java and Maven also against a real Kafka, with apt or promtool a real Prometheus
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(READY)  ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## mypy --strict
	$(BIN)/mypy

imports: $(READY)  ## imports go one way
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schemas: $(READY)  ## write deploy/schemas and deploy/asyncapi.yaml anew
	$(BIN)/python -m dataflows.commands.schemas

docs: $(READY)  ## write docs/configuration.md and docs/signals.md anew
	$(BIN)/python -m dataflows.commands.reference

helm: $(HELM)  ## helm for the tests of the chart, built from its source (needs Go)

$(HELM):
	@command -v go >/dev/null || { echo "make helm: needs Go; or put a helm on the PATH"; exit 2; }
	GOBIN="$(CURDIR)/$(dir $(HELM))" go install helm.sh/helm/v3/cmd/helm@$(HELM_VERSION)

# Without the search for what looks random: ids and digests do, here.
SCAN := xargs -0 $(BIN)/detect-secrets-hook --disable-plugin HexHighEntropyString --disable-plugin Base64HighEntropyString

secrets: $(READY)  ## nothing that looks like a secret is committed: keys and tokens anywhere, passwords outside of tests
	@git ls-files -z | $(SCAN) --disable-plugin KeywordDetector
	@git ls-files -z -- ':!tests' ':!*.lock' | $(SCAN) --exclude-lines '_file = "'  # names a file, holds nothing

audit: $(READY)  ## known weaknesses of what the image holds (asks a database on the network)
	$(BIN)/pip-audit --require-hashes --disable-pip -r deploy/requirements.lock

sbom: $(READY)  ## out/sbom.json: what the image holds, as CycloneDX
	@mkdir -p out
	$(BIN)/cyclonedx-py requirements deploy/requirements.lock --pyproject pyproject.toml --output-reproducible --output-file out/sbom.json

COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-trusted-host \
	--no-emit-find-links --strip-extras --no-header

lock:  ## write requirements.lock and of it the image's part anew (needs pip-tools)
	printf 'setuptools\nwheel\n' | $(COMPILE) --extra dev --output-file requirements.lock pyproject.toml -
	printf 'setuptools\nwheel\n' | $(COMPILE) --constraint requirements.lock --output-file deploy/requirements.lock pyproject.toml -

soak: $(READY)  ## kill -9 loops against real Kafka and the embedded log (half an hour and more)
	CRASH_SEEDS=20000 $(BIN)/python -m pytest tests/crash -n 2
	$(BIN)/python bench/soak.py --log both --kills 200

# Quix Streams wants an older confluent-kafka than the worker: it has an environment of its own. Without it the other parts are measured.
QUIX := .cache/quix

bench: $(READY) $(QUIX)/ready  ## how fast it is, beside its peers: a table and out/bench.json (BENCH="--quick --only c,d")
	$(BIN)/python bench/run.py $(BENCH)

$(QUIX)/ready: bench/quix.txt
	-$(PYTHON) -m venv $(QUIX) && $(QUIX)/bin/python -m pip install --quiet -r bench/quix.txt && touch $@

clean:
	rm -rf .venv out build *.egg-info .mypy_cache .ruff_cache .hypothesis
