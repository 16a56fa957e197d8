# Everything a person types. Each target sets up what it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
TARGET ?= compose
RELEASE ?= v1.1.0
PYTHON := .venv/bin/python
# Where it is set, each of thousands of starts of Python compiles its libraries anew.
unexport PYTHONDONTWRITEBYTECODE

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.venv/ready: requirements/dev.txt tools/setup
	@tools/setup

setup: .venv/ready ## the environment: .venv with Ansible, the collections and the tools

lock: ## compile requirements/dev.in to requirements/dev.txt
	@tools/lock

demo: setup ## deploy RELEASE (v1.1.0) over v1.0.0 on TARGET (compose or kubernetes)
	@tools/demo $(TARGET) $(RELEASE)

test: setup ## every check and test, on real parts
	@tools/test

test-unit: setup ## the tests that need nothing
	@$(PYTHON) -m pytest tests/unit

lint: setup ## every static check
	@tools/lint

sandbox-up: setup ## the real parts on this machine; source .sandbox/env to use them
	@$(PYTHON) -m sandbox up $(PARTS)

sandbox-down: setup ## end the real parts
	@$(PYTHON) -m sandbox down

down: ## end everything that was started here
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m sandbox down; fi

docs: setup ## write docs/reference from the modules and roles
	@tools/docs

bench: setup ## measure; PART=rollouts|databases|gates|delivery
	@$(PYTHON) -m tests.bench $(PART)

.PHONY: help setup lock demo test test-unit lint sandbox-up sandbox-down down docs bench
