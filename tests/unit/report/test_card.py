# SPDX-License-Identifier: Apache-2.0
"""The model card tells what the model is, and no name in it breaks the page."""

from __future__ import annotations

import made_up_runs
from trainer.head.export import About
from trainer.report.card import model_card


def card(name: str, classes: list[str], note: str = "") -> str:
    results = made_up_runs.two_classes()
    results["data"]["classes"] = classes
    for part in ("headline", "test", "cross_validation"):
        results[part]["majority"]["label"] = classes[0]
    return model_card(results, About(name, classes, 4, "", note, 64), None)


def test_card_tells_scores_classes_use_and_limits() -> None:
    text = card("pools", ["house_with_pool", "house_without_pool"], "not pretrained")
    for told in (
        "# `pools`\n",
        "**Not pretrained.**",
        "2 classes: `house_with_pool`, `house_without_pool`.",
        "414 training, 52 validation, 52 test",
        "| Test set | 52 | 84.6% (72 to 92%) |",
        "## What it is not for",
    ):
        assert told in text


def test_name_cannot_begin_a_line_or_end_its_code() -> None:
    text = card("<script>\n# b", ["x`y``z", "`"])
    assert text.startswith("# `<script>\\n# b`\n")
    assert "```x`y``z```" in text
    assert "`` ` ``" in text


def test_card_of_a_run_that_scored_nothing_is_whole() -> None:
    text = model_card(made_up_runs.blank(["a"]), About("a", ["a"], 4, "", "", 64), None)
    assert "1 class: `a`." in text
    assert "| images |" not in text
