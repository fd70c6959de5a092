# make demo   sets everything up and runs the main job, start to end
# make test   sets everything up and runs the tests
# make test-all   the same with every case of those that `make test` samples
# make chaos   kills a cell under load 200 times (ROUNDS=N), then with TLS, user and cgroup namespaces
# make bench   measures what SPECIFICATION.md promises, in 15 minutes
# make image   builds the container image diego-cell:latest
# make compose-up    starts a control plane and CELLS=3 cells with Docker Compose; compose-down removes them
# make deb     builds the Debian packages of the cell and of the ssh proxy into dist/
# make docs    writes the documents as a site to build/site
# make soak    lets random events happen to two cells for 30 minutes (MINUTES=N)
.PHONY: demo test test-all chaos soak setup setup-tests lint unit coverage coverage-all docker-tests bench bundle
.PHONY: clean deb docs image compose-up compose-down wheel

demo: setup
	.venv/bin/cell demo

test: setup-tests lint
	scripts/test

test-all: setup-tests lint
	DIEGO_CELL_TESTS=all scripts/test

chaos: setup-tests
	DIEGO_CELL_CHAOS_ROUNDS=$(or $(ROUNDS),200) .venv/bin/pytest -s tests/chaos

soak: setup-tests
	DIEGO_CELL_CHAOS_MINUTES=$(or $(MINUTES),30) .venv/bin/pytest -s tests/chaos/test_soak.py

docs: setup-tests
	.venv/bin/python -m cell.documentation.troubleshooting
	.venv/bin/mkdocs build --quiet

coverage:
	@scripts/setup --no-engine
	.venv/bin/pytest -m "unit and not alone" -n 2 --dist loadfile --cov --cov-report=term:skip-covered

coverage-all: setup-tests
	.venv/bin/pytest -m "not alone" -n 2 --dist loadfile --cov --cov-report=
	.venv/bin/pytest -m alone --cov --cov-append --cov-report=term:skip-covered

setup-tests:
	@scripts/setup --tests

setup:
	@scripts/setup

lint:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

unit:
	@scripts/setup --no-engine
	.venv/bin/pytest -m "unit and not alone" -n 2 --dist loadfile

docker-tests: setup-tests
	.venv/bin/pytest -m "docker and not alone" -n 2 --dist loadfile
	.venv/bin/pytest -m "docker and alone"

bench: setup-tests
	.venv/bin/python -m benchmarks

bundle:
	@scripts/bundle

image: setup-tests
	packaging/image/build

compose-up: image
	packaging/compose/up $(or $(CELLS),3)

compose-down:
	packaging/compose/down

wheel:
	@scripts/wheel

deb:
	@scripts/deb

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .cache build dist *.egg-info
