# SPDX-License-Identifier: Apache-2.0
"""Runs of every kind that a report page has to tell of: two real ones, the others made up."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import made_up_runs
from made_up_runs import HOSTILE, POOLS, Results, find_out, leave
from recompute_run import make_source
from trainer.rundir import RunDir
from worlds import QUICK, draw, environment, retrain_command

MakeRun = Callable[[Path], RunDir]
Confusion = list[list[int]]

ITEMS = 20_000
SECONDS = 100
NAMES = [
    HOSTILE,
    "</title></style></script></body>",
    "{{ 7*7 }}{% raw %}${7*7}",
    "two\nlines\tand\x1b[31m red",
    "\u202eright to left\u2066 marks\u200b",
    "\u0628\u0631\u0643\u0629 \u0633\u0628\u0627\u062d\u0629",  # read from right to left
    "m" * 255,
    "so many words " * 18,
    "\N{SWIMMER}\N{EMOJI MODIFIER FITZPATRICK TYPE-5} \N{FLAG IN HOLE}",
    "=1+1",
    "+1",
    "-1",
    "@import",
    "'quoted' \"twice\" `thrice`",
    "caf\udce9 \\x",
]


def scored(confusion: Confusion, classes: list[str], **other: Any) -> Results:
    """A finished run whose cross-validation and test set have this confusion."""
    figures = made_up_runs.scores(confusion, classes)
    results = made_up_runs.two_classes() | {
        "cross_validation": figures | {"folds": []},
        "test": figures,
        "validation": None,
        "headline": made_up_runs.headline("test", figures),
    }
    results["data"] |= {"classes": classes, "images": figures["n"]}
    return results | other


def pictures(folder: Path) -> RunDir:
    """Forty pictures of two classes."""
    source = draw(folder / "lakes & roofs", 20)
    return _really_run(folder, source, *QUICK)


def bottlenecks(folder: Path) -> RunDir:
    """Two classes of numbers, without images: a copy, a conflict and a broken file among them."""
    source = folder / "source"
    source.mkdir()
    make_source(source)
    config = folder / "numbers.yaml"
    config.write_text(f"data:\n  bottlenecks: '{source}'\n")
    return _really_run(folder, config, "evaluate.folds=4")


def _really_run(folder: Path, *words: object) -> RunDir:
    out = folder / folder.name
    command = retrain_command("run", *words, f"run.cache={folder / 'cache'}", "--out", out)
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    return RunDir(out)


def many_classes(folder: Path) -> RunDir:
    """Thirty classes, too many for a whole confusion."""
    results = made_up_runs.many_classes()
    run = leave(folder / "many", results, manifest=_items(30, 867, "species"))
    return find_out(run, results["data"]["classes"], [f"{at % 30}/{at}.jpg" for at in range(60)])


def widest_matrix(folder: Path) -> RunDir:
    """Twenty classes: the most of which a confusion is drawn whole."""
    classes = [f"Kind of plant, number {number}" for number in range(20)]
    confusion = [[1000 + row if row == to else 111 for to in range(20)] for row in range(20)]
    return leave(folder / "widest", scored(confusion, classes))


def hostile_names(folder: Path) -> RunDir:
    """Names that want to run, to turn, to calculate, or never to end."""
    size = range(len(NAMES))
    confusion = [[9 if row == to else (row + to) % 3 for to in size] for row in size]
    results = scored(confusion, NAMES) | {"validation": made_up_runs.scores(confusion, NAMES)}
    files: dict[str, list[tuple[Any, ...]]] = {
        "manifest": [
            *((f"{name}/a", name, f"{at:02}", name, "test", "") for at, name in enumerate(NAMES)),
            *((f"{name}/b", name, "00", name, "test", "") for name in NAMES),
            *((f"{name}/c", name, "ff", name, "conflict", "") for name in NAMES),
        ],
        "groups": [(f"{at:02}", f"{name}/a", name, "00") for at, name in enumerate(NAMES)],
        "quarantine": [(name, 5, name) for name in NAMES],
    }
    named = made_up_runs.with_names(results, HOSTILE, NAMES)
    run = leave(folder / "#50%? & 'it' =\"<b>\" \N{SWIMMER}", named, **files)
    return find_out(run, NAMES, NAMES)


def all_right(folder: Path) -> RunDir:
    """Nothing to show where it is wrong."""
    return leave(folder / "right", scored([[33, 0], [0, 19]], POOLS))


def all_wrong(folder: Path) -> RunDir:
    """A score of zero."""
    run = leave(folder / "wrong", scored([[0, 33], [19, 0]], POOLS))
    return find_out(run, POOLS, [f"{label}/1.jpg" for label in POOLS], pictures=False)


def one_class_tested(folder: Path) -> RunDir:
    """A test set, named by the user's CSV, of one of its classes."""
    results = scored([[30, 3], [9, 20]], POOLS)
    figures = made_up_runs.scores([[6, 4], [0, 0]], POOLS)
    results |= {"test": figures, "headline": made_up_runs.headline("test", figures)}
    run = leave(folder / "one class", results)
    return find_out(run, POOLS, [f"{label}/1.jpg" for label in POOLS], pictures=False)


def stopped(folder: Path) -> RunDir:
    """It was stopped when its images had been counted."""
    results = made_up_runs.blank(POOLS) | {"status": "stopped", "warnings": ["Few images."]}
    results["data"] |= {"images": 40, "split": {"training": 32, "validation": 4, "test": 4}}
    return leave(folder / "stopped", results, manifest=_items(2, 40, "class"))


def large(folder: Path) -> RunDir:
    """Two hundred classes of a hundred items, with much to list of every kind."""
    classes = [f"class {at:03}" for at in range(200)]
    confusion = [
        [100 - 5 * (row != to) if row == to else 0 for to in range(200)] for row in range(200)
    ]
    for at in range(199):
        confusion[at][at], confusion[at][at + 1] = 60, 40
    items = _items(200, ITEMS, "class")
    copies = [
        (f"copy {at}.jpg", items[at][1], items[at][2], "", "training", "") for at in range(900)
    ]
    conflicts = [
        (f"both {at}.jpg", items[at][1], f"c{at:06}", "", "conflict", "") for at in range(900)
    ]
    near = [(row[2], row[0], row[1], items[at - at % 3][2]) for at, row in enumerate(items[:9000])]
    bad = [(f"bad {at}.jpg", at, "truncated") for at in range(900)]
    run = leave(
        folder / "large",
        scored(confusion, classes),
        manifest=items + copies + conflicts,
        groups=near,
        quarantine=bad,
    )
    return find_out(run, classes, [f"{at % 200}/{at}.jpg" for at in range(100)])


def _items(classes: int, count: int, kind: str) -> list[tuple[Any, ...]]:
    """Rows of a manifest; each tenth item is in the test set."""
    return [
        (
            f"{at % classes}/{at}.jpg",
            f"{kind} {at % classes:0{len(str(classes))}}",
            f"{at:06}",
            "",
            "test" if at % 10 == 0 else "training",
            "",
        )
        for at in range(count)
    ]


RUNS: Sequence[MakeRun] = (
    pictures,
    bottlenecks,
    many_classes,
    widest_matrix,
    hostile_names,
    all_right,
    all_wrong,
    one_class_tested,
    stopped,
    large,
)
