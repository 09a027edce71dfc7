# Every target sets up what it needs by itself: system packages where they are
# missing (as root), a venv in .venv, and drift in it. See .ci/setup.sh.

PYTHON = .venv/bin/python
# Random histories that the tests play on a real filesystem; CI plays more.
HISTORIES ?= 20

.PHONY: demo test lint bench setup clean

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

setup: ## Install what the targets above need
	@sh .ci/setup.sh dev

clean: ## Remove the venv and the caches
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist drift/rulebook/shipped.bin
	@find . -name __pycache__ -prune -exec rm -rf {} +
