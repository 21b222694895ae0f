# SPDX-License-Identifier: Apache-2.0
"""One answer to a signal: it is only noted here, and the world agrees on it at its next sum.

Nothing is saved inside a handler. A second request, not the echo of the first, ends at once.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
ECHO_SECONDS = 2.0
"""A scheduler and a launcher may each pass on the same request; within this time it is one."""


class Stopping:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        """Start with nothing asked."""
        self.requested = False
        self._since = 0.0

    def install(self) -> None:
        """Note SIGTERM, SIGINT and SIGUSR2 from now on."""
        for number in SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.requested and now - self._since > ECHO_SECONDS:
            os._exit(128 + number)
        if not self.requested:
            self.requested, self._since = True, now
