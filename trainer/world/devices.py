# SPDX-License-Identifier: Apache-2.0
"""Which GPU, or that none, each rank computes on, and what it computes fast.

GPUs are asked for by libcuda, the driver's own library, before TensorFlow is loaded: it numbers
them as TensorFlow will, and asking makes no context on any. On real GPUs this is not tested yet.
"""

from __future__ import annotations

import ctypes
import os
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

from trainer.errors import UsageError, listed

LIBCUDA = "libcuda.so.1"
USE_CPU = "set run.device=cpu"


@dataclass(frozen=True)
class Device:
    """What a rank computes on.

    Attributes:
        kind: The GPU's name, or `cpu`.
        ordinal: Its number among the GPUs that the rank sees; None for the CPU.
        place: PCI bus id; empty for the CPU.
        memory_bytes: Of the GPU; 0 for the CPU.
        capability: CUDA compute capability; None for the CPU.
        fast: The reduced precisions that it computes faster than float32.
        identity: The GPU's UUID: two parts of one divided GPU (MIG) have the same place.
    """

    kind: str
    ordinal: int | None = None
    place: str = ""
    memory_bytes: int = 0
    capability: tuple[int, int] | None = None
    fast: tuple[str, ...] = ()
    identity: str = ""


def cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> Device:
    """This host's processor; `cpuinfo` lists its features (Linux, proc(5))."""
    flags: set[str] = set()
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, words = line.partition(":")
        if name.strip() == "flags":
            flags.update(words.split())
            break  # the other cores' lines say the same
    return Device("cpu", fast=("bfloat16",) if flags & {"avx512_bf16", "amx_bf16"} else ())


def visible_gpus() -> list[Device]:
    """The GPUs that this process may use, in TensorFlow's order; none without libcuda."""
    return _ask_driver()[0]


def allocated_gpus(files: Path = Path("/dev")) -> int:
    """The number of GPUs that the job was given on this host, told without the driver's help.

    CUDA_VISIBLE_DEVICES where it is set (Slurm sets it with every GPU that it gives), else the
    GPUs' device files that may be opened: a scheduler's cgroup or a container keeps the others
    away. A GPU that was given and cannot be used counts.

    Source: CUDA's programming guide, environment variables: the first word that names no device
    (-1, say, or Slurm's NoDevFiles) ends the list.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        words = (word.strip() for word in visible.split(","))
        return len(list(takewhile(lambda word: word not in ("", "-1", "NoDevFiles"), words)))
    return sum(os.access(file, os.R_OK | os.W_OK) for file in files.glob("nvidia[0-9]*"))


def own_device(wanted: Literal["auto", "cpu"], local_rank: int, local_size: int) -> Device:
    """The device of one of a host's ranks; `require_one_rank_a_gpu` then checks them together.

    A rank that sees one GPU only takes it: a launcher gives each rank its own so.

    Args:
        wanted: `run.device`.
        local_rank: This rank's number among those of its host.
        local_size: How many they are.
    Raises:
        UsageError: GPUs were given to the job that the driver does not show; or there are more
            ranks than the GPUs that each of them sees.
    """
    if wanted == "cpu":
        return cpu()
    gpus, why_none = _ask_driver()
    if not gpus and (given := allocated_gpus()):
        raise _not_shown(given, why_none)
    if not gpus:
        return cpu()
    if len(gpus) == 1:
        return gpus[0]
    if local_size > len(gpus):
        raise UsageError(
            f"{local_size} ranks on this host, and {len(gpus)} GPUs: a GPU serves one rank.",
            f"Start {len(gpus)} ranks a host (--ranks {len(gpus)} on one host), or {USE_CPU}.",
        )
    return gpus[local_rank]


def require_one_rank_a_gpu(devices: Sequence[tuple[str, Device]]) -> None:
    """Refuse a world in which GPUs are shared, or in which a host's ranks differ in having one.

    Hosts may differ in having GPUs: the work queue gives each rank what it can bear. On one
    host, ranks without a GPU beside ranks with one are ranks too many.

    Args:
        devices: Host and device of every rank, in rank order; the same on every rank.
    Raises:
        UsageError: On every rank alike.
    """
    by_gpu = _ranks_by_gpu(devices)
    todo = f"Start one rank a GPU (--ranks {len(by_gpu)}), or {USE_CPU}."
    for (host, _, _), ranks in by_gpu.items():
        if len(ranks) > 1:
            gpu = _name(devices[ranks[0]][1])
            raise _agreed(f"{host}: {_ranks(ranks)} have the same GPU, {gpu}.", todo)
    for host, (with_gpu, without) in _ranks_with_and_without(devices).items():
        if with_gpu and without:
            raise _agreed(
                f"{host}: {_ranks(with_gpu)} with a GPU, {_ranks(without)} without.", todo
            )


def unseen_by_tensorflow(gpu: Device) -> UsageError:
    """The error for a GPU that the driver shows and TensorFlow does not."""
    return UsageError(
        f"{_name(gpu)}: the driver shows this GPU, and TensorFlow does not see it.",
        f"make setup GPU=cuda, for a TensorFlow that computes on GPUs; or {USE_CPU}.",
    )


def _not_shown(given: int, why: str) -> UsageError:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    source = "device files in /dev" if visible is None else f"CUDA_VISIBLE_DEVICES={visible}"
    return UsageError(
        f"GPUs given to this job: {given} ({source}); shown by the driver: none ({why}).",
        f"See what nvidia-smi says here (start containers with --nv or --gpus); or {USE_CPU}.",
    )


def _agreed(message: str, todo: str) -> UsageError:
    error = UsageError(message, todo)
    error.agreed = True
    return error


def _ranks_by_gpu(
    devices: Sequence[tuple[str, Device]],
) -> dict[tuple[str, str, str], list[int]]:
    by_gpu = defaultdict(list)
    for rank, (host, device) in enumerate(devices):
        if device.ordinal is not None:
            by_gpu[host, device.place, device.identity].append(rank)
    return by_gpu


def _ranks_with_and_without(
    devices: Sequence[tuple[str, Device]],
) -> dict[str, tuple[list[int], list[int]]]:
    by_host: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for rank, (host, device) in enumerate(devices):
        by_host[host][device.ordinal is None].append(rank)
    return by_host


def _ranks(ranks: list[int]) -> str:
    noun = "rank" if len(ranks) == 1 else "ranks"
    return f"{noun} {listed([str(rank) for rank in ranks])}"


def _name(gpu: Device) -> str:
    return f"{gpu.kind} ({gpu.place})"


class _Refusal(Exception):
    """What the driver answered in place of what was asked."""


def _ask_driver() -> tuple[list[Device], str]:
    """The GPUs that the driver shows; and, where it shows none, why."""
    try:
        driver = _Driver()
        gpus = [driver.gpu(ordinal) for ordinal in range(driver.count())]
    except (OSError, _Refusal) as error:
        return [], str(error)
    return gpus, "it counts 0"


class _Driver:
    """CUDA's driver API as far as it tells what there is.

    Source: CUDA driver API, modules Initialization and Device Management; cuda.h for the numbers.
    """

    CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76

    def __init__(self) -> None:
        self._library = ctypes.CDLL(LIBCUDA)
        self._ask("cuInit", 0)

    def count(self) -> int:
        return self._number("cuDeviceGetCount")

    def gpu(self, ordinal: int) -> Device:
        handle = self._number("cuDeviceGet", ordinal)
        memory = ctypes.c_size_t()
        self._ask("cuDeviceTotalMem_v2", ctypes.byref(memory), handle)
        capability = (
            self._number("cuDeviceGetAttribute", self.CAPABILITY_MAJOR, handle),
            self._number("cuDeviceGetAttribute", self.CAPABILITY_MINOR, handle),
        )
        return Device(
            kind=self._text("cuDeviceGetName", handle),
            ordinal=ordinal,
            place=self._text("cuDeviceGetPCIBusId", handle),
            memory_bytes=memory.value,
            capability=capability,
            fast=_fast_on_gpu(capability),
            identity=self._uuid(handle),
        )

    def _uuid(self, handle: int) -> str:
        buffer = ctypes.create_string_buffer(16)
        # Drivers before 470 do not have it; the older call gives a divided GPU's own for its parts.
        known = hasattr(self._library, "cuDeviceGetUuid_v2")
        self._ask("cuDeviceGetUuid_v2" if known else "cuDeviceGetUuid", buffer, handle)
        return str(uuid.UUID(bytes=buffer.raw))

    def _number(self, function: str, *arguments: Any) -> int:
        number = ctypes.c_int()
        self._ask(function, ctypes.byref(number), *arguments)
        return number.value

    def _text(self, function: str, handle: int) -> str:
        buffer = ctypes.create_string_buffer(256)
        self._ask(function, buffer, len(buffer), handle)
        return buffer.value.decode("utf-8", "replace")

    def _ask(self, function: str, *arguments: Any) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            name = ctypes.c_char_p()
            self._library.cuGetErrorName(code, ctypes.byref(name))
            raise _Refusal(f"{function}: {(name.value or b'error').decode('ascii')} ({code})")


def _fast_on_gpu(capability: tuple[int, int]) -> tuple[str, ...]:
    """Source: CUDA's programming guide, compute capabilities: tensor cores and their types."""
    if capability >= (8, 0):
        return ("bfloat16", "float16")
    return ("float16",) if capability >= (7, 0) else ()
