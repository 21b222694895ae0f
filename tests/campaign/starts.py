# SPDX-License-Identifier: Apache-2.0
"""Several starts of one run at once: one runs, each other says who holds it."""

from __future__ import annotations

import re

from bad import require
from trial import Trial, last_words

HELD = re.compile(r"held by a run on \S+ \(process \d+.*since ")


def start_at_once(trial: Trial) -> None:
    """Start the same run two to five times; all end with 2 but one, or after its end with 0."""
    case = trial.choose(texts=3, head=1)
    count = trial.random.randint(2, 5)
    trial.note(f"{count} starts")
    starts = [trial.start(case, trial.random.randint(1, 2)) for _ in range(count)]
    codes = [trial.wait(start) for start in starts]
    trial.struck += count - 1
    trial.note(f"ended with {codes}")
    require(0 in codes and set(codes) <= {0, 2}, f"ended with {codes}: {last_words(starts[-1])}")
    for start, code in zip(starts, codes, strict=True):
        held = code == 0 or bool(HELD.search(start.told()))
        require(held, f"ended with 2, without saying who holds it: {last_words(start)}")
    trial.end(starts[0])
    trial.check(case)
    ended_well = [start for start, code in zip(starts, codes, strict=True) if code == 0]
    did = sum("is done" not in start.told() for start in ended_well)
    require(did == 1, f"{did} of {count} starts did the run")
