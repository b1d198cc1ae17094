PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check prove bench clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[test,explain,video,faces,search]"
	$(BIN)/python -m pip install -q -c constraints.txt --no-deps torchvision timm tabm rtdl_num_embeddings \
		segmentation_models_pytorch huggingface_hub PyYAML
	touch $@

$(VENV)/.installed-check: $(VENV)/.installed-test
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[check]"
	touch $@

demo: $(VENV)/.installed  ## install, then train on a packaged data set
	rm -rf runs/demo
	$(BIN)/chainrule fit breast-cancer --out runs/demo

test: $(VENV)/.installed-test  ## install what tests need, run them
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.installed-check  ## format, lint, types, import contracts
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

prove: $(VENV)/.installed-test  ## long proofs: accuracy, kill loops; their rows go to docs/results.md
	CHAINRULE_RECORD=1 $(BIN)/python -m pytest -m prove -s

bench: $(VENV)/.installed-test  ## speed beside peers, as ratios in one run
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build *.egg-info src/*.egg-info
