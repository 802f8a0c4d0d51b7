PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test slow lint types docs dist links install

# Train on digits, draw some, compare five samplers: everything ends up in runs/digits.
demo: .venv/.installed
	$(BIN)/fewstep train configs/digits/flow.gin --run runs/digits
	$(BIN)/fewstep sample runs/digits --sampler dpmpp_2m --nfe 16 --lever "cfg(1.5)" --count 100 --label 0,1,2,3,4,5,6,7,8,9 --out runs/digits/samples.png
	$(BIN)/fewstep compare runs/digits --nfe 1,2,4,8,16,32,64

test: .venv/.installed
	FEWSTEP_TESTS=quick $(BIN)/python -m pytest -m "not slow and not browser" -n auto --dist loadfile

# All slow tests, or those of SHARE=K/N: every N-th of each file.  Those that compute much are compiled as users' programs
# are, with the optimizations of XLA; the others as by `make test`: most of their time is compilation.
SHARE ?= 0/1
NUMERICAL := tests/diffusion tests/samplers tests/evaluation tests/parity \
  tests/train/test_few_step_training.py tests/train/test_variance_training.py
SLOW := -m slow -n auto --dist loadfile --share $(SHARE)

slow: .venv/.installed
	$(BIN)/python -m pytest $(SLOW) $(NUMERICAL)
	FEWSTEP_TESTS=quick $(BIN)/python -m pytest $(SLOW) $(addprefix --deselect ,$(NUMERICAL))

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: links
	echo '{}' > .venv/links/pyrightconfig.json
	cd .venv/links && ../bin/pyright --pythonpath ../bin/python fewstep/*

# The documentation as a site with the API reference, in build/site.
docs: links
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict --quiet
	test -d build/site/assets/stylesheets  # of the theme: exclude_docs may drop them without a warning

# The wheel and the sdist, in dist: checked, and the quickstart run from the wheel alone.
dist: .venv/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dist]'
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	PYTHON=$(PYTHON) .ci/quickstart dist/*.whl

# Static tools do not follow package-dir: they are shown the folders as links, under their names in fewstep.
links: .venv/.installed
	rm -rf .venv/links && mkdir -p .venv/links/fewstep
	ln -s "$(CURDIR)"/fewstep/*.py "$(CURDIR)"/fewstep/*.pyi "$(CURDIR)/fewstep/py.typed" .venv/links/fewstep
	for name in configs diffusion evaluation samplers train zoo; do ln -s "$(CURDIR)/$$name" .venv/links/fewstep; done
	ln -s "$(CURDIR)/scripts" .venv/links/fewstep/cli

install: .venv/.installed

.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fewstep needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@
