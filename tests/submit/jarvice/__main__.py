# SPDX-License-Identifier: Apache-2.0
"""The emulator by hand, until Ctrl-C: see --help."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

from . import FAULTS, App, Jarvice


def _words() -> argparse.Namespace:
    faults = "\n".join(f"  {name:<16}{what}" for name, (what, _) in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.submit.jarvice",
        description="Answers on this machine as JARVICE would, and runs the jobs.",
        epilog=f"faults:\n{faults}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="where to listen (any free port)")
    parser.add_argument("--folder", type=Path, help="for jobs and vaults (one that is removed)")
    parser.add_argument(
        "--fault", nargs="+", default=[], metavar="NAME[=N]", help="for N calls, or for good"
    )
    parser.add_argument(
        "--app", nargs="+", default=[], metavar="ID=FILE", help="an app with its AppDef"
    )
    parser.add_argument(
        "--image", nargs="+", default=[], metavar="PATH=FOLDER", help="what jobs find at PATH"
    )
    return parser.parse_args()


def _faults(words: list[str]) -> dict[str, int | None]:
    faults: dict[str, int | None] = {}
    for word in words:
        name, _, times = word.partition("=")
        if name not in FAULTS:
            raise SystemExit(f"--fault {name}: there is none of this name, see --help")
        faults[name] = int(times) if times else None
    return faults


def _pairs(words: list[str]) -> dict[str, Path]:
    return {name: Path(path) for name, _, path in (word.partition("=") for word in words)}


def main() -> None:
    """Serve."""
    words = _words()
    apps = [App(name, json.loads(path.read_text())) for name, path in _pairs(words.app).items()]
    image = {Path(target): source for target, source in _pairs(words.image).items()}
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        folder = words.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = Jarvice(
            folder,
            port=words.port,
            faults=_faults(words.fault),
            apps=[App("shell"), *apps],
            image=image,
        )
        stack.enter_context(server)
        told = (f"{name}={shlex.quote(value)}" for name, value in server.account.items())
        print("export", *told, flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
