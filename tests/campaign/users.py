# SPDX-License-Identifier: Apache-2.0
"""Two users with umask 077 and one cache: both complete, neither touches what is the other's."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from pathlib import Path

import judge
from bad import Impossible, require
from cases import Case
from child import ROOT, Start, retrain
from trial import Trial, last_words

USERS = (65501, 65502)
GROUP = 65500
"""Of both; numbers that no Debian gives to anybody."""


def two_users(trial: Trial) -> None:
    """Both run the same pictures with one cache, at once or one after another."""
    if os.geteuid():
        raise Impossible("only root may run as other users")
    case = trial.choose(images=1)
    mode = trial.random.choice([0o2775, 0o2770, 0o3777, 0o777])
    umask = trial.random.choice([0o077, 0o077, 0o027, 0o002])
    at_once = trial.random.random() < 0.5
    trial.note(f"cache {mode:o}, umask {umask:03o}, {'at once' if at_once else 'in turn'}")
    trial.cache.mkdir()
    os.chown(trial.cache, -1, GROUP)
    trial.cache.chmod(mode)
    starts: list[Start] = []
    for user in USERS:
        before = _owned(trial.cache)
        starts.append(_start(trial, case, user, umask))
        if not at_once:
            _require_done(trial, starts[-1], case, user)
            _require_untouched(before, _owned(trial.cache))
    for user, start in zip(USERS, starts, strict=True):
        _require_done(trial, start, case, user)
    trial.struck += 1
    judge.no_strays(trial.cache, case)


def _start(trial: Trial, case: Case, user: int, umask: int) -> Start:
    home = trial.folder / str(user)
    for folder in (home, home / "tmp"):
        folder.mkdir()
        os.chown(folder, user, GROUP)
    words = ("run", case.source, *case.words, f"run.cache={trial.cache}", "--ranks", 1)
    command = as_user(retrain(*words, "--out", home / "run"), user, umask)
    return Start(command, trial.folder, {"HOME": str(home), "TMPDIR": str(home / "tmp")})


def as_user(command: list[str], user: int, umask: int) -> list[str]:
    """The command as another user, who can reach this Python wherever it lies.

    What lies in a folder for root alone (`/root`) is shown at its place in a mount namespace of
    the command's own.
    """
    script = [*_ways(), f'exec setpriv --reuid={user} --regid={GROUP} --clear-groups "$@"']
    inner = ["sh", "-c", f'umask {umask:03o}; exec "$@"', "sh", *command]
    around = ["unshare", "--mount", "sh", "-ec", "\n".join(script), "sh"]
    return [*around, *inner]


def _ways() -> list[str]:
    """Commands that open the way to what the program needs."""
    commands = []
    needed = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT.resolve()}
    for closed in sorted({folder for path in needed if (folder := _closed(path))}):
        inside = [path for path in sorted(needed) if closed in path.parents]
        shown = [shlex.quote(str(path)) for path in inside]
        held = [f"/mnt/{number}" for number in range(len(inside))]
        commands += ["mount -t tmpfs -o mode=755 campaign /mnt", f"mkdir {' '.join(held)}"]
        binds = zip(shown, held, strict=True)
        commands += [f"mount --bind {path} {at}" for path, at in binds]
        commands += [f"mount -t tmpfs -o mode=755 campaign {shlex.quote(str(closed))}"]
        for path, at in zip(shown, held, strict=True):
            commands += [f"mkdir -p {path}", f"mount --bind {at} {path}"]
    return commands


def _closed(path: Path) -> Path | None:
    """The outermost folder on the way to a path that only its owner may pass."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


def _require_done(trial: Trial, start: Start, case: Case, user: int) -> None:
    code = trial.wait(start)
    require(code == 0, f"user {user} ended with {code}: {last_words(start)}")
    trial.end(start)
    judge.same_result(trial.folder / str(user) / "run", case)
    judge.same_files(trial.folder / str(user) / "run", case)


Owned = dict[Path, tuple[int, int, bytes]]


def _owned(cache: Path) -> Owned:
    """Every file of the cache: owner, mode, and SHA-256 of its content."""
    return {
        path: (
            path.stat().st_uid,
            path.stat().st_mode,
            hashlib.sha256(path.read_bytes()).digest(),
        )
        for path in cache.rglob("*")
        if path.is_file()
    }


def _require_untouched(before: Owned, after: Owned) -> None:
    changed = sorted(str(path) for path, was in before.items() if after.get(path) != was)
    require(not changed, f"the first user's files were touched by the second: {changed}")
