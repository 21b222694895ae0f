# SPDX-License-Identifier: Apache-2.0
"""Which GPU a rank gets, asked of a driver that is made for the test and loaded as the real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer.errors import USAGE, UsageError
from trainer.world.devices import (
    Device,
    allocated_gpus,
    cpu,
    require_one_rank_a_gpu,
    unseen_by_tensorflow,
)

Ask = Callable[..., Any]
GIB = 2**30
A100 = "NVIDIA A100-SXM4-40GB"
FOUR_A100 = "\n".join(
    f"{A100};8;0;{40 * GIB};0000:{bus}:00.0;{number}"
    for number, bus in enumerate(("07", "0B", "48", "4C"), start=1)
)


@pytest.fixture
def no_driver(tmp_path: Path) -> Path:
    """A folder that hides the machine's libcuda, if it has one, behind a file that is none."""
    (tmp_path / "libcuda.so.1").write_text("no library\n")
    return tmp_path


# What the driver shows


def test_gpus_are_told_by_name_place_memory_and_capability(ask: Ask) -> None:
    assert ask("visible_gpus()[1]", FAKE_GPUS=FOUR_A100).value == {
        "kind": A100,
        "ordinal": 1,
        "place": "0000:0B:00.0",
        "memory_bytes": 40 * GIB,
        "capability": [8, 0],
        "fast": ["bfloat16", "float16"],
        "identity": "02000000-0000-0000-0000-000000000000",
    }


@pytest.mark.parametrize(
    ("capability", "fast"),
    [
        ("6;1", []),
        ("7;0", ["float16"]),
        ("7;5", ["float16"]),
        ("8;0", ["bfloat16", "float16"]),
        ("8;9", ["bfloat16", "float16"]),
        ("10;0", ["bfloat16", "float16"]),
    ],
)
def test_precisions_that_a_gpu_computes_fast_follow_its_capability(
    capability: str, fast: list[str], ask: Ask
) -> None:
    gpus = f"GPU;{capability};{GIB};0000:07:00.0;1"
    assert ask("visible_gpus()[0].fast", FAKE_GPUS=gpus).value == fast


def test_gpus_that_the_environment_hides_are_not_seen_and_the_others_are_numbered_anew(
    ask: Ask,
) -> None:
    told = ask(
        "[(gpu.ordinal, gpu.place) for gpu in visible_gpus()]",
        FAKE_GPUS=FOUR_A100,
        CUDA_VISIBLE_DEVICES="3,1",
    )
    assert told.value == [[0, "0000:4C:00.0"], [1, "0000:0B:00.0"]]


def test_machine_without_a_driver_has_no_gpus(ask: Ask, no_driver: Path) -> None:
    assert ask("visible_gpus()", folder=no_driver).value == []


def test_driver_without_a_gpu_shows_none(ask: Ask) -> None:
    assert ask("visible_gpus()").value == []


def test_asking_the_driver_loads_no_tensorflow(ask: Ask) -> None:
    loaded = "visible_gpus() and 'tensorflow' in __import__('sys').modules"
    assert ask(loaded, FAKE_GPUS=FOUR_A100).value is False


# Which one a rank gets


@pytest.mark.parametrize("ranks", [1, 3, 4])
def test_each_rank_of_a_host_gets_a_gpu_of_its_own_where_all_see_all(ranks: int, ask: Ask) -> None:
    own = f"[own_device('auto', rank, {ranks}).ordinal for rank in range({ranks})]"
    assert ask(own, FAKE_GPUS=FOUR_A100).value == list(range(ranks))


def test_each_rank_gets_the_gpu_that_it_alone_sees(ask: Ask) -> None:
    own = [
        ask(
            f"own_device('auto', {rank}, 4)",
            FAKE_GPUS=FOUR_A100,
            CUDA_VISIBLE_DEVICES=str(rank),
        ).value
        for rank in range(4)
    ]
    assert [gpu["ordinal"] for gpu in own] == [0, 0, 0, 0]
    require_one_rank_a_gpu([("n1", Device(**gpu)) for gpu in own])


def test_more_ranks_than_gpus_are_refused_with_both_numbers_and_both_ways_out(ask: Ask) -> None:
    told = ask("own_device('auto', 1, 5)", FAKE_GPUS=FOUR_A100)
    assert told.message == "5 ranks on this host, and 4 GPUs: a GPU serves one rank."
    assert told.todo == "Start 4 ranks a host (--ranks 4 on one host), or set run.device=cpu."


def test_cpu_that_was_asked_for_leaves_gpus_alone(ask: Ask) -> None:
    assert ask("own_device('cpu', 0, 9).kind", FAKE_GPUS=FOUR_A100).value == "cpu"


def test_rank_computes_on_the_cpu_where_no_gpu_was_given(ask: Ask) -> None:
    own = ask("own_device('auto', 1, 2).kind", FAKE_GPUS=FOUR_A100, CUDA_VISIBLE_DEVICES="")
    assert own.value == "cpu"


def test_gpus_that_were_given_and_have_no_driver_are_an_error(ask: Ask, no_driver: Path) -> None:
    told = ask("own_device('auto', 0, 1)", folder=no_driver, CUDA_VISIBLE_DEVICES="0,1")
    assert told.message.startswith(
        "GPUs given to this job: 2 (CUDA_VISIBLE_DEVICES=0,1); shown by the driver: none ("
    )
    assert "libcuda.so.1: " in told.message
    assert told.todo.endswith("or set run.device=cpu.")


def test_what_ails_the_driver_is_told_by_its_own_name(ask: Ask) -> None:
    told = ask("own_device('auto', 0, 1)", CUDA_VISIBLE_DEVICES="0", FAKE_CUINIT="803")
    assert "(cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803))" in told.message


def test_error_of_the_driver_without_a_name_is_told_by_its_number(ask: Ask) -> None:
    told = ask("own_device('auto', 0, 1)", CUDA_VISIBLE_DEVICES="0", FAKE_CUINIT="4242")
    assert "(cuInit: error (4242))" in told.message


def test_cpu_serves_a_job_whose_gpus_are_out_of_order(ask: Ask) -> None:
    own = ask("own_device('cpu', 0, 1).kind", CUDA_VISIBLE_DEVICES="0", FAKE_CUINIT="803")
    assert own.value == "cpu"


# What the job was given


@pytest.mark.parametrize(
    ("visible", "given"),
    [("0", 1), ("0, 1,2", 3), ("GPU-1a,GPU-2b", 2), ("0,-1,1", 1)]
    + [(none, 0) for none in ("", "-1", "NoDevFiles")],
)
def test_gpus_given_are_counted_up_to_the_first_word_that_names_none(
    visible: str, given: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert allocated_gpus() == given


def test_gpus_given_are_the_device_files_where_the_environment_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia0", "nvidia1", "nvidia11", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    (tmp_path / "nvidia2").symlink_to("away")  # as one that may not be opened, also by root
    assert allocated_gpus(tmp_path) == 3


# All ranks together


def gpu(number: int, seen_as: int = 0, part: str = "") -> Device:
    place = f"0000:0{number}:00.0"
    return Device(A100, seen_as, place, 40 * GIB, (8, 0), identity=f"{number}{part}")


CPU = Device("cpu")


@pytest.mark.parametrize(
    "devices",
    [
        [("n1", CPU), ("n1", CPU)],
        [("n1", gpu(1, 0)), ("n1", gpu(2, 1))],
        [("n1", gpu(1)), ("n2", gpu(1))],  # two hosts alike
        [("n1", gpu(1, part="MIG a")), ("n1", gpu(1, part="MIG b"))],
        [("n1", Device("GPU", 0, "0000:01:00.0")), ("n1", Device("GPU", 1, "0000:02:00.0"))],
        [("n1", gpu(1)), ("n2", CPU), ("n2", CPU)],  # hosts may differ
    ],
)
def test_world_with_one_rank_a_gpu_is_let_through(devices: list[tuple[str, Device]]) -> None:
    require_one_rank_a_gpu(devices)


def refused(devices: list[tuple[str, Device]]) -> UsageError:
    with pytest.raises(UsageError) as caught:
        require_one_rank_a_gpu(devices)
    assert caught.value.exit_code == USAGE
    return caught.value


def test_two_ranks_with_one_gpu_are_refused_by_host_gpu_and_ranks() -> None:
    error = refused(
        [("n1", gpu(1)), ("n2", gpu(1)), ("n2", gpu(2, seen_as=1)), ("n2", gpu(2, seen_as=0))]
    )
    assert error.message == f"n2: ranks 2, 3 have the same GPU, {A100} (0000:02:00.0)."
    assert error.todo == "Start one rank a GPU (--ranks 3), or set run.device=cpu."


def test_rank_without_a_gpu_beside_one_with_is_refused() -> None:
    error = refused([("n1", CPU), ("n2", CPU), ("n2", gpu(1)), ("n2", CPU)])
    assert error.message == "n2: rank 2 with a GPU, ranks 1, 3 without."


def test_refusal_of_a_world_is_one_that_all_ranks_raise_together() -> None:
    assert refused([("n1", gpu(1)), ("n1", gpu(1))]).agreed


def test_gpu_that_tensorflow_does_not_see_is_told_with_the_set_up_that_does() -> None:
    error = unseen_by_tensorflow(gpu(1))
    assert error.message.startswith(f"{A100} (0000:01:00.0): ")
    assert "make setup GPU=cuda" in error.todo


# The processor


@pytest.mark.parametrize(
    ("flags", "fast"),
    [
        ("fpu sse avx512f avx512_bf16", ("bfloat16",)),
        ("fpu amx_bf16 amx_tile", ("bfloat16",)),
        ("fpu avx512f avx512_fp16", ()),
        ("fpu not_avx512_bf16_yet", ()),
    ],
)
def test_processor_is_fast_in_bfloat16_where_its_flags_say_so(
    flags: str, fast: tuple[str, ...], tmp_path: Path
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: amx_bf16\nflags\t\t: {flags}\nbugs\t: no\n")
    assert cpu(cpuinfo) == Device("cpu", fast=fast)


def test_processor_of_another_architecture_has_no_flags_and_is_told_so(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\ncpu\t\t: POWER9, altivec supported\n")
    assert cpu(cpuinfo).fast == ()
