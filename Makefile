# make demo: install everything into .venv and turn a random latent into an example image.
# make test: install everything into .venv and run all tests.
# make page: build the page in which everything runs in a browser.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Two workers, each with whole files. Compiled modules are kept, else both and every command that they start compile all.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo page site test test-slow test-all test-elsewhere test-browser test-ray fuzz faults lint bench bench-model docs examples bundled toy clean

demo: $(INSTALLED)
	$(BIN)/python cli.py --image_path examples/spheres.png --weights bundled --size 256 --seed 3 --output_path demo.gif

# The whole flow in one file, flow.html, which a browser opens. Needs Node 20 or newer.
page: $(INSTALLED)
	npm ci --prefix web
	npm run --prefix web build
	$(BIN)/latentflow page --vae bundled --output_path flow.html

# Page, gallery and documentation as a folder for a web server; after make page.
site: $(INSTALLED)
	$(BIN)/python docs/make_site.py site

# At most five minutes on two cores. The slow tests, which train, are killed, or go through every option, are
# `make test-slow`; `make test-all` is both.
test: $(INSTALLED)
	$(PYTEST) -m "not slow"
	@echo "Not run: slow tests (make test-slow) and those in a browser (make test-browser)."

test-slow: $(INSTALLED)
	$(PYTEST) -m slow

test-all: test test-slow

# The quick tests that compare figures as another processor, locale, time zone and temporary folder have them;
# `make test-elsewhere TESTS="not slow"` is all quick ones. FILES are those of the tests, all by default.
TESTS := numeric
FILES :=
test-elsewhere: $(INSTALLED)
	TMPDIR=$$(mktemp -d) ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=AVX2 TZ=Pacific/Auckland LANG=C LC_ALL=C \
		$(PYTEST) -m "$(TESTS)" $(FILES)

# The tests of page, app and notebook that need Chromium and chromedriver on the PATH.
test-browser: $(INSTALLED) page
	$(PYTEST) --browser -m browser

# The tests of --engine ray, which needs another package.
test-ray: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable .[ray]
	$(BIN)/python -m pytest tests/test_cluster.py

# Reads thousands of broken files; a short version is part of the tests.
fuzz: $(INSTALLED)
	$(BIN)/python tests/fuzz.py

# Plants 350 faults, one at a time, in a copy and counts how many the tests notice: about fifty minutes of one core.
faults: $(INSTALLED)
	$(BIN)/python tests/plant_faults.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/python docs/check_types.py

bench: $(INSTALLED)
	$(BIN)/python benchmarks/performance.py --json benchmarks/performance.json
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/decoding.py
	$(BIN)/python benchmarks/gif.py
	$(BIN)/python benchmarks/quality.py
	$(BIN)/python benchmarks/app.py

bench-model: $(INSTALLED)
	$(BIN)/python benchmarks/model.py

docs: $(INSTALLED)
	$(BIN)/python docs/generate.py

examples: $(INSTALLED)
	$(BIN)/python examples/make_pictures.py examples

# Trains the bundled autoencoder from nothing but this repository: two hours on two cores. Repeat it to resume.
TRAIN := $(BIN)/latentflow train --data generated --config bundled --compile --resume
bundled: $(INSTALLED)
	$(TRAIN) --steps 14000 --lr 2e-3 --output_dir bundled.first
	$(TRAIN) --start bundled.first --seed 1 --steps 3000 --lr 1e-3 --batch 7 --crop 128 \
		--loss_type "20*mse + 0.1*l1" --output_dir bundled

# Trains the bundled text-to-image model on scenes with captions: an hour and a half on two cores. Repeat it to resume.
toy: $(INSTALLED)
	$(BIN)/python -m tools.toy --data generated --steps 2480 --resume --output_dir toy

$(INSTALLED): pyproject.toml requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .[dev]
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
