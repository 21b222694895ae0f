#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Find what the machine must bring: an interpreter, a C++ compiler and make.
# Prints the interpreter and the compiler, a line each; or, with exit code 2, one line that says
# which Debian packages to install. PYTHON and CXX choose.
# Candidates are run, not only looked for: a shim on PATH may lead nowhere, and one that does not
# serve may hide another that does.
set -euo pipefail

lacking=()
packages=()

refuse() {
    printf 'retrain: %s\n' "$*" >&2
    exit 2
}

# Says "fits", "venv" (nothing to make an environment with) or "version", and the version.
probe='
import sys
version = sys.version_info[:2]
verdict = "fits"
if not (3, 10) <= version <= (3, 12) or sys.implementation.name != "cpython":
    verdict = "version"
else:
    try:
        import ensurepip, venv
    except ImportError:
        verdict = "venv"
print("%s %d.%d" % ((verdict,) + version))
'

# Print the first interpreter that fits.
find_python() {
    local candidate verdict version unfit='' bare=''
    local -a candidates=("${PYTHON:-}")
    if [[ ! ${PYTHON:-} ]]; then
        mapfile -t candidates < <(type -aP python3 python3.12 python3.11 python3.10)
    fi
    for candidate in "${candidates[@]}"; do
        read -r verdict version < <(timeout 20 "$candidate" -c "$probe" 2>/dev/null) || continue
        case $verdict in
            fits) echo "$candidate" && return ;;
            venv) bare=${bare:-$version} ;;
            version) unfit=${unfit:-$version} ;;
        esac
    done
    explain_python "$bare" "$unfit"
}

# Note what to install; $1: a version that fits but has no venv, $2: one that does not fit.
explain_python() {
    if [[ $1 ]]; then
        lacking+=("the venv module of Python $1")
        packages+=("python$1-venv")
    elif [[ ${PYTHON:-} ]]; then
        refuse "PYTHON=$PYTHON: wanted Python 3.10 to 3.12, found ${2:-nothing that runs}."
    elif [[ $2 ]]; then
        lacking+=("Python 3.10 to 3.12 (found $2; PYTHON= names another)")
        packages+=(python3.12 python3.12-venv)
    else
        lacking+=("Python 3.10 to 3.12")
        packages+=(python3 python3-venv)
    fi
}

# Print a C++ compiler that compiles.
find_compiler() {
    local compiler=${CXX:-g++}
    if "$compiler" -x c++ -fsyntax-only - <<<'#include <string>' 2>/dev/null; then
        echo "$compiler"
    elif [[ ${CXX:-} ]]; then
        refuse "CXX=$CXX: does not compile C++; unset it, or name one that does."
    else
        lacking+=("a C++ compiler")
        packages+=(g++)
    fi
}

check_make() {
    if make --version >/dev/null 2>&1; then return; fi
    lacking+=(make)
    packages+=(make)
}

if [[ $(uname -sm) != "Linux x86_64" ]]; then
    refuse "$(uname -sm): this set-up knows only Linux on x86_64."
fi
find_python
find_compiler
check_make
if ((${#packages[@]})); then
    printf -v listed '%s, ' "${lacking[@]}"
    refuse "Not found: ${listed%, }. Install as root: apt-get install ${packages[*]}"
fi
