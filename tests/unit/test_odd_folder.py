# SPDX-License-Identifier: Apache-2.0
"""Every file of a folder of oddities is accounted for, by listing, looking and decoding it."""

from __future__ import annotations

import builtins
import io
import os
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oddities import IMAGE, OUTSIDE, PASSED_OVER, QUARANTINE, Expected, write_odd_folder
from trainer.data.decode import upright_rgb
from trainer.data.images import BadFile, Listing, SourceFile, Unreadable, look
from trainer.data.place import Place
from trainer.data.source_folder import list_folder

pytestmark = pytest.mark.timeout(60)  # what opens a pipe waits for ever


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("odd") / "odd folder"


@pytest.fixture(scope="module")
def expected(root: Path) -> list[Expected]:
    return write_odd_folder(root)


@pytest.fixture(scope="module")
def listing(root: Path, expected: list[Expected]) -> Listing:
    return list_folder(root, "data.images")


def verdict(root: Path, file: SourceFile | BadFile) -> str:
    """What becomes of a listed file."""
    looked = file if isinstance(file, BadFile) else look(root, file)
    if isinstance(looked, BadFile):
        return QUARANTINE + looked.reason
    try:
        image = upright_rgb(Place(os.path.join(root, looked.path)).read())
    except Unreadable as error:
        return QUARANTINE + error.reason
    except OSError as error:
        return f"{QUARANTINE}cannot be read: {error.strerror}"
    return IMAGE if image.mode == "RGB" and image.width * image.height else "no image at all"


def listed(listing: Listing) -> list[SourceFile | BadFile]:
    return [*listing.files, *listing.bad]


def verdicts(root: Path, listing: Listing) -> dict[str, str]:
    return {file.path: verdict(root, file) for file in listed(listing)}


def told(wanted: str, found: str) -> bool:
    """Whether a verdict is the one that was wanted."""
    if wanted == IMAGE:
        return found == IMAGE
    return found.startswith(QUARANTINE) and wanted.removeprefix(QUARANTINE) in found


def with_verdict(expected: list[Expected], *starts: str) -> dict[str, str]:
    return {path: wanted for path, wanted in expected if wanted.startswith(starts)}


def test_every_file_is_listed_once_or_passed_over_or_counted_as_outside(
    expected: list[Expected], listing: Listing
) -> None:
    found = Counter(file.path for file in listed(listing))
    assert found == Counter([*with_verdict(expected, IMAGE, QUARANTINE)])
    assert listing.outside == len(with_verdict(expected, OUTSIDE))


def test_the_folder_names_every_file_in_it(root: Path, expected: list[Expected]) -> None:
    named = {path for path, _ in expected}
    for folder, _, files in os.walk(root):
        found = {os.path.relpath(os.path.join(folder, name), root) for name in files}
        assert found <= named
    assert len(with_verdict(expected, PASSED_OVER)) > 20


def test_every_file_gets_the_verdict_of_a_reasonable_person(
    root: Path, expected: list[Expected], listing: Listing
) -> None:
    found = verdicts(root, listing)
    wanted = with_verdict(expected, IMAGE, QUARANTINE)
    wrong = {path: found.get(path) for path in wanted if not told(wanted[path], found[path])}
    assert wrong == {}


def test_nothing_is_printed_or_warned_of(
    root: Path, listing: Listing, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        verdicts(root, listing)
    assert [str(warning.message) for warning in warned] == []
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Paths that are opened, by any of the ways to open a file by its path."""
    paths: list[str] = []

    def noting(way: Callable[..., Any]) -> Callable[..., Any]:
        def open_it(path: Any, *options: Any, **more: Any) -> Any:
            paths.append(path)
            return way(path, *options, **more)

        return open_it

    for module in (os, io, builtins):
        monkeypatch.setattr(module, "open", noting(module.open))
    yield paths
    monkeypatch.undo()


def test_nothing_but_regular_files_is_ever_opened(
    root: Path, expected: list[Expected], opened: list[str]
) -> None:
    verdicts(root, list_folder(root, "data.images"))
    ours = [path for path in opened if str(root) in str(path)]
    assert len(ours) > 100
    assert all(stat.S_ISREG(os.stat(path).st_mode) for path in ours)
