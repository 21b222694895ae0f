# SPDX-License-Identifier: Apache-2.0
"""`scaling.csv`, `scaling.md` and `scaling.svg` in the folder of a scaling sweep.

    python -m jobs.scaling_report FOLDER

It may be called while runs are going.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jobs.errors import JobError
from jobs.files import write_whole
from jobs.scaling import as_csv, as_markdown, measure
from jobs.scaling_plot import as_svg


def write_scaling(folder: Path) -> list[Path]:
    """Write the table, as CSV and in Markdown, and the plot; returns the files.

    Raises:
        UsageError: No scaling sweep is there.
        JobError: A file cannot be written.
    """
    rows = measure(folder)
    made = {
        "scaling.csv": as_csv(rows),
        "scaling.md": as_markdown(rows),
        "scaling.svg": as_svg(rows),
    }
    try:
        for name, text in made.items():
            write_whole(folder / name, text)
    except OSError as error:
        raise JobError(f"{folder / name}: cannot be written: {error.strerror}.") from None
    return [folder / name for name in made]


if __name__ == "__main__":
    try:
        for written in write_scaling(Path(sys.argv[1] if len(sys.argv) > 1 else ".")):
            print(written)
    except JobError as error:
        print(f"retrain: {error.message}", f"  {error.todo}", sep="\n", file=sys.stderr)
        sys.exit(error.exit_code)
