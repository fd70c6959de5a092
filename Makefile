# make demo   sets everything up and runs the main job, start to end
# make test   sets everything up and runs the tests
.PHONY: demo test setup lint unit docker-tests bench clean

demo: setup
	.venv/bin/cell demo

test: setup lint
	.venv/bin/pytest --cov --cov-report=term:skip-covered

setup:
	@scripts/setup

lint:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

unit:
	@scripts/setup --no-engine
	.venv/bin/pytest -m unit

docker-tests: setup
	.venv/bin/pytest -m docker

bench: setup
	.venv/bin/python benchmarks/burst.py --n 25

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .cache build dist *.egg-info
