# SPDX-License-Identifier: Apache-2.0
"""The model card: what a saved model is, how good, for what, and for what not.

Source: Mitchell et al. 2019, Model Cards for Model Reporting, FAT*, section 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainer.features.backbone import FrozenBackbone
from trainer.features.preprocess import recipe
from trainer.head.export import About, one_line
from trainer.report.verdict import observations, verdict
from trainer.report.wording import count, interval, percent, strength

Results = dict[str, Any]

USE = """\
`retrain predict RUN photo.jpg`, RUN being the folder around this one; or in Python
`trainer.Run(RUN).predict([...])`. `labels.txt` names the classes in the order of the
probabilities; `neighbours.npz` holds what it takes to tell what an image looks like."""
NOT_FOR = """\
It knows these classes only, and says one of them for any picture. It was scored on pictures
like those it was trained on; expect less on others, of other cameras, places or seasons.
Whether it treats groups of people or places alike was not examined."""
HEAD = """\
| | images | accuracy (95%) | macro recall | log loss |
| --- | --- | --- | --- | --- |"""


def model_card(results: Results, about: About, network: FrozenBackbone | None) -> str:
    """The card in Markdown.

    Args:
        results: What the run found so far.
        about: The model.
        network: The backbone; None for a head on bottleneck texts alone.
    """
    parts = [
        f"# {_code(about.name)}",
        _kind(network),
        *_limits(results, about),
        "## How good it is",
        verdict(results, _code),
        *_scores(results),
        "## What it was trained on",
        *_data(results, about),
        "## Using it",
        USE,
        "## What it is not for",
        NOT_FOR,
    ]
    return "\n\n".join(parts) + "\n"


def _kind(network: FrozenBackbone | None) -> str:
    if network is None:
        return "A softmax layer on bottlenecks that retrain.py made; the network is not in it."
    row = network.network
    return (
        f"{row.title} up to its layer `{network.cut}` in {network.precision}, frozen, then a\n"
        f"softmax layer. Input: {recipe(row)}."
    )


def _limits(results: Results, about: About) -> Iterator[str]:
    if note := about.weights_note:
        yield f"**{note[:1].upper()}{note[1:]}.**"
    if seen := observations(results):
        yield f"Mind: {', '.join(seen)}."


def _scores(results: Results) -> Iterator[str]:
    rows = []
    for key, title in (("cross_validation", "Cross-validation"), ("test", "Test set")):
        if figures := results.get(key):
            accuracy = f"{percent(figures['accuracy'])} ({interval(figures['interval95'])})"
            macro = percent(figures["macro_recall"])
            loss = f"{figures['log_loss']:.3f}"
            rows.append(f"| {title} | {figures['n']:,} | {accuracy} | {macro} | {loss} |")
    if rows:
        yield "\n".join([HEAD, *rows])


def _data(results: Results, about: About) -> Iterator[str]:
    names = ", ".join(_code(name) for name in about.classes)
    yield f"{count(len(about.classes), 'class').replace('classs', 'classes')}: {names}."
    data = results.get("data") or {}
    if split := data.get("split"):
        sets = ", ".join(f"{number:,} {name}" for name, number in split.items())
        yield f"{count(data['images'], 'image')}; distinct ones by set: {sets}."
    if (l2 := (results.get("head") or {}).get("l2")) is not None:
        yield f"L2 {strength(l2)}; the split depends on the images' contents alone."


def _code(name: str) -> str:
    """A name that Markdown leaves as it is."""
    shown = one_line(name)
    fence = "`" * (1 + max((len(run) for run in _runs(shown)), default=0))
    pad = " " if "`" in shown[:1] + shown[-1:] else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _runs(text: str) -> list[str]:
    """The runs of backquotes in a text."""
    return [run for run in "".join(c if c == "`" else " " for c in text).split() if run]
