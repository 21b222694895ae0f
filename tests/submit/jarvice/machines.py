# SPDX-License-Identifier: Apache-2.0
"""The machines and queues on offer, as data: a test that needs others gives its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Machine:
    """A machine type; all nodes of a job are alike. `ram` in GB, `nodes` fewest and most."""

    name: str
    description: str
    cores: int
    ram: int
    gpus: int = 0
    arch: str = "x86_64"
    nodes: tuple[int, int] = (1, 1)
    devices: str = ""
    price: float = 1.0

    def entry(self) -> dict[str, Any]:
        """What `machines` tells of it."""
        fewest, most = self.nodes
        return {
            "mc_name": self.name,
            "mc_description": self.description,
            "mc_cores": self.cores,
            "mc_slots": self.cores,
            "mc_gpus": self.gpus,
            "mc_ram": self.ram,
            "mc_swap": self.ram // 2,
            "mc_scratch": 100,
            "mc_devices": self.devices,
            "mc_properties": "",
            "mc_slave_cores": self.cores,
            "mc_slave_gpus": self.gpus,
            "mc_slave_ram": self.ram,
            "mc_slave_properties": "",
            "mc_scale_min": fewest,
            "mc_scale_max": most,
            "mc_scale_select": "",
            "mc_price": self.price,
            "mc_priority": 0,
            "mc_arch": self.arch,
            "mc_privs": "",
            "mc_lesser": True,
            "mc_max_concurrent": 0,
            "mc_sched_id": 1,
        }


_POWER = "ppc64le"

MACHINES = (
    Machine("n1", "1 core, for trials", 1, 4, price=0.1),
    Machine("n2", "2 cores, up to 8 nodes", 2, 8, nodes=(1, 8), price=0.2),
    Machine("n16", "16 cores, from 2 nodes on", 16, 64, nodes=(2, 16), price=1.6),
    Machine("ng1", "8 cores, 1 GPU", 8, 64, gpus=1, nodes=(1, 4), price=2.5),
    Machine("ng4", "32 cores, 4 GPUs", 32, 256, gpus=4, nodes=(1, 8), devices="devshm", price=9.0),
    Machine("np8c1", "POWER8, 20 cores", 20, 128, arch=_POWER, nodes=(1, 16), price=1.0),
    Machine("np8g4", "POWER8, 20 cores, 4 P100", 20, 512, 4, _POWER, (1, 32), price=8.0),
    Machine("np9g4", "POWER9, 40 cores, 4 V100", 40, 512, 4, _POWER, (1, 16), "devshm", 10.0),
)

QUEUES: dict[str, dict[str, Any]] = {
    "small": {"name": "small", "app": "shell", "machine": "n2", "size": 2},
}
