#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Run every checker, also after one found something; exit code 1 if any did.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
export PATH=$PWD/.venv/bin:$PATH
failed=()

check() {
    local name=$1 started=$SECONDS
    shift
    echo "== $name"
    if "$@"; then
        echo "   $((SECONDS - started)) s"
    else
        failed+=("$name")
    fi
}

# All shell scripts, tracked or not, but for what was made or fetched here.
mapfile -t scripts < <(find . -name '.?*' ! -name .ci -prune -o -name '*.sh' -print)

check "ruff check" ruff check --quiet --output-format concise
check "ruff format" ruff format --check --output-format concise
check "mypy" mypy
check "mypy tests/submit" mypy tests/submit
check "mypy tests/parallel" mypy tests/parallel
check "mypy tests/browser" mypy tests/browser
check "mypy tests/cluster" env MYPYPATH=tests/cluster:tests/unit mypy tests/cluster
check "mypy tests/bench" mypy tests/bench
check "mypy tests/campaign" mypy tests/campaign
check "import-linter" lint-imports --no-logo
check "shellcheck" shellcheck .ci/run "${scripts[@]}"
check "codespell" codespell

if ((${#failed[@]})); then
    printf -v listed '%s, ' "${failed[@]}"
    echo "retrain: make check found something: ${listed%, }" >&2
    exit 1
fi
