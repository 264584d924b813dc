# make demo        install, then train, blend and report on the embedded data set
# make test        install, then lint, types and tests
# make dashboard   the latest Optuna study in a browser, or those in STORAGE=postgresql+psycopg://...
# make install     install into .venv; the commands above do so, too
# make clean       remove the virtual environment and caches
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
STORAGE ?=
SUPPORTED := import sys; sys.exit(sys.version_info < (3, 11))
COMPLETE := from importlib.util import find_spec as f; import sys; \
	sys.exit(not all(map(f, "distributed librosa lightgbm optuna psycopg pytest sklearn torch".split())))

.PHONY: demo test dashboard install clean

demo: install
	$(BIN)/python pipelines/gbm.py
	$(BIN)/python pipelines/gru.py
	$(BIN)/python pipelines/blend.py
	$(BIN)/python pipelines/report.py

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 2 --dist worksteal

dashboard: install
	@url='$(STORAGE)'; study="the database"; \
	if test -z "$$url"; then study=$$(ls -t results/*/optuna.db 2>/dev/null | head -n 1); url="sqlite:///$$study"; fi; \
	test -n "$$study" || { echo "no study yet: run 'python pipelines/gbm.py' first" >&2; exit 2; }; \
	echo "$$study at http://127.0.0.1:8080/"; \
	$(BIN)/optuna-dashboard "$$url"

# A virtual environment without pip or with an older Python is made again; missing packages are installed.
install:
	@$(BIN)/python -c 'import pip, sys; assert sys.prefix != sys.base_prefix; $(SUPPORTED)' 2>/dev/null || { \
		$(PYTHON) -c '$(SUPPORTED)' || { \
			echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; exit 2; }; \
		if test -e .venv; then echo ".venv has no pip or an older Python, so it is made again" >&2; fi; \
		$(PYTHON) -m venv --clear .venv && $(BIN)/python -c '$(SUPPORTED)'; }
	@test $(INSTALLED) -nt pyproject.toml && test $(INSTALLED) -nt constraints.txt && \
		$(BIN)/python -c '$(COMPLETE)' || { \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' && \
		touch $(INSTALLED); }

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
