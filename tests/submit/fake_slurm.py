# SPDX-License-Identifier: Apache-2.0
"""Slurm's programs as a login node has them, which answer what a test wrote down for them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PROGRAM = r"""#!/usr/bin/env bash
folder=$(dirname -- "$0")/..
name=$(basename -- "$0")
{ printf '%s\0' "$@"; printf '\n\0'; } >>"$folder/$name.calls"
# With many answers, the next one each time; the last one stays.
answer=$(ls "$folder/answers" | grep -E "^$name\.[0-9]+$" | sort -t. -k2n | head -n1)
[[ -n $answer ]] || exit 0
cp "$folder/answers/$answer" "$folder/now.$name"
[[ $(ls "$folder/answers" | grep -cE "^$name\.[0-9]+$") == 1 ]] || rm "$folder/answers/$answer"
. "$folder/now.$name"
"""


class Answer(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Retrain = Callable[..., Answer]


class FakeSlurm:
    """Programs below a folder, for the front of PATH."""

    def __init__(self, folder: Path) -> None:
        """Put them there; without answers they say nothing and end with 0."""
        self.folder = folder
        self.bin = folder / "bin"
        (folder / "answers").mkdir(parents=True)
        self.bin.mkdir()
        for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol"):
            (self.bin / name).write_text(PROGRAM)
            (self.bin / name).chmod(0o755)
        self._numbers = 0
        self.answers("sacct", err="Slurm accounting storage is disabled\n", code=1)

    def answers(self, name: str, out: str = "", err: str = "", code: int = 0) -> None:
        """What a program says next, after what was put down before."""
        self._numbers += 1
        said, wrong = (self.folder / f"{self._numbers}.{kind}" for kind in ("out", "err"))
        said.write_text(out)
        wrong.write_text(err)
        script = f"cat '{said}'\ncat '{wrong}' >&2\nexit {code}\n"
        (self.folder / "answers" / f"{name}.{self._numbers}").write_text(script)

    def forget(self, name: str) -> None:
        """Take back what a program was to say."""
        for path in (self.folder / "answers").glob(f"{name}.*"):
            path.unlink()

    def calls(self, name: str) -> list[list[str]]:
        """The words of each call so far."""
        path = self.folder / f"{name}.calls"
        text = path.read_text() if path.exists() else ""
        return [call.split("\0")[:-1] for call in text.split("\n\0")[:-1]]

    def queue(self, *rows: str) -> None:
        """What squeue says from now on; a row: `JOB STATE [REASON [WAIT_STATUS [RESTARTS]]]`."""
        lines = []
        now = int(time.time())
        for row in rows:
            job, state, *more = row.split()
            reason, status, restarts = [*more, *["None", "0", "0"][len(more) :]]
            cells = [job, state, reason, status, restarts, now - 60, now - 40, now - 20]
            lines.append("".join(f"{cell!s:<20}|" for cell in cells) + "\n")
        self.forget("squeue")
        self.answers("squeue", "".join(lines))


def leave(run: Path, status: str) -> None:
    """Write a run's results.json."""
    run.mkdir(parents=True, exist_ok=True)
    new = run / "new"
    new.write_text(json.dumps({"schema": 1, "status": status}))
    new.replace(run / "results.json")
