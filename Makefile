# Every target sets up what it needs by itself: system packages where they are
# missing (as root), a venv in .venv, and drift in it. See .ci/setup.sh.

PYTHON = .venv/bin/python
# Random histories that the tests play on a real filesystem; CI plays more.
HISTORIES ?= 20
# How long each fuzzer runs.
SECONDS ?= 60
FUZZ = -max_total_time=$(SECONDS) -timeout=20 -rss_limit_mb=1500 -max_len=16000

.PHONY: demo test lint bench fuzz docs setup clean

demo: ## Build a small NixOS-like machine, show what drift says about it, remove it
	@sh .ci/setup.sh run
	@$(PYTHON) -m drift demo

test: setup ## Run all tests; as root they use real Btrfs on loop devices
	@$(PYTHON) -m pytest --histories $(HISTORIES)

lint: setup ## Check format, faults and types
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m mypy

bench: setup ## Run the measured comparisons
	@$(PYTHON) benchmarks/run.py

docs: ## Write the manual pages and the shell completions below dist/share
	@sh .ci/setup.sh run
	@$(PYTHON) -m drift.manual dist

fuzz: setup ## Let a fuzzer make up Btrfs trees and rule files for SECONDS; finds go to .fuzz
	@$(PYTHON) -m pip install --quiet atheris
	@$(PYTHON) tests/fuzz/record.py .fuzz/items .fuzz/rules
	@$(PYTHON) tests/fuzz/items.py .fuzz/items $(FUZZ) -artifact_prefix=.fuzz/items- & items=$$!; \
	 $(PYTHON) tests/fuzz/rules.py .fuzz/rules $(FUZZ) -artifact_prefix=.fuzz/rules-; rules=$$?; \
	 wait $$items && exit $$rules

setup: ## Install what the targets above need
	@sh .ci/setup.sh dev

clean: ## Remove the venv and the caches
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist drift/rulebook/shipped.bin
	@find . -name __pycache__ -prune -exec rm -rf {} +
