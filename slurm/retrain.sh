#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#SBATCH --job-name=retrain
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --signal=B:USR2@120
#SBATCH --requeue
#
# All that sbatch needs: finds the project, lets `retrain run` start the ranks, passes on requests to
# stop, and requeues the job when its time ran out before it was done.
set -euo pipefail

# What came for this script, and goes on to the run.
child='' interrupted='' announced='' cancelled=''
# shellcheck disable=SC2329 # the traps call it
pass_on() {
  interrupted=yes
  if [[ $1 == USR2 ]]; then announced=yes; else cancelled=$1; fi
  # A shell without job control lets its children ignore INT.
  [[ -z $child ]] || kill -s "${1/INT/TERM}" "$child" 2>/dev/null || true # it may just have ended
}
trap 'pass_on USR2' USR2
trap 'pass_on TERM' TERM
trap 'pass_on INT' INT

usage() {
  cat <<'TEXT'
Learn to tell classes of images apart, as a Slurm job.

  sbatch [options of sbatch] slurm/retrain.sh CONFIG|FOLDER [key=value ...] [--out DIR] [--again]

CONFIG is a YAML file; FOLDER holds one folder of images for each class. All that stands after
the script goes to `retrain run`. One rank for each GPU, or else for each core, that the job gets:

  sbatch slurm/retrain.sh data/pools
  sbatch --nodes=2 --exclusive --time=1:00:00 slurm/retrain.sh data/pools head.l2=0.01
  sbatch --nodes=2 --gpus-per-node=4 slurm/retrain.sh configs/pools.yaml --out runs/gpus

Results    runs/NAME below the folder that you submit from: report.html, results.json
Messages   retrain-JOB.out in that folder
Success    results.json says "complete"; what Slurm says of the job is not enough
Stop       scancel JOB                           it keeps its work and stays cancelled
Pause      scancel --signal=USR2 --batch JOB     it keeps its work and waits in the queue again
Go on      the same sbatch command again

Shortly before the time limit Slurm asks the job to pause: so it goes on until it is done, however
short the limit. It is not queued again when a start brought it no further, nor more than 20 times;
another number: RETRAIN_REQUEUES=N sbatch ...
TEXT
}

die() {
  printf '%s\n' "retrain.sh: $1" "${@:2}" >&2
  exit 2
}

is_project() {
  [[ -n $1 && -f $1/slurm/retrain.sh ]]
}

# Slurm runs a copy in its spool folder; this is the place of what sbatch was given. In scontrol's
# answer the arguments follow the path, unquoted: the shortest path that exists is the script.
submitted_from() {
  local answer rest path=
  answer=$(timeout 30 scontrol show job -o "$SLURM_JOB_ID") || return 0
  rest=${answer#* Command=}
  while [[ $rest == */retrain.sh* ]]; do
    path+=${rest%%/retrain.sh*}/retrain.sh
    rest=${rest#*/retrain.sh}
    if [[ -f $path ]]; then
      project_of "$path"
      return
    fi
  done
}

project_of() {
  dirname -- "$(dirname -- "$(readlink -f -- "$1")")"
}

find_project() {
  local folder
  if [[ -n ${RETRAIN_HOME:-} ]]; then
    is_project "$RETRAIN_HOME" || die "RETRAIN_HOME $RETRAIN_HOME: holds no slurm/retrain.sh." \
      "  Set it to the folder of your clone, or unset it."
    project=$RETRAIN_HOME
    return
  fi
  project=$(project_of "${BASH_SOURCE[0]}")
  ! is_project "$project" || return 0
  project=$([[ -z ${SLURM_JOB_ID:-} ]] || submitted_from)
  ! is_project "$project" || return 0
  folder=${SLURM_SUBMIT_DIR:-$PWD}
  until is_project "$folder"; do
    [[ $folder == */* ]] || die "no project found at the script's place, nor in or above" \
      "  ${SLURM_SUBMIT_DIR:-$PWD}." \
      "  Set RETRAIN_HOME to the folder of your clone, and submit again."
    folder=${folder%/*}
  done
  project=$folder
}

find_retrain() {
  retrain=$project/.venv/bin/retrain
  [[ -x $retrain ]] || retrain=$(command -v retrain) || die "no retrain command in $project/.venv," \
    "  and none on PATH." "  Run \`make setup\` in $project, then submit again."
}

say_what_runs() {
  local where="this machine, no Slurm job"
  if [[ -n ${SLURM_JOB_ID:-} ]]; then
    where="$SLURM_JOB_ID on ${SLURM_JOB_NODELIST:-$(hostname)}"
    where+=$'\n'"Start    $((restarts + 1))"
    ((restarts == 0)) || where+=" after a requeue"
  fi
  printf 'Job      %s\nProject  %s\nCommand ' "$where" "$project"
  printf ' %q' "$retrain" run "$@"
  printf '\n'
}

# The run, with its exit code in `code`. A signal that is trapped ends bash's `wait` before the child
# ends; asked again, `wait` gives the code of a child that has ended meanwhile.
run() {
  "$retrain" run "$@" &
  child=$!
  until
    interrupted=
    code=0
    wait "$child" || code=$?
    [[ -z $interrupted ]]
  do :; done
  child=
  # Asked so early that it did not listen yet, it died of the request.
  case $announced$cancelled:$code in
    ?*:$((128 + $(kill -l USR2))) | ?*:$((128 + $(kill -l TERM)))) code=75 ;;
  esac
}

# How many processes of this script's control group the kernel killed for want of memory so far.
oom_kills() {
  local controllers path file
  while IFS=: read -r _ controllers path; do
    case $controllers in
      '') file=/sys/fs/cgroup${path%/}/memory.events ;;
      memory) file=/sys/fs/cgroup/memory${path%/}/memory.oom_control ;;
      *) continue ;;
    esac
    [[ ! -r $file ]] || sed -n 's/^oom_kill //p' "$file"
  done </proc/self/cgroup
}

# Where somebody has just cancelled the job, TERM may still be on its way, and a requeue would undo it.
is_running() {
  [[ $(timeout --signal=KILL 30 scontrol show job -o "$job") == *" JobState=RUNNING "* ]]
}

# Why the paused job must not be queued again, in `objection`; empty where it may.
find_objection() {
  local further
  further=$(<"$progress")
  objection=
  if [[ -z $announced ]]; then
    objection="the request to stop did not come to the job script"
  elif [[ -z $job ]]; then
    objection="this is no Slurm job"
  elif [[ $further == no ]]; then
    objection="this start brought it no further; a longer time limit or more nodes may"
  elif [[ $further != yes ]]; then
    objection="whether this start brought it further is not known" # nor, then, whether any would
  elif ((restarts >= requeues)); then
    objection="RETRAIN_REQUEUES=$requeues allows no more"
  elif ! is_running; then
    objection="Slurm is ending it already, or did not answer"
  fi
}

# After the run has stopped on request: queue the job again, or say why not.
stop() {
  [[ -n $cancelled ]] || find_objection
  [[ -z $cancelled ]] || objection="it was asked to end ($cancelled)" # perhaps only just now
  if [[ -z $objection ]]; then
    # Slurm ends what it requeues by TERM: this script, and the scontrol that asked for it.
    trap '' TERM USR2 INT
    echo "Requeue  the job goes on from here, with start $((restarts + 2)) of at most $((requeues + 1))"
    ! timeout --signal=KILL 30 scontrol requeue "$job" || exit 75
    objection="scontrol requeue $job did not succeed"
  fi
  printf '%s\n' "Stopped  not queued again: $objection" "Go on    by $again"
  exit 75
}

case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
  '')
    usage >&2
    exit 2
    ;;
esac
restarts=${SLURM_RESTART_COUNT:-0}
requeues=${RETRAIN_REQUEUES:-20}
[[ $requeues =~ ^(0|[1-9][0-9]{0,8})$ ]] || die "RETRAIN_REQUEUES=$requeues: wanted a number."
# The number alone of an array's last task means the whole array.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-${SLURM_JOB_ID:-}}
again="the same ${SLURM_JOB_ID:+sbatch }command again, from ${SLURM_SUBMIT_DIR:-$PWD}"
find_project
find_retrain
say_what_runs "$@"
# Left by sbatch --export=NONE or --export=NAME, it keeps mpirun's own srun from starting its daemons.
unset SLURM_EXPORT_ENV
progress=$(mktemp)
trap 'rm -f "$progress"' EXIT
export RETRAIN_PROGRESS=$progress
killed=$(oom_kills)
code=75
[[ -n $announced$cancelled ]] || run "$@"
((code != 75)) || stop
if ((code == 137)) && [[ $(oom_kills) != "$killed" ]]; then
  printf '%s\n' "Killed   the kernel ended retrain for want of memory" \
    "Go on    with more memory (sbatch --mem=...) or fewer ranks (--ranks N), by $again"
fi
exit "$code"
