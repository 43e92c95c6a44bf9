# Everything runs in .venv, which is made once and brought up to date when pyproject.toml or constraints.txt change.
#
#   PYTHON      the Python that makes .venv                      make audit PYTHON=python3.13
#   ARGS        passed on to `leakward audit` or to pytest       make audit ARGS="--data bloodmnist"
#   TORCH_ARGS  passed on to pip for torch alone, for instance the much smaller build without CUDA:
#               make audit TORCH_ARGS="--index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
ARGS ?=
TORCH_ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
TORCH := $(shell grep '^torch==' constraints.txt)
NEED_PYTHON := Leakward needs Python 3.11 or newer. Say which one to use with: make PYTHON=/path/to/python3

.DELETE_ON_ERROR:
.PHONY: help audit test check clean

help:
	@echo "make audit    run the built-in audit and write its report; needs no data"
	@echo "make test     run the tests, without those marked slow or gpu"
	@echo "make check    run the linters, the type checker and the check of the layer order"
	@echo "make clean    remove .venv"

audit: .venv/.installed
	$(BIN)/leakward audit $(ARGS)

# Two processes of one thread each; ARGS may ask for others, as in ARGS="-n 8".
test: .venv/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

clean:
	rm -rf .venv

.venv/.installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found. $(NEED_PYTHON)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$$($(PYTHON) --version) is too old. $(NEED_PYTHON)" >&2; exit 1; }
	@echo "Setting up .venv; the first time this downloads PyTorch and takes some minutes."
	@$(PYTHON) -m venv .venv
	@$(PIP) $(TORCH) $(TORCH_ARGS)
	@$(PIP) -c constraints.txt -e .
	@touch $@

.venv/.installed-dev: .venv/.installed
	@$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@
