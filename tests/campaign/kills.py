# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at any instant: of a rank, of all, of mpirun, of the starter, of everything at once."""

from __future__ import annotations

import signal

import judge
import moments
import processes
from bad import require
from cases import Case
from child import Start
from processes import Process
from trial import END_SECONDS, Trial, last_words, require_tidy

MOST_STRIKES = 3
SURVIVED = 0
FAILED = 1
KILLED = -9


def kill(trial: Trial) -> None:
    """Kill a run one to three times, each start on another number of ranks, then let it end."""
    case = trial.choose(texts=6, images=3, head=1, slow=2)
    strikes = trial.random.choices(range(1, MOST_STRIKES + 1), [5, 3, 2])[0]
    for _ in range(strikes):
        ranks = trial.random.randint(1, 3)
        strike(trial, case, ranks)
    trial.finish(case, trial.random.randint(1, 3))


def strike(trial: Trial, case: Case, ranks: int) -> None:
    """Start, kill at some moment, and see what is left; nothing where the run was too quick."""
    moment = moments.draw(trial.random, case, ranks)
    start = trial.start(case, ranks)
    if moment.wait(start, END_SECONDS):
        had = judge.committed(trial.cache, case)
        target = _kill(trial, start)
        trial.note(f"{ranks}: {target} {moment.name}")
        _require_ended(trial, start, target)
        lost = had - judge.committed(trial.cache, case)
        require(not lost, f"lost commits: {len(lost)} pictures are gone from the cache")
    else:
        trial.note(f"{ranks}: over before {moment.name}")
        _require_complete(trial, start)
    if judge.read(trial.run / "results.json").get("status") == "complete":
        judge.same_result(trial.run, case)


def _kill(trial: Trial, start: Start) -> str:
    """Kill something; gives what."""
    found = processes.find(trial.folder)
    target = trial.random.choice(["rank", "rank", "ranks", "starter", "mpirun", "power", "helper"])
    pids = _chosen(trial, target, found, start)
    if not pids:
        target, pids = "power", [process.pid for process in found]
    trial.struck += bool(processes.send(pids, signal.SIGKILL))
    return target


def _chosen(trial: Trial, target: str, found: list[Process], start: Start) -> list[int]:
    ranks = processes.ranks(found)
    if target == "rank":
        return trial.random.sample(ranks, min(1, len(ranks)))
    if target == "ranks":
        return ranks
    if target == "starter":
        return [start.child.pid]
    if target == "power":
        return [process.pid for process in found]
    same = [process.pid for process in found if process.role == target]
    return trial.random.sample(same, min(1, len(same)))


def _require_ended(trial: Trial, start: Start, target: str) -> None:
    """A starter that lives ends with 1, or 0 where the run was done or does without the part."""
    code = trial.wait(start)
    trial.end(start)
    if code == KILLED:
        return
    require(code in (SURVIVED, FAILED), f"{target} killed: ended with {code}: {last_words(start)}")
    if code == FAILED:
        require("retrain: " in start.told(), f"{target} killed: ended with 1 without a word")
        require_tidy(start)
    else:
        _require_complete(trial, start)


def _require_complete(trial: Trial, start: Start) -> None:
    code = trial.wait(start)
    require(code == 0, f"ended with {code} by itself: {last_words(start)}")
    status = judge.read(trial.run / "results.json").get("status")
    require(status == "complete", f"ended with 0, but results.json says {status}")
