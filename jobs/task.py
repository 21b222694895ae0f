# SPDX-License-Identifier: Apache-2.0
"""What a task of a sweep gives to `retrain run`, each word ended by NUL, on standard output.

    python3 -I jobs/task.py PLAN OFFSET

slurm/retrain.sh calls it by its path with any Python 3 that a node has: nothing else is imported.
The task's number in the plan is OFFSET + SLURM_ARRAY_TASK_ID, for an array's numbers end below
the site's MaxArraySize.
"""

import json
import os
import sys


def main(arguments: "list[str]") -> None:
    """Look the task up and write its words; one line on standard error and 2 if there is none."""
    try:
        path, offset = arguments
        number = int(offset) + int(os.environ["SLURM_ARRAY_TASK_ID"])
        words = task_words(path, number)
    except KeyError as error:
        sys.exit(_said(f"{error.args[0]}: not there: a task runs in an array of jobs"))
    except (OSError, ValueError, TypeError, IndexError) as error:
        sys.exit(_said(f"{' '.join(arguments)}: no task of a sweep: {error}"))
    for word in words:
        sys.stdout.buffer.write(os.fsencode(word) + b"\0")


def task_words(path: str, number: int) -> "list[str]":
    """The words of a task: configuration, settings, arguments, and its run directory."""
    with open(path, encoding="utf-8") as file:
        plan = json.load(file)
    if number < 0:
        raise IndexError(number)
    task = plan["tasks"][number]
    settings = ["{}={}".format(*pair) for pair in task["settings"].items()]
    out = os.path.join(os.path.dirname(os.path.abspath(path)), task["directory"])
    return [plan["config"], *plan["words"], *settings, *task["arguments"], "--out", out]


def _said(message: str) -> int:
    print("retrain: " + ascii(message)[1:-1] + ".", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main(sys.argv[1:])
