# SPDX-License-Identifier: Apache-2.0
"""Fits that were stopped or killed go on from head/: as many passes in all, and the same bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worlds import Finished

World = Callable[..., Finished]

FITS = """
import hashlib, json, os, signal, sys
from pathlib import Path
from trainer.config import Head
from trainer.errors import Stopped
from trainer.head import kept
from trainer.head.cross_validate import CrossValidation
from trainer.head.development import Development
from trainer.head.kept import Keeper
from trainer.head.rows import own_rows, spread
from trainer.progress import Progress

rng = np.random.default_rng(0)
values = rng.gamma(0.5, 1.0, (260, 8)).astype(np.float32)
labels = (values @ rng.normal(size=(8, 3)) + rng.gumbel(size=(260, 3))).argmax(axis=1)
development = Development(labels, rng.random(260) < 0.2, np.arange(260) % 4, 4, 3)


class Disturbed(Keeper):
    # Calls `disturb` with the count of the passes and strengths of this start.
    passes, disturb = 0, staticmethod(lambda keeper, arrays: None)

    def save_if_due(self, name, arrays):
        self.passes += 1
        self.disturb(self, arrays)


def fit(folder, disturb=lambda keeper, arrays: None):
    # Bits of what was fitted, and passes of all starts.
    keeper = Disturbed(Path(folder), bytes(32), world, progress)
    keeper.disturb = disturb
    own = own_rows(len(values), world)
    with spread(values[own], own, len(values), world) as rows:
        fits = CrossValidation(rows, development, Head(), keeper, progress)
        arrays = fits.fit().to_arrays()
    bits = b"".join(arrays[name].tobytes() for name in sorted(arrays))
    return [hashlib.sha256(bits).hexdigest(), progress.kept["passes"]()]


progress = Progress()
last = world.size - 1
"""


def told(done: Finished) -> list[Any]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_fits_stopped_again_and_again_come_to_the_same_bits_in_as_many_passes(
    ranks: int, world: World, tmp_path: Path
) -> None:
    for name in ("whole", "pieces"):
        (tmp_path / name).mkdir()
    program = f"""
whole = fit({str(tmp_path / "whole")!r})
stops = 0

def stop(keeper, arrays):
    # On one rank alone: the others learn of it in the next sum.
    stopping.requested = keeper.passes >= 7 and world.rank == last

while True:
    try:
        pieces = fit({str(tmp_path / "pieces")!r}, stop)
        break
    except Stopped:
        stopping.requested = False
        stops += 1
if world.rank == 0:
    print(json.dumps([whole, pieces, stops]))
"""
    ((whole, pieces, stops),) = told(world(ranks, FITS + program))
    assert pieces == whole
    assert stops > 15


def test_fits_killed_in_the_middle_of_a_strength_go_on_there(world: World, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    killed = str(tmp_path / "killed")
    program = f"""
def kill(keeper, arrays):
    if keeper.passes == 60:
        keeper.save("checkpoint", arrays())
    if keeper.passes == 63 and world.rank == last:
        os.kill(os.getpid(), signal.SIGKILL)

fit({killed!r}, kill)
"""
    assert world(2, FITS + program, check=False).returncode
    counted = """
counts = []
whole = fit(%r)
again = fit(%r, lambda keeper, arrays: counts.append(1))
if world.rank == 0:
    print(json.dumps([whole, again, len(counts)]))
"""
    done = world(1, FITS + counted % (str(tmp_path / "whole"), killed))
    ((whole, again, calls),) = told(done)
    assert again == whole
    assert 50 < whole[1] + 11 - calls < 70  # each strength calls once more
