# SPDX-License-Identifier: Apache-2.0
"""When a rank stands still, and which of many is to blame: plain arithmetic, free of MPI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_SECONDS = 2.0
"""Between two looks; in what is more, the process that looks did not run itself."""
BUSY_SHARE = 0.1
"""How much of a second counts in which a rank does something, without saying that it got on."""


@dataclass
class Standing:
    """What is known of one rank, in seconds.

    Attributes:
        idle: Since it got on, as it was last heard.
        silent: Since it was heard.
        waits: Whether it waits for other ranks.
    """

    idle: float = 0.0
    silent: float = 0.0
    waits: bool = False

    def age(self, passed: float, moved: bool, waits: bool, busy: float) -> None:
        """Add a while to what this rank knows of itself.

        Args:
            passed: Seconds of it.
            moved: Whether the rank got on in it.
            waits: Whether it waits for others now.
            busy: Seconds of the while in which it did something.
        """
        self.waits = waits
        if moved:
            self.idle = 0.0
        else:
            busy = 0.0 if waits else min(busy, passed)
            self.idle += passed - busy + BUSY_SHARE * busy


def blamed(ranks: Sequence[Standing], timeout: float) -> tuple[tuple[int, ...], str]:
    """The ranks that keep a world from going on, and what they do; none where it goes on.

    Args:
        ranks: All of them, as rank 0 knows them.
        timeout: Seconds of standing still that are too many.
    """
    late = [one.idle + one.silent > timeout for one in ranks]
    guilty = tuple(
        number
        for number, one in enumerate(ranks)
        if one.silent > timeout or (late[number] and not one.waits)
    )
    if guilty:
        return guilty, "stands still" if len(guilty) == 1 else "stand still"
    return (tuple(range(len(ranks))), "wait for each other") if all(late) else ((), "")
