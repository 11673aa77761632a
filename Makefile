# Shardmill: `make help` lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Where to work, and with what. `make all DATA=/path/to/folder OUT=/path` prepares and trains on your own images.
OUT ?= build/run
DATA ?= build/sample
# MODEL=MobileNetV2 starts from the ImageNet weights of a network of keras.applications and fits its head; WEIGHTS=FILE
# takes the weights from a file. The other variables then have other defaults.
MODEL ?=
WEIGHTS ?=
SIZE ?= $(if $(MODEL),224x224,64x64)
# Records of a rare class are prepared more often, as plain copies, which the trainer flips anew in every epoch; this did
# best on real photographs (docs/training.md). BALANCE=none shows it as often as the others while training instead.
BALANCE ?= $(if $(MODEL),none,uniform)
AUGMENT ?= none
RESAMPLE ?= $(if $(MODEL),none,$(if $(filter none,$(BALANCE)),uniform,none))
EPOCHS ?= $(if $(MODEL),0,12)
PREPARE_FLAGS ?= $(if $(MODEL),--encoding uint8)
TRAIN_FLAGS ?=
SPLIT ?= test
MINUTES ?= 20
MUTANTS ?=
GPU_FLAGS ?=
SEEDS ?= 3
RATIO ?= 9
STORY_EPOCHS ?= 20
IMAGE ?=

# The first of these that is Python 3.11 to 3.13; PYTHON=/path/to/python chooses another.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { command -v $$p; break; }; done)
VENV := .venv
RUN := $(VENV)/bin/python
# Compiled modules are kept: without them each process compiles the project again, and pytest all tests and plugins.
unexport PYTHONDONTWRITEBYTECODE
NEEDED_MB := 6000
PIP_FLAGS := --disable-pip-version-check --require-hashes
LOCK_FLAGS := -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
	--custom-compile-command "make lock"

# A process a core, and one more for slow tests (tests/conftest.py), each with its own shared datasets; a file's tests stay
# in one process and share its fixtures.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0
ENGINES := build/engines
BEAM_VERSION := $(shell sed -n 's/^apache-beam==\([0-9.]*\).*/\1/p' requirements.txt)
FLINK_VERSION := 1.19.3

.PHONY: help all sample prepare verify train evaluate inspect story test test-all soak gpu-check mutants lint format docs lock clean check
.PHONY: flink spark prism flink-distribution flink-test spark-test prism-test dataflow

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'
	@echo "  Variables: DATA=$(DATA) OUT=$(OUT) MODEL=$(MODEL) WEIGHTS=$(WEIGHTS) SIZE=$(SIZE) BALANCE=$(BALANCE) AUGMENT=$(AUGMENT) RESAMPLE=$(RESAMPLE) EPOCHS=$(EPOCHS)"

all: evaluate  ## install, draw the sample (or take DATA=), prepare, verify, train, evaluate and say where all is
	@echo
	@echo "Model:   $(OUT)/model   (model.keras, saved_model/, metrics.json, plots)"
	@echo "Report:  $(OUT)/data/report.html"
	@echo "Shards:  $(OUT)/data"
	@[ -n "$(MODEL)" ] || [ "$(DATA)" = build/sample ] || echo "Few photographs? Published weights are usually much \
	better: make all DATA=$(DATA) OUT=$(OUT)-transfer MODEL=MobileNetV2"

sample: $(VENV)/.run  ## draw the sample images into build/sample
	$(RUN) -m pipelines sample --output build/sample

prepare: $(VENV)/.run $(if $(filter-out build/sample,$(DATA)),,sample)  ## prepare DATA into OUT/data
	$(RUN) -m pipelines prepare --input "$(DATA)" --output "$(OUT)/data" --name dataset \
		--size $(SIZE) --balance $(BALANCE) --augment $(AUGMENT) $(PREPARE_FLAGS)

verify: prepare  ## prepare, then check every file, digest, record and count
	$(RUN) -m pipelines verify "$(OUT)/data"

train: verify  ## prepare, verify, then train into OUT/model
	$(RUN) -m trainer train --data "$(OUT)/data" --output "$(OUT)/model" --epochs $(EPOCHS) --resample $(RESAMPLE) \
		$(if $(MODEL),--model "$(MODEL)" --recipe transfer) $(if $(WEIGHTS),--init-weights "$(WEIGHTS)") $(TRAIN_FLAGS)

evaluate: train  ## prepare, verify, train, then evaluate on SPLIT
	$(RUN) -m trainer evaluate --model "$(OUT)/model" --data "$(OUT)/data" --split $(SPLIT)

inspect: $(VENV)/.run  ## show what OUT/data holds, and draw its contact sheet
	$(RUN) -m pipelines inspect "$(OUT)/data" --images "$(OUT)/contact-sheet.png"

# Classes that are all as large are made RATIO:1 in a folder of links; see examples/story/imbalance.py.
story: $(VENV)/.run $(if $(filter-out build/sample,$(DATA)),,sample)  ## three programs on DATA, the doctor on each, the ablation
	@mkdir -p "$(OUT)/story"
	@photos="$$($(RUN) examples/story/imbalance.py "$(DATA)" "$(OUT)/story/photos" --ratio $(RATIO))"; \
	for program in 1_raw 2_normalized 3_augmented; do \
		echo; echo "==== examples/story/$$program.py, asked the doctor"; echo; \
		DATA="$$photos" $(RUN) -m trainer doctor --dataset "examples.story.$$program:dataset" \
			--model "examples.story.$$program:model" --data "$$photos" --html "$(OUT)/story/$$program.html" \
			|| [ $$? = 1 ] || exit 1; \
	done; \
	echo; echo "==== What each change is worth"; echo; \
	$(RUN) -m trainer ablate --data "$$photos" --output "$(OUT)/story/ablation" --seeds $(SEEDS) \
		--epochs $(STORY_EPOCHS) --prepare-flags=--allow-outside

test: $(VENV)/.dev  ## run the quick tests in parallel (SHARDMILL_DATA=... adds those on real photographs)
	$(RUN) -m pytest $(PARALLEL) -m "not slow" $(TEST_FLAGS)

test-all: $(VENV)/.dev  ## run all tests in parallel; TEST_FLAGS=--durations=30 shows what takes long
	$(RUN) -m pytest $(PARALLEL) $(TEST_FLAGS)

soak: $(VENV)/.dev  ## look for rare faults for MINUTES: fuzz, kill, resume, compare (needs SHARDMILL_DATA)
	$(RUN) benchmarks/soak.py --minutes $(MINUTES)

gpu-check: $(VENV)/.dev $(if $(filter-out build/sample,$(DATA)),,sample)  ## measure training on this machine's GPUs, and whether its numbers hold
	for size in 128 224; do \
		[ -f "$(OUT)/gpu/data$$size/contract.json" ] || $(RUN) -m pipelines prepare --input "$(DATA)" \
			--output "$(OUT)/gpu/data$$size" --size $${size}x$$size --encoding uint8; \
	done
	$(RUN) benchmarks/gpu_check.py --small "$(OUT)/gpu/data128" --large "$(OUT)/gpu/data224" --output "$(OUT)/gpu" $(GPU_FLAGS)

mutants: $(VENV)/.dev  ## break the program in one place at a time: a test has to notice each (MUTANTS="--only NAME")
	$(RUN) benchmarks/mutants.py $(MUTANTS)

flink: $(ENGINES)/flink-job-server.jar  ## build what --runner FlinkRunner needs (needs Java and Maven)

spark: $(ENGINES)/spark-job-server.jar  ## build what --runner SparkRunner needs (needs Java and Maven)

prism: $(ENGINES)/prism  ## build what --runner PrismRunner needs (needs Go)

flink-distribution: $(ENGINES)/flink-$(FLINK_VERSION)

dataflow: | $(VENV)/bin/python  ## build the image IMAGE that workers of --runner DataflowRunner run (needs Docker)
	@[ -n "$(IMAGE)" ] || { echo "Name the image: make dataflow IMAGE=REGION-docker.pkg.dev/PROJECT/REPOSITORY/shardmill:TAG" >&2; exit 1; }
	@command -v docker >/dev/null || { echo "The image is built with Docker, which is not on PATH." >&2; exit 1; }
	DOCKER_BUILDKIT=1 docker build --platform linux/amd64 --build-arg BEAM_VERSION=$(BEAM_VERSION) \
		--build-arg PYTHON_VERSION=$$($(RUN) -c 'import sys; print("%d.%d" % sys.version_info[:2])') \
		-f engines/dataflow/Dockerfile -t $(IMAGE) .

flink-test: $(VENV)/.dev flink flink-distribution  ## Flink, embedded and as a cluster that loses a machine: equal shards
	$(RUN) tests/engines/flink.py $(ENGINES)/flink-$(FLINK_VERSION)

spark-test: $(VENV)/.dev spark  ## Spark: equal shards
	$(RUN) tests/engines/others.py spark

prism-test: $(VENV)/.dev prism  ## Prism and several processes: equal shards; and the pipeline's tests on Prism
	$(RUN) tests/engines/others.py prism processes
	SHARDMILL_RUNNER=PrismRunner $(RUN) -m pytest tests/end_to_end/test_prepare.py

lint: $(VENV)/.dev  ## ruff (lint and format), mypy, and the first lines of docstrings
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(RUN) .ci/check_words.py

format: $(VENV)/.dev  ## let ruff mend and format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(VENV)/.dev  ## write the tables of docs/doctor.md and docs/reliability.md that are made from the code
	$(RUN) docs/doctor_findings.py
	$(RUN) benchmarks/mutants.py --docs

lock:  ## resolve requirements*.in anew into the hash-locked requirements*.txt (needs uv)
	uv pip compile $(LOCK_FLAGS) requirements-pip.in -o requirements-pip.txt
	uv pip compile $(LOCK_FLAGS) requirements.in -o requirements.txt
	uv pip compile $(LOCK_FLAGS) requirements-dev.in -c requirements.txt -o requirements-dev.txt

clean:  ## remove the environment and everything made
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

# ---- the engines: job servers by Maven, Prism by Go, Flink's distribution out of its Python package

$(ENGINES)/%-job-server.jar: engines/%/pom.xml
	@command -v java >/dev/null && command -v mvn >/dev/null || \
		{ echo "Beam's job server for $* is built with Java 11 or 17 and Maven; java and mvn are not both on PATH." >&2; exit 1; }
	@echo "Building the job server for $* (about a minute, once) ..."
	@mkdir -p $(ENGINES)
	@mvn -B -q -f $< -Dbuild.folder=$(abspath $(ENGINES))/making-$* package
	@mv $(ENGINES)/making-$*/$*-job-server.jar $@ && rm -r $(ENGINES)/making-$*

$(ENGINES)/prism: requirements.txt
	@command -v go >/dev/null || { echo "Prism is built with Go, which is not on PATH." >&2; exit 1; }
	@echo "Building Prism $(BEAM_VERSION) (minutes, once) ..."
	@GOBIN=$(abspath $(ENGINES)) go install github.com/apache/beam/sdks/v2/go/cmd/prism@v$(BEAM_VERSION)
	@touch $@

$(ENGINES)/flink-$(FLINK_VERSION): | $(VENV)/bin/python
	@echo "Fetching Flink $(FLINK_VERSION) ..."
	@rm -rf $(ENGINES)/fetched && mkdir -p $(ENGINES)/fetched/jars
	@$(PYTHON) -m pip download -q --disable-pip-version-check --no-deps -d $(ENGINES)/fetched apache-flink-libraries==$(FLINK_VERSION)
	@tar -xzf $(ENGINES)/fetched/apache-flink-libraries-*.tar.gz -C $(ENGINES)/fetched
	@mv $(ENGINES)/fetched/*/deps/lib/flink-dist-*.jar $(ENGINES)/fetched/*/deps/lib/log4j-*.jar $(ENGINES)/fetched/jars
	@mv $(ENGINES)/fetched/jars $@ && rm -r $(ENGINES)/fetched

# ---- the environment: .run is what the programs need, .dev adds tests and checks

check:
	@[ -n "$(PYTHON)" ] || { echo "Shardmill needs Python 3.11, 3.12 or 3.13; found $$(python3 --version 2>&1 || echo none). Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Shardmill needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; exit 1; }
	@case "$$(uname -s)-$$(uname -m)" in Linux-x86_64|Darwin-arm64) ;; \
		*) echo "Shardmill runs on Linux x86_64 and macOS arm64 (TensorFlow Transform has wheels for no other); this is $$(uname -s) $$(uname -m)." >&2; exit 1;; esac
	@free=$$(df -Pm . | awk 'NR == 2 { print $$4 }'); [ -d $(VENV) ] || [ "$$free" -ge $(NEEDED_MB) ] || \
		{ echo "Shardmill's environment and sample run need $(NEEDED_MB) MB of disk; $$free MB are free here." >&2; exit 1; }

$(VENV)/bin/python: | check
	@if command -v uv >/dev/null; then uv venv -q --python $(PYTHON) $(VENV); \
	else $(PYTHON) -m venv $(VENV) && $(RUN) -m pip install -q $(PIP_FLAGS) -r requirements-pip.txt; fi

define install
	@echo "Installing $(1) (hash-locked) ..."
	@if command -v uv >/dev/null; then uv pip install -q --compile-bytecode --python $(RUN) --require-hashes -r $(1); \
	else $(RUN) -m pip install -q $(PIP_FLAGS) -r $(1); fi
	@touch $@
endef

$(VENV)/.run: requirements.txt | $(VENV)/bin/python
	$(call install,requirements.txt)
	@# The environment finds both programs from any folder.
	@echo "$(CURDIR)" > "$$($(RUN) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shardmill.pth"

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run | $(VENV)/bin/python
	$(call install,requirements-dev.txt)
