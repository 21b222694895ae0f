# SPDX-License-Identifier: Apache-2.0
"""How jobs stand, and following one until it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs import left
from jobs.errors import NoAnswer
from jobs.journal import Entry, Journal
from jobs.scheduler import Scheduler
from jobs.states import DONE, FAILED, QUEUED, UNKNOWN, Seen, Verdict, judge

Find = Callable[[str], Scheduler]
Say = Callable[[str], None]
SHORTEST = 1.0
"""Seconds between the first two questions: a job that has just begun may end soon."""
_GROWTH = 1.3
_LATE = 10.0
"""Seconds by which a file of another host may be late here, as over NFS."""
_FILE_INTERVAL = 0.3


@dataclass(frozen=True)
class Standing:
    """A job at one moment."""

    entry: Entry
    verdict: Verdict
    seen: Seen | None


def look(entries: Sequence[Entry], journal: Journal, find: Find) -> list[Standing]:
    """How these jobs stand; each scheduler is asked once, for all of them.

    Args:
        entries: The jobs.
        journal: Keeps what nothing can change any more.
        find: Gives a scheduler by its name.
    Raises:
        NoAnswer: A scheduler does not answer.
    """
    standings = {entry: Standing(entry, entry.verdict, None) for entry in entries if entry.verdict}
    for name in dict.fromkeys(entry.scheduler for entry in entries if not entry.verdict):
        scheduler = find(name)
        asked = [e for e in entries if e.scheduler == name and not e.verdict]
        found = scheduler.look([entry.job for entry in asked])
        for entry in asked:
            standings[entry] = _standing(entry, found.get(entry.job), journal, scheduler)
    return [standings[entry] for entry in entries]


def _standing(entry: Entry, seen: Seen | None, journal: Journal, scheduler: Scheduler) -> Standing:
    if seen is None and time.time() - entry.submitted < scheduler.late:
        why = f"{scheduler.name} does not show it yet"
        return Standing(entry, Verdict(QUEUED, why, over=False), None)
    verdict = judge(left.look(entry), seen)
    stays = not scheduler.requeues or seen is None or verdict.state == DONE
    if verdict.over and stays and verdict.state != UNKNOWN:
        journal.settle(entry, verdict)
    return Standing(entry, verdict, seen)


def wait(entries: Sequence[Entry], journal: Journal, find: Find, say: Say) -> list[Standing]:
    """Wait until jobs have ended, and tell what changes on the way."""
    told: dict[str, str] = {}
    *_, last = _until_over(entries, journal, find, lambda s: _tell(s, told, say), say)
    return last


def _tell(standing: Standing, told: dict[str, str], say: Say) -> None:
    job, verdict = standing.entry.job, standing.verdict
    line = f"{verdict.state}: {verdict.why}" if verdict.why else verdict.state
    if told.get(job) != line:
        told[job] = line
        say(f"Job {job}  {line}")


def _until_over(
    entries: Sequence[Entry],
    journal: Journal,
    find: Find,
    tell: Callable[[Standing], None],
    say: Say,
) -> Iterator[list[Standing]]:
    """How the jobs stand, again and again until all have ended; sleeps in between."""
    interval, silent = SHORTEST, False
    longest = _longest(entries, find)
    while True:
        try:
            standings = look(entries, journal, find)
            silent = False
        except NoAnswer as error:
            standings = []
            if not silent:
                say(f"{error.message}; asked again until it answers")
            silent = True
        for standing in standings:
            if _is_over(standing) or not standing.verdict.over:
                tell(standing)
        over = bool(standings) and all(_is_over(one) for one in standings)
        if standings:
            yield standings
        if over:
            return
        time.sleep(interval)
        interval = min(interval * _GROWTH, longest)


def _longest(entries: Sequence[Entry], find: Find) -> float:
    return min(find(name).longest for name in {entry.scheduler for entry in entries})


def _is_over(standing: Standing) -> bool:
    """Whether a job has ended, and what it left has had the time to come here."""
    seen, verdict = standing.seen, standing.verdict
    if verdict.over and verdict.state == FAILED and seen and seen.means == DONE and seen.ended:
        return time.time() - seen.ended > _LATE
    return verdict.over


def logs(entry: Entry, journal: Journal, find: Find, say: Say) -> Iterator[bytes]:
    """A job's log as it grows, until the job has ended; it need not exist yet."""
    told: dict[str, str] = {}
    scheduler = find(entry.scheduler)
    position, asked, interval = 0, -scheduler.longest, SHORTEST
    over = False
    while True:
        position, content = _after(entry.log, position)
        if content:
            yield content
            continue
        if over:
            return
        if time.monotonic() - asked >= interval:
            interval = min(interval * _GROWTH, scheduler.longest) if asked > 0 else SHORTEST
            asked = time.monotonic()
            try:
                standing = look([entry], journal, find)[0]
                scheduler.bring_log(entry)
            except NoAnswer as error:
                say(error.message)
                continue
            if position == 0 and not standing.verdict.over:
                _tell(standing, told, say)
            over = standing.verdict.over
            continue  # once more: it may have written between the two looks
        time.sleep(_FILE_INTERVAL)


def _after(path: Path, position: int, most: int = 1 << 20) -> tuple[int, bytes]:
    """What a file holds after a position; it is begun again where the file was cut short."""
    try:
        with open(path, "rb") as file:
            end = file.seek(0, 2)
            file.seek(position if position <= end else 0)
            content = file.read(most)
            return file.tell(), content
    except OSError:
        return position, b""
