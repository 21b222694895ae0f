# SPDX-License-Identifier: Apache-2.0
"""The main job: the same result on any number of ranks, once, again, and after a stop."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from worlds import QUICK, ROOT, Finished, Job, draw, environment, retrain_command

Jobs = Callable[[int], Job]
Retrain = Callable[..., Finished]

OUR_WORDS = ("retrain ", "Bottlenecks:", "Head:", "  L2 ", "Analysis:", "Saving", "Warning:")
SAME = "manifest.csv predictions.csv suspects.csv analysis.json model/neighbours.npz".split()


@pytest.mark.parametrize("ranks", [2, 3])
def test_result_does_not_depend_on_the_rank_count(ranks: int, jobs: Jobs) -> None:
    one, many = jobs(1), jobs(ranks)
    pictures = sorted(path.name for path in (one.folder / "gallery").iterdir())
    assert len(pictures) > 20
    for name in (*SAME, *(f"gallery/{picture}" for picture in pictures)):
        assert (many.folder / name).read_bytes() == (one.folder / name).read_bytes(), name
    assert many.results["world"]["size"] == ranks


def test_every_figure_is_recomputed_by_another_program(jobs: Jobs, pictures: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "recompute", jobs(2).folder, "--source", pictures],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    assert ", 0 disagreements" in done.stdout


def test_last_lines_tell_score_majority_report_and_what_to_try(jobs: Jobs) -> None:
    lines = jobs(2).output.splitlines()
    assert lines[0].startswith("Cross-validation")
    assert "always" in lines[0]
    assert lines[1].startswith("Test set")
    assert lines[-1] == "Not pretrained: the backbone's weights are random"
    assert any(line.startswith("Try it ") for line in lines)


def test_progress_tells_loss_and_validation_accuracy(jobs: Jobs) -> None:
    lines = [line for line in jobs(2).told.splitlines() if line.startswith("  L2 ")]
    assert len(lines) == 11
    assert all(re.search(r"log loss \d\.\d+, accuracy \d+\.\d%", line) for line in lines)


def test_nothing_but_retrain_speaks(jobs: Jobs) -> None:
    strange = [line for line in jobs(2).told.splitlines() if not line.startswith(OUR_WORDS)]
    assert not strange


def test_truncated_jpeg_is_quarantined_with_its_reason_and_the_run_goes_on(jobs: Jobs) -> None:
    (bad,) = jobs(1).rows("quarantine.csv")
    assert bad["path"] == "lake/short.jpg"
    assert "truncated" in bad["reason"]


def test_identical_files_count_once(jobs: Jobs) -> None:
    data = jobs(1).results["data"]
    assert (data["images"], data["duplicates"], data["quarantined"]) == (33, 1, 1)
    assert sum(data["split"].values()) == 32


def test_second_run_computes_no_bottleneck(
    jobs: Jobs, pictures: Path, retrain: Retrain, tmp_path: Path
) -> None:
    first = jobs(2)
    moved = tmp_path / "moved"
    shutil.copytree(pictures, moved)
    cache = f"run.cache={first.folder.parent / 'cache2'}"
    done = retrain("run", moved, *QUICK, cache, "--ranks", 1, "--out", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    again = Job(tmp_path / "again", done.stdout, done.stderr)
    assert again.results["bottlenecks"]["computed"] == 0
    assert again.results["bottlenecks"]["reused"] == 32
    assert again.rows("predictions.csv") == first.rows("predictions.csv")


def test_finished_run_says_so_and_stops(jobs: Jobs, pictures: Path, retrain: Retrain) -> None:
    first = jobs(1)
    cache = f"run.cache={first.folder.parent / 'cache1'}"
    before = (first.folder / "results.json").stat().st_mtime_ns
    done = retrain("run", pictures, *QUICK, cache, "--ranks", 1, "--out", first.folder)
    assert done.returncode == 0
    assert "is done" in done.stderr
    assert done.stdout == first.output
    assert (first.folder / "results.json").stat().st_mtime_ns == before


def test_other_settings_are_refused_with_both_values_and_the_ways_out(
    jobs: Jobs, pictures: Path, retrain: Retrain
) -> None:
    words = (*QUICK, "data.split.test=0.3", "--ranks", 1, "--out", jobs(1).folder)
    done = retrain("run", pictures, *words)
    assert done.returncode == 2
    assert "data.split.test was 0.1, now 0.3" in done.stderr
    assert "--out" in done.stderr
    assert "--again" in done.stderr


def test_other_data_is_refused(
    jobs: Jobs, pictures: Path, retrain: Retrain, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(jobs(1).folder, out)
    (pictures / "lake" / "new.jpg").write_bytes((pictures / "lake" / "01.jpg").read_bytes() + b"x")
    try:
        done = retrain("run", pictures, *QUICK, "--ranks", 1, "--out", out)
    finally:
        (pictures / "lake" / "new.jpg").unlink()
    assert done.returncode == 2
    assert "made with other data" in done.stderr


def test_damaged_file_of_a_finished_run_is_made_anew(
    jobs: Jobs, pictures: Path, retrain: Retrain, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(jobs(1).folder, out)
    (out / "predictions.csv").write_text("spoilt")
    cache = f"run.cache={jobs(1).folder.parent / 'cache1'}"
    done = retrain("run", pictures, *QUICK, cache, "--ranks", 1, "--out", out)
    assert done.returncode == 0
    assert Job(out, "", "").rows("predictions.csv") == jobs(1).rows("predictions.csv")


def test_model_alone_predicts_the_runs_own_probabilities(
    jobs: Jobs, pictures: Path, retrain: Retrain, tmp_path: Path
) -> None:
    shutil.copytree(jobs(2).folder / "model", tmp_path / "run" / "model")
    tested = [row for row in jobs(2).rows("predictions.csv") if row["source"] == "test"]
    files = [pictures / row["path"] for row in tested]
    broken = pictures / "lake" / "short.jpg"
    done = retrain("predict", tmp_path / "run", "--csv", broken, *files)
    assert done.returncode == 3
    bad, *rows = csv.DictReader(done.stdout.splitlines())
    assert "truncated" in bad["error"]
    assert bad["predicted"] == ""
    for row, expected in zip(rows, tested, strict=True):
        for name in ("p:lake", "p:roof 'old'"):
            assert abs(float(row[name]) - float(expected[name])) < 1e-6
        assert row["predicted"] == expected["predicted"]


def test_predict_walks_a_folder_and_writes_json(
    jobs: Jobs, pictures: Path, retrain: Retrain
) -> None:
    done = retrain("predict", jobs(1).folder, "--json", pictures / "roof 'old'")
    answers = json.loads(done.stdout)
    assert done.returncode == 0
    assert len(answers) == 16
    assert set(answers[0]["probabilities"]) == {"lake", "roof 'old'"}


def test_page_of_new_pictures_shows_them_why_and_what_they_look_like(
    jobs: Jobs, pictures: Path, retrain: Retrain, tmp_path: Path
) -> None:
    new = [pictures / "lake" / "01.jpg", pictures / "lake" / "short.jpg"]
    done = retrain("predict", jobs(1).folder, *new, "--report", tmp_path / "new.html")
    assert done.returncode == 3
    assert done.stderr.endswith(f"\nReport: {tmp_path / 'new.html'}\n")
    page = (tmp_path / "new.html").read_text()
    assert page.count('src="data:image/jpeg;base64,') == 5  # itself, its evidence, three neighbours
    assert "truncated" in page


EVIDENCE = """
import sys
import numpy as np
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
side = model.structured_input_signature[1]["pixels"].shape[1]
pixels = np.random.default_rng(0).integers(0, 256, (4, side, side, 3), np.uint8)
found = {name: value.numpy() for name, value in model(pixels=tf.constant(pixels)).items()}
head = np.load(sys.argv[1] + "/head.npz")
logits = found["evidence"].mean(axis=(1, 2)) + head["b"]
print(np.abs(logits - found["logits"]).max() / np.abs(found["logits"]).max())
"""


def test_evidence_of_the_saved_model_adds_up_to_its_logits(jobs: Jobs) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EVIDENCE, str(jobs(1).folder / "model")],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=100,
    )
    assert float(done.stdout) < 1e-4, done.stderr


EACH = 80
"""Pictures a class."""
SLOW = ("backbone.weights=random", "backbone.precision=float32", "evaluate.folds=4")
"""Settings with which they take longer than the first shard, 5 s."""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures enough to be interrupted over."""
    return draw(tmp_path_factory.mktemp("many") / "data", EACH)


@pytest.fixture(scope="module")
def undisturbed(many: Path, tmp_path_factory: pytest.TempPathFactory, retrain: Retrain) -> Job:
    base = tmp_path_factory.mktemp("undisturbed")
    done = retrain("run", many, *words(base))
    assert done.returncode == 0, done.stderr
    return Job(base / "run", done.stdout, done.stderr)


def words(base: Path) -> tuple[object, ...]:
    return (*SLOW, f"run.cache={base / 'cache'}", "--ranks", 2, "--out", base / "run")


def start(many: Path, base: Path) -> subprocess.Popen[str]:
    """A run that has kept some bottlenecks, and has others to compute, when this returns."""
    process = subprocess.Popen(
        retrain_command("run", many, *words(base)),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):
        if shards(base) or process.poll() is not None:
            break
        time.sleep(0.1)
    assert shards(base)
    return process


def shards(base: Path) -> list[Path]:
    return list((base / "cache").rglob("*.shard3"))


def ranks_of(folder: Path) -> list[int]:
    """Processes of the run in this directory, its starter and mpirun included."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in words:
            found.append(int(path.parent.name))
    return found


def wait_until_gone(folder: Path) -> list[int]:
    for _ in range(100):
        if not ranks_of(folder):
            break
        time.sleep(0.1)
    return ranks_of(folder)


def finish(many: Path, base: Path, retrain: Retrain, undisturbed: Job) -> int:
    """Start the same command again; gives how many bottlenecks it computed.

    The result is that of an undisturbed run.
    """
    done = retrain("run", many, *words(base))
    assert done.returncode == 0, done.stderr
    finished = Job(base / "run", done.stdout, done.stderr)
    assert finished.rows("predictions.csv") == undisturbed.rows("predictions.csv")
    assert not list(base.rglob("*.tmp"))
    return int(finished.results["bottlenecks"]["computed"])


def stop(process: subprocess.Popen[str], number: int) -> str:
    """Ask for a stop; gives what the run told."""
    asked = time.monotonic()
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 75, told
    assert time.monotonic() - asked < 15  # 10 where the cores are free
    return told


def test_ctrl_c_stops_all_ranks_with_75_in_seconds(many: Path, tmp_path: Path) -> None:
    told = stop(start(many, tmp_path), signal.SIGINT)
    assert "stopped on request" in told
    assert Job(tmp_path / "run", "", "").results["status"] == "stopped"
    assert not ranks_of(tmp_path)


def test_run_stopped_by_sigterm_goes_on_with_the_same_command(
    many: Path, tmp_path: Path, retrain: Retrain, undisturbed: Job
) -> None:
    stop(start(many, tmp_path), signal.SIGTERM)
    assert 0 < finish(many, tmp_path, retrain, undisturbed) < 2 * EACH


def test_kill_of_one_rank_leaves_no_process_and_the_rerun_is_right(
    many: Path, tmp_path: Path, retrain: Retrain, undisturbed: Job
) -> None:
    process = start(many, tmp_path)
    os.kill(max(ranks_of(tmp_path)), signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ended without a result" in told
    assert not wait_until_gone(tmp_path)
    assert 0 < finish(many, tmp_path, retrain, undisturbed) < 2 * EACH


def test_kill_of_the_starter_ends_every_process(many: Path, tmp_path: Path) -> None:
    process = start(many, tmp_path)
    process.kill()
    process.communicate(timeout=60)
    assert not wait_until_gone(tmp_path)
