#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Process 1 of one host of the lab: makes the host's own face, starts its daemons, reaps orphans.
# lab.py starts it in new namespaces and ends it by SIGKILL, as a cut power cord would.
#   host.sh NAME ADDRESS STATE [PATH ...]     the paths stay visible though /tmp is the host's own
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
  mount --bind "$state/etc/hosts" /etc/hosts
  mount --bind "$state/etc/slurm" /etc/slurm
}

own_memory_and_tmp() {
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm
  mount -t tmpfs -o mode=1777 tmpfs "$node/tmp"
  local path
  for path in "$@"; do
    [[ $path == /tmp/* ]] || continue
    mkdir -p "$node$path"
    mount --rbind "$path" "$node$path"
  done
  mount --move "$node/tmp" /tmp
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

start_controller() {
  munged --force --socket "$state/run/munge.sock" --key-file "$state/etc/munge.key" \
    --pid-file "$state/run/munged.pid" --seed-file "$state/run/munge.seed" \
    --log-file "$state/log/munged.log"
  slurmctld -D &
}

start_node() {
  ip address add "$address/24" dev eth0
  ip link set eth0 up
  slurmd -D &
}

own_face
own_memory_and_tmp "$@"
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
