# Every path is relative and every tool runs as a module. So the targets work in a directory with a
# space in its name, and in a very long path.
MAKEFLAGS += --no-print-directory
PYTHON_IN_VENV = .venv/bin/python
COMPILE = $(PYTHON_IN_VENV) -m uv pip compile --quiet --universal --generate-hashes \
	--python-version 3.11 --no-header
LOCKED = core web worker flower ui cli local model

.DEFAULT_GOAL := help
.PHONY: help run install test faults browser unit llm sure check lock screenshots

help:  ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | expand -t 14

run:  ## Run the whole service here until Ctrl-C; needs Python 3.11 and nothing else
	@deploy/install.sh run
	@exec $(PYTHON_IN_VENV) -m launcher

install:  ## Install everything for running, testing and checking into .venv
	@deploy/install.sh dev

test: install  ## Run the tests against real servers; ARGS are pytest's
	@$(PYTHON_IN_VENV) -m tests $(ARGS)

faults: install  ## Run the tests that end, kill and overload whole services and fuzz the API
	@$(PYTHON_IN_VENV) -m tests --faults $(ARGS)

browser: install  ## Run the tests of the chat page and the API's page in a real browser
	@$(PYTHON_IN_VENV) -m tests --browser $(ARGS)

unit: install  ## Run the tests that need no server and no model, in seconds
	@$(PYTHON_IN_VENV) -m pytest -q -m "not alone" --hypothesis-profile=quick tests/unit $(ARGS)

llm: install  ## Serve a small LLM on the CPU until Ctrl-C, to try one without an account
	@exec $(PYTHON_IN_VENV) -m tests.harness.local_llm $(ARGS)

sure: check  ## Run everything that CI runs: format, lint, types, imports, all tests
	@$(PYTHON_IN_VENV) -m tests --faults --browser
	@$(MAKE) test

screenshots: install  ## Take the README's pictures from the running service; needs Chromium
	@$(PYTHON_IN_VENV) -m tests.harness.screenshots

check: install
	@$(PYTHON_IN_VENV) -m ruff format --check .
	@$(PYTHON_IN_VENV) -m ruff check .
	@$(PYTHON_IN_VENV) -m mypy
	@$(PYTHON_IN_VENV) -c 'from importlinter.cli import lint_imports_command as run; run()'

lock: install  ## Recompile requirements/*.txt from requirements/*.in
	@$(COMPILE) $(UPGRADE) requirements/dev.in -o requirements/dev.txt
	@for name in $(LOCKED); do \
		$(COMPILE) requirements/$$name.in -c requirements/dev.txt -o requirements/$$name.txt || exit 1; \
	done
	@for name in model-weights multilingual llm-weights; do \
		$(COMPILE) --no-deps requirements/$$name.in -o requirements/$$name.txt || exit 1; \
	done
