# `make demo` and `make test` need nothing but Python 3.11, git, make and apt; all else is installed by `make install`.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(shell find protos -name '*.proto')
PACKAGES := services orchestrator cli
STAMP := $(VENV)/.installed

.PHONY: help install demo test check protos format lock clean

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

protos: install ## Generate the Python stubs beside the contract.
	$(BIN)/python tools/generate_stubs.py protos
