# make demo | test | lint | bench ROOM=cluster | peers ROOM=run | docs | clean
# Each makes .venv and installs first, once; later calls are quick.

PYTHON ?= python3
ROOM ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: install demo test lint bench peers docs clean
.DELETE_ON_ERROR:

install: .stamps/install

.stamps/venv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Clearance needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	@mkdir -p .stamps && touch $@

# pip first: groups need pip 25.1. Then torch alone, since it is the biggest and changes least.
.stamps/torch: .stamps/venv constraints.txt
	$(PIP) install --quiet --upgrade --constraint constraints.txt pip
	$(PIP) install --quiet --constraint constraints.txt torch==2.13.0
	@touch $@

.stamps/install: .stamps/torch pyproject.toml
	$(PIP) install --quiet --constraint constraints.txt --editable '.[all]' \
		--group examples --group test --group lint --group build
	@touch $@

.stamps/docs: .stamps/install
	$(PIP) install --quiet --constraint constraints.txt --group docs
	@touch $@

demo: .stamps/install
	CLEARANCE_HOME=$(CURDIR)/.demo $(BIN)/python examples/digits.py

test: .stamps/install
	$(BIN)/python -m pytest $(if $(ROOM),tests/$(ROOM),)

lint: .stamps/install
	$(BIN)/ruff check src tests
	$(BIN)/mypy $(addprefix src/clearance/,errors.py settings.py types graph store cluster run trust engine operators)
	$(BIN)/lint-imports

bench: .stamps/install
	@test -n "$(ROOM)" || { echo "say which room: make bench ROOM=run" >&2; exit 2; }
	@test -d bench/$(ROOM) || { echo "bench/$(ROOM) does not exist" >&2; exit 2; }
	@failed=0; for file in bench/$(ROOM)/[!_]*.py; do \
		grep -q __main__ "$$file" || continue; \
		echo "# $$file"; $(BIN)/python "$$file" || failed=1; \
	done; exit $$failed

# One pinned virtual environment, bench/.peers/NAME, for each bench/ROOM/peers/NAME.txt.
peers:
	@test -n "$(ROOM)" || { echo "say which room: make peers ROOM=run" >&2; exit 2; }
	@failed=0; for file in bench/$(ROOM)/peers/*.txt; do \
		test -f "$$file" || { echo "bench/$(ROOM) has no peers"; exit 0; }; \
		place=bench/.peers/$$(basename "$$file" .txt); \
		if ! cmp -s "$$file" "$$place/installed.txt"; then \
			echo "$$place"; rm -rf "$$place"; \
			$(PYTHON) -m venv "$$place" \
			&& "$$place/bin/python" -m pip --disable-pip-version-check install --quiet --requirement "$$file" \
			&& cp "$$file" "$$place/installed.txt" \
			|| { echo "$$place: not installed" >&2; failed=1; }; \
		fi; \
	done; exit $$failed

docs: .stamps/docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv .stamps .demo dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis bench/.peers
