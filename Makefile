# make demo        install, then train, blend and report on the embedded data set
# make test        install, then lint, types and tests
# make dashboard   the latest Optuna study in a browser
# make clean       remove the virtual environment and caches
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test dashboard clean

demo: $(INSTALLED)
	$(BIN)/python pipelines/gbm.py
	$(BIN)/python pipelines/mlp.py
	$(BIN)/python pipelines/gru.py
	$(BIN)/python pipelines/blend.py
	$(BIN)/python pipelines/report.py

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

dashboard: $(INSTALLED)
	@study=$$(ls -t results/*/optuna.db 2>/dev/null | head -n 1); \
	test -n "$$study" || { echo "no study yet: run 'python pipelines/gbm.py' first" >&2; exit 2; }; \
	echo "$$study at http://127.0.0.1:8080/"; \
	$(BIN)/optuna-dashboard "sqlite:///$$study"

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(INSTALLED)

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
