# SPDX-License-Identifier: Apache-2.0
"""JARVICE as far as a client sees it: the API over HTTP, with jobs that really run.

    with Jarvice(folder, apps=[App("retrain", appdef)], image={Path("/opt/retrain"): clone}) as it:
        it.fault("503", times=2, on="status")
        ...  # a client, told of it.account

As root each job has a box of its own: /etc/JARVICE, the vault as /data, a /dev/shm of 64 MiB, nodes
that have names, and an end that nothing in it outlives. Elsewhere it is a plain process that finds
its files by JARVICE_ETC. By hand: python -m tests.submit.jarvice --help.
"""

from __future__ import annotations

from .command import App
from .faults import FAULTS
from .machines import MACHINES, Machine
from .server import Jarvice
from .site import JobUser, can_box

__all__ = ["FAULTS", "MACHINES", "App", "Jarvice", "JobUser", "Machine", "can_box"]
