# SPDX-License-Identifier: Apache-2.0
"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = "tensorflow-cpu tensorflow keras openvino numpy pillow horovod mpi4py".split()
TELLING = "avx2 avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_tile amx_int8 amx_bf16".split()
"""Flags of a processor that decide how fast a network runs on it."""


def describe(cores: Sequence[int]) -> dict[str, Any]:
    """The processor, what of it may be used, the versions, and how busy it is already."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    flags = set(field(cpu, "flags").split())
    return {
        "processor": field(cpu, "model name") or platform.processor() or platform.machine(),
        "family_model": [field(cpu, "cpu family"), field(cpu, "model")],
        "flags": [flag for flag in TELLING if flag in flags],
        "cores": len(cores),
        "memory_gib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "load_before": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
    }


def field(cpuinfo: str, name: str) -> str:
    """A field of /proc/cpuinfo, of the first processor; empty where it has none."""
    match = re.search(rf"^{re.escape(name)}\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    return match[1].strip() if match else ""


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
