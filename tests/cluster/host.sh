#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Process 1 of one host of the lab: makes the host's own face, starts its daemons, reaps orphans.
# lab.py starts it in new namespaces and ends it by SIGKILL, as a cut power cord would.
#   host.sh NAME ADDRESS STATE [PATH ...]   the paths stay visible though /tmp and /root are its own
set -euo pipefail
name=$1 address=$2 state=$3
shift 3
node=$state/node/$name
cd / # the test's folder may be about to disappear behind this host's own /tmp

own_face() {
  hostname "$name"
  cat /proc/sys/kernel/random/uuid >"$node/boot_id"
  tr -d - <"$node/boot_id" >"$node/machine-id"
  mount --bind "$node/boot_id" /proc/sys/kernel/random/boot_id
  [[ ! -e /etc/machine-id ]] || mount --bind "$node/machine-id" /etc/machine-id
  local file
  for file in hosts passwd group; do
    mount --bind "$state/etc/$file" "/etc/$file"
  done
  mount --bind "$state/etc/slurm" /etc/slurm
}

own_memory() {
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm
}

# Cover a folder of this machine: what lies there stays hidden but for the paths that are named.
#   own_folder FOLDER MODE [PATH ...]
own_folder() {
  local folder=$1 new=$node/new path
  mount -t tmpfs -o "mode=$2" tmpfs "$new"
  shift 2
  for path in "$@"; do
    [[ $path == "$folder"/* ]] || continue
    mkdir -p "$new${path#"$folder"}"
    mount --rbind "$path" "$new${path#"$folder"}"
  done
  mount --move "$new" "$folder"
}

# A new /sys shows this host's devices only; slurmd ends at once where the cgroups are missing in it.
own_sys() {
  mount --rbind /sys/fs/cgroup "$node/cgroup"
  mount -t sysfs sysfs /sys
  mount --move "$node/cgroup" /sys/fs/cgroup
}

own_bridge() {
  ip link add br0 type bridge
  ip address add "$address/24" dev br0
  ip link set br0 up
}

# Slurm's accounting: a database that trusts everybody who reaches it, and only this host can.
start_accounting() {
  mariadb-install-db --no-defaults --user=root --datadir="$state/db" --skip-test-db >/dev/null
  mariadbd --no-defaults --user=root --datadir="$state/db" --skip-grant-tables \
    --bind-address=127.0.0.1 --socket="$state/run/db.sock" --pid-file="$state/run/db.pid" &
  answers mariadb-admin --no-defaults --socket="$state/run/db.sock" ping
  slurmdbd -D &
  answers sacctmgr --immediate add cluster lab
}

answers() {
  local attempt
  for ((attempt = 0; attempt < 100; attempt++)); do
    ! "$@" >/dev/null 2>&1 || return 0
    sleep 0.1
  done
  "$@"
}

start_controller() {
  munged --force --socket "$state/run/munge.sock" --key-file "$state/etc/munge.key" \
    --pid-file "$state/run/munged.pid" --seed-file "$state/run/munge.seed" \
    --log-file "$state/log/munged.log"
  [[ ! -e /etc/slurm/slurmdbd.conf ]] || start_accounting
  slurmctld -D &
}

start_node() {
  ip address add "$address/24" dev eth0
  ip link set eth0 up
  slurmd -D &
}

own_face
own_memory
own_folder /tmp 1777 "$@"
own_folder /root 755 "$@" # a Python may lie there, which other users must be able to start
own_sys
ip link set lo up
if [[ $name == ctl ]]; then
  own_bridge
  start_controller >&2
  echo ready
else
  echo ready
  read -r # until the cable is plugged in
  start_node >&2
fi
exec >&2 </dev/null
trap '' HUP INT TERM
while :; do
  sleep 86400 &
  wait $!
done
