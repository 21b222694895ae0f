# SPDX-License-Identifier: Apache-2.0
"""What a stopped run has kept, and whether that is more than at its last stop.

A job that is started again and again without getting on is to be noticed: what is kept is counted
in `stages/stopped.json`, and a job script that sets RETRAIN_PROGRESS finds the answer, `yes` or
`no`, in the file of that name.
"""

from __future__ import annotations

import os
from pathlib import Path

from trainer import stages
from trainer.progress import Progress
from trainer.rundir import RunDir, write_text

ANSWER_IN = "RETRAIN_PROGRESS"


def note_stop(run: RunDir, progress: Progress) -> None:
    """Count what is kept, compare, and tell; on rank 0 alone.

    What this start did not come to see counts as at the last stop.

    Raises:
        RetrainError: It cannot be written.
    """
    last = (stages.read(run, stages.STOPPED) or {"kept": {}})["kept"]
    kept = {kind: count() for kind, count in progress.kept.items()}
    kept["stages"] = stages.finished(run)
    more = any(count > last.get(kind, 0) for kind, count in kept.items())
    stages.write(run, stages.STOPPED, {"kept": last | kept, "more": more})
    if answer_in := os.environ.get(ANSWER_IN):
        write_text(Path(answer_in), "yes\n" if more else "no\n")
