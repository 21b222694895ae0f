# SPDX-License-Identifier: Apache-2.0
"""One bit changed in one file of a run directory or its cache: found, or without any effect.

Seeds walk through all files of a finished run and of a stopped one, the cache's included, one
after another; the byte and the bit are chosen by chance.
"""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import moments
from bad import Bad, require
from cases import Case
from child import Start, retrain
from trial import Trial, last_words


def flip(trial: Trial) -> None:
    """Change a bit; the next start is right or refuses in words, and is right after the repair."""
    case, base, turn = _base(trial)
    for name in ("run", "cache"):
        shutil.copytree(base / name, trial.folder / name, copy_function=shutil.copy2)
    victim = _victim(trial, turn)
    sound = victim.read_bytes()
    place, bit = trial.random.randrange(len(sound)), trial.random.randrange(8)
    changed = bytearray(sound)
    changed[place] ^= 1 << bit
    victim.write_bytes(changed)
    trial.struck += 1
    trial.note(f"{victim.relative_to(trial.folder)} byte {place} of {len(sound)} bit {bit}")
    _predict(trial, case, victim)
    start = trial.start(case, 1)
    code = trial.wait(start)
    trial.note(f"ended with {code}")
    if code:
        _require_words(trial, start, code)
        victim.write_bytes(sound)
    else:
        trial.check(case, forgiven=victim.name)
    trial.finish(case, 1, forgiven=victim.name)


def _base(trial: Trial) -> tuple[Case, Path, int]:
    """A finished run and its cache, or a stopped one; and the number of the file."""
    names = [name for name in ("texts", "images") if not trial.only or name in trial.only]
    require(bool(names), "neither texts nor images are among --cases")
    states = [(name, state) for name in names for state in ("finished", "stopped")]
    turn, place = divmod(trial.seed, len(states))
    name, state = states[place]
    trial.note(f"{state} {name}")
    case = trial.cases.get(name)
    if state == "finished":
        return case, case.reference.parent, turn
    base = trial.cases.folder / "stopped" / name
    if not (base / "run").exists():
        _stop_one(case, base)
    return case, base, turn


def _stop_one(case: Case, base: Path) -> None:
    words = (*case.words, f"run.cache={base / 'cache'}", "--ranks", 1, "--out", base / "run")
    start = Start(retrain("run", case.source, *words), base, {})
    if moments.says("Head: choosing").wait(start, 100):
        start.child.send_signal(signal.SIGTERM)
    code = start.wait(100)
    require(code in (0, 75), f"the run to be stopped ended with {code}: {last_words(start)}")


def _victim(trial: Trial, turn: int) -> Path:
    """The file whose turn it is; empty ones cannot change."""
    paths = [path for name in ("run", "cache") for path in (trial.folder / name).rglob("*")]
    files = sorted(path for path in paths if path.is_file() and path.stat().st_size)
    return files[turn % len(files)]


def _predict(trial: Trial, case: Case, victim: Path) -> None:
    """A changed model labels as the sound one does, or refuses in words."""
    if "model" not in victim.parts:
        return
    folder = case.source if case.images else case.source.with_suffix("")
    one = sorted(path for path in folder.rglob("*0.*") if path.is_file())[0]
    wanted = _answer(trial, case.reference, one)
    start, found = _answer(trial, trial.run, one)
    code = start.child.returncode
    if code:
        _require_words(trial, start, code)
    else:
        same = found == wanted[1]
        require(same, f"predict with {victim.name} changed says {found!r}, not {wanted[1]!r}")


def _answer(trial: Trial, run: Path, file: Path) -> tuple[Start, str]:
    start = Start(retrain("predict", run, file, "--csv"), trial.folder, {})
    trial.wait(start)
    return start, (trial.folder / f"output.{start.number}").read_text(errors="replace")


def _require_words(trial: Trial, start: Start, code: int) -> None:
    """An error for people: 1, 2 or 3, some lines that name a file of the trial."""
    require(code in (1, 2, 3), f"ended with {code}: {last_words(start)}")
    told = [line for line in start.told().splitlines() if line.startswith("retrain: ")]
    if not told:
        raise Bad(f"ended with {code} without a word: {last_words(start)}")
    require(len(told) == 1, f"{len(told)} messages: {told}")
    require(str(trial.folder) in told[0], f"the message names no file: {told[0]}")
