# SPDX-License-Identifier: Apache-2.0
"""Measures how fast bottlenecks are computed here: this project and its peers on the same files.

    python tests/bench [IMAGES] [--out FOLDER] [--rounds 5] [--only PART,...] [--count N]

`make bench` runs it with what it needs installed. IMAGES holds a folder a class, as for
`retrain run`; without it, pictures are drawn. All is left in --out: bench.json, bench.png,
bench.svg. Exit code 1 if a part could not be measured.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import plot
from children import Failed
from machine import describe
from parts import PARTS
from session import Session
from showing import failures, markdown, terminal

INTERRUPTED = 130


def main() -> int:
    """Measure, write, show; tell the exit code."""
    arguments = parse()
    kept = arguments.out / "bench.json"
    if arguments.markdown:
        print(markdown(json.loads(kept.read_text(encoding="utf-8"))))
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    arguments.out.mkdir(parents=True, exist_ok=True)
    session = Session(
        arguments.out.resolve(),
        arguments.images and arguments.images.resolve(),
        arguments.count,
        arguments.rounds,
        arguments.float32,
    )
    try:
        bench = measure(session, arguments.only)
    except KeyboardInterrupt:
        print("bench: interrupted.", file=sys.stderr)
        return INTERRUPTED
    finally:
        for name in ("scratch", "sets"):
            shutil.rmtree(session.out / name, ignore_errors=True)
    print(terminal(bench))
    return 1 if failures(bench) else 0


def measure(session: Session, names: list[str]) -> dict[str, Any]:
    """Run parts one after another; what one found is on disk before the next begins."""
    machine = describe(session.cores)
    if machine["load_before"] > 0.3 * machine["cores"]:
        session.say(
            f"other work runs here (load {machine['load_before']:.1f}): figures mean little"
        )
    bench: dict[str, Any] = {
        "machine": machine,
        "rounds": session.rounds,
        "failures": {},
        "parts": {},
    }
    for name in names:
        session.say(f"{name} ...")
        _attempt(bench, name, lambda name=name: bench["parts"].update({name: PARTS[name](session)}))
        text = json.dumps(bench, indent=1)
        (session.out / "bench.json").write_text(text, encoding="utf-8")
    _attempt(bench, "plot", lambda: plot.draw(bench, session.out))
    return bench


def _attempt(bench: dict[str, Any], name: str, work: Any) -> None:
    """One part must not cost the others."""
    try:
        work()
    except Exception as error:
        if not isinstance(error, Failed):
            traceback.print_exc()
        bench["failures"][name] = f"{type(error).__name__}: {error}"


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="tests/bench", description=__doc__.partition("\n")[0])
    parser.add_argument("images", nargs="?", type=Path, help="a folder a class; else drawn ones")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant")
    parser.add_argument("--only", default=",".join(PARTS), metavar="PART,...", help="of these")
    parser.add_argument("--count", type=int, metavar="N", help="images a round; else about 20 s")
    parser.add_argument("--float32", action="store_true", help="OpenVINO in float32 as well")
    parser.add_argument("--markdown", action="store_true", help="print what --out holds as tables")
    arguments = parser.parse_args()
    arguments.only = arguments.only.split(",")
    unknown = sorted(set(arguments.only) - set(PARTS))
    if unknown:
        parser.error(f"--only {','.join(unknown)}: parts are {', '.join(PARTS)}")
    if arguments.images and not arguments.images.is_dir():
        parser.error(f"{arguments.images}: no such folder")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
