# SPDX-License-Identifier: Apache-2.0
"""The plot of a scaling sweep."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs.scaling import PARTS, STRONG, WEAK, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOKS = {STRONG: ("o", "#1f6feb"), WEAK: ("s", "#b35900")}


def as_svg(rows: Sequence[Row]) -> str:
    """Speed-up over ranks, a panel a part, as an SVG that is the same for the same rows."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "retrain", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 4), layout="constrained")
        FigureCanvasSVG(figure)
        panels = figure.subplots(1, len(PARTS))
        for part, axes in zip(PARTS, panels, strict=True):
            _draw(axes, part, [row for row in rows if row.part == part])
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _draw(axes: Axes, part: str, rows: Sequence[Row]) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    shown = [row for row in rows if row.speed_up and row.ranks]
    axes.set(title=part.capitalize(), xlabel="ranks", ylabel="speed-up", xscale="log", yscale="log")
    if not shown:
        axes.text(0.5, 0.5, "no run with figures", ha="center", transform=axes.transAxes)
        return
    for kind, (marker, colour) in _LOOKS.items():
        points = sorted((r.ranks or 0, r.speed_up or 0) for r in shown if r.scaling == kind)
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, marker=marker, color=colour, label=f"{kind} scaling")
    ranks = sorted({row.ranks or 0 for row in shown})
    axes.plot(ranks, [n / ranks[0] for n in ranks], "--", color="#777777", label="no loss")
    axes.xaxis.set_major_locator(FixedLocator(ranks))
    heights = [row.speed_up or 1 for row in shown] + [ranks[-1] / ranks[0]]
    low, high = (math.floor(math.log2(min(heights))), math.ceil(math.log2(max(heights))))
    axes.yaxis.set_major_locator(FixedLocator([2.0**power for power in range(low, high + 1)]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.grid(alpha=0.3)
    axes.legend()
