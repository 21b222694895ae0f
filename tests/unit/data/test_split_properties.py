# SPDX-License-Identifier: Apache-2.0
"""What holds of the split whatever the images are, tried on many drawn folders.

Beside it, a second program for the same rules (`tests/recompute/dealing.py`, which shares no code
with the package) has to deal every drawn folder alike.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "recompute"))

import dealing
from near import find_near, join_units
from trainer.data.duplicates import Item, gather_items, unit_names
from trainer.data.images import SourceFile
from trainer.data.manifest import write_groups
from trainer.data.near_duplicates import Near
from trainer.data.source_manifest import list_manifest
from trainer.data.split import Dealt, deal, deal_as_retrain_py, deal_folds, position
from trainer.errors import DataError

checked = settings(max_examples=40, deadline=None, derandomize=True)

LABELS = "abc"
SETS = ["training", "validation", "test"]
GROUPS = [f"group {number}" for number in range(8)]
SHARE = 0.2
"""Of validation and of test: classes are small, so that about every second one is repaired."""

File = tuple[SourceFile, bytes]
"""A file, and the SHA-256 of its content."""


def digest(content: int) -> bytes:
    return hashlib.sha256(b"%d" % content).digest()


@st.composite
def folders(draw: st.DrawFn, wishes: bool = False) -> list[File]:
    """Files of three classes: copies, and groups that may span classes; can always be dealt.

    Args:
        draw: Draws.
        wishes: Some files have a set that a manifest names; those of a group the same.
    """
    first = draw(st.integers(0, 10**6)) * 1000
    one = st.tuples(st.sampled_from(LABELS), st.sampled_from(["", *GROUPS]), st.integers(0, 2))
    lone = [(label, "", 0) for label in LABELS for _ in range(3)]
    drawn = draw(st.lists(one, max_size=25))
    wish = st.lists(st.sampled_from(["", *SETS]), min_size=25, max_size=25)
    wished = draw(wish) if wishes else [""] * 25
    files = []
    for number, (label, group, copies) in enumerate(lone + drawn, first):
        place = GROUPS.index(group) if group else number - first - len(lone)
        set_ = wished[place] if place >= 0 else ""
        for copy in range(copies + 1):
            path = f"{label}/{number}-{copy}.jpg"
            files.append((SourceFile(path, label, group=group, set=set_), digest(number)))
    return files


def gathered(files: Sequence[File]) -> list[Item]:
    return gather_items([file for file, _ in files], [content for _, content in files]).items


def dealt(files: Sequence[File]) -> dict[bytes, Dealt]:
    """Each content with its set."""
    items = gathered(files)
    found = deal(items, SHARE, SHARE, "data.images")
    return {item.digest: to for item, to in zip(items, found, strict=True)}


def folds_of(items: Sequence[Item], folds: int) -> dict[bytes, int]:
    """Each content with its fold, where no two are near-duplicates."""
    found = deal_folds(items, unit_names(items, None), folds).tolist()
    return {item.digest: fold for item, fold in zip(items, found, strict=True)}


Some = TypeVar("Some")


def shuffled(some: Sequence[Some], seed: int) -> list[Some]:
    return random.Random(seed).sample(some, len(some))


def renamed(files: Sequence[File], seed: int) -> list[File]:
    """Under other names, in other folders of the same class."""
    names = shuffled(range(len(files)), seed)
    return [
        (file._replace(path=f"{file.label}/{name % 3}/new {name}.png"), content)
        for name, (file, content) in zip(names, files, strict=True)
    ]


# What moves no item


@checked
@given(folders(wishes=True), st.integers())
def test_order_of_files_decides_nothing(files: list[File], seed: int) -> None:
    again = shuffled(files, seed)
    assert gathered(again) == gathered(files)
    assert dealt(again) == dealt(files)


@checked
@given(folders(wishes=True), st.integers(), st.permutations(LABELS))
def test_renaming_files_folders_and_classes_moves_nothing(
    files: list[File], seed: int, labels: list[str]
) -> None:
    other = dict(zip(LABELS, labels, strict=True))
    again = renamed([(f._replace(label=other[f.label]), content) for f, content in files], seed)
    assert dealt(again) == dealt(files)


@checked
@given(folders(wishes=True), st.integers(), st.integers(4, 9))
def test_order_and_names_of_files_decide_no_fold(files: list[File], seed: int, folds: int) -> None:
    again = gathered(renamed(files, seed))
    assert folds_of(shuffled(again, seed), folds) == folds_of(gathered(files), folds)


@checked
@given(folders(), folders())
def test_adding_images_moves_old_ones_by_repairs_only(old: list[File], new: list[File]) -> None:
    assume(not {content for _, content in old} & {content for _, content in new})
    before, after = dealt(old), dealt([*new, *old])
    repaired = {file.label for file, content in old if before[content].moved}
    for file, content in old:
        assert came_from(after[content]) == came_from(before[content])
        if file.label not in repaired:
            assert after[content] == before[content]


def came_from(found: Dealt) -> str:
    """The set before any repair."""
    return found.moved or found.set


@checked
@given(folders(), st.integers(0, 2**32))
def test_added_copies_move_nothing(files: list[File], seed: int) -> None:
    copies = [(file._replace(path=f"{file.path} copy"), content) for file, content in files]
    assert dealt(files + shuffled(copies, seed)[: len(copies) // 2]) == dealt(files)


@checked
@given(folders())
def test_conflict_moves_no_other_image(files: list[File]) -> None:
    torn = [(SourceFile(f"{label}/torn", label), bytes(32)) for label in "ab"]
    assert dealt(files + torn) == dealt(files)


# What stays together


@checked
@given(folders(wishes=True))
def test_every_file_is_in_one_item_or_in_conflict_and_its_copies_with_it(
    files: list[File],
) -> None:
    torn = [(SourceFile("b/torn", "b"), content) for _, content in files[:1]]
    found = gather_items(*map(list, zip(*files, *torn, strict=True)))
    paths = [path for item in found.items for path in (item.path, *item.copies)]
    paths += [file.path for file, _ in found.conflicts]
    assert sorted(paths) == sorted(file.path for file, _ in files + torn)
    assert len({item.digest for item in found.items}) == len(found.items)


@checked
@given(folders(wishes=True))
def test_groups_are_in_one_set_and_in_one_fold(files: list[File]) -> None:
    sets, folds = dealt(files), folds_of(gathered(files), 7)
    found = defaultdict(set)
    for file, content in files:
        if file.group:
            found[file.group].add((sets[content], folds[content]))
    assert {len(places) for places in found.values()} <= {1}


Hashes = list[int]


@st.composite
def hashes(draw: st.DrawFn, many: int = 34) -> Hashes:
    """Difference hashes around a few centres, so that chains of near ones come about."""
    centres = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6))
    flips = st.lists(st.integers(0, 63), max_size=4)
    one = st.tuples(st.sampled_from(centres), flips)
    drawn = draw(st.lists(one, min_size=many, max_size=many))
    return [centre ^ sum(1 << bit for bit in set(flipped)) for centre, flipped in drawn]


@checked
@given(folders(), hashes(), st.integers(4, 9))
def test_near_duplicates_are_in_one_fold_even_by_way_of_test_items(
    files: list[File], values: Hashes, folds: int
) -> None:
    items = gathered(files)
    values = values[: len(items)]
    units = unit_names(items, Near(np.array(values, np.uint64), np.ones(len(items), np.bool_)))
    to = deal(items, SHARE, SHARE, "data.images")
    kept = [place for place, found in enumerate(to) if found.set != "test"]
    dealt_to = deal_folds([items[p] for p in kept], [units[p] for p in kept], folds).tolist()
    fold = dict(zip(kept, dealt_to, strict=True))
    for one, other in ((a, b) for a in kept for b in kept if a < b):
        joined = distance(values[one], values[other]) <= 5
        same_group = items[one].dealt_with == items[other].dealt_with
        assert fold[one] == fold[other] or not (joined or same_group)
    for tested in range(len(items)):
        near = {fold[kept] for kept in fold if distance(values[kept], values[tested]) <= 5}
        assert len(near) <= 1 or tested in fold


def distance(one: int, other: int) -> int:
    return bin(one ^ other).count("1")


# How the sets and folds come out


@settings(checked, max_examples=20)
@given(st.integers(), st.floats(0, 0.45), st.floats(0, 0.45))
def test_shares_of_the_sets_lie_within_binomial_bounds(
    seed: int, validation: float, test: float
) -> None:
    n = 3000
    contents = [hashlib.sha256(b"%d %d" % (seed, number)).digest() for number in range(n)]
    items = [Item(content, f"a/{content.hex()}", "a", "", ()) for content in contents]
    counts = Counter(found.set for found in deal(items, validation, test, "data.images"))
    shares = {"validation": validation, "test": test, "training": 1 - validation - test}
    for name, share in shares.items():
        within = 5 * math.sqrt(n * share * (1 - share)) + 2  # 2: repairs
        assert abs(counts[name] - n * share) <= within


@checked
@given(st.integers(0, 10**9))
def test_places_of_groups_are_spread_evenly(first: int) -> None:
    n = 1000
    names = [f"roof/house {number}" for number in range(first, first + n)]
    places = [position(Item(bytes(32), "roof/1", "roof", name, ())) for name in names]
    tenths = np.bincount((np.array(places) * 10).astype(int), minlength=10)
    assert np.abs(tenths - n / 10).max() <= 5 * math.sqrt(n * 0.1 * 0.9)


@checked
@given(folders(), st.integers(4, 12))
def test_folds_differ_by_one_unit_at_most_in_all_and_in_each_class(
    files: list[File], folds: int
) -> None:
    items = gathered(files)
    fold = folds_of(items, folds)
    label: dict[str, str] = {}
    for item in items:
        label[item.dealt_with] = min(item.label, label.get(item.dealt_with, item.label))
    place = {item.dealt_with: fold[item.digest] for item in items}
    for labels in (*LABELS, LABELS):
        counts = Counter(place[unit] for unit in place if label[unit] in labels)
        sizes = [counts[number] for number in range(folds)]
        assert max(sizes) - min(sizes) <= 1


@checked
@given(folders())
def test_repairs_serve_only_sets_that_lack_a_class_and_empty_none(files: list[File]) -> None:
    items, found = gathered(files), dealt(files)
    now, before = defaultdict(set), defaultdict(set)
    for item in items:
        now[item.label].add(found[item.digest].set)
        before[item.label].add(came_from(found[item.digest]))
    assert all(sets == set(SETS) for sets in now.values())
    for item in items:
        if found[item.digest].moved:
            assert found[item.digest].set not in before[item.label]


# Manifests


@checked
@given(folders(wishes=True))
def test_set_that_a_manifest_names_always_wins(files: list[File]) -> None:
    found = dealt(files)
    for file, content in files:
        if file.set:
            assert found[content] == Dealt(file.set, "", given=True)


@checked
@given(folders(wishes=True), st.permutations(SETS))
def test_group_or_copy_under_two_named_sets_is_refused(files: list[File], sets: list[str]) -> None:
    twins = [SourceFile("a/one", "a", set=sets[0]), SourceFile("a/other", "a", set=sets[1])]
    copies = [(twin, b"\0" * 32) for twin in twins]
    group = [(twin._replace(group="torn"), bytes([n]) * 32) for n, twin in enumerate(twins)]
    for torn in (copies, group):
        with pytest.raises(DataError, match="1 groups stand under two sets"):
            dealt(files + torn)


@settings(checked, max_examples=15)
@given(folders(), hashes())
def test_groups_csv_given_back_keeps_units_and_moves_only_what_near_duplicates_join(
    tmp_path_factory: pytest.TempPathFactory, files: list[File], values: Hashes
) -> None:
    items = gathered(files)
    near = Near(np.array(values[: len(items)], np.uint64), np.ones(len(items), np.bool_))
    units = unit_names(items, near)
    path = tmp_path_factory.mktemp("back") / "groups.csv"
    write_groups(path, items, units)
    content = {item.path: item.digest for item in items}
    back = [(file, content[file.path]) for file in list_manifest(path, "data.images").files]
    assert unit_names(gathered(back), near) == units
    members = Counter(units)
    for old, new, unit in zip(items, gathered(back), units, strict=True):
        if members[unit] == 1 or unit == old.group:
            assert position(new) == position(old)


# retrain.py's own sets

RECORDED = [
    ("house_with_pool/clouds-803886__340.jpg", "training"),
    ("house_with_pool/design-2411846__340.jpg", "validation"),
    ("house_with_pool/holiday-house-64393__340.jpg", "validation"),
    ("house_with_pool/house-429353_960_720.jpg", "training"),
    ("house_with_pool/pexels-photo.jpg", "training"),
    ("house_with_pool/pool-1148213__340.jpg", "training"),
    ("house_with_pool/pool-238012__340.jpg", "validation"),
    ("house_with_pool/swimming-pool-2359638__340.jpg", "test"),
    ("house_with_pool/villa 7.jpg", "training"),
    ("house_with_pool/villa_nohash_1.jpg", "training"),
    ("house_with_pool/villa_nohash_2.jpg", "training"),
    ("house_without_pool/Straße.jpg", "training"),
    ("house_without_pool/beautiful-2178398__340.jpg", "validation"),
    ("house_without_pool/house-2418106__340.jpg", "test"),
    ("house_without_pool/house-2469067__340.jpg", "test"),
    ("house_without_pool/hut-202035__340.jpg", "test"),
    ("house_without_pool/hut_nohash_a_nohash_b.jpg", "validation"),
    ("house_without_pool/nature-1547302__340.jpg", "test"),
    ("house_without_pool/new-home-2416180__340.jpg", "test"),
    ("house_without_pool/old-2437486__340.jpg", "validation"),
    ("house_without_pool/pexels-photo-277667.jpeg", "training"),
]
"""Names below `data/pools`, and where retrain.py puts them with 10% of each (by its rule below)."""


def by_its_rule(path: str, testing_percentage: int, validation_percentage: int) -> str:
    """What retrain.py does with a path, step by step."""
    hashed = hashlib.sha1(re.sub("_nohash_.*$", "", path).encode()).hexdigest()
    percentage = (int(hashed, 16) % (134217727 + 1)) * (100.0 / 134217727)
    if percentage < validation_percentage:
        return "validation"
    if percentage < testing_percentage + validation_percentage:
        return "test"
    return "training"


def as_items(paths: Sequence[str]) -> list[Item]:
    contents = [hashlib.sha256(path.encode()).digest() for path in paths]
    return [
        Item(content, path, path.split("/")[0], "", ())
        for content, path in zip(contents, paths, strict=True)
    ]


def like_retrain_py(items: Sequence[Item], percent: int = 10) -> list[Dealt]:
    share = percent / 100
    return deal_as_retrain_py(items, share, share, "data.images", "data/pools")


def test_recorded_names_go_where_retrain_py_put_them() -> None:
    wanted = [Dealt(name, "") for _, name in RECORDED]
    assert like_retrain_py(as_items([path for path, _ in RECORDED])) == wanted


def test_recorded_sets_are_those_of_its_rule() -> None:
    found = [by_its_rule(f"data/pools/{path}", 10, 10) for path, _ in RECORDED]
    assert found == [name for _, name in RECORDED]


@checked
@given(
    st.lists(st.text("ab_ é.-", min_size=1, max_size=12), unique=True, max_size=30),
    st.integers(0, 30),
)
def test_any_name_goes_where_retrain_py_puts_it(names: list[str], percent: int) -> None:
    paths = [f"a/{name}{end}" for name in names for end in (".jpg", "_nohash_1.jpg")]
    wanted = [Dealt(by_its_rule(f"data/pools/{path}", percent, percent), "") for path in paths]
    assert like_retrain_py(as_items(paths), percent) == wanted


def test_set_that_a_manifest_names_wins_over_retrain_py_too() -> None:
    items = [replace(item, sets=frozenset({"test"})) for item in as_items(["a/1.jpg", "a/2.jpg"])]
    assert like_retrain_py(items) == [Dealt("test", "", given=True)] * 2


# A second program


@checked
@given(folders(wishes=True), hashes(), st.integers(4, 9))
def test_second_program_deals_alike(files: list[File], values: Hashes, folds: int) -> None:
    theirs = dealing.gather(
        {f.path: dealing.File(known.hex(), f.label, f.group, f.set) for f, known in files}
    ).items
    found = dealing.deal(theirs, SHARE, SHARE)
    assert {sha: Dealt(to.set, to.moved, bool(to.given)) for sha, to in found.items()} == {
        content.hex(): to for content, to in dealt(files).items()
    }
    items = gathered(files)
    dhash = {item.digest.hex(): value for item, value in zip(items, values, strict=False)}
    near = Near(np.array(values[: len(items)], np.uint64), np.ones(len(items), np.bool_))
    units = unit_names(items, near)
    joined = join_units(theirs, find_near(theirs, dict(dhash)))
    assert joined == {item.digest.hex(): unit for item, unit in zip(items, units, strict=True)}
    fold = deal_folds(items, units, folds).tolist()
    wanted = {item.digest.hex(): number for item, number in zip(items, fold, strict=True)}
    assert dealing.deal_folds(theirs, joined, folds) == wanted


@checked
@given(folders(), st.lists(st.sampled_from(SETS), min_size=34, max_size=34))
def test_second_program_agrees_where_a_manifest_names_every_set(
    files: list[File], sets: list[str]
) -> None:
    wish = dict(zip(sorted({f.group or known.hex() for f, known in files}), sets, strict=False))
    files = [(f._replace(set=wish[f.group or known.hex()]), known) for f, known in files]
    theirs = dealing.gather(
        {f.path: dealing.File(known.hex(), f.label, f.group, f.set) for f, known in files}
    ).items
    try:
        found = {sha: to.set for sha, to in dealing.deal(theirs, SHARE, SHARE).items()}
    except dealing.Undealable:
        with pytest.raises(DataError, match="too few groups"):
            dealt(files)
    else:
        assert found == {known.hex(): f.set for f, known in files}
        assert {known.hex(): to.set for known, to in dealt(files).items()} == found
