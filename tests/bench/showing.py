# SPDX-License-Identifier: Apache-2.0
"""What was found as a table, for a terminal of 80 columns or for a page."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from summary import Spread, median_of, rates, ratios

Bench = Mapping[str, Any]
"""bench.json."""
HEADINGS = ("images/s", "retrain is", "start-up", "MiB", "error")
COLUMNS = 80
WIDTHS = (29, 9, 18, 9, 7, 8)
Rows = list[tuple[str, ...]]


def terminal(bench: Bench) -> str:
    """All that was found, for a terminal."""
    lines = textwrap.wrap(about(bench["machine"]), COLUMNS)
    for contest in _contests(bench):
        lines += ["", _caption(contest), _columns(("", *HEADINGS))]
        lines += [_columns(row) for row in contestant_rows(contest)]
    findings = finding_rows(bench)
    lines += ["", *(f"{what:<40} {value}" for what, value in findings)] if findings else []
    lines += ["", *(f"not measured: {name}: {why}" for name, why in failures(bench).items())]
    return "\n".join(lines).rstrip()


def markdown(bench: Bench) -> str:
    """The same as tables for docs/performance.md."""
    lines = [about(bench["machine"])]
    for contest in _contests(bench):
        lines += ["", _row((_caption(contest), *HEADINGS)), "| --- |" + " ---: |" * len(HEADINGS)]
        lines += [_row(row) for row in contestant_rows(contest)]
    findings = finding_rows(bench)
    if findings:
        lines += ["", "| also measured | |", "| --- | --- |", *(_row(row) for row in findings)]
    return "\n".join(lines)


def about(machine: Mapping[str, Any]) -> str:
    """The machine in a sentence."""
    packages = machine["packages"]
    names = ("tensorflow-cpu", "tensorflow", "openvino")
    versions = [f"{name} {packages[name]}" for name in names if name in packages]
    flags = " ".join(flag for flag in machine["flags"] if "bf16" in flag or flag == "avx512f")
    return (
        f"{machine['processor']} ({flags or 'no AVX-512'}), {machine['cores']} cores, "
        f"{', '.join(versions)}, {machine['date']}"
    )


def failures(bench: Bench) -> dict[str, str]:
    """What could not be measured, and why, each in its first line."""
    found = {**bench["failures"]}
    for contest in _contests(bench):
        found.update(
            (f"{contest['titles'][name]}, {contest['kind']}", why)
            for name, why in contest["left_out"].items()
        )
    return {name: why.splitlines()[0] for name, why in found.items()}


def contestant_rows(contest: Mapping[str, Any]) -> Rows:
    """A row a contestant: its speed, this project's against it, start-up, memory, error."""
    rounds = contest["rounds"]
    found: Rows = []
    for name, title in contest["titles"].items():
        speed = rates(rounds, name)
        if speed:
            ratio = None if name == "ours" else ratios(rounds, "ours", name)
            found.append(
                (
                    title,
                    f"{speed.median:.1f}",
                    _times(ratio) if ratio else "",
                    f"{median_of(rounds, name, 'startup_seconds'):.1f} s",
                    f"{median_of(rounds, name, 'peak_memory_mib'):,.0f}",
                    f"{contest['errors'][name]:.1e}",
                )
            )
    limits = [one["limit"]["images_per_second"] for one in rounds]
    shares = [_share(one) for one in rounds if "ours" in one]
    if shares:
        share = f"{100 * statistics.median(shares):.0f}% of it"
        limit = f"{statistics.median(limits):.1f}"
        found.append((f"arithmetic limit, {contest['precision']}", limit, share, "", "", ""))
    return found


def _share(one: Mapping[str, Any]) -> float:
    speed = one["ours"]["images"] / one["ours"]["seconds"]
    return float(speed / one["limit"]["images_per_second"])


def finding_rows(bench: Bench) -> Rows:
    """A line for each finding of the other parts."""
    found: Rows = []
    for name, rows_of in FINDINGS.items():
        if name in bench["parts"]:
            found += rows_of(bench["parts"][name])
    return found


def _limit(part: Mapping[str, Any]) -> Rows:
    return [
        (
            f"Arithmetic limit, {precision}",
            f"{found['images_per_second']:.1f} images/s ({sum(found['gflops']):,.0f} GFLOP/s)",
        )
        for precision, found in part.items()
    ]


def _slowed(part: Mapping[str, Any]) -> Rows:
    return [
        (
            f"Rank {rank} of {part['ranks']} slowed {1 / part['share']:g} times",
            f"{found['cost']:.3f} x the ideal ({found['seconds']:.1f} of "
            f"{found['ideal_seconds']:.1f} s)",
        )
        for rank, found in part["victims"].items()
    ]


def _warm(part: Mapping[str, Any]) -> Rows:
    return [
        (
            f"Second run, {part['images']:,} images, but for the head",
            f"{part['before_head_seconds']:.1f} s (whole run {part['wall_seconds']:.1f} s)",
        )
    ]


def _startup(part: Mapping[str, Any]) -> Rows:
    return [
        (
            f"Command to first images, {ranks} rank{'' if ranks == '1' else 's'}",
            f"{statistics.median(found['seconds']):.1f} s",
        )
        for ranks, found in part.items()
    ]


def _memory(part: Mapping[str, Any]) -> Rows:
    return [
        (f"Peak memory of a rank, {kind}", f"{max(peaks):,.0f} MiB") for kind, peaks in part.items()
    ]


def _accuracy(part: Mapping[str, Any]) -> Rows:
    auto, plain = part["auto"], part["float32"]
    return [
        (
            f"Accuracy in {auto['precision']}, {auto['n']:,} images",
            f"{100 * auto['accuracy']:.2f}%; {part['points']:+.2f} points against float32's "
            f"{100 * plain['accuracy']:.2f}%",
        )
    ]


FINDINGS: dict[str, Callable[[Mapping[str, Any]], Rows]] = {
    "limit": _limit,
    "slowed": _slowed,
    "warm": _warm,
    "startup": _startup,
    "memory": _memory,
    "accuracy": _accuracy,
}


def _contests(bench: Bench) -> Sequence[Mapping[str, Any]]:
    return list(bench["parts"].get("speed", {}).values())


def _caption(contest: Mapping[str, Any]) -> str:
    rounds = contest["rounds"]
    images = rounds[0]["ours"]["images"]
    return f"{contest['kind']}: {images:,} images, {len(rounds)} rounds"


def _times(ratio: Spread) -> str:
    return f"{ratio.median:.2f}x ({ratio.least:.2f}-{ratio.greatest:.2f})"


def _columns(cells: Sequence[str]) -> str:
    first, *others = cells
    aligned = (f"{cell:>{width}}" for cell, width in zip(others, WIDTHS[1:], strict=True))
    return f"{first:<{WIDTHS[0]}}{''.join(aligned)}".rstrip()


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
