# make run    from a fresh clone to an anomaly score       make lab        the notebooks in JupyterLab
# make test   everything that CI checks                     make ui         the runs in MLflow
# make check  lint, types and the quick tests               make notebooks  re-execute the committed notebooks
# make book   the course as a site, to read and to listen     make bench      what the parts of a run cost
PYTHON ?= python3.11
VENV ?= .venv
export ASD_OUTPUT_ROOT ?= $(CURDIR)/outputs
# what is imported first is compiled then, and kept: compiling whole packages takes longer than `make run` gains by it
unexport PYTHONDONTWRITEBYTECODE

BIN = $(VENV)/bin
RUN_EXTRAS = course,graph
READY = $(VENV)/ready
TESTABLE = $(VENV)/testable
NOTEBOOKS = $(sort $(wildcard notebooks/0*.ipynb))

# make run MACHINES="fan pump" METHODS="aux maf" PARAMS=dcase2021 SEEDS="0 1 2" JOBS=4 is short for
#   .venv/bin/snakemake --profile workflow/profiles/local --config machines="fan pump" methods="aux maf" params=dcase2021 …
# workflow/config.yaml explains these; PROFILE=slurm runs the same on a cluster
MACHINES ?= fan
# a first run with these takes a few minutes; for all methods: METHODS="aux ccsa ae made maf"
METHODS ?= aux ccsa
PROFILE ?= local
SNAKEMAKE = $(BIN)/snakemake --profile workflow/profiles/$(PROFILE) --config machines="$(MACHINES)" \
    $(if $(METHODS),methods="$(METHODS)") $(if $(PARAMS),params="$(PARAMS)") $(if $(SEEDS),seeds="$(SEEDS)") \
    $(if $(JOBS),jobs=$(JOBS))

.PHONY: run plan check test test-package test-notebooks notebooks test-browser test-slurm lint lab ui book bench clean

run: $(READY)
	$(SNAKEMAKE); status=$$?; $(BIN)/python workflow/summary.py $(MACHINES); exit $$status

# what `make run` would do
plan: $(READY)
	$(SNAKEMAKE) --dry-run

# what to run before a commit, in a minute and a half
check: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "not slow" --doctest-modules asd tests

# side by side, since the notebooks, which are one process after the other, would leave cores idle
test: lint
	$(MAKE) --no-print-directory --jobs=2 test-package test-notebooks book

test-package: $(TESTABLE)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup --doctest-modules asd tests

test-notebooks: $(TESTABLE)
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && ASD_OUTPUT_ROOT="$$scratch" OMP_NUM_THREADS=1 \
	    $(BIN)/python -m pytest -q --nbval-lax -p no:cacheprovider $(NOTEBOOKS)

# executes the committed notebooks and their solutions and stores their outputs, or fails and stores nothing
notebooks: $(TESTABLE)
	$(BIN)/python workflow/refresh.py

# report, book and JupyterLab in a real browser, in some minutes; run as root, it installs Debian's Chromium if it is missing
test-browser: book
	$(BIN)/python -m pytest -q tests/browser/open_report.py tests/browser/open_book.py tests/browser/open_lab.py

# the graph on a real single-node Slurm; run as root, it installs Debian's packages if they are missing
test-slurm: $(TESTABLE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	    --requirement workflow/profiles/slurm/requirements.txt
	$(BIN)/python tests/slurm.py

lint: $(TESTABLE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# signed, because JupyterLab strips the sound players of notebooks that were not executed on this machine
lab: $(READY)
	$(BIN)/jupyter trust $(NOTEBOOKS)
	$(BIN)/jupyter lab notebooks

ui: $(READY)
	$(BIN)/mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///$(ASD_OUTPUT_ROOT)/mlflow.db}"

# the course as a site, from what the committed notebooks show and the docstrings say; nothing is executed
book: $(TESTABLE)
	$(BIN)/python -m sphinx -q -W --keep-going -d outputs/book.cache book outputs/book
	@echo "open outputs/book/index.html"

# speed of features, training steps and scoring, and memory; then, after `make run`, where its notebooks' time went
bench: $(READY)
	$(BIN)/python benchmarks/speed.py
	@if ls "$(ASD_OUTPUT_ROOT)"/notebooks/*/0*.ipynb > /dev/null 2>&1; then \
	    $(BIN)/python benchmarks/notebooks.py "$(ASD_OUTPUT_ROOT)"/notebooks/*/0*.ipynb; fi

# everything that was made: environment and outputs, including the log-mel store and finished runs
clean:
	rm -rf $(VENV)
	git clean -fdX outputs book

# the tests' own packages, beside those that `make run` needs; the last has no wheel for some machines, which skip its tests
$(TESTABLE): $(READY)
	$(call install,test)
	-$(PIP) --constraint constraints.txt pyopen-wakeword
	touch $@

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --constraint constraints.txt torch uv
	$(call install,$(RUN_EXTRAS))
	touch $@

# pip takes torch, from where this machine's settings tell it to; uv takes the rest, in a fraction of pip's time, and pip
# again where uv finds no way to them
PIP = $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check
define install
$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[$(1)]' || \
	    $(PIP) --constraint constraints.txt --editable '.[$(1)]'
endef
