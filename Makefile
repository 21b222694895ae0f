# SPDX-License-Identifier: Apache-2.0
# Every target makes .venv ready first; once it is, that takes a moment.
# PYTHON=python3.12 chooses the interpreter, MPI=/opt/openmpi a cluster's own Open MPI, GPU=cuda, none
# or auto which TensorFlow is set up; the last two, left out, are those that were set up last.

CLUSTER := slurm-wlm slurm-wlm-basic-plugins slurmdbd mariadb-server munge libpmix-dev iproute2 procps \
  squashfs-tools

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-system campaign bench check format clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## make .venv ready: TensorFlow (GPU=auto|cuda|none), Horovod, MPI, retrain
	@tools/setup.sh

demo: setup  ## the whole job on pictures that retrain draws itself
	@.venv/bin/retrain demo

test:  ## all tests that need neither root nor daemons
	@tools/setup.sh dev
	@.venv/bin/python -m pytest tests/unit tests/submit tests/parallel

test-system:  ## the tests on a real Slurm and in a real browser (root; Debian)
	@tools/setup.sh dev
	@tools/debian.sh $(CLUSTER) chromium
	@.venv/bin/python -m pytest -n 2 --dist loadfile tests/cluster tests/browser

campaign:  ## runs disturbed in hundreds of ways (root; hours; CAMPAIGN='--kills 20')
	@tools/setup.sh dev
	@tools/debian.sh $(CLUSTER) gcc libc6-dev
	@.venv/bin/python tests/campaign $(CAMPAIGN)

bench:  ## this project and its peers on the same files (BENCH='FOLDER --only speed')
	@tools/setup.sh bench
	@.venv/bin/python tests/bench $(BENCH)

check:  ## style, types, layers, shell scripts, spelling
	@tools/setup.sh dev
	@tools/check.sh

format:  ## rewrite the Python files as `make check` wants them
	@tools/setup.sh dev
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format .

clean:  ## remove .venv and the checkers' caches; runs and the bottleneck cache stay
	@rm -rf .venv build dist *.egg-info .hypothesis
	@rm -rf .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
