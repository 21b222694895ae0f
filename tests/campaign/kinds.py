# SPDX-License-Identifier: Apache-2.0
"""The kinds of trials, in the order in which a campaign makes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clocks import apart
from disks import small_disk
from flips import flip
from hosts import two_hosts
from kills import kill
from stalls import stall
from starts import start_at_once
from stops import stop
from trial import Trial
from users import two_users


@dataclass(frozen=True)
class Kind:
    """A kind of trial.

    Attributes:
        option: Says on the command line how many.
        about: What it does, for the help.
        large: How many the large campaign makes.
        work: Makes one.
    """

    option: str
    about: str
    large: int
    work: Callable[[Trial], None]


KINDS = {
    "kill": Kind("kills", "SIGKILL at any instant", 200, kill),
    "stop": Kind("stops", "SIGTERM, SIGINT, SIGUSR2", 40, stop),
    "flip": Kind("flips", "a bit of a file changed", 160, flip),
    "disk": Kind("disks", "a disk that fills; root", 60, small_disk),
    "start": Kind("starts", "several starts at once", 10, start_at_once),
    "user": Kind("users", "two users, umask 077; root", 6, two_users),
    "clock": Kind("clocks", "clocks two hours apart", 12, apart),
    "stall": Kind("stalls", "a rank that stands still", 10, stall),
    "host": Kind("hosts", "faults of two Slurm hosts; root", 10, two_hosts),
}
