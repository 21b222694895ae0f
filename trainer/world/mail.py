# SPDX-License-Identifier: Apache-2.0
"""Small messages between ranks that never make anybody wait, whatever became of the other end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from trainer.arrays import IntArray

if TYPE_CHECKING:
    from mpi4py import MPI


class Outbox:
    """Messages to one rank; one that comes before the last has left is dropped."""

    def __init__(self, comm: MPI.Comm, rank: int, tag: int, length: int) -> None:
        """Send arrays of `length` int64."""
        self._comm = comm
        self._rank = rank
        self._tag = tag
        self._numbers = np.zeros(length, np.int64)
        self._leaving: MPI.Request | None = None

    def send(self, numbers: list[int]) -> None:
        """Send one, if the last has left."""
        if self._leaving is None or self._leaving.Test():
            self._numbers[:] = numbers
            self._leaving = self._comm.Isend(self._numbers, dest=self._rank, tag=self._tag)


class Inbox:
    """Messages with one tag from any rank."""

    def __init__(self, comm: MPI.Comm, tag: int, length: int) -> None:
        """Take arrays of `length` int64."""
        self._comm = comm
        self._tag = tag
        self._numbers = np.zeros(length, np.int64)
        self._coming = comm.Irecv(self._numbers, tag=tag)

    def take(self) -> Iterator[tuple[int, IntArray]]:
        """What has arrived: who sent it, and the numbers."""
        from mpi4py import MPI

        status = MPI.Status()
        while self._coming.Test(status):
            numbers = self._numbers.copy()
            self._coming = self._comm.Irecv(self._numbers, tag=self._tag)
            yield status.Get_source(), numbers

    def close(self) -> None:
        """Wait for no more."""
        self._coming.Cancel()
        self._coming.Wait()
