# SPDX-License-Identifier: Apache-2.0
"""Many runs in order: by cross-validated log loss, among runs on the same items alone.

The test accuracy belongs to the best run only: shown for all, it would choose among them and no
longer say how good the chosen one is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from trainer.analysis.scores import nothing_learnt
from trainer.report.runs import FoundRun, Items
from trainer.report.values import Tree, bounds, class_names, number, text

_CV = "cross_validation"


@dataclass(frozen=True)
class Placed:
    """A run and its place among those on the same items."""

    run: FoundRun
    rank: int | None
    """From 1; runs with the same log loss share it; None for a run that cannot be ranked."""
    shows_test: bool
    """Whether it is the one whose test accuracy may be seen."""


@dataclass(frozen=True)
class Group:
    """Runs on the same items, the best first, those without a rank last."""

    items: Items | None
    """None: runs whose items nobody knows, which therefore have no rank."""
    rows: list[Placed]
    sharing: int
    """Runs, of all that were found, that were scored on this test set."""

    @property
    def ranked(self) -> int:
        """How many have a rank."""
        return sum(row.rank is not None for row in self.rows)

    @property
    def best(self) -> Placed | None:
        """The first, where it has a rank."""
        return self.rows[0] if self.rows[0].rank else None

    @property
    def tested(self) -> Placed | None:
        """The run whose test accuracy is shown."""
        shown = [row for row in self.rows if row.shows_test]
        return shown[0] if shown else None


def ranked(runs: Iterable[FoundRun]) -> list[Group]:
    """Group runs by their items and rank each group; the largest groups come first."""
    known: defaultdict[Items | None, list[FoundRun]] = defaultdict(list)
    scored: Counter[str] = Counter()
    for run in runs:
        known[run.items].append(run)
        if run.items and accuracy(run.results, "test") is not None:
            scored[run.items.test] += 1
    groups = [
        Group(items, _placed(members, items), scored[items.test] if items else 0)
        for items, members in known.items()
    ]
    return sorted(groups, key=lambda g: (g.items is None, -len(g.rows), str(g.rows[0].run.folder)))


def _placed(runs: list[FoundRun], items: Items | None) -> list[Placed]:
    order = sorted(runs, key=lambda run: (_loss(run), str(run.folder)))
    losses = [_loss(run) for run in order]
    finished = [run for run in order if run.status == "complete"]
    can_rank = items is not None and losses[0] < _NEVER
    rows = []
    for place, (run, loss) in enumerate(zip(order, losses, strict=True)):
        rank = bisect_left(losses, loss) + 1 if can_rank and loss < _NEVER else None
        # Without a ranking, a run that is the only one to have finished was not chosen either.
        best = place == 0 if can_rank else finished == [run]
        rows.append(Placed(run, rank, items is not None and best))
    return rows


_NEVER = float("inf")


def _loss(run: FoundRun) -> float:
    """What ranks a run; infinite where it has not come to its end or was not cross-validated."""
    loss = number(run.results, _CV, "log_loss") if run.status == "complete" else None
    return _NEVER if loss is None else loss


def accuracy(results: Tree, source: str) -> float | None:
    """The accuracy of a source, where it is a share."""
    share = number(results, source, "accuracy")
    return share if share is not None and 0 <= share <= 1 else None


def learnt_nothing(results: Tree) -> bool | None:
    """Whether cross-validation shows no more than guessing; None where nothing tells.

    Where there was no cross-validation the headline tells, which then is the test set's.
    """
    source = _CV if isinstance(results.get(_CV), dict) else "headline"
    metric = text(results, "headline", "metric")
    own = "macro_recall_interval95" if metric == "macro_recall" and source == _CV else "interval95"
    interval, share = bounds(results, source, own), number(results, source, "majority", "share")
    classes = len(class_names(results))
    if not metric or interval is None or share is None or not classes:
        return None
    told = {"metric": metric, "interval95": interval, "majority": {"share": share}}
    return nothing_learnt(told, classes)
