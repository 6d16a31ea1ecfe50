# Two commands matter: `make demo` and `make test`. PYTHON chooses the interpreter (3.11 to 3.13), VENV the folder.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

CONSOLE := services/api/console_files/index.html
CONSOLE_SOURCES := $(shell find services/console/src -type f ! -name schema.d.ts 2>/dev/null) \
	$(addprefix services/console/,index.html package.json package-lock.json tsconfig.json vite.config.ts)

.PHONY: setup console lint-console demo up test test-deploy lint format clean

setup: $(STAMP)
	@if command -v npm >/dev/null; then \
		$(MAKE) --no-print-directory console || echo "the web console could not be built (see above); all else works" >&2; \
	else echo "npm is not there, so the web console is not built; 'make console' builds it with Node 20.19 or later"; fi

console: $(CONSOLE)

# the web console: a file of its own for the packages, which change seldom
$(CONSOLE): services/console/node_modules/.installed $(CONSOLE_SOURCES)
	cd services/console && npm run --silent build

services/console/node_modules/.installed: services/console/package.json services/console/package-lock.json
	cd services/console && npm ci --prefer-offline --silent --no-audit --no-fund
	touch $@

# nvidia-pytriton is installed for the server it carries; its Python requirements (numpy 1) are not wanted
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "medcoss needs Python 3.11 to 3.13, found %d.%d; set PYTHON=python3.12, say" % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt nvidia-pytriton
	touch $(STAMP)

demo: setup
	$(BIN)/medcoss demo --out demo-report $(if $(SERVER),--server $(SERVER))

up: setup
	$(BIN)/medcoss up

lint: setup lint-console
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# the console's TypeScript against the types of the API as it is now
lint-console: setup
	@if test -f services/console/node_modules/.installed; then \
		cd services/console && npm run --silent types >/dev/null && npm run --silent check; \
	else echo "the console's packages are not there, so its TypeScript is not checked; 'make console' brings them"; fi

# in the order of their folders: by number of tests, as is the default, the longest files would begin last
test: lint
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder

# brings the compose stack up for real: needs docker, and minutes; once a release
test-deploy: setup
	$(BIN)/pytest -q -rs -s -m stack --timeout=3600 tests/deploy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .medcoss demo-report sample-data examples-output build *.egg-info
