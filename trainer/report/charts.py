# SPDX-License-Identifier: Apache-2.0
"""Charts as SVG inside of the page: Matplotlib draws, the page's style sheet gives the colours.

Matplotlib is asked for colours that nothing else has, which then become the variables of
report.css; so a chart follows light, dark and paper like the text around it.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, SOFT, LINE, GOOD, BAD = "#010203", "#010204", "#010205", "#010206", "#010207"
_VARIABLES = {INK: "ink", SOFT: "soft", LINE: "line", GOOD: "good", BAD: "bad"}
_INCHES = (4.6, 2.9)
_MARGINS = {"left": 0.19, "right": 0.98, "bottom": 0.16, "top": 0.97}
"""Fixed: finding out what just fits takes as long as drawing."""
_NAME_OF_Y = (-0.17, 0.5)
"""Where the vertical axis is named, in widths and heights of the plot: left of any number."""

_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",  # letters stay letters: they can be read aloud, found and enlarged
    "svg.hashsalt": "retrain",  # the same bytes each time
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}

Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Chart:
    """A figure of the page.

    Attributes:
        svg: The drawing.
        csv: The numbers behind it, a header and rows.
    """

    svg: Markup
    csv: str


def reliability(bins: Rows) -> Chart | None:
    """Accuracy against confidence, a point for each bin; None without bins."""
    if not bins:
        return None

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=SOFT, linestyle="--", linewidth=1)
        x, y = _column(bins, "confidence"), _column(bins, "accuracy")
        axes.plot(x, y, color=GOOD, marker="o", markersize=4)
        _percents(axes, "Probability it gives its answer", "Right")
        low = min(*x, *y)
        axes.set_xlim(max(0.0, low - 0.05), 1.02)
        axes.set_ylim(max(0.0, low - 0.05), 1.02)

    return _chart(draw, "Accuracy against confidence", bins)


def coverage(curve: Rows) -> Chart | None:
    """Accuracy of the surest answers against their share; None without any."""
    if not curve:
        return None

    def draw(axes: Axes) -> None:
        axes.plot(_column(curve, "coverage"), _column(curve, "accuracy"), color=GOOD)
        _percents(axes, "Images answered, the surest first", "Right among them")
        axes.set_xlim(0, 1.02)
        axes.set_ylim(max(0.0, min(0.9, min(_column(curve, "accuracy")) - 0.02)), 1.005)

    return _chart(draw, "Accuracy against coverage", curve)


def learning(points: Rows) -> Chart | None:
    """Accuracy against the number of images, with each draw's; None without any."""
    if not points:
        return None
    rows = [
        {"share": point["share"], "items": point["items"], "accuracy": point["accuracy"]}
        | {f"draw_{number}": value for number, value in enumerate(point["draws"])}
        for point in points
    ]

    def draw(axes: Axes) -> None:
        x = _column(points, "items")
        for place, point in zip(x, points, strict=True):
            draws = point["draws"]
            axes.plot(
                [place] * len(draws), draws, color=SOFT, linestyle="", marker="o", markersize=2.5
            )
        axes.plot(x, _column(points, "accuracy"), color=GOOD, marker="o", markersize=5)
        _percents(axes, "Images it was fitted on", "Right", across=False)
        axes.set_xlim(left=0)

    return _chart(draw, "Accuracy against the number of images", rows)


def l2_path(path: Rows, chosen: float | None) -> Chart | None:
    """Log loss of the choosing items against L2; None where L2 was given."""
    if not path:
        return None

    def draw(axes: Axes) -> None:
        axes.plot(
            _column(path, "l2"), _column(path, "log_loss"), color=GOOD, marker="o", markersize=4
        )
        if chosen is not None:
            axes.axvline(chosen, color=BAD, linestyle="--", linewidth=1)
        axes.set_xscale("log")
        _plain_logarithms(axes.xaxis)
        axes.set_xlabel("L2")
        axes.set_ylabel("Log loss")

    return _chart(draw, "Log loss along the path of L2", path)


def fit(trace: Rows) -> Chart | None:
    """Loss and gradient norm of the final fit; None without any."""
    if len(trace) < 2:
        return None

    def draw(axes: Axes) -> None:
        x = _column(trace, "iteration")
        axes.plot(x, _column(trace, "loss"), color=GOOD, label="loss")
        axes.plot(x, _column(trace, "gradient_norm"), color=BAD, label="gradient norm", linewidth=1)
        axes.set_yscale("log")
        _plain_logarithms(axes.yaxis)
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("Iteration")
        axes.legend()

    return _chart(draw, "Loss and gradient norm by iteration", trace)


def _column(rows: Rows, name: str) -> list[float]:
    return [float(row[name]) for row in rows]


def _percents(axes: Axes, across_is: str, up_is: str, across: bool = True) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    for axis in (axes.yaxis, axes.xaxis) if across else (axes.yaxis,):
        axis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel(across_is)
    axes.set_ylabel(up_is)


def _plain_logarithms(axis: Any) -> None:
    """Label powers of ten as plain numbers: setting exponents takes long."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _chart(draw: Any, title: str, rows: Rows) -> Chart:
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # its first start tells of fonts
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=_INCHES)
        figure.subplots_adjust(**_MARGINS)
        axes = figure.add_subplot()
        for patch in (figure.patch, axes.patch):
            patch.set_visible(False)
        draw(axes)
        axes.yaxis.set_label_coords(*_NAME_OF_Y)
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    return Chart(_for_the_page(written.getvalue(), title), _csv(rows))


def _for_the_page(svg: str, title: str) -> Markup:
    """What Matplotlib wrote, as an element of the page: our own words and numbers alone."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<style .*?</style>", "", svg, flags=re.DOTALL)
    head = f'<svg class="chart" viewBox="\\1" role="img" aria-label="{title}">'
    svg = re.sub(r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>', head, svg)
    own = re.sub(r"\W+", "-", title.lower())  # two charts of a page must not share an id
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{own}-", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for colour, name in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{name})")
    return Markup(svg)


def _csv(rows: Rows) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(str(row.get(name, "")) for name in names) for row in rows]
    return "\n".join([",".join(names), *lines])
