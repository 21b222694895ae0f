#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install those of the named Debian packages that are missing, or say which they are.
set -euo pipefail

missing=()
for package in "$@"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    echo "retrain: Not installed: ${missing[*]}. Install as root: apt-get install ${missing[*]}" >&2
    exit 2
fi
echo "retrain: Installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq </dev/null
apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
