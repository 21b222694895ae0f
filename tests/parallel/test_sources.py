# SPDX-License-Identifier: Apache-2.0
"""The same images in another form give the same run; copies, groups and conflicts leak nothing."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from worlds import QUICK, Finished, draw

Retrain = Callable[..., Finished]
Rows = list[dict[str, str]]


def rows(path: Path) -> Rows:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("sources") / "photos", 32)


def as_archive(photos: Path) -> Path:
    path = photos.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        archive.add(photos, photos.name)
    return path


def as_manifest(photos: Path) -> Path:
    path = photos / "list.csv"
    found = [file.relative_to(photos) for file in photos.glob("*/*") if file.name[0] != "."]
    lines = [f"{name},{name.parts[0]}" for name in found]
    path.write_text("\n".join(["path,label", *lines, ""]), encoding="utf-8")
    return path


def ended_well(done: Finished) -> str:
    """What it told on standard output."""
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder_run(photos: Path, tmp_path_factory: pytest.TempPathFactory, retrain: Retrain) -> Path:
    out = tmp_path_factory.mktemp("runs") / "folder"
    ended_well(retrain("run", photos, *QUICK, "--out", out, "--ranks", "2"))
    return out


@pytest.mark.parametrize("form", [as_archive, as_manifest])
def test_other_form_of_the_source_gives_the_same_predictions(
    form: Callable[[Path], Path], photos: Path, folder_run: Path, tmp_path: Path, retrain: Retrain
) -> None:
    cache = f"run.cache={folder_run.parent / '.retrain-cache'}"
    words = (*QUICK, cache, "--out", tmp_path / "run", "--ranks", "2")
    ended_well(retrain("run", form(photos), *words))
    for name in ("manifest.csv", "groups.csv", "predictions.csv", "quarantine.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (folder_run / name).read_bytes()


@pytest.mark.parametrize("form", [as_archive, as_manifest])
def test_images_of_any_form_are_decoded(
    form: Callable[[Path], Path], photos: Path, retrain: Retrain
) -> None:
    assert "64 files can be read" in ended_well(retrain("check", form(photos), *QUICK))


def encoded_again(path: Path) -> bytes:
    """Another file of the same picture."""
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def leaky(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every picture twice, encoded anew under its other label too, in files of any name."""
    root = tmp_path_factory.mktemp("leaky") / "photos"
    shutil.copytree(photos, root)
    labels = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    for label in labels:
        other = labels[1 - labels.index(label)]
        for number, path in enumerate(sorted((root / label).glob("[!.]*.jpg"))):
            shutil.copy(path, root / label / f"copy-{path.name}")
            if number % 3 == 0 and path.name != "short.jpg":
                (root / other / f"again-{path.name}").write_bytes(encoded_again(path))
    return root


def test_copies_and_near_duplicates_are_never_fitted_and_scored(
    leaky: Path, tmp_path: Path, retrain: Retrain
) -> None:
    out = tmp_path / "run"
    told = ended_well(retrain("run", leaky, *QUICK, "--out", out, "--ranks", "2"))
    units = {row["sha256"]: row["unit"] for row in rows(out / "groups.csv")}
    folds = defaultdict(set)
    for row in rows(out / "predictions.csv"):
        if row["source"] == "oof":
            folds[units[row["sha256"]]].add(row["fold"])
    assert {len(found) for found in folds.values()} == {1}
    sets = defaultdict(set)
    for row in rows(out / "manifest.csv"):
        sets[row["sha256"]].add(row["split"])
    assert {len(found) for found in sets.values()} == {1}
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert results["data"]["near_duplicates"] >= 20
    assert results["test"]["without_near_duplicates"]["n"] < results["test"]["n"]
    assert "nearly the same" in told


def test_sets_of_retrain_py_are_dealt_and_said(tmp_path: Path, retrain: Retrain) -> None:
    source, out = tmp_path / "texts", tmp_path / "run"
    for number in range(60):
        path = source / "ab"[number % 2] / f"{number}.jpg.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number % 2},{number % 7},{number % 5}")
    words = ("data.split.compat=retrain", "evaluate.folds=4", f"data.bottlenecks={source}")
    config = tmp_path / "texts.yaml"
    config.write_text("{}")
    told = ended_well(retrain("run", config, *words, "--out", out, "--ranks", "1"))
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert results["data"]["compat"] == "retrain"
    assert not any(row["moved"] for row in rows(out / "manifest.csv"))
    assert "sets as retrain.py dealt them" in told
