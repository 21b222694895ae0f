# SPDX-License-Identifier: Apache-2.0
"""Evidence on the grid adds up to what the head says."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.analysis.heatmaps import evidence, evidence_of, two_likeliest


def test_mean_of_the_evidence_is_the_difference_of_the_logits() -> None:
    random = np.random.default_rng(0)
    cells = random.gamma(0.5, 1, (8, 8, 2048)).astype(np.float32)
    head = (random.normal(0, 0.05, (2048, 5)), random.normal(0, 1, 5))
    logits = cells.mean(axis=(0, 1), dtype=np.float64) @ head[0] + head[1]
    found = evidence(cells, head, 3, 1)
    assert found.dtype == np.float32
    assert found.mean() == pytest.approx(logits[3] - logits[1], abs=1e-4)


def test_saved_model_gives_the_same_evidence() -> None:
    random = np.random.default_rng(1)
    cells = random.random((4, 4, 16)).astype(np.float32)
    head = (random.normal(size=(16, 3)), random.normal(size=3))
    by_class = (cells @ head[0]).astype(np.float32)
    assert evidence_of(by_class, head[1], 0, 2) == pytest.approx(
        evidence(cells, head, 0, 2), abs=1e-5
    )


def test_class_that_the_head_lacks_leaves_the_evidence_finite() -> None:
    head = (np.ones((2, 2)), np.array([0.5, -np.inf]))
    assert np.isfinite(evidence(np.ones((3, 3, 2), np.float32), head, 0, 1)).all()


def test_of_equally_likely_classes_the_first_comes_first() -> None:
    assert two_likeliest(np.array([0.2, 0.4, 0.4])) == (1, 2)
