# SPDX-License-Identifier: Apache-2.0
"""The table of fitted items: small, whole in a file, and near what is near."""

from __future__ import annotations

import io

import numpy as np
import pytest

from trainer.analysis.find_neighbours import sampled
from trainer.analysis.neighbours import (
    ARRAYS,
    MOST_BYTES,
    Nearest,
    Neighbours,
    Space,
    most_kept,
    same,
    unfamiliar_limit,
    vote,
)
from trainer.arrays import Float32Array

KEPT, FEATURES = 40, 64


@pytest.fixture
def rows() -> Float32Array:
    return np.random.default_rng(2).gamma(0.5, 1, (KEPT, FEATURES)).astype(np.float32)


@pytest.fixture
def kept(rows: Float32Array) -> Neighbours:
    space = Space(rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64))
    paths = [f"a/{number}\udcff.jpg" for number in range(KEPT)]
    digests = [bytes([number]) * 32 for number in range(KEPT)]
    labels = np.arange(KEPT) % 3
    return Neighbours(space, space.quantised(rows), labels, paths, digests, 100, 0.25)


def test_each_item_is_its_own_nearest(kept: Neighbours, rows: Float32Array) -> None:
    nearest = kept.nearest(rows)
    assert nearest.items[:, 0].tolist() == list(range(KEPT))
    assert nearest.distances[:, 0] == pytest.approx(np.zeros(KEPT), abs=1e-3)


def test_distance_is_one_minus_the_cosine_of_standardised_rows(
    kept: Neighbours, rows: Float32Array
) -> None:
    standardised = (rows - kept.space.mean) / kept.space.deviation
    lengths = np.linalg.norm(standardised, axis=1)
    expected = 1 - standardised @ standardised.T / np.outer(lengths, lengths)
    found = np.concatenate([part for _, part in kept.distances(rows)])
    assert found == pytest.approx(expected, abs=0.01)  # eight bits


def test_barred_items_are_no_neighbours(kept: Neighbours, rows: Float32Array) -> None:
    barred = same(np.arange(KEPT), np.arange(KEPT))
    nearest = kept.nearest(rows, barred)
    assert (nearest.items[:, 0] != np.arange(KEPT)).all()


def test_where_all_are_barred_nothing_is_near(kept: Neighbours, rows: Float32Array) -> None:
    nearest = kept.nearest(rows[:1], np.ones((1, KEPT), np.bool_))
    assert kept.near(nearest, 0) == []


def test_three_are_told_the_nearest_first(kept: Neighbours, rows: Float32Array) -> None:
    near = kept.near(kept.nearest(rows[5:6]), 0)
    assert (near[0].path, near[0].label) == ("a/5\udcff.jpg", 2)
    assert len(near) == 3
    assert [one.distance for one in near] == sorted(one.distance for one in near)


def test_file_without_pickles_brings_back_the_same(kept: Neighbours, rows: Float32Array) -> None:
    packed = io.BytesIO()
    np.savez(packed, **kept.to_arrays())
    packed.seek(0)
    with np.load(packed, allow_pickle=False) as arrays:
        assert set(arrays) == set(ARRAYS)
        again = Neighbours.from_arrays(dict(arrays))
    assert (again.paths, again.digests) == (kept.paths, kept.digests)
    assert (again.total, again.limit) == (100, 0.25)
    assert (again.nearest(rows).distances == kept.nearest(rows).distances).all()


@pytest.mark.parametrize(("features", "words"), [(2048, 40), (1280, 300), (64, 20)])
def test_table_of_as_many_as_are_kept_has_at_most_20_mb(features: int, words: int) -> None:
    count = most_kept(features, words)
    kept = Neighbours(
        Space(np.zeros(features), np.ones(features)),
        np.zeros((count, features), np.int8),
        np.zeros(count, np.int64),
        ["m" * words] * count,
        [bytes(32)] * count,
        count,
    )
    packed = io.BytesIO()
    np.savez(packed, **kept.to_arrays())
    assert 0.98 * MOST_BYTES < packed.getbuffer().nbytes <= MOST_BYTES


def test_feature_that_does_not_vary_counts_nothing() -> None:
    space = Space(np.array([0.0, 5.0]), np.array([1.0, np.inf]))
    assert space.directions(np.array([[3.0, 99.0]], np.float32)).tolist() == [[1.0, 0.0]]


def test_item_like_the_mean_of_all_stays_finite() -> None:
    space = Space(np.array([1.0, 1.0]), np.array([1.0, 1.0]))
    assert space.quantised(np.ones((1, 2), np.float32)).tolist() == [[0, 0]]


def test_most_of_the_nearest_win_and_of_equally_many_the_nearest() -> None:
    nearest = Nearest(np.array([[0, 1, 2], [2, 1, 0]]), np.array([[0.1, 0.2, 0.3]] * 2))
    assert vote(nearest, np.array([0, 1, 1]), 2).tolist() == [1, 1]
    assert vote(nearest, np.array([0, 1, 2]), 3).tolist() == [0, 2]


def test_item_that_is_not_there_has_no_vote() -> None:
    nearest = Nearest(np.array([[0, 1, 2]]), np.array([[0.1, np.inf, np.inf]]))
    assert vote(nearest, np.array([0, 1, 1]), 2).tolist() == [0]


def test_limit_is_the_99th_percentile_and_endless_without_any() -> None:
    assert unfamiliar_limit(np.append(np.arange(101.0), np.inf)) == 99.0
    assert unfamiliar_limit(np.array([np.inf])) == np.inf


def test_sample_is_seeded_in_order_and_whole_where_there_is_room() -> None:
    assert sampled(5, 5, 0).tolist() == [0, 1, 2, 3, 4]
    assert sampled(1000, 10, 1).tolist() == sorted(set(sampled(1000, 10, 1).tolist()))
    assert sampled(1000, 10, 1).tolist() != sampled(1000, 10, 2).tolist()
