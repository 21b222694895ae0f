# SPDX-License-Identifier: Apache-2.0
"""The demo's pictures: the same from the same seed, whole or not there, and not too easy."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from trainer.arrays import ByteArray, FloatArray
from trainer.data import drawings, drawn_decoys, drawn_things
from trainer.data.drawings import draw, picture
from trainer.data.drawn_canvas import (
    OVERSAMPLING,
    SIZE,
    Canvas,
    Colour,
    Light,
    Pen,
    Points,
    Textures,
    rectangle,
)
from trainer.errors import RetrainError

WITH_POOL, WITHOUT_POOL = "house_with_pool", "house_without_pool"
COUNT = 60


@pytest.fixture(scope="module")
def textures() -> Textures:
    return Textures(np.random.default_rng(0))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "houses"
    draw(folder, count=COUNT)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in folder.glob("*/*.jpg")}


def test_classes_are_two_folders_of_45_and_55_percent(drawn: Path) -> None:
    counts = {path.name: len(list(path.iterdir())) for path in drawn.iterdir()}
    assert counts == {WITH_POOL: 27, WITHOUT_POOL: 33}


def test_every_picture_is_an_rgb_jpeg_of_one_size_with_its_own_number(drawn: Path) -> None:
    found = {}
    for name, content in contents(drawn).items():
        with Image.open(io.BytesIO(content)) as image:
            found[name.split("/")[1]] = (image.format, image.mode, image.size)
    names = [f"plot-{number:04d}.jpg" for number in range(1, COUNT + 1)]
    assert found == dict.fromkeys(names, ("JPEG", "RGB", (400, 300)))


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    draw(tmp_path / "first", count=4, seed=3)
    draw(tmp_path / "second", count=4, seed=3)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_another_seed_gives_other_pictures(tmp_path: Path) -> None:
    draw(tmp_path / "first", count=4, seed=3)
    draw(tmp_path / "second", count=4, seed=4)
    first, second = contents(tmp_path / "first"), contents(tmp_path / "second")
    assert not set(first.values()) & set(second.values())


def test_folder_above_is_made(tmp_path: Path) -> None:
    draw(tmp_path / "demo" / "houses", count=2)
    assert len(contents(tmp_path / "demo" / "houses")) == 2


def test_drawn_folder_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "houses", count=2)
    before = contents(tmp_path / "houses")
    monkeypatch.setattr(drawings, "picture", lambda *_: pytest.fail("drawn again"))
    draw(tmp_path / "houses", count=2)
    assert contents(tmp_path / "houses") == before


def stop_at_the_third(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter((False, False, True))

    def drawn_until_stopped(
        has_pool: bool, rng: np.random.Generator, textures: Textures
    ) -> Image.Image:
        if next(calls):
            raise KeyboardInterrupt
        return picture(has_pool, rng, textures)

    monkeypatch.setattr(drawings, "picture", drawn_until_stopped)


def test_interrupted_drawing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at_the_third(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        draw(tmp_path / "houses", count=4)
    assert list(tmp_path.iterdir()) == []


def test_drawing_after_an_interrupted_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as stopped:
        stop_at_the_third(stopped)
        with pytest.raises(KeyboardInterrupt):
            draw(tmp_path / "houses", count=4)
    draw(tmp_path / "houses", count=4)
    assert len(contents(tmp_path / "houses")) == 4


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RetrainError, match=r"file/houses: cannot be written"):
        draw(tmp_path / "file" / "houses", count=2)


def area(outline: Points) -> float:
    turned = outline.conjugate() * np.roll(outline, -1)
    return abs(float(turned.imag.sum())) / 2


@pytest.mark.parametrize("number", range(1, 9))
def test_most_of_the_pool_is_in_the_picture(
    number: int, textures: Textures, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlines: list[Points] = []

    def noted(pen: Pen, outline: Points, colour: Colour, rim: Colour) -> None:
        outlines.append(pen.zoom * outline + pen.origin)

    monkeypatch.setattr(drawn_things, "pool", noted)
    picture(True, np.random.default_rng(number), textures)
    (outline,) = outlines
    corner = complex(*SIZE) * OVERSAMPLING
    cut = np.clip(outline.real, 0, corner.real) + 1j * np.clip(outline.imag, 0, corner.imag)
    assert area(cut) > 0.7 * area(outline)


def test_no_pool_is_drawn_where_none_shall_be(
    textures: Textures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawn_things, "pool", lambda *_: pytest.fail("a pool was drawn"))
    for number in range(4):
        picture(False, np.random.default_rng(number), textures)


SMALL_AND_BLUE = [
    (drawn_decoys, "tarpaulin"),
    (drawn_decoys, "trampoline"),
    (drawn_things, "solar_panels"),
]


@pytest.mark.parametrize("has_pool", [True, False])
@pytest.mark.parametrize(("module", "decoy"), SMALL_AND_BLUE)
def test_small_blue_things_that_are_no_pool_are_in_both_classes(
    module: ModuleType,
    decoy: str,
    has_pool: bool,
    textures: Textures,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(module, decoy, lambda *_: seen.append(decoy))
    for number in range(60):
        picture(has_pool, np.random.default_rng(number), textures)
        if seen:
            return
    pytest.fail(f"no {decoy} in 60 pictures")


@pytest.mark.parametrize(("has_pool", "least", "most"), [(True, 0, 0), (False, 8, 10)])
def test_plot_without_a_pool_mostly_has_something_as_large_in_its_place(
    has_pool: bool,
    least: int,
    most: int,
    textures: Textures,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[complex] = []
    monkeypatch.setattr(drawn_decoys, "LARGE", [lambda _, size, __: sizes.append(size)])
    for number in range(10):
        picture(has_pool, np.random.default_rng(number), textures)
    assert least <= len(sizes) <= most
    assert all(size.real * size.imag > 25 for size in sizes)


@pytest.mark.parametrize("decoy", drawn_decoys.LARGE)
def test_large_decoy_is_in_the_colour_of_pools(
    decoy: Callable[[Pen, complex, Colour], None], textures: Textures
) -> None:
    pen = lit_from(1, textures)
    decoy(pen, 9 + 5j, (70, 140, 180))
    values = np.asarray(pen.canvas.colour, dtype=np.int16)
    blue = (values[..., 2] - values[..., 0] > 40).sum() / pen.scale**2
    assert 20 < blue < 50


def means(folder: Path) -> FloatArray:
    """Mean red, green and blue of each picture; (pictures, 3)."""
    return np.array([np.asarray(Image.open(path)).mean((0, 1)) for path in folder.iterdir()])


def test_mean_colour_does_not_tell_the_classes_apart(drawn: Path) -> None:
    classes = [means(drawn / name) for name in (WITH_POOL, WITHOUT_POOL)]
    gap = np.abs(classes[0].mean(0) - classes[1].mean(0))
    spread = np.sqrt((classes[0].var(0) + classes[1].var(0)) / 2)
    assert (gap < 0.5 * spread).all()


def lit_from(sun: complex, textures: Textures) -> Pen:
    light = Light(sun=sun, shadow_slope=1, strength=1, cast=(1, 1, 1), haze=0, noise=0, blur=0)
    canvas = Canvas(np.random.default_rng(0), textures, light)
    return Pen(canvas, zoom=20 + 0j, origin=complex(*SIZE))


@pytest.mark.parametrize(("sun", "dark"), [(1, -3), (-1, 3), (1j, -3j), (-1j, 3j)])
def test_shadow_falls_away_from_the_sun(sun: complex, dark: complex, textures: Textures) -> None:
    pen = lit_from(sun, textures)
    pen.area(rectangle(40, 30), (120, 120, 120), rough=0)
    drawn_things.flat_roof(pen, 3, 3, (120, 120, 120), height=3)
    photograph: ByteArray = np.asarray(pen.canvas.photograph())

    def level(place: complex) -> int:
        pixel = pen.pixel(place) / OVERSAMPLING
        return int(photograph[int(pixel.imag), int(pixel.real), 0])

    assert level(dark) < 60
    assert level(-dark) == 120
