PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint install

# Train on digits, draw some, compare five samplers: everything ends up in runs/digits.
demo: .venv/.installed
	$(BIN)/fewstep train configs/digits/flow.gin --run runs/digits
	$(BIN)/fewstep sample runs/digits --sampler dpmpp_2m --nfe 16 --lever "cfg(1.5)" --count 100 --label 0,1,2,3,4,5,6,7,8,9 --out runs/digits/samples.png
	$(BIN)/fewstep compare runs/digits --nfe 1,2,4,8,16,32,64

test: .venv/.installed
	$(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

install: .venv/.installed

.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fewstep needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@
