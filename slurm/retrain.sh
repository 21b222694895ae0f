#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#SBATCH --job-name=retrain
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --signal=B:USR2@120
#
# All that sbatch needs: finds the project and becomes `retrain run`, which starts the ranks.
set -euo pipefail

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
Stop       scancel --signal=USR2 --batch JOB     it keeps its work and ends with 75
Go on      the same sbatch command again
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
  fi
  printf 'Job      %s\nProject  %s\nCommand ' "$where" "$project"
  printf ' %q' "$retrain" run "$@"
  printf '\n'
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
find_project
find_retrain
say_what_runs "$@"
# Left by sbatch --export=NONE or --export=NAME, it keeps mpirun's own srun from starting its daemons.
unset SLURM_EXPORT_ENV
# In place of this shell, so that Slurm's signals to the batch script reach it.
exec "$retrain" run "$@"
