# SPDX-License-Identifier: Apache-2.0
"""`--scaling`: the runs that it plans and the parts of the data that they take."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

import pytest

from jobs.arrays import array_commands, scaling_command
from jobs.errors import UsageError
from jobs.plan import Plan
from jobs.scaling import measure
from jobs.scaling_plan import parse_sizes, scaling_plan, write_parts

SIZES = [1, 2, 4]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight files of one class and twelve of another, names not friendly."""
    for label, each in (("a, b", 8), ("=c", 12)):
        (tmp_path / "photos" / label / "deep").mkdir(parents=True)
        for number in range(each):
            below = "deep" if number % 2 else "."
            (tmp_path / "photos" / label / below / f'{number} "x".jpg').touch()
    (tmp_path / "photos" / ".hidden").touch()
    (tmp_path / "photos" / "notes.txt").touch()
    return tmp_path / "photos"


def planned(photos: Path, *words: str, **more: bool) -> Plan:
    return scaling_plan("photos", words, SIZES, Path("runs/s"), photos.parent, **more)


def test_each_size_runs_on_its_nodes_with_a_cache_of_its_own(photos: Path) -> None:
    plan = planned(photos)
    assert [(task.directory, task.options) for task in plan.tasks] == [
        ("strong-1", ("--nodes=1",)),
        ("strong-2", ("--nodes=2",)),
        ("strong-4", ("--nodes=4",)),
        ("weak-1", ("--nodes=1",)),
        ("weak-2", ("--nodes=2",)),
    ]
    assert len({task.settings["run.cache"] for task in plan.tasks}) == 5


def test_arrays_hold_one_number_of_nodes_each_and_wait_for_none(photos: Path) -> None:
    calls = array_commands(planned(photos), Path("retrain.sh"), ["--exclusive"])
    assert [call.numbers for call in calls] == [(0, 3), (1, 4), (2,)]
    assert [call.after for call in calls] == [(), (), ()]
    last = scaling_command(planned(photos), ["python3"], calls).words(["7", "8", "9"])
    assert "--dependency=afterany:7:8:9" in last
    assert last[-1].startswith("--wrap=exec python3 -I -c ")
    assert last[-1].endswith(f" {photos.parent}/runs/s")


def test_ranks_are_counted_on_one_node(photos: Path) -> None:
    plan = planned(photos, ranks=True, weak=False)
    assert [(task.options, task.arguments) for task in plan.tasks] == [
        (("--nodes=1",), ("--ranks", str(size))) for size in SIZES
    ]


def test_parts_hold_of_every_class_what_is_in_proportion(photos: Path) -> None:
    plan = planned(photos)
    plan.save()
    write_parts(plan, SIZES)
    for number, wanted in ((3, {"a, b": 2, "=c": 3}), (4, {"a, b": 4, "=c": 6})):
        with open(plan.tasks[number].settings["data.images"], newline="") as file:
            rows = list(csv.DictReader(file))
        assert Counter(row["label"] for row in rows) == wanted
        assert all(os.path.isfile(row["path"]) for row in rows)


def test_parts_of_bottlenecks_are_folders_of_links(photos: Path) -> None:
    plan = planned(photos, "data.bottlenecks=photos")
    plan.save()
    for _ in range(2):
        write_parts(plan, SIZES)
    part = Path(plan.tasks[3].settings["data.bottlenecks"])
    files = [path for path in part.rglob("*") if path.is_file()]
    assert len(files) == 5
    assert {path.relative_to(part).parts[0] for path in files} == {"a, b", "=c"}


def test_sweep_that_was_planned_is_measured(photos: Path) -> None:
    plan = planned(photos)
    plan.save()
    rows = measure(plan.folder)
    assert {(row.scaling, row.size) for row in rows} == {
        (kind, size) for kind in ("strong", "weak") for size in SIZES
    }


def test_weak_scaling_of_packed_data_is_refused(photos: Path) -> None:
    (photos.parent / "c.yaml").write_text("data: {images: photos.tar}\n")
    with pytest.raises(UsageError, match="weak scaling takes"):
        scaling_plan("c.yaml", [], SIZES, Path("runs/s"), photos.parent)
    scaling_plan("c.yaml", [], SIZES, Path("runs/s"), photos.parent, weak=False)


def test_sizes_are_read_in_rising_order() -> None:
    assert parse_sizes("8, 1,2,2") == [1, 2, 8]


@pytest.mark.parametrize("text", ["", "1", "1,1", "0,1", "1,x", "1,,2", "-1,2", "1,²", "1,9999999"])
def test_what_is_no_list_of_sizes_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--scaling"):
        parse_sizes(text)
