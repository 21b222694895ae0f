# SPDX-License-Identifier: Apache-2.0
"""The numbers of the recomputation are right by themselves."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "recompute"))

from PIL import Image

from checks import SOURCES, Expected
from content import Unusable, difference_hash, picture
from dealing import (
    Dealt,
    File,
    Item,
    Items,
    Undealable,
    deal,
    deal_folds,
    deal_like_retrain_py,
    gather,
    group_of,
)
from findings import Findings
from head import Fitting
from near import Near, find_near, join_units
from nested import PATH, Choice
from results import BLOCKS, check_near
from scoring import bin_sizes, effective_size, wilson
from source import Source, read_source
from tables import RunFiles, unescape


@pytest.mark.parametrize(
    ("field", "name"),
    [("a\\\\b", "a\\b"), ("'=1", "=1"), ("''", "'"), ("\\xff", "\udcff"), ("\\\\xff", "\\xff")],
)
def test_escapes_of_a_field_are_undone(field: str, name: str) -> None:
    assert unescape(field) == name


@pytest.mark.parametrize("field", ["=1", "'a", "a\\b", "\\xf"])
def test_a_field_that_no_escaping_gives_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=r"leading|backslash"):
        unescape(field)


def item(position: float, label: str, group: str = "") -> Item:
    """An item alone whose u is about `position`."""
    head = int(position * 2**64).to_bytes(8, "big").hex()
    rest = hashlib.sha256(label.encode()).hexdigest()[:48]
    return Item(head + rest, f"{label}/{position}", label, group, ())


def test_u_of_a_group_is_that_of_its_name() -> None:
    digest = hashlib.sha256(b"roof/house 7").digest()
    assert item(0.5, "roof", "roof/house 7").position == int.from_bytes(digest[:8], "big") / 2**64
    assert group_of("roof/house 7_nohash_1_nohash_.jpg") == "roof/house 7"


def test_an_empty_set_gets_the_lowest_item_of_the_fullest() -> None:
    items = [item(u, "a") for u in (0.3, 0.4, 0.5, 0.6)]
    dealt = deal(items, 0.1, 0.1)
    assert [(dealt[i.sha256].set, dealt[i.sha256].moved) for i in items] == [
        ("test", "training"),
        ("validation", "training"),
        ("training", ""),
        ("training", ""),
    ]


def test_folds_go_on_where_the_last_class_stopped() -> None:
    items = [item(u, "a") for u in (0.9, 0.5, 0.7)] + [item(u, "b") for u in (0.2, 0.1)]
    folds = deal_folds(items, join_units(items, None), 4)
    assert [folds[i.sha256] for i in items] == [2, 0, 1, 0, 3]


def test_a_content_under_two_labels_is_no_item() -> None:
    shas = {"a/1": "00", "a/2": "00", "b/1": "00", "b/2": "11", "b/3": "11"}
    gathered = gather({path: File(sha, path[0], "") for path, sha in shas.items()})
    assert gathered.conflicts == ["a/1", "a/2", "b/1"]
    assert [(i.path, i.copies) for i in gathered.items] == [("b/2", ("b/3",))]


def wish(item: Item, name: str) -> Item:
    return replace(item, wishes=frozenset({name}))


def test_set_that_a_manifest_names_wins_over_u_and_over_repairs() -> None:
    items = [wish(item(0.05, "a"), "training"), *(item(u, "a") for u in (0.5, 0.6, 0.7))]
    found = [deal(items, 0.1, 0.1)[i.sha256] for i in items]
    assert [dealt.set for dealt in found] == ["training", "test", "validation", "training"]
    assert [dealt.moved for dealt in found] == ["", "training", "training", ""]
    assert [dealt.given for dealt in found] == ["training", "", "", ""]


def test_group_that_stands_under_two_sets_cannot_be_dealt() -> None:
    torn = [wish(item(0.3, "a", "g"), "test"), wish(item(0.4, "a", "g"), "training")]
    with pytest.raises(Undealable, match="stands under"):
        deal([*torn, *(item(u, "a") for u in (0.5, 0.6, 0.7))], 0.1, 0.1)


def test_item_alone_in_a_group_of_its_own_name_is_alone() -> None:
    files = {path: File(sha, "a", sha) for path, sha in (("1", "00"), ("2", "11"))}
    files |= {path: File(sha, "a", "22") for path, sha in (("3", "22"), ("4", "33"))}
    assert [i.group for i in gather(files).items] == ["", "", "22", "22"]


def test_names_are_dealt_like_retrain_py() -> None:
    names = {
        "100080576_f52e8ee070_n.jpg": "training",
        "10172567486_2748826a8b.jpg": "validation",
        "10172636503_21bededa75_n.jpg": "test",
        "10172636503_21bededa75_n.jpg_nohash_7.jpg": "test",
        "10172636503_21bededa75_n.jpg.txt": "test",
        "10172636503_21bededa75_n.jpg_inception_v3.txt": "test",
    }
    items = [Item(name, f"daisy/{name}", "daisy", "", ()) for name in names]
    found = deal_like_retrain_py(items, "flower_photos", 0.1, 0.1)
    assert {name: dealt.set for name, dealt in found.items()} == names


# Near-duplicates


def test_hash_tells_where_it_gets_lighter_and_a_flat_picture_has_none() -> None:
    image = Image.new("RGB", (90, 80), "black")
    assert difference_hash(image) is None
    image.paste("white", (10, 0, 20, 10))
    image.paste("white", (80, 70, 90, 80))
    assert difference_hash(image) == 1 << 63 | 1


def test_pictures_are_taken_upright_on_white_and_anything_else_is_unusable() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: what is left in the file is below in the picture
    half = Image.new("RGBA", (40, 20), "black")
    half.paste((0, 0, 0, 0), (20, 0, 40, 20))
    turned = picture(png(half, exif=exif))
    assert turned.size == (20, 40)
    assert [turned.getpixel((0, 0)), turned.getpixel((0, 39))] == [(0, 0, 0), (255, 255, 255)]
    for content in (b"", b"GIF", png(half)[:-40]):
        with pytest.raises(Unusable):
            picture(content)


def png(image: Image.Image, **more: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **more)
    return buffer.getvalue()


def near_items() -> tuple[list[Item], Near]:
    """Six items: a, b, c in a chain, d in c's group, e alone, f without a hash."""
    items = [Item(sha, f"x/{sha}", "x", "g" if sha in "cd" else "", ()) for sha in "abcdef"]
    values = (0, 0b11111, 0b1111111111, 7 << 40 | 7 << 50, 255 << 30, None)
    return items, find_near(items, dict(zip("abcdef", values, strict=True)))


def test_units_join_groups_and_chains_of_near_duplicates() -> None:
    items, near = near_items()
    assert near.partners == {"a": {"b"}, "b": {"a", "c"}, "c": {"b"}}
    units = join_units(items, near)
    assert units == {**dict.fromkeys("abcd", "a"), "e": "e", "f": "f"}


@pytest.mark.parametrize(
    ("count", "without", "told"),
    [
        (3, {"n": 2, "accuracy": 0.5}, []),
        (4, {"n": 2, "accuracy": 0.5}, ["data.near_duplicates"]),
        (3, {"n": 3, "accuracy": 0.5}, ["test.without_near_duplicates.n"]),
        (3, {"n": 2, "accuracy": 1.0}, ["test.without_near_duplicates.accuracy"]),
        (3, None, ["test.without_near_duplicates"]),
    ],
)
def test_near_duplicates_of_development_are_left_out_of_a_second_accuracy(
    count: int, without: object, told: list[str]
) -> None:
    items, near = near_items()
    dealt = {sha: Dealt("test" if sha in "aef" else "training") for sha in "abcdef"}
    expected = Expected(Items(items, []), ["x"], dealt, near, {}, {}, 0)
    rows = [
        {"sha256": sha, "source": "test", "label": "x", "predicted": predicted}
        for sha, predicted in (("a", "x"), ("e", "y"), ("f", "x"))
    ]
    results = {"data": {"near_duplicates": count}, "test": {"without_near_duplicates": without}}
    findings = Findings()
    check_near(findings, RunFiles(Path(), [], [], [], rows, results, {}, {}), expected)
    assert [finding.key for finding in findings.found] == told


# Sources


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two classes, with a copy, a group and a broken file."""
    root = tmp_path / "photos"
    for number, name in enumerate(("a/1", "a/2", "a/deep/t_nohash_1", "b/1", "b/2")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(Image.new("RGB", (9, 8), (number, 0, 0))))
    (root / "a" / "copy").write_bytes((root / "a" / "1").read_bytes())
    (root / "b" / "broken").write_text("no image")
    (root / "b" / ".hidden").write_text("no image")
    return root


def read(origin: Path) -> Source:
    return read_source(origin, [], pictures=True)


def test_folder_archive_and_manifest_of_the_same_files_are_the_same(photos: Path) -> None:
    folder = read(photos)
    assert folder.readable["a/deep/t_nohash_1"].group == "a/deep/t"
    assert (len(folder.readable), folder.unreadable) == (6, {"b/broken": 8})
    for top in (".", "photos"):
        with tarfile.open(photos.with_suffix(".tar"), "w") as archive:
            archive.add(photos, top)
        archived = read(photos.with_suffix(".tar"))
        assert (archived.readable, archived.unreadable) == (folder.readable, folder.unreadable)
    rows = [f"{path};{path[0]}" for path in [*folder.readable, *folder.unreadable]]
    (photos / "list.csv").write_text("\n".join(["\ufeffPath;Label", *rows]))
    listed = read(photos / "list.csv")
    assert (listed.readable, listed.unreadable) == (folder.readable, folder.unreadable)


def test_links_back_to_a_folder_above_are_no_folders(photos: Path) -> None:
    (photos / "all").symlink_to(".")
    for name, target in {"up": "..", "top": "../..", "gone": "nowhere"}.items():
        (photos / "a" / "deep" / name).symlink_to(target)
    found = read(photos)
    assert (len(found.readable), found.outside) == (6, 1)
    links = {f"a/deep/{name}": None for name in ("gone", "top", "up")}
    assert found.unreadable == {**links, "b/broken": 8}


def test_groups_and_sets_of_a_manifest_are_taken(photos: Path) -> None:
    rows = ["path,label,group,split", "a/1,x,left,val", "a/deep/t_nohash_1,x,,", "b/1,y,,conflict"]
    (photos / "list.csv").write_text("\n".join(rows))
    found = read(photos / "list.csv").readable
    assert {path: file[1:] for path, file in found.items()} == {
        "a/1": ("x", "left", "validation"),
        "a/deep/t_nohash_1": ("x", "a/deep/t", ""),
        "b/1": ("y", "", ""),
    }


def test_interval_of_44_of_52_is_that_of_the_textbook() -> None:
    assert wilson(44 / 52, 52) == pytest.approx((0.725, 0.920), abs=5e-4)


def test_groups_shrink_the_effective_size() -> None:
    assert effective_size(["a", "a", "b", "c"]) == pytest.approx(16 / 6)


def test_bins_hold_equal_counts() -> None:
    assert bin_sizes(107) == [22, 22, 21, 21, 21]


def test_of_losses_within_1e_4_the_stronger_l2_is_taken() -> None:
    losses = [0.9, 0.50009, 0.5, 0.8]
    assert Choice(PATH[:4], losses, 50).best == 1


@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_equals_scikit_learns_on_more_features_than_rows(classes: int) -> None:
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(0)
    x, labels = generator.normal(size=(40, 90)), np.arange(40) % classes
    weights, strength = generator.uniform(0.5, 2, size=40), 0.01
    fitting = Fitting(x, labels, weights, classes)
    head = fitting.path([strength])[0]
    vectors = 2 if classes == 2 else 1
    model = LogisticRegression(C=vectors / (strength * weights.sum()), tol=1e-10, max_iter=10_000)
    model.fit(fitting.standardised(x), labels, weights)
    new = generator.normal(size=(7, 90))
    theirs = model.predict_proba(fitting.standardised(new))
    assert fitting.probabilities(head, new) == pytest.approx(theirs, abs=1e-6)


def test_a_class_that_a_fit_lacks_gets_probability_0() -> None:
    x = np.random.default_rng(0).normal(size=(10, 3))
    fitting = Fitting(x, np.arange(10) % 2 * 2, np.ones(10), 3)
    values = fitting.probabilities(fitting.path([0.1])[0], x)
    assert np.all(values[:, 1] == 0)
    assert np.allclose(values.sum(axis=1), 1)


def test_every_source_of_predictions_has_a_block_of_results() -> None:
    assert sorted(BLOCKS.values()) == sorted(SOURCES)
