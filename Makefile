# make run    from a fresh clone to an anomaly score       make lab        the notebooks in JupyterLab
# make test   everything that CI checks                     make ui         the runs in MLflow
# make check  lint, types and the quick tests               make notebooks  re-execute the committed notebooks
PYTHON ?= python3.11
VENV ?= .venv
export ASD_OUTPUT_ROOT ?= $(CURDIR)/outputs

BIN = $(VENV)/bin
READY = $(VENV)/ready
BOOK = $(VENV)/book
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

.PHONY: run plan check test notebooks test-browser test-slurm lint lab ui book clean

run: $(READY)
	$(SNAKEMAKE); status=$$?; $(BIN)/python workflow/summary.py $(MACHINES); exit $$status

# what `make run` would do
plan: $(READY)
	$(SNAKEMAKE) --dry-run

# what to run before a commit, in a minute and a half
check: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "not slow" --doctest-modules asd tests

test: lint $(BOOK)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup --doctest-modules asd tests
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	    ASD_OUTPUT_ROOT="$$scratch" $(BIN)/python -m pytest -q --nbval-lax -p no:cacheprovider $(NOTEBOOKS)

# executes the committed notebooks and stores their outputs, or fails and stores nothing
notebooks: $(READY)
	$(BIN)/python workflow/refresh.py

# the report in a real browser; run as root, it installs Debian's Chromium if it is missing
test-browser: $(READY)
	$(BIN)/python -m pytest -q tests/browser/open_report.py

# the graph on a real single-node Slurm; run as root, it installs Debian's packages if they are missing
test-slurm: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	    --requirement workflow/profiles/slurm/requirements.txt
	$(BIN)/python tests/slurm.py

lint: $(READY)
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
book: $(BOOK)
	$(BIN)/python -m sphinx -q -W --keep-going -d outputs/book.cache book outputs/book
	@echo "open outputs/book/index.html"

# everything that was made: environment and outputs, including the log-mel store and finished runs
clean:
	rm -rf $(VENV)
	git clean -fdX outputs

# pip would compile one module after the other; compileall takes all cores, and its status tells of templates that are no Python
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null 2>&1 || true
	touch $@

$(BOOK): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[book]'
	touch $@
