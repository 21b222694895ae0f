# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by slurm/retrain.sh before anything else: finds conda, and keeps threads to real cores.
if ! command -v conda >/dev/null; then
  for base in /opt/anaconda3 /opt/conda /opt/miniconda3 "$HOME/miniconda3" "$HOME/anaconda3"; do
    [[ ! -x $base/bin/conda ]] || { PATH=$base/bin:$PATH && break; }
  done
fi
# Four hardware threads share one POWER9 core; numerical libraries are fastest with one of them each.
export OMP_PLACES=${OMP_PLACES:-cores}
true
