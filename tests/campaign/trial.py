# SPDX-License-Identifier: Apache-2.0
"""One trial: a run directory and a cache of its own, what is done to them, and the checks."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import judge
import processes
from bad import Bad, require
from cases import Case, Cases
from child import Start, retrain

END_SECONDS = 180.0
"""For a run that nobody disturbs, or that does not notice; hangs last longer."""
GONE_SECONDS = 15.0
GOES_ON = ("going on", "passed over", "is done")
"""One of these a rerun says that finds a head, or some of its fits, done."""


@dataclass
class Trial:
    """What a kind of trial works with.

    Attributes:
        kind: Its name.
        seed: Decides all that is chosen by chance, with the kind.
        folder: Its own, empty at first.
        cases: What can be run.
        only: Names of the cases that may be chosen; empty for all.
        patience: Multiplies every time limit, for machines with other work.
        place: Where the run directory `run` and the `cache` lie; its folder, unless told otherwise.
        story: What was done, in words.
        struck: How often something was done to it.
        stop_seconds: How long each request to stop took.
        recomputed: Bottlenecks that the finishing run computed.
    """

    kind: str
    seed: int
    folder: Path
    cases: Cases
    only: Sequence[str] = ()
    patience: float = 1.0
    story: list[str] = field(default_factory=list)
    struck: int = 0
    stop_seconds: list[float] = field(default_factory=list)
    recomputed: int = 0

    def __post_init__(self) -> None:
        """Make the folder, and the source of chance."""
        self.random = random.Random(f"{self.kind} {self.seed}")
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o755)
        self.place = self.folder

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.place / "run"

    @property
    def cache(self) -> Path:
        """The cache."""
        return self.place / "cache"

    def choose(self, **weights: float) -> Case:
        """Choose a case by chance, of those that the campaign was told to use."""
        allowed = {name: w for name, w in weights.items() if not self.only or name in self.only}
        require(bool(allowed), f"none of {', '.join(weights)} is among --cases")
        (name,) = self.random.choices(list(allowed), list(allowed.values()))
        self.note(name)
        return self.cases.get(name)

    def note(self, text: str) -> None:
        """Add to what is told of this trial."""
        self.story.append(text)

    def words(self, case: Case, ranks: int) -> tuple[object, ...]:
        """The words of `retrain run` for this trial."""
        settings = (*case.words, f"run.cache={self.cache}", "--ranks", ranks)
        return ("run", case.source, *settings, "--out", self.run)

    def start(
        self,
        case: Case,
        ranks: int,
        variables: Mapping[str, str] | None = None,
        more: Sequence[str] = (),
        around: Callable[[list[str]], list[str]] = lambda command: command,
    ) -> Start:
        """Start the run.

        Args:
            case: What.
            ranks: On how many ranks.
            variables: Added to the environment.
            more: Settings beside the case's.
            around: Puts a command around it.
        """
        command = retrain(*self.words(case, ranks), *more)
        return Start(around(command), self.folder, variables or {})

    def wait(self, start: Start, seconds: float = END_SECONDS) -> int:
        """The exit code; a start that does not end, or that shows a traceback, is bad."""
        code = start.wait(seconds * self.patience)
        require("Traceback (most" not in start.told(), f"traceback in told.{start.number}")
        return code

    def end(self, start: Start) -> None:
        """See that no process of a start that is over is left, as a killed starter may leave them.

        Raises:
            Bad: Some are; they are ended then.
        """
        left = processes.wait_until_gone(self.folder, GONE_SECONDS * self.patience)
        if left:
            told = processes.describe(left)
            processes.end_all(self.folder)
            raise Bad(f"{len(left)} processes left {GONE_SECONDS:.0f} s after the end: {told}")
        start.child.wait()

    def finish(
        self,
        case: Case,
        ranks: int,
        forgiven: str = "",
        variables: Mapping[str, str] | None = None,
        more: Sequence[str] = (),
    ) -> None:
        """Start the same run again, undisturbed: it completes, and nothing is wrong or left.

        Args:
            case: What.
            ranks: On how many ranks.
            forgiven: See `judge.same_result`.
            variables: Added to the environment.
            more: Settings beside the case's.
        """
        had = judge.committed(self.cache, case)
        done_before = judge.read(self.run / "results.json").get("status") == "complete"
        checkpoint = any((self.run / "head").glob("[!.]*"))
        start = self.start(case, ranks, variables, more)
        code = self.wait(start)
        require(code == 0, f"the rerun ended with {code}: {last_words(start)}")
        self.end(start)
        self.check(case, forgiven)
        if checkpoint and not forgiven:
            went_on = any(word in start.told() for word in GOES_ON)
            require(went_on, "the head was fitted from its start although head/ held some of it")
        if case.images and not done_before and not forgiven:
            self.count(case, len(had))

    def check(self, case: Case, forgiven: str = "") -> None:
        """See that a complete run is right, and that nothing lies about."""
        judge.same_result(self.run, case, forgiven)
        judge.same_files(self.run, case)
        judge.no_strays(self.cache, case)

    def count(self, case: Case, had: int) -> None:
        """See that a rerun computed the total minus what was committed: no more, and no less."""
        computed = judge.read(self.run / "results.json")["bottlenecks"]["computed"]
        total = len(case.digests)
        self.recomputed += computed
        require(
            computed == total - had,
            f"lost commits: {computed} computed; {had} of {total} were in the cache before",
        )


def last_words(start: Start) -> str:
    """The end of what a start told, in one line."""
    return " / ".join(line.strip() for line in start.told().splitlines()[-3:])


def require_tidy(start: Start) -> None:
    """See that a starter that lived to its end took its temporary folder with it."""
    require(not start.left(), f"stray temporary folders of the starter: {start.left()}")
