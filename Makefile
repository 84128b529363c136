# Each target sets up what it needs in .venv; a second run starts in seconds.
#   PYTHON=python3.12     the Python to build .venv with (3.10 to 3.12; found by itself otherwise)
#   PYTEST_ARGS='-k name' further options of a test run
#   DEMO_ARGS, BENCH_ARGS, VERIFY_DIR   options of the tools

VENV := .venv
RUN := $(VENV)/bin/python
TOOL := $(VENV)/bin/alpamayo
VERIFY_DIR ?= test/data/golden

# The source tree is what runs: nothing is installed, so nothing can be stale.
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
export RMW_IMPLEMENTATION ?= rmw_fastrtps_cpp
# Set by ROS wheels in a calling process; inherited, it would hide this environment's libraries.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench verify lint clean distclean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## make or refresh .venv from requirements/ (the other targets do it themselves)
	@PYTHON='$(PYTHON)' VENV='$(VENV)' REQUIREMENTS='base ros engine test' sh scripts/setup_venv.sh

demo: setup  ## the node on the recorded drive: reasoning and paths as text, a bag, a picture
	$(TOOL) demo $(DEMO_ARGS)

test: setup  ## every test
	$(RUN) -m pytest --disable-plugin-autoload -p timeout $(PYTEST_ARGS)

bench: setup  ## time of every stage on this machine
	$(TOOL) bench $(BENCH_ARGS)

verify: setup  ## compare with the golden results in VERIFY_DIR
	$(TOOL) verify $(VERIFY_DIR)

lint: setup  ## ruff
	$(RUN) -m ruff check .

clean:  ## remove what builds, tests and demos left; .venv stays
	rm -rf build install log out .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean  ## clean, and remove .venv
	rm -rf $(VENV)
