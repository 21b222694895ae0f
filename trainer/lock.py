# SPDX-License-Identifier: Apache-2.0
"""The lock of a run directory: created exclusively, with a heartbeat; no flock, for NFS's sake.

It appears with its content in one step, and it is judged without any clock but our own monotonic
one: those of other hosts and of file servers may be hours off. A lock is stale when its holder is
surely gone and its heartbeat stood still for as long as we watched it; for longer where nobody can
know whether it is gone, as of a JARVICE job that ended before this one began.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import FAILED, RetrainError, UsageError, told
from trainer.lock_owner import Owner
from trainer.progress import Progress
from trainer.rundir import RunDir, write_error

HEARTBEAT_SECONDS = 1.0
LOCAL_WATCH_SECONDS = 2.5 * HEARTBEAT_SECONDS
"""The watch where the holder was a process of this machine, and is gone."""
WATCH_SECONDS = 10.0
"""The same where it is gone by other signs; longer, for what NFS clients remember."""
BEAT_WATCH_SECONDS = 30.0
"""The same where nobody can tell whether its holder lives: the heartbeat is all there is."""
PATIENCE_SECONDS = 5.0
"""So long we wait for what others do in milliseconds, and a dead file system perhaps never."""

MOST_BYTES = 1 << 16
"""No lock of ours is longer."""

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""What file systems without hard links answer (link(2))."""


@contextmanager
def hold(run: RunDir, progress: Progress) -> Iterator[None]:
    """Hold the run directory: one run at a time.

    Raises:
        UsageError: Another run holds it; says host, process, job and since when.
        RetrainError: The lock cannot be written.
    """
    content = Owner.myself().encode()
    _take(run.lock, content, progress)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(run.lock, content, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join(PATIENCE_SECONDS)
        if not beat.is_alive():  # else the file system is dead, and would keep us here as well
            _release(run.lock, content)


@dataclass(frozen=True)
class _Sight:
    """A lock as it was seen at one moment."""

    content: bytes
    inode: int
    beat: int
    """When it was last touched, in ns by some clock: only whether it changes is of use."""

    @staticmethod
    def of(lock: Path) -> _Sight | None:
        """Look; None where there is no lock.

        It is opened, not only asked for its state: an NFS client then asks the server.
        """
        try:
            with open(lock, "rb") as file:
                state = os.fstat(file.fileno())
                return _Sight(file.read(MOST_BYTES), state.st_ino, state.st_mtime_ns)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(
                f"{lock}: held, and cannot be read: {error.strerror}.",
                "Give another folder with --out, or let the lock's owner end that run.",
            ) from None

    @property
    def mark(self) -> str:
        """What tells this lock from every other that was or will be here."""
        return hashlib.sha256(self.content + b"%d" % self.inode).hexdigest()[:16]


def _take(lock: Path, content: bytes, progress: Progress) -> None:
    while not _create(lock, content):
        seen = _Sight.of(lock)
        if seen and _is_stale(lock, seen, progress):
            _remove_stale(lock, seen, content, progress)


def _create(path: Path, content: bytes) -> bool:
    """Create a lock with its content in one step.

    Returns:
        False where another was faster.
    Raises:
        RetrainError: It cannot be written.
    """
    nonce = hashlib.sha256(content).hexdigest()[:16]
    temporary = path.with_name(f".{path.name.strip('.')}.{nonce}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return _link(temporary, path, content)
    except OSError as error:
        raise write_error(path, len(content), error) from None
    finally:
        with suppress(OSError):  # what must stay is hidden, and removed by the next start
            temporary.unlink()


def _link(temporary: Path, path: Path, content: bytes) -> bool:
    try:
        os.link(temporary, path)
    except FileNotFoundError:
        if not temporary.parent.exists():
            raise
        return False  # a holder that is cleaning up took our temporary file for a left one
    except FileExistsError:
        seen = _Sight.of(path)  # over NFS, an answer that was lost lets our own link seem another's
        return seen is not None and seen.content == content
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _create_exclusively(path, content)
    return True


def _create_exclusively(path: Path, content: bytes) -> bool:
    """The same in two steps: killed between them, we leave a lock that tells nothing."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise
    return True


def _is_stale(lock: Path, seen: _Sight, progress: Progress) -> bool:
    """Watch a lock whose holder seems to be gone.

    Returns:
        False where it is not there any more, or another is.
    Raises:
        UsageError: It is held.
    """
    owner = Owner.decode(seen.content)
    gone = owner is not None and owner.is_gone()
    if owner and not gone and not owner.may_be_gone():
        raise _held(lock, owner)
    if owner and gone:
        seconds = LOCAL_WATCH_SECONDS if owner.on_this_machine else WATCH_SECONDS
    else:
        seconds = BEAT_WATCH_SECONDS
        whose = f"of {owner}" if owner else "damaged"
        progress.say(f"{lock}: {whose}; watching for {seconds:.0f} s whether its run is alive")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(HEARTBEAT_SECONDS / 10)
        now = _Sight.of(lock)
        if now is None or now.mark != seen.mark:
            return False
        if now.beat != seen.beat:
            raise _held(lock, owner)
    return True


def _held(lock: Path, owner: Owner | None) -> UsageError:
    return UsageError(
        f"{lock.parent}: held by {owner or 'a run on an unknown host'}.",
        f"Wait for it or stop it; if it is surely gone, remove {lock}.",
    )


def _remove_stale(lock: Path, seen: _Sight, content: bytes, progress: Progress) -> None:
    """Remove a stale lock, and never the new one of another start that judged it as we did.

    Only the holder of a second lock, which is named after the stale one, may remove that; and it
    looks again before it does.
    """
    breaker = lock.with_name(f".{lock.name.strip('.')}.{seen.mark}.tmp")
    if _create(breaker, content):
        try:
            now = _Sight.of(lock)
            if now and now.mark == seen.mark:
                lock.unlink(missing_ok=True)
                who = Owner.decode(seen.content) or "a run"
                progress.say(f"{lock}: left by {who}, which is gone; taken over")
        except OSError as error:
            raise write_error(lock, None, error) from None
        finally:
            _release(breaker, content)
        return
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        other = _Sight.of(breaker)
        if other is None:
            return
        time.sleep(HEARTBEAT_SECONDS / 10)
    if other and _is_stale(breaker, other, progress):  # killed in the act
        _remove_stale(breaker, other, content, progress)


def _release(path: Path, content: bytes) -> None:
    """Remove our lock; where that fails, the next start will see that its process is gone."""
    with suppress(OSError, UsageError):
        seen = _Sight.of(path)
        if seen and not _is_of_another(seen.content, content):
            path.unlink(missing_ok=True)


def _is_of_another(found: bytes, content: bytes) -> bool:
    """Whether a lock names another holder; a damaged one names none, and is still ours."""
    return found != content and Owner.decode(found) is not None


def _beat(lock: Path, content: bytes, stop: threading.Event) -> None:
    """Show once in a while that we are alive, and see that the lock is still ours.

    A file system that is full or read-only ends no run from here. A lock that somebody removed
    is put back, unless another run was faster: two must not write to one folder.
    """
    while not stop.wait(HEARTBEAT_SECONDS):
        with suppress(OSError, RetrainError):
            seen = _Sight.of(lock)
            if seen and _is_of_another(seen.content, content):
                _end_at_once(lock, Owner.decode(seen.content))
            elif seen:
                os.utime(lock)
            else:
                _create(lock, content)


def _end_at_once(lock: Path, owner: Owner | None) -> None:
    """End this process: only so can it write nothing more; mpirun then ends the other ranks."""
    message = f"{lock}: removed while this run held it, and now held by {owner}; this one ends."
    with suppress(OSError):
        os.write(2, f"{told(message, 'Let the other finish, or start again after it.')}\n".encode())
    os._exit(FAILED)
