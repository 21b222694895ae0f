# SPDX-License-Identifier: Apache-2.0
"""The contest as a picture: images a second as bars, the arithmetic limit as a line."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from showing import about
from summary import rates

OURS, OTHERS = "#0b6e6e", "#b8bec6"


def draw(bench: Mapping[str, Any], out: Path) -> None:
    """Write bench.png and bench.svg; nothing where no contest was held."""
    contests = list(bench["parts"].get("speed", {}).values())
    if not contests:
        return
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(contests),
        1,
        figsize=(8, 0.6 + 2.1 * len(contests)),
        layout="constrained",
        squeeze=False,
    )
    for axis, contest in zip(axes[:, 0], contests, strict=True):
        _draw_contest(axis, contest)
    axes[-1, 0].set_xlabel("images a second, median and range of the rounds", fontsize=8)
    figure.suptitle(about(bench["machine"]), fontsize=8)
    for suffix in ("png", "svg"):
        figure.savefig(out / f"bench.{suffix}", dpi=150)
    pyplot.close(figure)


def _draw_contest(axis: Any, contest: Mapping[str, Any]) -> None:
    rounds = contest["rounds"]
    found = {name: rates(rounds, name) for name in contest["titles"]}
    for name, title in reversed(contest["titles"].items()):
        speed = found[name]
        if speed:
            error = [[speed.median - speed.least], [speed.greatest - speed.median]]
            colour = OURS if name.startswith("ours") else OTHERS
            bars = axis.barh(title, speed.median, xerr=error, color=colour, height=0.7)
            axis.bar_label(bars, fmt="%.1f", padding=6, fontsize=8)
    limit = statistics.median(one["limit"]["images_per_second"] for one in rounds)
    axis.axvline(limit, color="#444444", linestyle="--", linewidth=1)
    axis.annotate(
        "arithmetic limit", (limit, 1), xycoords=("data", "axes fraction"),
        xytext=(-3, 3), textcoords="offset points", ha="right", fontsize=7,
    )  # fmt: skip
    axis.set_xlim(0, 1.12 * max(limit, *(speed.greatest for speed in found.values() if speed)))
    axis.set_title(contest["kind"], fontsize=9, loc="left")
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
