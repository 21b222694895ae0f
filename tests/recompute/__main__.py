# SPDX-License-Identifier: Apache-2.0
"""Recomputes every figure of a finished run, by another program than the one that made it.

    python tests/recompute RUN [--source SOURCE] [--refit]

It was written from the method page alone and shares no code with the package. Without `--source` it
takes the readable files from manifest.csv, and groups.csv's word for what near-duplicates join;
with it, it reads the folder, .tar or CSV that the run read. `--refit` fits all heads again (for
runs on `data.bottlenecks`, with `--source`). Each disagreement is a line
with file, key, found and expected; exit 0 if there is none, else 1, and 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from findings import Broken, Findings
from whole import recompute


def main() -> int:
    """Compare, print, and tell the exit code."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    arguments = parse()
    findings = Findings()
    try:
        recompute(findings, arguments.run, arguments.source, arguments.refit)
    except Broken as broken:
        findings.found.append(broken.finding)
    for finding in findings.found:
        print(finding)
    print(f"{findings.compared} comparisons, {len(findings.found)} disagreements")
    return 1 if findings.found else 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="recompute", description="Recompute a finished run.")
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--source", type=Path, help="the folder, .tar or CSV that the run read")
    parser.add_argument("--refit", action="store_true", help="fit all heads again")
    arguments = parser.parse_args()
    if not arguments.run.is_dir():
        parser.error(f"{arguments.run}: no such folder")
    if arguments.source is not None and not arguments.source.exists():
        parser.error(f"{arguments.source}: not there")
    if arguments.refit and arguments.source is None:
        parser.error("--refit needs --source")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
