# SPDX-License-Identifier: Apache-2.0
"""Two heads on the same items: which is right more often, and whether chance alone explains it.

Pure functions. What the heads share does not count: only items on which one is right and the other
wrong tell them apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trainer.analysis.scores import Z95
from trainer.arrays import BoolArray

_SMALLEST_SHARE = 1e-17
"""Of the sum so far: what is added below it changes no bit of a float64."""


@dataclass(frozen=True)
class Pairs:
    """Items by which of two heads is right."""

    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def n(self) -> int:
        """All items."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def first(self) -> int:
        """Items on which the first is right."""
        return self.both + self.only_first

    @property
    def second(self) -> int:
        """Items on which the second is right."""
        return self.both + self.only_second


def pairs(first: BoolArray, second: BoolArray) -> Pairs:
    """Count items by who is right.

    Args:
        first: (n,) whether the first head is right.
        second: (n,) the same of the second, items in the same order.

    Raises:
        ValueError: The lengths differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"the same items wanted, found {first.shape} and {second.shape}")
    table = np.bincount(2 * first.astype(np.int64) + second, minlength=4).tolist()
    return Pairs(both=table[3], only_first=table[2], only_second=table[1], neither=table[0])


def mcnemar(only_first: int, only_second: int) -> float:
    """How often chance alone parts two equally good heads as far as here, or farther.

    The exact test: of the items on which one head alone is right, each falls to either by the toss
    of a coin. Two-sided: twice the smaller tail of the binomial distribution, at most 1.

    Args:
        only_first: Items on which the first head alone is right.
        only_second: Items on which the second alone is.

    Source: McNemar 1947, Psychometrika 12(2), pages 153-157; the exact conditional test of
        Fagerland, Lydersen and Laake 2013, BMC Med. Res. Methodol. 13:91.
    """
    tosses, fewer = only_first + only_second, min(only_first, only_second)
    if 2 * fewer >= tosses - 1:  # the tails meet: no split is less extreme
        return 1.0
    # The tail from its largest term down, each term a fraction of the one before.
    share = total = 1.0
    for heads in range(fewer, 0, -1):
        share *= heads / (tosses - heads + 1)
        total += share
        if share < _SMALLEST_SHARE * total:
            break
    return min(1.0, 2 * total * math.exp(_log_chance(fewer, tosses)))


def _log_chance(heads: int, tosses: int) -> float:
    """Logarithm of the chance of so many heads in so many tosses of a fair coin."""
    ways = math.lgamma(tosses + 1) - math.lgamma(heads + 1) - math.lgamma(tosses - heads + 1)
    return ways - tosses * math.log(2)


def difference_interval(only_first: float, only_second: float, n: float) -> tuple[float, float]:
    """Bound the second head's accuracy minus the first's by its 95% interval.

    Adjusted Wald interval of Bonett and Price: one is added to each count of discordant items.

    Args:
        only_first: Items on which the first head alone is right. Where items are grouped, all
            three are scaled alike by effective over actual number of items.
        only_second: Items on which the second alone is.
        n: All items, above 0.

    Returns:
        Lower and upper bound, -1 to 1.

    Source: Bonett and Price 2012, J. Educ. Behav. Stat. 37(4), pages 479-488.
    """
    first, second = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    middle = second - first
    half = Z95 * math.sqrt((first + second - middle**2) / (n + 2))
    return max(-1.0, middle - half), min(1.0, middle + half)
