#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What JARVICE runs on the first node of a job: takes over what the platform tells, starts a rank a
# GPU or core on every node, and ends with the results as lines of text and its exit code.
set -euo pipefail

# Nothing came yet, and nothing runs.
begin() {
  asked='' sent='' late='' interrupted='' child='' stop=TERM clock='' scratch='' before=unknown
}

# What comes for this script goes on to the run, once: a second request would end it at once.
# shellcheck disable=SC2329 # the traps call it
pass_on() {
  interrupted=yes
  asked=${asked:-$1}
  hand_on
}

hand_on() {
  [[ -n $asked && -n $child && -z $sent ]] || return 0
  sent=yes
  kill -s "$stop" "$child" 2>/dev/null || true # it may just have ended
}

# The clock asks twice: the second time for what did not end by itself.
# shellcheck disable=SC2329
time_is_up() {
  [[ -z $late ]] || stop=KILL sent=''
  late=yes
  pass_on "its $walltime s are nearly over"
}

# The last of all, on every way out: what reads the output finds the results and the code there.
# shellcheck disable=SC2329
finish() {
  local code=$1
  trap '' TERM INT HUP USR1 # what is left is short
  trap - EXIT
  set +e
  stop_clock
  # Asked so early that it did not listen yet, or too late for it to listen, the run died of it.
  case $asked:$code in
    ?*:143 | ?*:140 | ?*:137) code=75 ;; # TERM, USR2, KILL
  esac
  ((code != 75)) || printf '%s\n' "Stopped  ${asked:-the run was asked to end}" \
    "Go on    by the same job again"
  print_parcel "$code"
  [[ -z $scratch ]] || rm -rf "$scratch"
  printf 'JOB_EXIT_CODE=%d\n' "$code"
  exit "$code"
}

usage() {
  cat <<'TEXT'
Learn to tell classes of images apart, as a job of JARVICE.

  launch.sh [--walltime SECONDS] [--settings 'KEY=VALUE ...'] CONFIG|FOLDER [key=value ...]
            --out DIR [--again] [--verify]

All but the first two goes to `retrain run`, with one rank for each GPU, or else for each core, of
every node. Relative paths lie in /data, the job's vault, and DIR must.

--walltime   ends the run in time, its work kept; where the platform does not, or without warning
--settings   more settings as one word, each quoted as a shell would have it

Its last lines are the results, as `retrain pull` reads them, and JOB_EXIT_CODE=N: 0 done, 2 wrong
usage, 3 data or weights do not serve, 75 stopped and to be started again, 1 anything else.
TEXT
}

die() {
  printf '%s\n' "launch.sh: $1" "${@:2}" >&2
  exit 2
}

# Account variables, and parameters that the app marks as variables. It may use what bash has, unset
# names included.
take_over() {
  local file
  set +eu -a
  for file in jobenv.sh jobinfo.sh; do
    # shellcheck disable=SC1090
    [[ ! -r ${JARVICE_ETC:-/etc/JARVICE}/$file ]] || source "${JARVICE_ETC:-/etc/JARVICE}/$file"
  done
}

# Where Slurm starts JARVICE's containers, its words would have this taken for a job of Slurm, whose
# programs are not in here.
leave_slurm() {
  unset "${!SLURM_@}" "${!PMI_@}" "${!PMIX_@}" "${!OMPI_COMM_@}"
}

# Words for this script, and those for `retrain run`, in `words`; the ones that `retrain check` takes
# too, in `described`.
read_words() {
  words=() described=() out='' settings='' walltime=0
  while (($#)); do
    case $1 in
      --walltime=* | --settings=* | --out=*)
        set -- "${1%%=*}" "${1#*=}" "${@:2}"
        continue
        ;;
      --walltime | --settings | --out)
        (($# > 1)) || die "$1: wanted a value."
        case $1 in
          --walltime) walltime=$2 ;;
          --settings) settings=$2 ;;
          --out) out=$2 ;;
        esac
        shift
        ;;
      --again | --verify) words+=("$1") ;;
      -h | --help)
        usage
        exit 0
        ;;
      -*) die "$1: no such option. See launch.sh --help." ;;
      *) described+=("$1") ;;
    esac
    shift
  done
  ((${#described[@]})) || {
    usage >&2
    exit 2
  }
  [[ $walltime =~ ^(0|[1-9][0-9]{0,7})$ ]] || die "--walltime $walltime: wanted seconds."
}

enter_vault() {
  local vault=${JARVICE_DATA:-/data}
  cd -- "$vault" 2>/dev/null || die "$vault: no such folder: the job has no vault." \
    "  Submit it with one: it keeps the data and the results."
  vault=$(pwd -P)
  [[ -n $out ]] || die "--out is missing: wanted a folder in $vault, such as --out runs/pools."
  [[ $(realpath -m -- "$out") == "$vault"/* ]] || die "--out $out: not in $vault." \
    "  Only that folder stays when the job ends: give one in it, such as --out runs/pools."
  out=$(realpath -m -- "$out")
}

# The command `retrain`: the project's, else the one on PATH; and what lies beside it.
find_retrain() {
  project=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
  project=${project%/jobs/nimbix}
  retrain=$project/.venv/bin/retrain
  [[ -x $retrain ]] || retrain=$(command -v retrain) || die "no retrain command in $project/.venv," \
    "  and none on PATH: the image is not whole."
  bin=$(dirname -- "$retrain")
  python=$bin/python
  [[ -x $python ]] || python=python3
}

# What one word holds as a shell would split it, added to the settings; nothing is run or filled in.
split_settings() {
  local more=$scratch/settings word
  [[ -n $settings ]] || return 0
  "$python" -c 'import shlex, sys
for word in shlex.split(sys.argv[1]): sys.stdout.write(word + "\0")' "$settings" >"$more" 2>/dev/null ||
    die "--settings $settings: a quotation mark has no partner."
  while IFS= read -r -d '' word; do
    described+=("$word")
  done <"$more"
}

# GPUs of a node: as the app's parameter tells, else as the driver does.
count_gpus() {
  local word
  gpus=${GPUS_PER_NODE:-}
  [[ $gpus =~ ^(0|[1-9][0-9]{0,3})$ ]] ||
    gpus=$(timeout 30 nvidia-smi -L 2>/dev/null | grep -c '^GPU ') || gpus=0
  for word in "${described[@]}"; do
    [[ $word != run.device=cpu ]] || gpus=0
  done
}

# Each node with its number of ranks, in `nodes` and `ranks`. Which cores are the job's, the platform
# alone tells: the machine's own count takes in those of others.
count_ranks() {
  local etc=${JARVICE_ETC:-/etc/JARVICE} most=$gpus
  [[ -r $etc/nodes && -r $etc/cores ]] || die "$etc: no nodes and cores there: this is no JARVICE job."
  # As many as memory holds, and no more than are of use.
  ((gpus)) || most=$(cd -- "$project" && "$python" -c '
from trainer.world.launch import MOST_RANKS, RANK_GIB
from trainer.world.memory import available_gib
print(max(1, min(MOST_RANKS, int(available_gib() // RANK_GIB))))')
  awk -v gpus="$gpus" -v most="$most" '
    FILENAME == ARGV[1] { if (NF) cores[$1]++; next }
    NF && !seen[$1]++ {
      ranks = gpus ? gpus : cores[$1]
      if (ranks > most) ranks = most
      print $1, ranks < 1 ? 1 : ranks
    }' "$etc/cores" "$etc/nodes" >"$scratch/ranks"
  nodes=() ranks=() total=0
  local node number
  while read -r node number; do
    nodes+=("$node")
    ranks+=("$number")
    total=$((total + number))
  done <"$scratch/ranks"
  ((total)) || die "$etc/nodes: names no node."
}

# What Open MPI 4 and 5 read of where they are. /dev/shm has 64 MiB here, and containers mostly
# forbid that one process reads another's memory.
set_up_mpi() {
  local framework
  export TMPDIR=${TMPDIR:-/tmp}
  for framework in $([[ $1 == 4 ]] && echo btl_vader || echo btl_sm) osc_sm osc_rdma; do
    export "OMPI_MCA_${framework}_backing_directory=$TMPDIR"
  done
  if [[ ${JARVICE_MPI_CMA:-} != true ]]; then
    if [[ $1 == 4 ]]; then
      export OMPI_MCA_btl_vader_single_copy_mechanism=none
    else
      export OMPI_MCA_smsc=^cma
    fi
  fi
  # Messages go by TCP and shared memory: the platform's own fabric is for its own Open MPI.
  export OMPI_MCA_pml=ob1 OMPI_MCA_btl=^openib,ofi,uct
  [[ -z ${JARVICE_SSH_PORT:-} ]] ||
    export PRTE_MCA_plm_ssh_args="-p $JARVICE_SSH_PORT" OMPI_MCA_plm_rsh_args="-p $JARVICE_SSH_PORT"
  ((EUID)) || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  # Ours before the platform's; conda's programs find theirs, and its folder holds too much else.
  [[ ! -e $bin/../lib/libmpi.so.40 || -d $bin/../conda-meta ]] ||
    export LD_LIBRARY_PATH=${bin%/bin}/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}

# The words that start the run, in `command`.
prepare() {
  local mpirun=$bin/mpirun name version=5
  [[ -x $mpirun ]] || mpirun=$(command -v mpirun) || die "no mpirun beside $retrain, and none on PATH."
  [[ $("$mpirun" --version 2>/dev/null) != *" 4."* ]] || version=4
  set_up_mpi "$version"
  command=("$retrain" run)
  if ((${#nodes[@]} == 1)); then
    command+=(--ranks "$total")
  else
    # mpirun hands USR2 to its ranks; at a TERM that all processes of a job get it would end them in
    # a moment, as would its daemons.
    stop=USR2
    local shielded=("$python" -I "$project/trainer/world/daemon.py")
    [[ ! -x $bin/prted ]] || export PRTE_MCA_prte_launch_agent="${shielded[*]} $bin/prted"
    export RETRAIN_OUTCOME=$scratch/outcome # where rank 0, which is here, leaves the exit code
    paste -d ' ' <(printf '%s\n' "${nodes[@]}") <(printf 'slots=%d\n' "${ranks[@]}") >"$scratch/hosts"
    command=("${shielded[@]}" "$mpirun" -np "$total" --hostfile "$scratch/hosts" --map-by slot:oversubscribe
      --bind-to none)
    # ssh takes along no variable, of the image neither.
    while IFS= read -r name; do
      command+=(-x "$name")
    done < <(compgen -e | grep -xE '[A-Za-z_][A-Za-z0-9_]*' |
      grep -vxE '_|PWD|OLDPWD|SHLVL|HOSTNAME|SSH_.*|OMPI_.*|PRTE_.*|PMIX_.*')
    command+=("$retrain" run)
  fi
  command+=(--out "$out" "${words[@]}" -- "${described[@]}")
}

# On many nodes each rank would tell what is wrong with a setting.
check() {
  ((${#nodes[@]} > 1)) || return 0
  "$retrain" check --quick -- "${described[@]}" >/dev/null || exit
}

say_what_runs() {
  local at each=()
  for ((at = 0; at < ${#nodes[@]}; at++)); do
    each+=("${nodes[at]} (${ranks[at]})")
  done
  printf 'Job      %s%s\n' "${JOB_NAME:-without a name}" "${JOB_LABEL:+, $JOB_LABEL}"
  printf 'Project  %s\n' "$project"
  printf 'Nodes    %d, and a rank for each %s:' "${#nodes[@]}" "$( ((gpus)) && echo GPU || echo core)"
  printf ' %s' "${each[@]}"
  printf '\nCommand '
  printf ' %q' "$retrain" run --out "$out" "${words[@]}" -- "${described[@]}"
  printf '\n'
}

# Asks the run to stop so early that it, and what is printed after it, end in time; ends it if it
# does not.
start_clock() {
  local margin=$((walltime / 4)) left
  ((walltime)) || return 0
  left=$((walltime - (margin > 30 ? 30 : margin) - SECONDS))
  (
    exec {never}<> <(:) # `read` sleeps on it, with no child that outlives the clock
    read -rt "$((left > 0 ? left : 0)).1" -u "$never" || true
    kill -s USR1 $$
    read -rt 12 -u "$never" || true
    kill -s USR1 $$
  ) &
  clock=$!
}

# shellcheck disable=SC2329 # a trap calls it, too
stop_clock() {
  [[ -n $clock ]] || return 0
  kill "$clock" 2>/dev/null
  wait "$clock" 2>/dev/null
  clock=
}

# The run, with its exit code in `code`. A signal that is trapped ends bash's `wait` before the child
# ends; asked again, `wait` gives the code of a child that has ended meanwhile.
run() {
  "${command[@]}" </dev/null &
  child=$!
  hand_on # what came before there was a child to hand it to
  until
    interrupted=
    code=0
    wait "$child" || code=$?
    [[ -z $interrupted ]]
  do :; done
  child=
  ((${#nodes[@]} == 1)) || read_outcome
}

# mpirun ends well when it loses a host: only what rank 0 left counts, or mpirun's own failure.
read_outcome() {
  if [[ -s $RETRAIN_OUTCOME ]]; then
    code=$(<"$RETRAIN_OUTCOME")
  elif ((code == 0)); then
    code=1
    echo "launch.sh: the ranks ended without a result; a node was lost, perhaps." >&2
  fi
}

# What tells one results.json from the next, or that there is none.
mark_of_results() {
  stat -c '%i %Y %Z %s' -- "$out/results.json" 2>/dev/null || true
}

# The results, where this job made them or found them finished: those of another run do not count.
# shellcheck disable=SC2329
print_parcel() {
  [[ $before != unknown && -f $out/results.json ]] || return 0
  [[ $1 == 0 || $(mark_of_results) != "$before" ]] || return 0
  (cd -- "$project" && "$python" -m jobs.parcel "$out")
}

exec 2>&1 # one stream: what comes last is read last
begin
trap 'finish $?' EXIT
trap 'pass_on "it was asked to end (TERM)"' TERM
trap 'pass_on "it was asked to end (INT)"' INT
trap 'pass_on "it was asked to end (HUP)"' HUP
trap time_is_up USR1
take_over
set -eu +a
begin                                        # whatever names the platform's variables have
export RETRAIN_JARVICE_JOB=${JOB_NAME:-none} # by which a lock of another job is known for one
leave_slurm
read_words "$@"
find_retrain # while relative paths mean what they did
enter_vault
scratch=$(mktemp -d)
split_settings
count_gpus
count_ranks
prepare
say_what_runs
check
start_clock
before=$(mark_of_results)
code=75
[[ -n $asked ]] || run
exit "$code"
