# SPDX-License-Identifier: Apache-2.0
"""`python -m trainer.world.daemon PROGRAM WORD…` becomes a program that SIGTERM does not end.

For mpirun's daemons on other hosts: `scancel` sends SIGTERM to them too, and they would end their
ranks within a moment, before these could agree. Nor does SIGINT. Their ranks have neither blocked.
"""

from __future__ import annotations

import os
import signal
import sys

SHIELDED = (signal.SIGTERM, signal.SIGINT)


def shield() -> None:
    """Block both in this process, and in what it becomes."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SHIELDED)


if __name__ == "__main__":
    shield()
    os.execv(sys.argv[1], sys.argv[1:])
