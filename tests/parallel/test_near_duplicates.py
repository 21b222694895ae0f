# SPDX-License-Identifier: Apache-2.0
"""Near-duplicates among JPEGs that are decoded at reduced size are those of the whole pictures."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data.decode import upright_rgb
from trainer.data.difference_hash import difference_hash
from trainer.data.near_duplicates import Near
from trainer.features.preprocess import decode, open_picture
from worlds import QUICK, ROOT, Finished, Job

SIDE = 224
"""Of QUICK's network: 900 pixels a side are decoded at a half."""
ASKED = "images to decode at full size"


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of one thing each, before noise of which half the bits tell nothing else."""
    folder = tmp_path_factory.mktemp("noisy")
    rng = np.random.default_rng(11)
    for label, (top, left, colour) in {"low": (500, 100, 40), "high": (80, 450, 220)}.items():
        (folder / label).mkdir()
        for number in range(12):
            values = 127.5 + np.linspace(0, 5, 900)[:, None] + rng.normal(0, 3, (900, 900))
            values += np.linspace(0, 0.3 * number, 900)
            values[top : top + 300, left : left + 350] = colour
            image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")
            image.save(folder / label / f"{number:02}.jpg", quality=92)
    image.resize((1200, 1000)).save(folder / "high" / "larger.jpg", quality=70)
    image.crop((0, 0, 893, 900)).save(folder / "high" / "cropped.jpg", quality=80)
    Image.open(folder / "low" / "03.jpg").save(folder / "low" / "as.png")
    return folder


def groups(folder: Path, reduced: bool) -> list[int]:
    """By the whole pictures, or by what is likeliest at reduced size."""
    hashes = []
    for path in sorted(folder.rglob("*.*")):
        content = path.read_bytes()
        if reduced:
            dhash = decode(open_picture(io.BytesIO(content), SIDE), SIDE).dhash
        else:
            dhash = difference_hash(upright_rgb(content))
        assert dhash.bits is not None
        hashes.append(dhash.bits)
    near = Near(np.array(hashes, np.uint64), np.ones(len(hashes), np.bool_))
    found: list[int] = near.groups().tolist()
    return found


@pytest.fixture(scope="module")
def job(
    noisy: Path, tmp_path_factory: pytest.TempPathFactory, retrain: Callable[..., Finished]
) -> Job:
    folder = tmp_path_factory.mktemp("run")
    words = (*QUICK, f"run.cache={folder / 'cache'}", "--ranks", 2, "--out", folder / "out")
    done = retrain("run", noisy, *words)
    assert done.returncode == 0, done.stderr
    return Job(folder / "out", done.stdout, done.stderr)


def test_units_are_those_of_whole_pictures_where_reduced_ones_give_others(
    noisy: Path, job: Job
) -> None:
    expected = groups(noisy, reduced=False)
    assert expected != groups(noisy, reduced=True)
    assert ASKED in job.told
    units = {row["path"]: row["unit"] for row in job.rows("groups.csv")}
    found = [units[path.relative_to(noisy).as_posix()] for path in sorted(noisy.rglob("*.*"))]
    assert [found.index(unit) for unit in found] == [expected.index(group) for group in expected]


def test_another_program_finds_the_same(noisy: Path, job: Job) -> None:
    words = [sys.executable, str(ROOT / "tests/recompute"), str(job.folder), "--source", str(noisy)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout


def test_what_was_decoded_whole_is_known_to_runs_with_another_network(
    job: Job, noisy: Path, tmp_path: Path, retrain: Callable[..., Finished]
) -> None:
    cache = job.folder.parent / "cache"
    words = (f"run.cache={cache}", "--ranks", 1, "--out", tmp_path / "out")
    done = retrain("run", noisy, *QUICK, "backbone.layer=block_1_project_BN", *words)
    assert done.returncode == 0, done.stderr
    assert ASKED not in done.stderr
    first, second = (
        {row["path"]: row["unit"] for row in one.rows("groups.csv")}
        for one in (job, Job(tmp_path / "out", "", ""))
    )
    assert first == second


def test_check_counts_them_as_the_run_does(
    job: Job, noisy: Path, retrain: Callable[..., Finished]
) -> None:
    done = retrain("check", noisy, *QUICK)
    assert done.returncode == 0, done.stderr
    near = job.results["data"]["near_duplicates"]
    assert f"nearly like another: {near}\n" in done.stdout
