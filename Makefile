# make demo: set everything up and turn a random latent into an example image.  make test: set up and run the tests.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test test-ray fuzz lint bench bench-model docs examples bundled clean

demo: $(INSTALLED)
	$(BIN)/python cli.py --image_path examples/spheres.png --weights bundled --size 256 --seed 3 --output_path demo.gif

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2

# The tests of --engine ray, which needs a package of its own.
test-ray: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable .[ray]
	$(BIN)/python -m pytest tests/test_cluster.py

# Broken files by the thousand; a short run of it is in the suite.
fuzz: $(INSTALLED)
	$(BIN)/python tests/fuzz.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python benchmarks/performance.py --json benchmarks/performance.json
	$(BIN)/python benchmarks/quality.py

bench-model: $(INSTALLED)
	$(BIN)/python benchmarks/model.py

docs: $(INSTALLED)
	$(BIN)/python docs/generate.py

examples: $(INSTALLED)
	$(BIN)/python examples/make_pictures.py examples

# Rebuilds the bundled autoencoder from this repository alone: two hours on two cores. Interrupted, it goes on.
TRAIN := $(BIN)/latentflow train --data generated --config bundled --compile --resume
bundled: $(INSTALLED)
	$(TRAIN) --steps 14000 --lr 2e-3 --output_dir bundled.first
	$(TRAIN) --start bundled.first --seed 1 --steps 3000 --lr 1e-3 --batch 7 --crop 128 \
		--loss_type "20*mse + 0.1*l1" --output_dir bundled

$(INSTALLED): pyproject.toml requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .[dev]
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
