#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#SBATCH --job-name=retrain
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --signal=B:USR2@120
#SBATCH --requeue
#
# All that sbatch needs: finds the project and the site, lets `retrain run` start the ranks, passes on
# requests to stop, and requeues the job when its time ran out before it was done.
set -euo pipefail
shopt -s extglob

# What came for this script, and goes on to the run.
child='' interrupted='' announced='' cancelled='' run_by=() staged=''
# shellcheck disable=SC2329 # the traps call it
pass_on() {
  interrupted=yes
  if [[ $1 == USR2 ]]; then announced=yes; else cancelled=$1; fi
  # A shell without job control lets its children ignore INT.
  # srun hands USR2 to its ranks, and ends them at a TERM.
  local name=${1/INT/TERM}
  ((${#run_by[@]} == 0)) || name=USR2
  [[ -z $child ]] || kill -s "$name" "$child" 2>/dev/null || true # it may just have ended
}
trap 'pass_on USR2' USR2
trap 'pass_on TERM' TERM
trap 'pass_on INT' INT

usage() {
  cat <<'TEXT'
Learn to tell classes of images apart, as a Slurm job.

  sbatch [options of sbatch] slurm/retrain.sh [--site SITE] CONFIG|FOLDER [key=value ...]
         [--out DIR] [--again]

CONFIG is a YAML file; FOLDER holds one folder of images for each class. All that stands after
the script goes to `retrain run`. One rank for each GPU, or else for each core, that the job gets:

  sbatch slurm/retrain.sh data/pools
  sbatch --nodes=2 --exclusive --time=1:00:00 slurm/retrain.sh data/pools head.l2=0.01
  sbatch --nodes=2 --gpus-per-node=4 slurm/retrain.sh configs/pools.yaml --out runs/gpus

SITE says how this cluster is used: configs/sites/SITE.yaml, or a file of your own. Without it
RETRAIN_SITE counts, then the cluster's name. In an array, %a is the task's number: one run each.

  sbatch --array=1-5 slurm/retrain.sh data/pools run.seed=%a

Results    runs/NAME, runs/NAME-TASK of an array, below the folder that you submit from:
           report.html, results.json
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

# The site's file, by the rule of trainer/site.py, in `site_file`; empty where there is none.
find_site() {
  local name=${site:-${RETRAIN_SITE:-}} sites=$project/configs/sites one
  site_file=
  case $name in
    '')
      for one in "${SLURM_CLUSTER_NAME:-}" generic; do
        [[ $one != +([[:alnum:]_.-]) || ! -f $sites/$one.yaml ]] || {
          site_file=$sites/$one.yaml
          return
        }
      done
      return
      ;;
    */* | *.yaml) site_file=$name ;;
    *) site_file=$sites/$name.yaml ;;
  esac
  [[ -f $site_file ]] || die "site $name: no file $site_file." \
    "  There are: $(cd -- "$sites" 2>/dev/null && echo *.yaml | sed 's/\.yaml//g')"
}

# Modules and environment: the site's own script, which may use what bash has, unset names included.
enter_site() {
  local shell=${site_file%.yaml}.sh code=0
  [[ -n $site_file && -f $shell ]] || return 0
  [[ $shell == */* ]] || shell=./$shell # or `source` would look on PATH
  set +eu +o pipefail
  # shellcheck disable=SC1090
  source "$shell" || code=$?
  set -euo pipefail
  ((code == 0)) || die "$shell ended with $code."
}

# Which Python the site wants, as one word of its kind and one of its place; there is none yet that
# could read YAML.
wanted_python() {
  local line='^python: *\{ *(venv|conda|apptainer): *([^{}#]*[^{}# ]) *\}' text
  [[ -n $site_file ]] || return 0
  while IFS= read -r text || [[ -n $text ]]; do
    [[ ! $text =~ $line ]] || printf '%s\n' "${BASH_REMATCH[@]:1:2}"
  done <"$site_file"
}

enter_conda() {
  local base
  base=$(conda info --base) || die "no conda on PATH for the environment $1." \
    "  Put it there in ${site_file%.yaml}.sh."
  set +eu +o pipefail
  # shellcheck disable=SC1091
  source "$base/etc/profile.d/conda.sh" && conda activate "$1"
  [[ -n ${CONDA_PREFIX:-} && -x $CONDA_PREFIX/bin/retrain ]]
  local found=$?
  set -euo pipefail
  ((found == 0)) || die "no retrain command in the conda environment $1." \
    "  Install it there: pip install --no-deps $project"
  retrain=("$CONDA_PREFIX/bin/retrain")
}

# The command `retrain`, as words: where the site wants it, else the project's, else the one on PATH.
find_retrain() {
  local wanted kind place found
  mapfile -t wanted < <(wanted_python)
  kind=${wanted[0]:-} place=${wanted[1]:-}
  case $kind in
    venv)
      retrain=("$place/bin/retrain")
      [[ -x ${retrain[0]} ]] || die "python: {venv: $place}: no bin/retrain there ($site_file)."
      ;;
    conda) enter_conda "$place" ;;
    apptainer)
      [[ -f $place ]] || die "python: {apptainer: $place}: no such image ($site_file)."
      retrain=(apptainer exec --nv --bind "$project" "$place" retrain)
      ;;
    *)
      found=$project/.venv/bin/retrain
      [[ -x $found ]] || found=$(command -v retrain) || die "no retrain command in $project/.venv," \
        "  and none on PATH." "  Run \`make setup\` in $project, then submit again."
      retrain=("$found")
      ;;
  esac
}

# What the site says for the run, which goes on by the environment; what is set already wins.
read_site() {
  local answer key value
  launcher=mpirun stage=none scratch=/tmp
  [[ -n $site_file ]] || return 0
  answer=$(mktemp)
  "${retrain[@]}" site "$site_file" >"$answer" || { # it has said why
    local code=$?
    rm -f "$answer"
    exit "$code"
  }
  while IFS='=' read -r -d '' key value; do
    case $key in
      launcher) launcher=${RETRAIN_LAUNCHER:-$value} ;;
      mpi) [[ -z $value ]] || export RETRAIN_MPI=${RETRAIN_MPI:-$value} ;;
      cache) [[ -z $value ]] || export RETRAIN_CACHE=${RETRAIN_CACHE:-$value} ;;
      scratch) scratch=$value ;;
      stage) stage=$value ;;
    esac
  done <"$answer"
  rm -f "$answer"
  export RETRAIN_LAUNCHER=$launcher
}

# One task on each host, whatever the job's own tasks are.
on_each_host() {
  local hosts=${SLURM_JOB_NUM_NODES:-1}
  timeout --signal=KILL "${step_seconds:-1800}" env -u SRUN_CPUS_PER_TASK -u SLURM_EXPORT_ENV \
    srun --mpi=none --nodes="$hosts" --ntasks="$hosts" --ntasks-per-node=1 --overcommit \
    --input=none "$@"
}

# A thousand imports on each of many hosts are a storm on the shared disk: as one file the virtual
# environment comes to each host, which unpacks it on a disk of its own.
stage_venv() {
  local venv=${retrain[0]%/bin/retrain}
  [[ $stage != none && -n ${SLURM_JOB_ID:-} ]] || return 0
  [[ -f $venv/pyvenv.cfg ]] || die "stage: $stage: $venv is no virtual environment ($site_file)."
  staged=$scratch/retrain-${SLURM_JOB_ID}-${SLURM_RESTART_COUNT:-0}
  # A folder that somebody else made there is not taken. The shell on each host fills in the name.
  # shellcheck disable=SC2016
  on_each_host bash -c 'rm -rf "$1" && mkdir -m 700 "$1"' bash "$staged" ||
    die "stage: $stage: $scratch: cannot be written on every host ($site_file)."
  "by_$stage" "$venv" || die "stage: $stage: cannot unpack $venv in $scratch on every host ($site_file)."
  retrain=("$staged/bin/python" "$staged/bin/retrain")
}

# This host packs it, and Slurm hands it on from host to host.
# shellcheck disable=SC2329 # named after `stage`
by_sbcast() {
  tar -C "$1" -cf "$staged/own.tar" . ||
    die "stage: sbcast: $1 does not fit into $scratch ($site_file)."
  sbcast "$staged/own.tar" "$staged/venv.tar" ||
    die "stage: sbcast: cannot copy $1 into $scratch on every host ($site_file)."
  rm -f "$staged/own.tar"
  # shellcheck disable=SC2016
  on_each_host bash -c 'tar -C "$1" -xf "$1/venv.tar" && rm -f "$1/venv.tar"' bash "$staged"
}

# Every host reads it from the shared disk; packed, it stays there until the environment changes.
# shellcheck disable=SC2329 # named after `stage`
by_squashfs() {
  local image=$1.sqsh new=$1.sqsh.$SLURM_JOB_ID.tmp
  if [[ ! -f $image || -n $(find "$1" -maxdepth 4 -newer "$image" ! -name __pycache__ -print -quit) ]]; then
    echo "Packing  $1 into $image, for this job and later ones"
    if ! mksquashfs "$1" "$new" -noappend -no-progress >/dev/null || ! mv -f "$new" "$image"; then
      rm -f "$new"
      die "stage: squashfs: $image cannot be made here ($site_file)." \
        "  Make it where that folder can be written: mksquashfs $1 $image -noappend"
    fi
  fi
  # shellcheck disable=SC2016
  on_each_host bash -c 'unsquashfs -no-progress -force -dest "$1" "$2" >/dev/null' bash "$staged" "$image"
}

# shellcheck disable=SC2329 # a trap calls it, too
unstage() {
  [[ -n $staged ]] || return 0
  step_seconds=60 on_each_host rm -rf "$staged" || true
  staged=
}

# An image holds no srun, so that the run inside could not start ranks on other hosts: here they are
# started, and join the world that they find themselves in.
wrap_image() {
  local hosts=${SLURM_JOB_NUM_NODES:-1} each
  [[ ${retrain[0]} == apptainer ]] || return 0
  if [[ $launcher != srun ]]; then
    ((hosts == 1)) || die "an image on $hosts hosts needs launcher: srun ($site_file)."
    return 0
  fi
  each=${SLURM_NTASKS_PER_NODE:-${SLURM_GPUS_ON_NODE:-${SLURM_CPUS_ON_NODE:-1}}}
  [[ $each == +([0-9]) ]] || each=1
  run_by=(srun --mpi="${RETRAIN_MPI:-pmix}" --kill-on-bad-exit=1 --nodes="$hosts"
    --ntasks="$((hosts * each))" --ntasks-per-node="$each" --distribution=block --overcommit
    --cpu-bind=none --gpu-bind=none --export=ALL --input=none --unbuffered)
}

# In an array %a stands for the task's number: as a value, or in the name of a configuration.
fill_in_task() {
  local at
  for ((at = 0; at < ${#words[@]}; at++)); do
    if [[ ${words[at]} == *=%a || (${words[at]} == *%a* && ! -e ${words[at]} && $at == 0) ]]; then
      words[at]=${words[at]//%a/$SLURM_ARRAY_TASK_ID}
    fi
  done
}

# What a task of a sweep is to run, in `words`: jobs/task.py finds it in the sweep's plan.
look_up() {
  local python=${retrain%/*}/python
  [[ -x $python ]] || python=python3
  mapfile -t -d '' words < <("$python" -I "$@")
  ((${#words[@]})) || exit 2 # it has said why
}

say_what_runs() {
  local where="this machine, no Slurm job"
  if [[ -n ${SLURM_JOB_ID:-} ]]; then
    where="$SLURM_JOB_ID on ${SLURM_JOB_NODELIST:-$(hostname)}"
    where+=$'\n'"Start    $((restarts + 1))"
    ((restarts == 0)) || where+=" after a requeue"
  fi
  printf 'Job      %s\nProject  %s\n' "$where" "$project"
  [[ -z $site_file ]] || printf 'Site     %s (%s)\n' "$site_file" "$launcher"
  printf 'Command '
  printf ' %q' "${run_by[@]}" "${retrain[@]}" run "$@"
  printf '\n'
}

# The run, with its exit code in `code`. A signal that is trapped ends bash's `wait` before the child
# ends; asked again, `wait` gives the code of a child that has ended meanwhile.
run() {
  "${run_by[@]}" "${retrain[@]}" run "$@" &
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
  unstage # after a requeue there would be no more job to do it in
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

# Words for this script, and those for `retrain run`.
site='' words=()
while (($#)); do
  case $1 in
    --site=*) site=${1#--site=} ;;
    --site)
      (($# > 1)) || die "--site: wanted a name or a file."
      site=$2
      shift
      ;;
    --)
      words+=("$@")
      break
      ;;
    *) words+=("$1") ;;
  esac
  shift
done
case ${words[0]:-} in
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
find_site
enter_site
find_retrain
read_site
# Since Slurm 22.05 srun does not take it over by itself.
[[ -z ${SLURM_CPUS_PER_TASK:-} ]] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
if [[ ${words[0]} == --task ]]; then
  look_up "${words[@]:1}"
elif [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then
  fill_in_task
fi
wrap_image
say_what_runs "${words[@]}"
# Left by sbatch --export=NONE or --export=NAME, it keeps mpirun's own srun from starting its daemons.
unset SLURM_EXPORT_ENV
progress=$(mktemp)
trap 'rm -f "$progress"; unstage' EXIT
export RETRAIN_PROGRESS=$progress
stage_venv
killed=$(oom_kills)
code=75
[[ -n $announced$cancelled ]] || run "${words[@]}"
((code != 75)) || stop
if ((code == 137)) && [[ $(oom_kills) != "$killed" ]]; then
  printf '%s\n' "Killed   the kernel ended retrain for want of memory" \
    "Go on    with more memory (sbatch --mem=...) or fewer ranks (--ranks N), by $again"
fi
exit "$code"
