# SPDX-License-Identifier: Apache-2.0
"""The command line up to the start of a world: answers, mistakes in three lines, exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
from PIL import Image

from trainer import start as starting
from trainer.analysis.neighbours import Neighbours, Space
from trainer.cli import main
from trainer.config import Config
from trainer.data.manifest import write_csv
from trainer.errors import DATA, DONE, FAILED, STOPPED, USAGE, RetrainError
from trainer.head.export import About, save_model
from trainer.report import page
from trainer.rundir import RunDir, write_text
from trainer.world import launch
from trainer.world.launchers import Place

ROOT = Path(__file__).parents[2]
LAUNCHERS = ("OMPI_", "PMI", "SLURM_", "CUDA_", "RETRAIN_")


class Answer(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Retrain = Callable[..., Answer]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to be in, no launcher of the outside, and no world can start."""
    for name in list(os.environ):
        if name.startswith(LAUNCHERS):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def fail(*arguments: object) -> int:
        raise AssertionError(f"a world was to be started: {arguments}")

    monkeypatch.setattr(starting, "join", fail)
    monkeypatch.setattr(launch, "start", fail)


@pytest.fixture
def retrain(capsys: pytest.CaptureFixture[str]) -> Retrain:
    """Runs the command in this process."""

    def call(*words: str) -> Answer:
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert isinstance(ended.value.code, int)
        return Answer(ended.value.code, *capsys.readouterr())

    return call


def child(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs Python code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def fill(folder: str, **classes: int) -> Path:
    """A folder a class with so many bottleneck texts."""
    for label, count in classes.items():
        (Path(folder) / label).mkdir(parents=True)
        for number in range(count):
            (Path(folder) / label / f"{number}.txt").write_text(f"{ord(label[0])},{number}")
    return Path(folder)


def paint(folder: str, count: int = 3) -> Path:
    """Two classes with so many pictures each."""
    for label, colour in (("lake", "blue"), ("roof", "red")):
        (Path(folder) / label).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (8 + number, 8), colour).save(Path(folder) / label / f"{number}.png")
    return Path(folder)


# Start and help


def imported(program: str, names: Sequence[str], *words: str) -> set[str]:
    """Which of these modules a program has loaded when it ends."""
    tell = f"\nfinally: print('loaded', *({set(names)!r} & set(sys.modules)), file=sys.stderr)"
    done = child(f"import sys\ntry: {program}{tell}", *words)
    last = done.stderr.splitlines()[-1].split()
    assert last[0] == "loaded", done.stderr
    return set(last[1:])


def test_nothing_heavy_is_loaded_with_the_command() -> None:
    heavy = ["tensorflow", "keras", "horovod", "mpi4py", "numpy", "PIL", "h5py"]
    assert not imported("import trainer.cli", heavy)


@pytest.mark.parametrize("command", [["check", "texts", "data.bottlenecks=texts"], ["check", "-h"]])
def test_check_loads_neither_tensorflow_nor_mpi(command: list[str]) -> None:
    fill("texts", a=5, b=5)
    program = "from trainer.cli import main; main(sys.argv[1:])"
    assert not imported(program, ["tensorflow", "keras", "horovod", "mpi4py"], *command)


def test_help_comes_in_half_a_second() -> None:
    def seconds() -> float:
        started = time.monotonic()
        done = child("from trainer.cli import main; main(['--help'])")
        assert done.returncode == DONE
        return time.monotonic() - started

    assert min(seconds() for _ in range(3)) < 0.5


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help_groups_the_commands_and_shows_them_whole(words: list[str], retrain: Retrain) -> None:
    answer = retrain(*words)
    assert answer.code == DONE
    assert answer.err == ""
    places = [answer.out.index(f"\n{name}:\n") for name in ("Train", "Read", "Set up")]
    assert places == sorted(places)
    assert "..." not in answer.out[places[0] :]


@pytest.mark.parametrize(
    "command", "run check demo predict report gather compare doctor fetch".split()
)
def test_each_command_has_help_and_stands_in_the_overview(command: str, retrain: Retrain) -> None:
    assert f"\n  {command} " in retrain("--help").out
    assert retrain(command, "--help").out.startswith(f"Usage: retrain {command}")


def test_version_is_told(retrain: Retrain) -> None:
    assert retrain("--version").out.startswith("retrain ")


# Mistakes


def assert_mistake(answer: Answer, code: int, told: str) -> None:
    """A mistake is told in one to three lines on standard error, and nothing else."""
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith("retrain: ")
    assert 1 <= answer.err.count("\n") <= 3
    assert "Traceback" not in answer.err
    assert told in answer.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rnu", "photos"], "rnu: no such command. Did you mean run?"),
        (["xyzzy"], "xyzzy: no such command.\n  See retrain --help."),
        (["--bogus"], "No such option '--bogus'"),
        (["run", "photos", "--bogus"], "No such option '--bogus'"),
        (["run"], "Missing argument 'CONFIG|FOLDER'.\n  See retrain run --help."),
        (["predict", "runs/a"], "Missing argument 'IMAGE...'"),
        (["run", "photos", "--ranks", "two"], "'two' is not a valid integer"),
        (["predict", "runs/a", "b", "--min-confidence", "2"], "'--min-confidence'"),
    ],
)
def test_wrong_words_are_told_with_the_help_to_read(
    words: list[str], told: str, retrain: Retrain
) -> None:
    assert_mistake(retrain(*words), USAGE, told)


MISTAKES = {
    "no such file": (["gone.yaml"], USAGE, "gone.yaml: no such file or folder."),
    "broken YAML": (["broken.yaml"], USAGE, "broken.yaml, line 3: broken YAML"),
    "unknown key": (["texts", "head.l3=1.0"], USAGE, "Did you mean head.l2?"),
    "string for a number": (["texts", "head.l2=strong"], USAGE, "head.l2: found strong; wanted"),
    "class to leave out": (["photos", "data.exclude=[rof]"], USAGE, "Did you mean roof?"),
    "folder missing": (["missing.yaml"], DATA, "data.images"),
    "folder empty": (["empty"], DATA, "no class folders"),
    "pictures in no class": (["photos/roof"], DATA, "no class folders, only files"),
    "one class": (["one"], DATA, "one class only, a (5)"),
    "class of two": (["two"], DATA, "b (2); each needs 3."),
    "class of none": (["none"], DATA, "b (0); each needs 3."),
    "texts as images": (["texts"], DATA, "say data.bottlenecks="),
}


@pytest.fixture
def mistakes() -> None:
    """What the mistakes are made with."""
    Path("broken.yaml").write_text("data:\n  images: [a\nname: b\n")
    Path("missing.yaml").write_text("data: {images: gone}\n")
    Path("empty").mkdir()
    fill("one", a=5)
    fill("two", a=5, b=2)
    fill("none", a=5, b=0)
    fill("texts", a=5, b=5)
    paint("photos")


@pytest.mark.parametrize("command", [["run"], ["check"], ["check", "--quick"]])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_told_alike_by_run_and_check(
    mistake: str, command: list[str], mistakes: None, retrain: Retrain
) -> None:
    words, code, told = MISTAKES[mistake]
    assert_mistake(retrain(*command, *words), code, told)
    assert not Path("runs").exists()


def other_network(path: str) -> None:
    with h5py.File(path, "w") as file:
        file["layers/conv2d/vars/0"] = np.zeros((3, 3, 3, 8), np.float32)


def other_network_in_the_older_form(path: str) -> None:
    with h5py.File(path, "w") as file:
        layer = file.create_group("model_weights/conv1")
        file["model_weights"].attrs["layer_names"] = [b"conv1"]
        layer.attrs["weight_names"] = [b"kernel"]
        layer["kernel"] = np.zeros((3, 3, 3, 8), np.float32)


def no_hdf5(path: str) -> None:
    Path(path).write_text("<html>not found</html>")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (None, "no such file"),
        (no_hdf5, "a web page"),
        (other_network, "another network than inception_v3"),
        (other_network_in_the_older_form, "another network than inception_v3"),
    ],
)
def test_weights_that_do_not_serve_are_told(
    make: Callable[[str], None] | None, told: str, retrain: Retrain
) -> None:
    if make:
        make("w.h5")
    paint("photos")
    answer = retrain("check", "photos", "backbone.weights=w.h5")
    assert_mistake(answer, DATA, f"backbone.weights {Path('w.h5').absolute()}: {told}")


@pytest.mark.parametrize("out", ["/proc/retrain", "a-file", "a-file/run"])
def test_run_directory_that_cannot_be_written_is_told(out: str, retrain: Retrain) -> None:
    Path("a-file").touch()
    fill("texts", a=5, b=5)
    answer = retrain("run", "texts", "data.bottlenecks=texts", "--ranks", "1", "--out", out)
    assert_mistake(answer, USAGE, f"--out {out}: cannot be written")


@pytest.mark.parametrize("out", ["photos", "photos/runs", "photos/roof/run"])
def test_run_directory_among_the_classes_is_refused_before_it_is_made(
    out: str, retrain: Retrain
) -> None:
    paint("photos")
    before = set(Path("photos").rglob("*"))
    assert_mistake(
        retrain("run", "photos", "--out", out), USAGE, f"--out {out}: lies in data.images"
    )
    assert set(Path("photos").rglob("*")) == before


def test_images_in_the_folder_one_is_in_want_another_run_directory(
    retrain: Retrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(paint("photos"))
    assert_mistake(retrain("run", "."), USAGE, "Give a folder elsewhere with --out.")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("ranks", "told"), [("999", "--ranks 999: each needs"), ("0", "--ranks 0")]
)
def test_impossible_rank_count_is_told_and_leaves_no_folder(
    ranks: str, told: str, retrain: Retrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "available_gib", lambda: 64.0)
    fill("texts", a=5, b=5)
    words = ["run", "texts", "data.bottlenecks=texts", "--ranks", ranks]
    assert_mistake(retrain(*words), USAGE, told)
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", [["predict", "no-run", "a.jpg"], ["report", "no-run"]])
@pytest.mark.parametrize("there", [True, False])
def test_folder_that_is_no_run_is_told(command: list[str], there: bool, retrain: Retrain) -> None:
    if there:
        Path("no-run").mkdir()
    assert_mistake(retrain(*command), USAGE, "no-run: no ")


def test_debug_shows_where_an_error_came_from(retrain: Retrain) -> None:
    answer = retrain("run", "gone.yaml", "--debug")
    assert answer.code == USAGE
    assert answer.err.startswith("Traceback")
    assert answer.err.endswith(retrain("run", "gone.yaml").err)


@pytest.mark.parametrize("code", [RetrainError("a").exit_code, DATA, STOPPED])
def test_code_of_the_work_is_the_command_s(
    code: int, retrain: Retrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "start", lambda *_: code)
    fill("texts", a=5, b=5)
    words = ["texts", "data.bottlenecks=texts", "--ranks", "1"]
    assert retrain("run", *words).code == code


@pytest.mark.parametrize("classes", [2, 200])  # within Python's buffer, and beyond it
def test_reader_that_goes_away_ends_the_command_in_silence(classes: int) -> None:
    fill("texts", **{f"{number:050}": 3 for number in range(classes)})
    reader, writer = os.pipe()
    os.close(reader)
    program = "import sys; from trainer.cli import main; main(sys.argv[1:])"
    words = ["check", "texts", "data.bottlenecks=texts", "--quick"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (FAILED, b"")


# From `run` to a world


class Started(NamedTuple):
    """What was to be started by mpirun."""

    words: list[str]
    ranks: int
    where: Place


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Started]:
    """Takes note of worlds instead of starting them; three cores, two GPUs."""
    calls: list[Started] = []

    def note(words: list[str], ranks: int, where: Place, *_: object) -> int:
        calls.append(Started(words, ranks, where))
        return STOPPED

    monkeypatch.setattr(launch, "start", note)
    monkeypatch.setattr(launch, "available_gib", lambda: 64.0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    return calls


def test_ranks_get_the_words_as_they_were_given(retrain: Retrain, started: list[Started]) -> None:
    paint("my photos")
    words = ["head.l2=1.0", "name=a 'b'", "--ranks", "3", "--out", "a b/c", "--again", "--verify"]
    assert retrain("run", "my photos", *words).code == STOPPED
    assert started == [
        Started(
            ["run", "--out=a b/c", *words[-2:], "--", "my photos", "head.l2=1.0", "name=a 'b'"],
            3,
            Place(1, 3),
        )
    ]
    assert Path("a b/c").is_dir()


def test_folder_that_looks_like_an_option_can_be_given(
    retrain: Retrain, started: list[Started]
) -> None:
    paint("-x")
    retrain("run", "--ranks", "2", "--", "-x")
    assert started[0].words == ["run", "--out=runs/-x", "--", "-x"]


@pytest.mark.parametrize(
    ("word", "ranks"),
    [("run.device=auto", 2), ("run.device=cpu", 3), ("data.bottlenecks=texts", 3)],
)
def test_run_that_uses_no_gpu_gets_a_rank_a_core(
    word: str, ranks: int, retrain: Retrain, started: list[Started]
) -> None:
    paint("photos")
    fill("texts", a=5, b=5)
    retrain("run", "photos", word)
    assert started[0].ranks == ranks


@pytest.mark.parametrize(
    "variables", [{"OMPI_COMM_WORLD_SIZE": "2"}, {"RETRAIN_OUTCOME": "/nowhere/outcome"}]
)
def test_rank_that_was_started_joins_with_the_whole_configuration(
    variables: dict[str, str], retrain: Retrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Config, Path, bool, bool]] = []

    def note(config: Config, out: Path, again: bool, verify: bool) -> int:
        calls.append((config, out, again, verify))
        return DONE

    monkeypatch.setattr(starting, "join", note)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    paint("photos")
    assert retrain("run", "photos", "run.seed=7", "--ranks", "1", "--verify").code == DONE
    ((config, *rest),) = calls
    assert (config.run.seed, *rest) == (7, Path("runs/photos"), False, True)


# Check


def test_check_tells_what_each_class_gives_to_each_set(retrain: Retrain) -> None:
    fill("texts", a=30, bb=20)
    shutil.copy("texts/a/1.txt", "texts/a/copy.txt")
    Path("texts/stray.txt").touch()
    answer = retrain("check", "texts", "data.bottlenecks=texts")
    assert answer.code == DONE
    head, first, second, readable, copies, outside = answer.out.splitlines()
    assert head.split() == ["training", "validation", "test", "class"]
    *counts, label = first.split()
    assert (sum(map(int, counts)), label) == (30, "a")
    assert second.split()[-1] == "bb"
    assert readable == "51 files can be read; 0 cannot be used"
    assert copies == "copies of another: 1; under two labels: 0"
    assert outside.startswith("1 files or links lie in no class folder")


def test_check_names_the_files_of_a_conflict(retrain: Retrain) -> None:
    fill("texts", a=30, b=20)
    shutil.copy("texts/a/1.txt", "texts/b/same.txt")
    told = retrain("check", "texts", "data.bottlenecks=texts").out
    assert "under two labels: 2" in told
    assert "  a/1.txt lies under another label too\n  b/same.txt lies under" in told


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "is empty"), (b"1,x", "has 'x'"), (b"1,2,3", "most have 2")]
)
def test_check_names_what_cannot_be_used(content: bytes, reason: str, retrain: Retrain) -> None:
    fill("texts", a=30, b=20)
    Path("texts/a/bad.txt").write_bytes(content)
    answer = retrain("check", "texts", "data.bottlenecks=texts")
    assert answer.code == DONE
    assert any(
        line.startswith("  a/bad.txt ") and reason in line for line in answer.out.splitlines()
    )


def test_check_decodes_pictures(retrain: Retrain) -> None:
    paint("photos", 6)
    whole = Path("photos/roof/0.png").read_bytes()
    Path("photos/roof/0.png").write_bytes(whole[: len(whole) // 2])
    words = ["check", "photos", "backbone.weights=random"]
    assert_mistake(retrain(*words), DATA, "1 of 12 files cannot be used")
    answer = retrain(*words, "data.max_bad=0.5")
    assert answer.code == DONE
    assert "  roof/0.png is a " in answer.out


def test_quick_check_counts_and_opens_nothing(retrain: Retrain) -> None:
    folder = fill("texts", a=5, b=4)
    for path in folder.rglob("*.txt"):
        path.write_bytes(b"")
    answer = retrain("check", "texts", "data.bottlenecks=texts", "--quick")
    assert answer.code == DONE
    assert answer.out.split() == ("5 a 4 b 9 files in 2 classes; none was opened".split())


# Report


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A finished run, whose report is drawn with these words."""
    run = RunDir(Path("runs/a"))
    run.stages.mkdir(parents=True)
    write_text(run.config, "name: a\n")
    write_text(run.report, "as it was")
    run.write_complete({"schema": 1, "status": "complete"})
    monkeypatch.setattr(page, "write_report", lambda run: write_text(run.report, "as it is"))
    return run


@pytest.mark.parametrize("before", ["as it was", "spoilt"])
def test_report_drawn_again_keeps_the_final_mark(
    before: str, reported: RunDir, retrain: Retrain
) -> None:
    write_text(reported.report, before)
    assert retrain("report", "runs/a") == (DONE, "runs/a/report.html\n", "")
    assert reported.report.read_text() == "as it is"
    assert not reported.damaged()


def test_report_of_a_damaged_run_is_refused(reported: RunDir, retrain: Retrain) -> None:
    write_text(reported.config, "name: b\n")
    assert_mistake(retrain("report", "runs/a"), DATA, "since the run was finished: config.yaml")
    assert reported.report.read_text() == "as it was"


# Gather and compare


@pytest.fixture
def predicted(reported: RunDir) -> RunDir:
    """A finished run that was scored on two images, one of which it has wrong."""
    header = "path sha256 group label source fold l2 predicted".split()
    rows = [
        (f"{n}.jpg", f"c{n}", "", "\u202eé", "test", "", 1, w)
        for n, w in (("1", "\u202eé"), ("2", "b"))
    ]
    write_csv(reported.predictions, header, rows)
    reported.write_complete(reported.read_results())
    return reported


def test_gather_tells_what_it_found_and_where_it_stands(
    predicted: RunDir, retrain: Retrain
) -> None:
    assert retrain("gather", "runs") == (
        DONE,
        "Runs    1: 1 complete\nPage    runs/index.html\nTable   runs/runs.csv\n",
        "",
    )
    assert retrain("gather", "runs/a", "--out", "b").out.endswith("Table   b/runs.csv\n")


@pytest.mark.parametrize("words", [["gone"], ["runs", "gone"], ["runs/a/stages"]])
def test_gather_names_the_word_that_is_no_run(
    words: list[str], predicted: RunDir, retrain: Retrain
) -> None:
    assert_mistake(retrain("gather", *words), USAGE, f"{words[-1]}: no run directory")
    assert not Path("index.html").exists()


def test_gather_where_nothing_can_be_written_says_so(predicted: RunDir, retrain: Retrain) -> None:
    Path("runs/index.html").write_text("mine")
    assert_mistake(retrain("gather", "runs"), USAGE, "runs/index.html: cannot be written, or was")
    answer = retrain("gather", "runs", "--out", "runs/index.html/b")
    assert_mistake(answer, USAGE, "--out runs/index.html/b: cannot be written")


def test_compare_begins_with_the_verdict(predicted: RunDir, retrain: Retrain) -> None:
    answer = retrain("compare", "runs/a", "runs/a", "--html", "page.html")
    assert answer.code == DONE
    assert answer.out.startswith("A and B are right on the same 1 of 2 test images")
    assert answer.out.endswith("\n\nPage  page.html\n")
    assert "Two runs compared" in Path("page.html").read_text()


def test_compare_writes_csv_and_json(predicted: RunDir, retrain: Retrain) -> None:
    assert retrain("compare", "runs/a", "runs/a", "--csv").out.startswith("source,right,path_a,")
    assert json.loads(retrain("compare", "runs/a", "runs/a", "--json").out)["test"]["n"] == 2


def test_compare_names_the_run_that_has_not_ended(predicted: RunDir, retrain: Retrain) -> None:
    results = predicted.read_results()
    write_text(predicted.results, json.dumps(results | {"status": "stopped"}))
    assert_mistake(retrain("compare", "runs/a", "runs/a"), USAGE, "runs/a: not finished: stopped")


# Predict: how the answers are written


PREDICT = """
lake.txt  roof 73.1%
pair.txt  -pool 50.0%  (unfamiliar: unlike all training images)
short.txt  error: has 1 numbers; the model wants 2
gone.txt  error: cannot be read: No such file or directory
""".lstrip()
"""What the model below says of the texts below, in the order in which they are given."""


@pytest.fixture
def model() -> str:
    """A run on bottlenecks of two numbers, of which the second one speaks for `roof`."""
    Path("runs/a").mkdir(parents=True)
    save()
    for name, text in (("lake", "0,1"), ("pair", "5,0"), ("short", "1")):
        Path(f"{name}.txt").write_text(text)
    return "runs/a"


def save(weights_note: str = "") -> None:
    head = (np.array([[0.0, 0.0], [0.0, 1.0]]), np.zeros(2))
    about = About("a", ["-pool", "roof"], 2, "", weights_note, batch_size=3)
    rows = np.array([[0, 1], [0.1, 1], [1, 1]], np.float32)
    space = Space(np.zeros(2), np.ones(2))
    paths = ["roof/1.txt", "roof/2.txt", "-pool/1.txt"]
    kept = Neighbours(
        space, space.quantised(rows), np.array([1, 1, 0]), paths, [bytes(32)] * 3, 3, limit=0.2
    )
    save_model(Path("runs/a/model"), head, about, None, kept.to_arrays(), "")


TEXTS = ("lake.txt", "pair.txt", "short.txt", "gone.txt")


def test_prediction_is_a_line_a_file_and_the_unreadable_keep_theirs(
    model: str, retrain: Retrain
) -> None:
    assert retrain("predict", model, *TEXTS) == (DATA, PREDICT, "")


@pytest.mark.parametrize(
    "name", ["about.json", "head.npz", "neighbours.npz", "labels.txt", "sha256.json"]
)
def test_prediction_by_a_model_of_which_a_bit_flipped_is_refused(
    name: str, model: str, retrain: Retrain
) -> None:
    path = Path(model) / "model" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert_mistake(retrain("predict", model, "lake.txt"), DATA, "changed since it was saved")


def test_prediction_of_readable_files_is_done(model: str, retrain: Retrain) -> None:
    assert retrain("predict", model, "lake.txt").code == DONE


def test_prediction_shows_as_many_classes_as_asked_and_is_unsure_below_the_threshold(
    model: str, retrain: Retrain
) -> None:
    answer = retrain(
        "predict", model, "lake.txt", "pair.txt", "--top", "2", "--min-confidence", "0.6"
    )
    assert answer.out.splitlines() == [
        "lake.txt  roof 73.1%, -pool 26.9%",
        "pair.txt  (unsure) -pool 50.0%, roof 50.0%  (unfamiliar: unlike all training images)",
    ]


def test_csv_has_a_row_a_file_with_all_probabilities(model: str, retrain: Retrain) -> None:
    answer = retrain("predict", model, *TEXTS, "--csv", "--min-confidence", "0.6")
    assert answer.code == DATA
    head, lake, pair, short, gone = csv.reader(io.StringIO(answer.out, newline=""))
    assert head == ["path", "predicted", "p:-pool", "p:roof", "unfamiliar", "error"]
    assert lake[:2] == ["lake.txt", "roof"]
    assert float(lake[3]) == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-12)
    assert (lake[4], pair[2:]) == ("0", ["0.5", "0.5", "1", ""])
    assert pair[:2] == ["pair.txt", ""]
    assert short == ["short.txt", "", "", "", "", "has 1 numbers; the model wants 2"]
    assert gone[5].startswith("cannot be read")


def test_csv_cannot_become_a_formula(model: str, retrain: Retrain) -> None:
    answer = retrain("predict", model, "pair.txt", "--csv")
    assert list(csv.reader(io.StringIO(answer.out)))[1][1] == "'-pool"


def test_json_is_one_list_with_null_where_nothing_is(model: str, retrain: Retrain) -> None:
    answer = retrain("predict", model, *TEXTS, "--json", "--min-confidence", "0.6")
    lake, pair, short, gone = json.loads(answer.out)
    assert lake["predicted"] == "roof"
    assert sum(lake["probabilities"].values()) == pytest.approx(1)
    assert lake["error"] is None
    assert (lake["unfamiliar"], pair["unfamiliar"], short["unfamiliar"]) == (False, True, None)
    assert [near["path"] for near in lake["neighbours"]][:2] == ["roof/1.txt", "roof/2.txt"]
    assert pair["predicted"] is None
    assert pair["probabilities"] == {"-pool": 0.5, "roof": 0.5}
    assert (short["predicted"], short["probabilities"]) == (None, None)
    assert gone["error"].startswith("cannot be read")


def test_page_of_new_files_tells_what_was_said_and_what_could_not_be_read(
    model: str, retrain: Retrain
) -> None:
    answer = retrain("predict", model, *TEXTS, "--report", "new.html")
    assert (answer.code, answer.out, answer.err) == (DATA, PREDICT, "Report: new.html\n")
    text = Path("new.html").read_text()
    assert "2 images labelled" in text
    for told in ("lake.txt", "73.1%", "unfamiliar", "roof/<wbr>1.txt", "gone.txt", "No such file"):
        assert told in text


def test_page_in_no_folder_is_a_mistake(model: str, retrain: Retrain) -> None:
    answer = retrain("predict", model, "lake.txt", "--report", "nowhere/new.html")
    assert_mistake(answer, USAGE, "--report nowhere/new.html: no such folder.")


def test_model_that_an_earlier_version_saved_knows_no_neighbours(
    model: str, retrain: Retrain
) -> None:
    (Path(model) / "model" / "neighbours.npz").unlink()
    listed = Path(model) / "model" / "sha256.json"
    hashes = json.loads(listed.read_bytes())
    del hashes["files"]["neighbours.npz"]
    listed.write_text(json.dumps(hashes))
    answer = retrain("predict", model, "lake.txt", "--csv")
    assert list(csv.reader(io.StringIO(answer.out)))[1][4] == ""


def test_folder_is_walked_and_what_is_hidden_passed_over(model: str, retrain: Retrain) -> None:
    Path("new/deep").mkdir(parents=True)
    for name in ("b.txt", "deep/a.txt", ".hidden", "Thumbs.db"):
        (Path("new") / name).write_text("0,1")
    lines = retrain("predict", model, "new").out.splitlines()
    assert [line.split()[0] for line in lines] == ["new/b.txt", "new/deep/a.txt"]


def test_folder_without_files_is_told(model: str, retrain: Retrain) -> None:
    Path("new").mkdir()
    assert_mistake(retrain("predict", model, "new"), DATA, "new: no files in this folder.")


def test_hostile_name_stays_on_its_line(model: str, retrain: Retrain) -> None:
    names = ["line\nbreak.txt", "red\x1b[31m.txt", os.fsdecode(b"caf\xe9.txt")]
    for name in names:
        Path(name).write_text("0,1")
    answer = retrain("predict", model, *names)
    assert answer.code == DONE
    assert answer.out.count("\n") == 3
    assert "\x1b" not in answer.out


def test_model_on_random_weights_says_so_beside_its_answer(model: str, retrain: Retrain) -> None:
    save("not pretrained")
    answer = retrain("predict", model, "lake.txt")
    assert answer == (DONE, "lake.txt  roof 73.1%\n", "Note: not pretrained\n")


def test_prediction_from_texts_loads_no_tensorflow(model: str) -> None:
    program = "from trainer.cli import main; main(sys.argv[1:])"
    heavy = ["tensorflow", "keras", "horovod", "mpi4py"]
    assert not imported(program, heavy, "predict", model, "lake.txt")
