# SPDX-License-Identifier: Apache-2.0
"""The command `retrain`, and `python -m trainer` for launchers that start a module."""

from __future__ import annotations

import sys
from typing import NoReturn

from trainer.errors import Stopped
from trainer.world.stopping import leave, of_process

STOPPABLE = ("run", "demo")


def main() -> None:
    """Listen for a request to stop before anything else is loaded, then run the command."""
    if not any(word in STOPPABLE for word in sys.argv[1:3]):  # --debug may stand first
        _command()
    try:
        with of_process().at_once():  # until there is a world, or mpirun is started
            _command()
    except Stopped as error:
        leave(error)


def _command() -> NoReturn:
    from trainer.cli import main as command

    command()


if __name__ == "__main__":
    main()
