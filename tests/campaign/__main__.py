# SPDX-License-Identifier: Apache-2.0
"""Disturbs runs in every way that comes to mind, and sees that each ends as an undisturbed one.

    python tests/campaign [--kills 200] [--stops 40] ... [--seed 1] [--cases texts,images]
    python tests/campaign --only kill --seed 17

`make campaign` runs the large one, as root, since some trials need it. Each line is a trial; a
bad one keeps its folder and tells how to see it again. Exit code 1 if any was bad.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import processes
from bad import Bad, Impossible
from cases import DATA, Cases
from kinds import KINDS
from trial import Trial

INTERRUPTED = 130


@dataclass
class Outcome:
    """What became of a trial; `wrong` is empty where all was right."""

    trial: Trial
    wrong: str
    seconds: float
    made: bool = True


def main() -> int:
    """Run the trials that were asked for; tell the exit code."""
    asked = parse()
    signal.signal(signal.SIGTERM, _interrupt)
    base = asked.out or Path(tempfile.mkdtemp(prefix="retrain-campaign-"))
    base.mkdir(parents=True, exist_ok=True)
    base.chmod(0o755)  # trials of other users must get there
    outcomes: list[Outcome] = []
    try:
        for trial in _trials(asked, base.resolve()):
            outcomes.append(_attempt(trial))
            _tell(outcomes[-1])
    except KeyboardInterrupt:
        print("campaign: interrupted.", file=sys.stderr)
        return INTERRUPTED
    print(summary(outcomes))
    bad = any(outcome.wrong for outcome in outcomes)
    if not bad and not asked.out:
        shutil.rmtree(base)
    return int(bad)


def _trials(asked: argparse.Namespace, base: Path) -> Iterator[Trial]:
    """The trials, each made when it is its turn."""
    cases = Cases(base)
    for name, count in _counts(asked).items():
        for seed in range(asked.seed, asked.seed + count):
            folder = base / f"{name}-{seed}"
            shutil.rmtree(folder, ignore_errors=True)
            yield Trial(name, seed, folder, cases, asked.cases, asked.patience)


def _counts(asked: argparse.Namespace) -> dict[str, int]:
    """How many of each kind: those named, or else those of the large campaign."""
    if asked.only:
        return {asked.only: 1}
    given = {name: getattr(asked, kind.option) for name, kind in KINDS.items()}
    if all(count is None for count in given.values()):
        return {name: kind.large for name, kind in KINDS.items()}
    return {name: count or 0 for name, count in given.items()}


def _attempt(trial: Trial) -> Outcome:
    """One trial; whatever happens, nothing of it runs on, and only a bad one leaves a folder."""
    begun = time.monotonic()
    wrong, made = "", True
    try:
        KINDS[trial.kind].work(trial)
    except Bad as found:
        wrong = str(found)
    except Impossible as reason:
        made = False
        trial.note(f"not made: {reason}")
    finally:
        processes.end_all(trial.folder)
    if not wrong:
        shutil.rmtree(trial.folder)
    return Outcome(trial, wrong, time.monotonic() - begun, made)


def _tell(outcome: Outcome) -> None:
    trial = outcome.trial
    word = "BAD " if outcome.wrong else "ok  " if outcome.made else "-   "
    story = "; ".join(trial.story)
    print(f"{word}{trial.kind} {trial.seed} ({outcome.seconds:.0f} s): {story}", flush=True)
    if outcome.wrong:
        print(f"    {outcome.wrong}\n    in {trial.folder}; again: {again(trial)}", flush=True)


def again(trial: Trial) -> str:
    """The command that repeats one trial."""
    cases = f" --cases {','.join(trial.only)}" if trial.only else ""
    return f"python tests/campaign --only {trial.kind} --seed {trial.seed}{cases}"


def summary(outcomes: list[Outcome]) -> str:
    """A table with a line a kind."""
    lines = [f"\n{'kind':10}{'trials':>8}{'struck':>8}{'bad':>6}{'not made':>10}{'minutes':>9}"]
    for name in KINDS:
        mine = [outcome for outcome in outcomes if outcome.trial.kind == name]
        if mine:
            struck = sum(outcome.trial.struck for outcome in mine)
            bad = sum(bool(outcome.wrong) for outcome in mine)
            left_out = sum(not outcome.made for outcome in mine)
            minutes = sum(outcome.seconds for outcome in mine) / 60
            lines.append(f"{name:10}{len(mine):8}{struck:8}{bad:6}{left_out:10}{minutes:9.1f}")
    stops = sorted(seconds for outcome in outcomes for seconds in outcome.trial.stop_seconds)
    if stops:
        lines.append(
            f"stopped in {stops[len(stops) // 2]:.1f} s (median), {stops[-1]:.1f} s (most)"
        )
    recomputed = sum(outcome.trial.recomputed for outcome in outcomes)
    lines.append(f"bottlenecks that reruns computed: {recomputed}, all of them open ones")
    return "\n".join(lines)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="tests/campaign", description=__doc__.partition("\n")[0])
    for kind in KINDS.values():
        text = f"{kind.about} (large campaign: {kind.large})"
        parser.add_argument(f"--{kind.option}", type=int, metavar="N", help=text)
    parser.add_argument("--seed", type=int, default=1, help="of the first trial of each kind")
    parser.add_argument("--only", choices=KINDS, help="one trial of this kind, with this --seed")
    parser.add_argument("--cases", default="", metavar="NAME,...", help=f"of {', '.join(DATA)}")
    parser.add_argument("--patience", type=float, default=1.0, help="multiplies all time limits")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="kept; else a temporary one")
    asked = parser.parse_args()
    asked.cases = tuple(name for name in asked.cases.split(",") if name)
    unknown = sorted(set(asked.cases) - set(DATA))
    if unknown:
        parser.error(f"--cases {','.join(unknown)}: there are {', '.join(DATA)}")
    return asked


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
