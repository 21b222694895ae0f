# SPDX-License-Identifier: Apache-2.0
"""`retrain export` of real runs: arrays for other programs, and a copy for other people."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from test_texts import write_texts
from trainer.cli import main
from trainer.rundir import RunDir
from worlds import Finished, Job

Retrain = Callable[..., Finished]
Export = Callable[..., Finished]
PERSON = {"USER": "annabelle", "LOGNAME": "annabelle", "HOME": "/home/annabelle"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's home folder, with texts in it."""
    home = tmp_path_factory.mktemp("home") / "Annabelle & Co"
    write_texts(home / "my texts", 0.6)
    return home


@pytest.fixture(scope="module")
def finished(home: Path, retrain: Retrain) -> Path:
    """A run on the texts."""
    settings = {"data": {"bottlenecks": str(home / "my texts")}, "evaluate": {"folds": 4}}
    (home / "texts.yaml").write_text(yaml.safe_dump(settings))
    out = home / "runs" / "texts"
    done = retrain("run", home / "texts.yaml", "--ranks", 1, "--out", out, **PERSON)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def run(finished: Path) -> Path:
    """The same run for one test to spoil, in the same home folder."""
    copy = finished.with_name("spoilt")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(finished, copy)
    return copy


@pytest.fixture
def export(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Export:
    """Exports in this process, as that person: a process of its own takes seconds."""

    def call(*words: object) -> Finished:
        monkeypatch.delenv("RETRAIN_CACHE", raising=False)
        for name, value in PERSON.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main(["export", *map(str, words)])
        assert isinstance(ended.value.code, int)
        return Finished([*map(str, words)], ended.value.code, *capsys.readouterr())

    return call


def shared(export: Export, run: Path, to: Path) -> zipfile.ZipFile:
    done = export(run, "--share", to)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{to}\n"
    return zipfile.ZipFile(to)


def change(run: Path, file: str, **values: object) -> None:
    """Change a file of JSON in a finished run, and set the mark again as a run would."""
    known = json.loads((run / file).read_text())
    (run / file).write_text(json.dumps(known | values, indent=2) + "\n")
    RunDir(run).write_complete(json.loads((run / "results.json").read_text()))


def test_the_copy_tells_neither_host_nor_user_nor_folder(
    export: Export, home: Path, run: Path, tmp_path: Path
) -> None:
    warnings = [f"{home}/cache/x.shard: damaged shard, computed anew", "annabelle: no quota"]
    change(run, "results.json", warnings=warnings)
    copy = shared(export, run, tmp_path / "x.zip")
    host = re.compile(rb"(?<!\w)" + socket.gethostname().encode() + rb"(?!\w)")
    for name in copy.namelist():
        content = copy.read(name)
        assert b"nnabelle" not in content, name
        assert os.fsencode(tmp_path.parent) not in content, name
        if not name.endswith(".npz"):
            assert not host.search(content), name
    results = json.loads(copy.read("spoilt/results.json"))
    assert results["warnings"] == ["x.shard: damaged shard, computed anew", "user: no quota"]
    assert results["world"]["hosts"] == ["host-1"]
    assert results["world"]["ranks"][0]["host"] == "host-1"
    assert json.loads(copy.read("spoilt/environment.json"))["hosts"] == ["host-1"]
    assert yaml.safe_load(copy.read("spoilt/config.yaml"))["data"]["bottlenecks"] == "my texts"


def test_only_what_a_reader_needs_is_in_it_under_plain_names(
    export: Export, finished: Path, tmp_path: Path
) -> None:
    (finished / "notes.txt").write_text("mine")
    names = shared(export, finished, tmp_path / "x.zip").namelist()
    assert names == sorted(names)
    assert {name.split("/")[0] for name in names} == {"texts"}
    assert {name.split("/")[1] for name in names} == set(
        "analysis.json config.yaml environment.json groups.csv manifest.csv model predictions.csv "
        "quarantine.csv report.html results.json stages suspects.csv".split()
    )
    assert [name for name in names if "/stages/" in name] == ["texts/stages/complete.json"]


def test_the_same_run_gives_the_same_bytes(export: Export, finished: Path, tmp_path: Path) -> None:
    shared(export, finished, tmp_path / "x.zip")
    (tmp_path / "elsewhere").mkdir()
    shared(export, finished, tmp_path / "elsewhere" / "y.zip")
    once, again = tmp_path / "x.zip", tmp_path / "elsewhere" / "y.zip"
    assert once.read_bytes() == again.read_bytes()


def test_report_and_predict_take_the_unpacked_copy(
    retrain: Retrain, export: Export, home: Path, finished: Path, tmp_path: Path
) -> None:
    shared(export, finished, tmp_path / "x.zip").extractall(tmp_path)
    before = (tmp_path / "texts" / "report.html").read_bytes()
    drawn = retrain("report", tmp_path / "texts")
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "texts" / "report.html").read_bytes() == before
    assert RunDir(tmp_path / "texts").damaged() == []
    files = home / "my texts" / "b"
    answers = [retrain("predict", one, files, "--csv") for one in (tmp_path / "texts", finished)]
    assert answers[0].returncode == 0, answers[0].stderr
    assert answers[0].stdout == answers[1].stdout


def test_a_name_that_is_left_is_refused_with_file_and_kind(
    export: Export, run: Path, tmp_path: Path
) -> None:
    change(run, "model/about.json", name="Annabelle's")
    words = (run, "--share", tmp_path / "x.zip")
    done = export(*words)
    assert done.returncode == 3
    assert "model/about.json holds the user name 'annabelle'" in done.stderr
    assert "--public annabelle" in done.stderr
    assert not list(tmp_path.iterdir())
    assert export(*words, "--public", "annabelle").returncode == 0


def test_what_a_link_leads_to_stays_at_home(export: Export, run: Path, tmp_path: Path) -> None:
    (tmp_path / "diary").write_text("private")
    (run / "gallery").mkdir(exist_ok=True)
    (run / "gallery" / "1.jpg").symlink_to(tmp_path / "diary")
    (run / "analysis.json").unlink()
    (run / "analysis.json").symlink_to(tmp_path / "diary")
    change(run, "results.json")
    names = shared(export, run, tmp_path / "x.zip").namelist()
    assert not {"spoilt/gallery/1.jpg", "spoilt/analysis.json"} & set(names)


def test_a_name_in_an_array_of_texts_is_found(export: Export, run: Path, tmp_path: Path) -> None:
    np.savez_compressed(run / "model" / "neighbours.npz", path=np.array(["a", "x/annabelle.jpg"]))
    change(run, "results.json")
    done = export(run, "--share", tmp_path / "x.zip")
    assert done.returncode == 3
    assert "model/neighbours.npz holds the user name 'annabelle'" in done.stderr


@pytest.mark.parametrize("images", [True, False])
def test_pictures_go_along_only_where_they_may(
    export: Export, run: Path, tmp_path: Path, images: bool
) -> None:
    (run / "gallery").mkdir(exist_ok=True)
    (run / "gallery" / "1.jpg").write_bytes(b"\xff\xd8a picture")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["report"]["images"] = images
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    change(run, "results.json")
    names = shared(export, run, tmp_path / "x.zip").namelist()
    assert ("spoilt/gallery/1.jpg" in names) is images


def test_an_embedded_picture_is_refused_where_none_may_go(
    export: Export, run: Path, tmp_path: Path
) -> None:
    (run / "config.yaml").write_text(
        (run / "config.yaml").read_text().replace("images: true", "images: false")
    )
    (run / "analysis.json").write_text('{"x": "data:image/png;base64,AA"}')
    change(run, "results.json")
    done = export(run, "--share", tmp_path / "x.zip")
    assert done.returncode == 3
    assert "analysis.json holds a picture" in done.stderr


def test_a_run_that_is_changed_or_not_finished_is_not_exported(
    export: Export, run: Path, tmp_path: Path
) -> None:
    with open(run / "manifest.csv", "a") as file:
        file.write("more")
    changed = export(run, "--share", tmp_path / "x.zip")
    assert changed.returncode == 3
    assert "changed since the run was finished: manifest.csv" in changed.stderr
    results = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps(results | {"status": "stopped"}))
    stopped = export(run, "--embeddings", tmp_path / "x.npz")
    assert stopped.returncode == 2
    assert "not finished: its status is stopped" in stopped.stderr
    assert "Start the same `retrain run` again" in stopped.stderr
    nothing = export(run)
    assert nothing.returncode == 2
    assert "Say --embeddings FILE.npz, --share FILE.zip, or both" in nothing.stderr
    assert not list(tmp_path.iterdir())


def test_embeddings_of_texts_are_their_numbers_in_path_order(
    export: Export, home: Path, finished: Path, tmp_path: Path
) -> None:
    done = export(finished, "--embeddings", tmp_path / "x.npz")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert found["embeddings"].dtype == np.float32
        assert found["path"].tolist() == sorted(found["path"].tolist())
        assert found["classes"].tolist() == ["a", "b"]
        assert {"training", "validation", "test"} == set(found["split"].tolist())
        for row, path, label in zip(
            found["embeddings"], found["path"], found["label"], strict=True
        ):
            written = np.fromstring((home / "my texts" / path).read_text(), sep=",")
            np.testing.assert_array_equal(row, written.astype(np.float32))
            assert path.startswith(f"{label}/")
        assert len(found["sha256"]) == len(found["group"]) == 120


def test_texts_that_were_changed_since_are_not_taken_for_the_runs(
    export: Export, run: Path, home: Path, tmp_path: Path
) -> None:
    moved = home / "other texts"
    shutil.copytree(home / "my texts", moved, dirs_exist_ok=True)
    (moved / "a" / "0.jpg.txt").write_text("1,2")
    (run / "config.yaml").write_text(
        (run / "config.yaml").read_text().replace("my texts", "other texts")
    )
    change(run, "results.json")
    done = export(run, "--embeddings", tmp_path / "x.npz")
    assert done.returncode == 3
    assert "1 files are gone or were changed since the run, such as a/0.jpg.txt" in done.stderr


def test_embeddings_of_pictures_come_from_the_cache_and_each_content_once(
    export: Export, jobs: Callable[[int], Job], tmp_path: Path
) -> None:
    job = jobs(1)
    done = export(job.folder, "--embeddings", tmp_path / "x.npz")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        paths, table = found["path"].tolist(), found["embeddings"]
        digests = found["sha256"].tolist()
    assert paths == sorted(row["path"] for row in job.rows("groups.csv"))
    assert len(set(digests)) == len(digests) == len(table)
    assert table.shape[1] == job.results["backbone"]["features"]
    with np.load(job.folder / "model" / "head.npz") as head:
        logits = table.astype(np.float64) @ head["W"] + head["b"]
    told = {row["path"]: row for row in job.rows("predictions.csv") if row["source"] == "test"}
    classes = job.results["data"]["classes"]
    for path, row in told.items():
        odds = np.exp(logits[paths.index(path)])
        expected = [float(row[f"p:{name}"]) for name in classes]
        np.testing.assert_allclose(odds / odds.sum(), expected, atol=1e-6)


def test_bottlenecks_that_the_cache_lost_are_asked_for(
    export: Export, jobs: Callable[[int], Job], tmp_path: Path
) -> None:
    job = jobs(1)
    run = tmp_path / "run"
    shutil.copytree(job.folder, run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["run"]["cache"] = str(tmp_path / "empty")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    change(run, "results.json")
    done = export(run, "--embeddings", tmp_path / "x.npz")
    assert done.returncode == 3
    assert "no longer has 32 of the run's 32 bottlenecks" in done.stderr
    assert "Start the same `retrain run` with --again" in done.stderr


def test_the_network_in_the_copy_labels_pictures(
    retrain: Retrain, export: Export, jobs: Callable[[int], Job], pictures: Path, tmp_path: Path
) -> None:
    job = jobs(1)
    done = export(job.folder, "--share", tmp_path / "x.zip")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "x.zip") as copy:
        copy.extractall(tmp_path)
    [copied] = [path for path in tmp_path.iterdir() if path.is_dir()]
    picture = pictures / "lake" / "01.jpg"
    answers = [retrain("predict", one, picture) for one in (copied, job.folder)]
    assert answers[0].returncode == 0, answers[0].stderr
    assert answers[0].stdout == answers[1].stdout
