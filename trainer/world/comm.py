# SPDX-License-Identifier: Apache-2.0
"""The world of a run: who is in it, and the few things that ranks tell each other.

mpi4py is the base. Where TensorFlow is in use, collectives go through Horovod instead, whose rank
and size must agree with MPI's. Both carry integers and bytes only, so the same bits come out.
"""

from __future__ import annotations

import os
import pickle
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from trainer.arrays import Array, ByteArray, FloatArray, IntArray
from trainer.errors import BY_CODE, DEBUG, RetrainError, Stopped, UsageError
from trainer.world import launch
from trainer.world.outcome import awaited
from trainer.world.queue import WorkQueue
from trainer.world.stopping import Stopping
from trainer.world.watch import Watch

if TYPE_CHECKING:
    from mpi4py import MPI

T = TypeVar("T")

ABORT_SECONDS = 3.0
"""For MPI to end all ranks; it may not come back where the launcher is out of reach."""
STALL_SECONDS = 600.0
"""As the configuration's default."""


class Transport(Protocol):
    """What a way of talking must offer; every rank takes part in each call, in the same order."""

    def sum(self, values: IntArray) -> IntArray:
        """Add int64 vectors of one length over all ranks: exact, in any order."""

    def broadcast(self, content: ByteArray) -> ByteArray:
        """Give everyone rank 0's bytes; all pass an array of that length."""

    def gather(self, content: ByteArray, lengths: IntArray) -> ByteArray:
        """Join the ranks' bytes in rank order; `lengths` (ranks,) are known to all."""


class MpiTransport:
    """Collectives by mpi4py, for runs without TensorFlow."""

    def __init__(self, comm: MPI.Comm) -> None:
        """Talk over a communicator of its own."""
        self._comm = comm

    def sum(self, values: IntArray) -> IntArray:
        """See Transport."""
        total = np.empty_like(values)
        self._comm.Allreduce(values, total)
        return total

    def broadcast(self, content: ByteArray) -> ByteArray:
        """See Transport."""
        received = content.copy()
        self._comm.Bcast(received)
        return received

    def gather(self, content: ByteArray, lengths: IntArray) -> ByteArray:
        """See Transport."""
        joined = np.empty(int(lengths.sum()), np.uint8)
        self._comm.Allgatherv(content, [joined, lengths])
        return joined


class HorovodTransport:
    """Collectives by Horovod over MPI; tensors stay in host memory."""

    def __init__(self) -> None:
        """Use Horovod, which `World.use_horovod` has started."""
        import horovod.tensorflow as hvd

        self._hvd = hvd

    def sum(self, values: IntArray) -> IntArray:
        """See Transport."""
        name = f"sum.{len(values)}"  # a name that comes again is negotiated only once
        return self._result(self._hvd.allreduce, values, name=name, op=self._hvd.Sum)

    def broadcast(self, content: ByteArray) -> ByteArray:
        """See Transport."""
        return self._result(self._hvd.broadcast, content, name="broadcast", root_rank=0)

    def gather(self, content: ByteArray, lengths: IntArray) -> ByteArray:
        """See Transport."""
        return self._result(self._hvd.allgather, content, name="gather")

    def _result(self, collective: Callable[..., Any], values: Array, **options: Any) -> Array:
        import tensorflow as tf

        with tf.device("/cpu:0"):
            result: Array = collective(tf.constant(values), **options).numpy()
        return result


class Watched:
    """Collectives during which the watch knows that this rank waits for the others."""

    def __init__(self, transport: Transport, watch: Watch) -> None:
        """Wrap a transport."""
        self._transport = transport
        self._watch = watch

    def sum(self, values: IntArray) -> IntArray:
        """See Transport."""
        with self._watch.waiting():
            return self._transport.sum(values)

    def broadcast(self, content: ByteArray) -> ByteArray:
        """See Transport."""
        with self._watch.waiting():
            return self._transport.broadcast(content)

    def gather(self, content: ByteArray, lengths: IntArray) -> ByteArray:
        """See Transport."""
        with self._watch.waiting():
            return self._transport.gather(content, lengths)


class World:
    """All processes of one run, seen from one of them.

    Attributes:
        rank, size: This process, and how many there are.
        local_rank, local_size: The same among the processes of this host.
        host: This host's name.
        hosts: (size,) the host of every rank.
        cores: The cores that are this rank's own.
    """

    def __init__(
        self, comm: MPI.Comm, stopping: Stopping, timeout: float, log: Path | None
    ) -> None:
        """Get to know the others; Collective. Use `connect`."""
        self._comm = comm
        self._stopping = stopping
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()
        self.host = socket.gethostname()
        self._watch = Watch(comm, self.host, stopping, timeout, log, awaited())
        self._mpi = Watched(MpiTransport(comm.Dup()), self._watch)
        self._transport: Transport = self._mpi
        self.hosts: list[str] = comm.allgather(self.host)
        neighbours = [rank for rank, host in enumerate(self.hosts) if host == self.host]
        self.local_rank = neighbours.index(self.rank)
        self.local_size = len(neighbours)
        masks: list[frozenset[int]] = comm.allgather(launch.given_cores())
        given = frozenset().union(*(masks[rank] for rank in neighbours))
        self.cores = launch.own_cores(given, self.local_rank, self.local_size)

    @property
    def crowded(self) -> bool:
        """Whether ranks of this host share cores."""
        return self.local_size * len(self.cores) > len(launch.given_cores())

    def use_horovod(self) -> None:
        """Let collectives go through Horovod from now on; Collective.

        Raises:
            UsageError: Horovod is not built for this MPI, or sees another world.
        """
        import horovod.tensorflow as hvd

        with self._watch.waiting():
            hvd.init(comm=None)
        if (hvd.rank(), hvd.size()) != (self.rank, self.size):
            raise UsageError(
                f"Horovod sees rank {hvd.rank()} of {hvd.size()}, MPI rank {self.rank} of "
                f"{self.size}.",
                "Horovod was built for another MPI: run `make setup` again.",
            )
        self._transport = Watched(HorovodTransport(), self._watch)

    @contextmanager
    def horovod_at_rest(self) -> Iterator[None]:
        """Let collectives inside go by MPI alone; Collective.

        Horovod's thread looks for work every millisecond: 2% of a core that has better to do. An
        error leaves it at rest.
        """
        if self._transport is self._mpi:
            yield
            return
        import horovod.tensorflow as hvd

        self.agree()
        hvd.shutdown()
        self._transport = self._mpi
        yield
        self.use_horovod()

    def sum(self, values: IntArray) -> IntArray:
        """Add int64 arrays of one shape over all ranks, exactly; Collective.

        Every sum also carries the wish to stop, so that all ranks learn of it at the same point.

        Raises:
            Stopped: Some rank was asked to stop.
        """
        payload = np.append(values.ravel(), np.int64(self._stopping.requested))
        total = self._transport.sum(payload)
        if total[-1]:
            raise Stopped("stopped on request; what was computed is kept.", "")
        return total[:-1].reshape(values.shape)

    def agree(self) -> None:
        """Meet the others; Collective. Raises Stopped where any rank was asked to stop."""
        self.sum(np.zeros(0, np.int64))

    def largest(self, values: FloatArray) -> FloatArray:
        """The largest of the ranks' numbers, element by element; Collective."""
        highest: FloatArray = self.gather(np.asarray(values, np.float64)[None]).max(axis=0)
        return highest

    def gather(self, rows: Array) -> Array:
        """Join arrays that differ in their first dimension only, in rank order; Collective."""
        content = np.ascontiguousarray(rows)
        lengths = np.zeros(self.size, np.int64)
        lengths[self.rank] = content.nbytes
        joined = self._transport.gather(
            content.reshape(-1).view(np.uint8), self._transport.sum(lengths)
        )
        return joined.view(rows.dtype).reshape(-1, *rows.shape[1:])

    def share(self, value: T | None) -> T:
        """Give everyone rank 0's object; Collective. The other ranks' values are ignored."""
        if self.size == 1:
            return value  # type: ignore[return-value]
        content = np.frombuffer(pickle.dumps(value) if self.rank == 0 else b"", np.uint8)
        length = int(self._transport.sum(np.array([len(content)]))[0])
        if self.rank:
            content = np.zeros(length, np.uint8)
        return pickle.loads(self._transport.broadcast(content).tobytes())  # type: ignore[no-any-return]

    def collect(self, value: T) -> list[T]:
        """One object of every rank, in rank order, given to all; Collective."""
        content = np.frombuffer(pickle.dumps(value), np.uint8)
        lengths = np.zeros(self.size, np.int64)
        lengths[self.rank] = len(content)
        lengths = self._transport.sum(lengths)
        joined = self._transport.gather(content, lengths)
        return [pickle.loads(part.tobytes()) for part in np.split(joined, np.cumsum(lengths)[:-1])]

    def join(self, values: list[T]) -> list[T]:
        """The ranks' lists, joined in rank order, given to all; Collective."""
        return [value for part in self.collect(values) for value in part]

    def on_root(self, work: Callable[[], T]) -> T:
        """Do something on rank 0 alone and give its result to all; Collective.

        Raises:
            RetrainError: What `work` raised on rank 0, the same on every rank.
        """
        outcome: tuple[T | None, tuple[int, str, str] | None] | None = None
        if self.rank == 0:
            try:
                with self._stopping.restored():
                    outcome = (work(), None)
            except RetrainError as error:
                if os.environ.get(DEBUG):
                    traceback.print_exc()
                outcome = (None, (error.exit_code, error.message, error.todo))
        result, failure = self.share(outcome)
        if failure:
            code, message, todo = failure
            shared = BY_CODE[code](message, todo)
            shared.agreed = True
            raise shared
        return result  # type: ignore[return-value]

    def queue(self, total: int, ahead: int = 0) -> WorkQueue:
        """A queue of the numbers 0 to total - 1 for all ranks; Collective.

        Args:
            total: How many numbers.
            ahead: How many a rank still holds undone when it asks for more.
        """
        return WorkQueue(self._comm, total, ahead, self._stopping, self._watch)

    @property
    def stop_requested(self) -> bool:
        """Whether this rank was asked to stop; `agree` tells whether any was."""
        return self._stopping.requested

    def tick(self) -> None:
        """Tell the watch that this rank got on, where it does not meet the others for long."""
        self._watch.tick()

    def cut_short(self, work: Callable[[], T]) -> T:
        """Do something on every rank that a request to stop breaks off at once; Collective.

        Args:
            work: Meets no other rank, and leaves nothing behind where it is broken off.
        Raises:
            Stopped: Some rank was asked to stop.
        """
        done: list[T] = []
        with suppress(Stopped), self._stopping.at_once():  # the next line tells it to all
            done.append(work())
        self.agree()
        return done[0]

    def part(self) -> None:
        """Wait for the others before leaving: mpirun ends all when one leaves with an error."""
        with self._watch.waiting():
            self._comm.Barrier()
        self._watch.close()

    def abort(self, code: int) -> None:
        """End all ranks now."""
        after = threading.Timer(ABORT_SECONDS, os._exit, [code])
        after.daemon = True
        after.start()
        self._comm.Abort(code)


def connect(
    stopping: Stopping, stall_timeout: float = STALL_SECONDS, log: Path | None = None
) -> World:
    """Join the world that this process was started in; Collective.

    Args:
        stopping: Whether this rank was asked to stop.
        stall_timeout: Seconds without progress after which the world ends itself.
        log: Where the stacks of all ranks go then, if the file is there.
    Raises:
        UsageError: MPI lacks threads, or the launcher promised another number of ranks.
    """
    with stopping.at_once():
        comm = _begin_mpi()
    stopping.note_only()  # the others may count on this rank from here
    world = World(comm, stopping, stall_timeout, log)
    launch.pin(world.cores)
    return world


def _begin_mpi() -> MPI.Comm:
    launch.prepare_process()
    from mpi4py import MPI

    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise UsageError(
            "MPI was started without MPI_THREAD_MULTIPLE.", "Use the MPI that `make setup` brings."
        )
    promised = launch.promised_size()
    if promised and promised != MPI.COMM_WORLD.Get_size():
        raise UsageError(
            f"{promised} ranks were started, and each sees a world of {MPI.COMM_WORLD.Get_size()}.",
            "The launcher speaks another protocol than this MPI: use mpirun, or srun --mpi=pmix.",
        )
    return MPI.COMM_WORLD
