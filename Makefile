# Every target does its own set-up: a .venv with the pinned versions, again only when what is pinned changes.
.DEFAULT_GOAL := demo
.NOTPARALLEL:
.PHONY: demo studio test coverage setup score lint clean

BIN := .venv/bin
PINS := pyproject.toml constraints.txt scripts/setup.sh

demo: .venv/.ready-run ## a video of a person whose clothes change, from bundled inputs, in out/
	$(BIN)/quickchange generate --demo

studio: .venv/.ready-serve ## the studio in the browser, at http://127.0.0.1:8000
	$(BIN)/quickchange serve

test: .venv/.ready-dev ## all tests, those in a browser included
	$(BIN)/python -m pytest

coverage: .venv/.ready-dev ## all tests, and the share of lines that they run (some 40 % slower)
	$(BIN)/python -m pytest --cov=quickchange --cov-report=term:skip-covered

setup: .venv/.ready-dev ## what scoring, benchmarks and training need, the renderer included

score: .venv/.ready-dev ## a quick scorecard of the bundled model, with a report in out/score
	$(BIN)/quickchange score --quick --out out/score

lint: .venv/.ready-dev ## style, format, types, spelling, and the page's types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=src:tests $(BIN)/mypy --config-file tests/mypy.ini tests
	$(BIN)/codespell
	scripts/check_page.sh

clean: ## the virtual environment and all caches; out/, data/ and runs/ stay
	rm -rf .venv build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +

.venv/.ready-run: $(PINS)
	scripts/setup.sh run
	touch $@

.venv/.ready-serve: $(PINS)
	scripts/setup.sh serve
	touch .venv/.ready-run $@

.venv/.ready-dev: $(PINS)
	scripts/setup.sh dev
	touch .venv/.ready-run .venv/.ready-serve $@
