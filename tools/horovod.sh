#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build Horovod for the TensorFlow and the MPI of an environment, and install it there.
#   tools/horovod.sh ENVIRONMENT COMPILER FOLDER
# FOLDER gets the wheel, by one rename, once it has been seen to load.
set -euo pipefail

compiler=$2 folder=$3 environment=$1
rm -rf "$folder.environment"
# Compilers get the environment's path in their flags, where a blank would end it: such a one is
# made again where the wheel goes, only to build in.
if [[ $environment == *[!A-Za-z0-9/._-]* ]]; then
    environment=$folder.environment
    trap 'rm -rf "$environment"' EXIT
    "$1/bin/python" -m venv "$environment"
    "$environment/bin/python" -m pip install --only-binary=:all: \
        -r "$1/.retrain/requirements.txt"
fi
build=$environment/.build
rm -rf "$build"
mkdir -p "$build"

# What a user or a site sets for other work would change what is built.
unset MAKEFLAGS MFLAGS CFLAGS CXXFLAGS CPPFLAGS OPAL_PREFIX MPI_HOME "${!HOROVOD_@}" "${!OMPI_@}"
export PATH=$environment/bin:$PATH CXX=$compiler TMPDIR=$build
export HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1
export HOROVOD_WITH_MPI=1 HOROVOD_WITHOUT_GLOO=1
# The wheel finds the MPI of whichever environment it is installed in.
# shellcheck disable=SC2016  # the loader expands $ORIGIN, not this shell
export LDFLAGS='-Wl,-rpath,$ORIGIN/../../../..'

# A compiler a core, but no more than memory holds at 2 GiB each.
jobs=$(awk -v cores="$(nproc)" '/^MemAvailable/ {
    fit = int($2 / 2097152); print fit < 1 ? 1 : fit < cores ? fit : cores }' /proc/meminfo)
export MAKEFLAGS=-j$jobs

python -m pip install --only-binary=:all: --constraint requirements-build.txt cmake
# Without pip's cache: it hands a Horovod that was built for one TensorFlow to another.
python -m pip wheel --no-build-isolation --no-deps --no-cache-dir --wheel-dir "$build/wheel" \
    --constraint requirements-build.txt horovod
python -m pip uninstall --yes cmake

"$1/bin/python" -m pip install --no-deps --no-index "$build"/wheel/*.whl
"$1/bin/python" -c 'import horovod.tensorflow as hvd; assert hvd.mpi_built()'

rm -rf "$folder" "$folder.new"
cp -r "$build/wheel" "$folder.new"
mv -T "$folder.new" "$folder"
rm -rf "$build"
