# SPDX-License-Identifier: Apache-2.0
"""Which set and which fold an item is dealt to, and that nothing but content moves it."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trainer.arrays import IntArray
from trainer.data.duplicates import Item, gather_items
from trainer.data.source import Source, list_names
from trainer.data.split import Dealt, deal, deal_folds, fold_count, position
from trainer.errors import DATA, DataError


def at(place: float, label: str = "a", name: str = "") -> Item:
    """An item alone whose digest puts it at this place."""
    content = int(place * 2**64).to_bytes(8, "big")
    rest = hashlib.sha256(f"{label}{name}".encode()).digest()[8:]
    return Item(content + rest, f"{label}/{name or place}", label, "", ())


def some(count: int, label: str, groups: int = 0) -> list[Item]:
    """Items at places as good as random; the last ones in this many groups, if any."""
    items = []
    for number in range(count):
        content = hashlib.sha256(f"{label} {number}".encode()).digest()
        group = f"{label}/{number % groups}" if groups and number >= count // 2 else ""
        items.append(Item(content, f"{label}/{number}", label, group, ()))
    return items


def fold(items: Sequence[Item], folds: int) -> IntArray:
    """Folds where no two items are near-duplicates."""
    return deal_folds(items, [item.dealt_with for item in items], folds)


def sets(items: Sequence[Item], validation: float = 0.1, test: float = 0.1) -> list[str]:
    return [dealt.set for dealt in deal(items, validation, test, "data.images")]


# Places


def test_place_is_the_first_eight_bytes_of_the_digest_over_two_to_the_64() -> None:
    item = Item(bytes.fromhex("4000000000000000" + "ff" * 24), "a/1", "a", "", ())
    assert position(item) == 0.25


@pytest.mark.parametrize(
    ("group", "first_bytes"),
    [("roof/a", "ba8cdc789461726b"), ("roof/straße", "8ef094337c7e7971")],  # by sha256sum
)
def test_place_of_a_group_is_that_of_its_name(group: str, first_bytes: str) -> None:
    item = Item(bytes(32), "roof/1", "roof", group, ())
    assert position(item) == int(first_bytes, 16) / 2**64


def test_place_of_a_group_whose_name_is_not_utf8_is_that_of_its_bytes() -> None:
    item = Item(bytes(32), "roof/1", "roof", "roof/\udce9", ())
    first = hashlib.sha256(b"roof/\xe9").digest()[:8]
    assert position(item) == int.from_bytes(first, "big") / 2**64


# Sets


def test_low_places_test_the_next_validate_and_the_rest_train() -> None:
    items = [at(place) for place in (0.0, 0.124, 0.125, 0.249, 0.25, 0.999)]
    wanted = ["test", "test", "validation", "validation", "training", "training"]
    assert sets(items, validation=0.125, test=0.125) == wanted


def folder_sets(root: Path) -> dict[bytes, Dealt]:
    files = list_names(Source(root, "data.images", "folder")).files
    contents = [(root / file.path).read_bytes() for file in files]
    items = gather_items(files, [hashlib.sha256(content).digest() for content in contents]).items
    return dict(zip((i.digest for i in items), deal(items, 0.2, 0.2, "data.images"), strict=True))


def test_renaming_and_moving_files_moves_no_item(tmp_path: Path) -> None:
    for number in range(60):
        path = tmp_path / "before" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
    before = folder_sets(tmp_path / "before")
    after = tmp_path / "elsewhere" / "after"
    for path in (tmp_path / "before").glob("*/*"):
        label = {"a": "z", "b": "y"}[path.parent.name]
        target = after / label / path.stem[-1] / f"new-{99 - int(path.stem)}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    assert folder_sets(after) == before


def test_order_of_items_does_not_matter() -> None:
    items = some(9, "a") + some(40, "b", groups=3) + some(5, "c")
    dealt = dict(zip(items, deal(items, 0.1, 0.1, "data.images"), strict=True))
    random.Random(0).shuffle(items)
    assert dict(zip(items, deal(items, 0.1, 0.1, "data.images"), strict=True)) == dealt


def test_adding_images_moves_no_old_one() -> None:
    old = some(200, "a") + some(200, "b", groups=20)
    before = deal(old, 0.1, 0.1, "data.images")
    assert {dealt.moved for dealt in before} == {""}
    new = [at(random.Random(n).random(), "ab"[n % 2], f"new{n}") for n in range(100)]
    both = new + old
    assert deal(both, 0.1, 0.1, "data.images")[100:] == before


def test_shares_are_kept_over_many_images() -> None:
    counts = Counter(sets(some(5000, "a") + some(5000, "b"), validation=0.2, test=0.1))
    assert counts["test"] == pytest.approx(1000, abs=100)
    assert counts["validation"] == pytest.approx(2000, abs=130)


def test_group_is_never_split() -> None:
    items = some(300, "a", groups=30) + some(12, "b", groups=4)
    found = defaultdict(set)
    for item, dealt in zip(items, deal(items, 0.3, 0.3, "data.images"), strict=True):
        found[item.dealt_with].add((dealt.set, dealt.moved))
    assert {len(group) for group in found.values()} == {1}


# Repairs


def repaired(items: Sequence[Item], validation: float = 0.1, test: float = 0.1) -> list[str]:
    """Set and, in brackets, where a repair took it from."""
    return [
        f"{dealt.set} ({dealt.moved})" if dealt.moved else dealt.set
        for dealt in deal(items, validation, test, "data.images")
    ]


def test_empty_sets_get_the_lowest_of_training_first_test_then_validation() -> None:
    items = [at(0.9), at(0.5), at(0.7), at(0.6)]
    assert repaired(items) == ["training", "test (training)", "training", "validation (training)"]


def test_empty_training_set_gets_the_lowest_of_the_fuller_set() -> None:
    items = [at(0.01), at(0.11), at(0.12)]
    assert repaired(items) == ["test", "training (validation)", "validation"]


def test_of_equally_full_sets_training_gives_before_validation_before_test() -> None:
    assert repaired([at(0.11), at(0.12), at(0.5), at(0.6)]) == [
        "validation",
        "validation",
        "test (training)",
        "training",
    ]
    assert repaired([at(0.01), at(0.02), at(0.11), at(0.12)]) == [
        "test",
        "test",
        "training (validation)",
        "validation",
    ]


def test_each_class_is_repaired_for_itself() -> None:
    full = [at(place, "b") for place in (0.01, 0.11, 0.5)]
    assert repaired([*full, at(0.5), at(0.6), at(0.7)]) == [
        "test",
        "validation",
        "training",
        "test (training)",
        "validation (training)",
        "training",
    ]


def group_at(low: float, high: float) -> str:
    """A group's name whose place lies between these."""
    names = (f"group {number}" for number in itertools.count())
    return next(n for n in names if low <= position(Item(bytes(32), "", "", n, ())) < high)


def in_group(name: str, *labels: str) -> list[Item]:
    """An item in this group for each label."""
    contents = [hashlib.sha256(f"{name} {n}".encode()).digest() for n, _ in enumerate(labels)]
    return [Item(c, f"{x}/{c.hex()}", x, name, ()) for c, x in zip(contents, labels, strict=True)]


def test_repair_moves_a_group_whole_and_never_one_of_two_classes() -> None:
    shared = in_group(group_at(0.2, 0.3), "a", "b")
    pair = in_group(group_at(0.4, 0.5), "a", "a")
    alone = [at(place, label) for label in "ab" for place in (0.7, 0.8, 0.9)]
    assert repaired([*shared, *pair, *alone]) == [
        "training",
        "training",
        "test (training)",
        "test (training)",
        "validation (training)",
        "training",
        "training",
        "test (training)",
        "validation (training)",
        "training",
    ]


@pytest.mark.parametrize(("validation", "test"), [(0, 0.3), (0.3, 0), (0, 0)])
def test_set_of_share_zero_stays_empty(validation: float, test: float) -> None:
    found = Counter(sets(some(3, "a") + some(40, "b"), validation, test))
    assert (found["validation"] > 0, found["test"] > 0) == (validation > 0, test > 0)


def test_all_classes_with_fewer_than_three_groups_are_told() -> None:
    items = some(2, "few") + some(9, "good") + some(10, "one", groups=1)[5:]
    with pytest.raises(DataError) as caught:
        deal(items, 0.1, 0.1, "data.images", classes=["good", "none"])
    assert caught.value.exit_code == DATA
    assert caught.value.message.startswith("data.images: too few groups")
    assert "3 of 4 classes: few (2), none (0), one (1);" in caught.value.message


def test_class_whose_groups_are_all_shared_is_told_where_a_set_lacks_it() -> None:
    places = [(low, low + 0.1) for low in (0.2, 0.4, 0.6, 0.8)]
    items = [item for place in places for item in in_group(group_at(*place), "a", "b")]
    with pytest.raises(DataError, match=r"2 of 2 classes: a \(4\), b \(4\)"):
        deal(items, 0.1, 0.1, "data.images")


def test_set_does_not_give_its_last_group_of_a_class() -> None:
    shared = [*in_group(group_at(0, 0.1), "a", "b"), *in_group(group_at(0.2, 0.3), "a", "b")]
    b = [at(place, "b") for place in (0.15, 0.6, 0.7)]
    with pytest.raises(DataError, match=r"1 of 2 classes: a \(3\)"):
        deal([*shared, at(0.5, "a"), *b], 0.1, 0.1, "data.images")


@pytest.mark.parametrize(("validation", "test"), [(0, 0.1), (0.1, 0), (0, 0)])
def test_three_groups_are_needed_with_fewer_sets_too(validation: float, test: float) -> None:
    with pytest.raises(DataError, match=r"1 of 2 classes: few \(2\)"):
        deal(some(2, "few") + some(9, "good"), validation, test, "data.images")


# Sets that a manifest names


def wished(place: float, label: str, *wish: str, group: str = "") -> Item:
    return replace(at(place, label, group and f"{place}"), sets=frozenset(wish), group=group)


def test_set_of_a_manifest_wins_and_repairs_leave_it() -> None:
    items = [wished(0.01, "a", "training"), *(at(place) for place in (0.5, 0.6, 0.7))]
    assert repaired(items) == [
        "training",
        "test (training)",
        "validation (training)",
        "training",
    ]


def test_rest_of_a_group_follows_the_one_whose_set_is_named() -> None:
    pair = [wished(0.5, "a", "test", group="g"), wished(0.6, "a", group="g")]
    items = [*pair, *(at(place) for place in (0.3, 0.4, 0.7))]
    assert sets(items)[:2] == ["test", "test"]


def test_group_under_two_named_sets_is_refused() -> None:
    pair = [wished(0.5, "a", "test", group="g"), wished(0.6, "a", "training", group="g")]
    with pytest.raises(DataError, match=r"1 groups stand under two sets, such as g of a/0\.5"):
        deal([*pair, *some(9, "b")], 0.1, 0.1, "data.images")


def test_where_all_is_named_the_sets_are_those_that_are_named() -> None:
    items = [wished(place, "a", wish) for place, wish in ((0.01, "training"), (0.5, "test"))]
    assert sets(items) == ["training", "test"]


def test_class_that_lacks_a_set_where_all_is_named_is_told() -> None:
    items = [wished(place, "a", wish) for place, wish in ((0.01, "training"), (0.5, "test"))]
    with pytest.raises(DataError, match=r"b \(1\); each needs 2"):
        deal([*items, wished(0.5, "b", "training")], 0.1, 0.1, "data.images")


# Folds


def test_units_are_dealt_in_turn_by_class_and_place_going_on_between_classes() -> None:
    a = [at(place, "a") for place in (0.5, 0.1, 0.9)]
    b = [at(place, "b") for place in (0.8, 0.2)]
    assert fold([*b, *a], folds=2).tolist() == [0, 1, 1, 0, 0]


def test_unit_of_two_classes_is_dealt_with_its_first() -> None:
    shared = in_group(group_at(0.5, 0.6), "b", "a")
    rest = [at(0.1, "a"), at(0.9, "a"), at(0.1, "b")]
    assert fold([*shared, *rest], folds=5).tolist() == [1, 1, 0, 2, 3]


def test_folds_differ_by_one_unit_at_most_and_split_none() -> None:
    items = some(103, "a") + some(60, "b", groups=13)
    folds = fold(items, folds=10)
    units = {item.dealt_with: place for item, place in zip(items, folds, strict=True)}
    assert [units[item.dealt_with] for item in items] == folds.tolist()
    sizes = np.bincount(list(units.values()))
    assert (len(sizes), sizes.max() - sizes.min()) == (10, 1)


def test_folds_do_not_depend_on_the_order_or_the_paths_of_items() -> None:
    items = some(50, "a") + some(50, "b")
    folds = dict(zip((i.digest for i in items), fold(items, folds=7), strict=True))
    moved = [replace(item, path=f"{item.label}/new/{n}") for n, item in enumerate(items)]
    random.Random(0).shuffle(moved)
    assert {i.digest: f for i, f in zip(moved, fold(moved, 7), strict=True)} == folds


@pytest.mark.parametrize(
    ("units", "asked", "count"), [(50, 10, 10), (7, 10, 7), (3, 10, 0), (4, 4, 4), (50, 0, 0)]
)
def test_folds_are_as_many_as_asked_or_as_there_are_units_and_off_below_four(
    units: int, asked: int, count: int
) -> None:
    items = some(units * 2, "a", groups=units)[units:]
    assert fold_count([item.dealt_with for item in items], asked) == count
