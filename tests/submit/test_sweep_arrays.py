# SPDX-License-Identifier: Apache-2.0
"""The arrays of a sweep, as an sbatch on PATH gets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.arrays import (
    TASK,
    Submission,
    array_commands,
    array_size,
    gather_command,
    index_list,
)
from jobs.errors import UsageError
from jobs.plan import Plan
from jobs.planning import plan_sweep

SCRIPT = Path("/clone/slurm/retrain.sh")
SBATCH = """#!{python}
import json, sys
from pathlib import Path
calls = Path({calls!r})
before = json.loads(calls.read_text()) if calls.exists() else []
calls.write_text(json.dumps([*before, sys.argv[1:]]))
print(f"{{100 + len(before)}};lab")
"""


def planned(place: Path, *sweep: str, name: str = "runs/x") -> Plan:
    (place / "photos").mkdir(exist_ok=True)
    return plan_sweep("photos", [], sweep, Path(name), place)


def option(words: list[str], name: str) -> str:
    return next((word.split("=", 1)[1] for word in words if word.startswith(f"--{name}=")), "")


def submitted(tmp_path: Path, calls: list[Submission]) -> list[list[str]]:
    """What an sbatch on PATH is given."""
    kept = tmp_path / "calls.json"
    program = tmp_path / "bin" / "sbatch"
    program.parent.mkdir()
    program.write_text(SBATCH.format(python=sys.executable, calls=str(kept)))
    program.chmod(0o755)
    env = {"PATH": f"{program.parent}:{os.environ['PATH']}"}

    def sbatch(words: list[str]) -> str:
        return subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout

    ids: list[str] = []
    for call in calls:
        ids.append(sbatch(call.words(ids)).strip().partition(";")[0])  # ID;CLUSTER
    assert ids == [str(100 + n) for n in range(len(calls))]
    return list(json.loads(kept.read_text()))


def test_first_of_each_backbone_goes_ahead_and_the_others_follow_however_it_ends(
    tmp_path: Path,
) -> None:
    plan = planned(tmp_path, "backbone.layer=mixed7,mixed10", "head.l2=1,2,3")
    ahead, others = submitted(tmp_path, array_commands(plan, SCRIPT, ["-p", "gpu"]))
    assert (option(ahead, "array"), option(others, "array")) == ("0,3", "1-2,4-5")
    assert (option(ahead, "dependency"), option(others, "dependency")) == ("", "afterany:100")
    assert ahead[:3] == ["--parsable", "-p", "gpu"]
    assert ahead[-5:] == [str(SCRIPT), "--task", str(TASK), str(plan.path), "0"]


@pytest.mark.parametrize(
    "sweep", [["backbone.layer=mixed7,mixed10"], ["data.views=[],[flip]", "backbone.name=a,b"]]
)
def test_runs_that_share_no_bottlenecks_go_together(tmp_path: Path, sweep: list[str]) -> None:
    plan = planned(tmp_path, *sweep)
    assert [call.numbers for call in array_commands(plan, SCRIPT)] == [plan.chosen]


def test_runs_on_bottlenecks_from_files_go_together(tmp_path: Path) -> None:
    calls = array_commands(planned(tmp_path, "head.l2=1,2,3"), SCRIPT, extracts=False)
    assert [option(list(call.options), "array") for call in calls] == ["0-2"]


def test_array_is_split_at_the_sites_largest_index(tmp_path: Path) -> None:
    plan = planned(tmp_path, f"head.l2={','.join(map(str, range(10)))}")
    calls = submitted(tmp_path, array_commands(plan, SCRIPT, array_size=4, extracts=False))
    assert [(option(call, "array"), call[-1]) for call in calls] == [
        ("0-3", "0"),
        ("0-3", "4"),
        ("0-1", "8"),
    ]
    assert [option(call, "dependency") for call in calls] == ["", "", ""]


def test_limit_holds_over_all_arrays(tmp_path: Path) -> None:
    plan = planned(tmp_path, f"head.l2={','.join(map(str, range(10)))}")
    calls = array_commands(plan, SCRIPT, array_size=4, extracts=False, limit=3)
    words = submitted(tmp_path, calls)
    assert [option(call, "array") for call in words] == ["0-3%3", "0-3%3", "0-1%3"]
    assert [option(call, "dependency") for call in words] == ["", "afterany:100", "afterany:101"]


def test_every_task_is_in_one_array_and_its_index_below_the_sites_limit(tmp_path: Path) -> None:
    plan = planned(
        tmp_path,
        f"head.l2={','.join(map(str, range(100)))}",
        f"backbone.layer={','.join(f'mixed{n}' for n in range(100))}",
    )
    calls = array_commands(plan, SCRIPT)
    assert sorted(number for call in calls for number in call.numbers) == list(range(10_000))
    assert max(index for call in calls for index in call.indices) == 1000
    for call in calls:
        offset = int(call.command[-1])
        assert tuple(offset + index for index in call.indices) == call.numbers


def test_complete_tasks_are_left_out(tmp_path: Path) -> None:
    plan = planned(tmp_path, "head.l2=1,2,3")
    plan.save()
    plan.directory(1).mkdir()
    (plan.directory(1) / "results.json").write_text('{"status": "complete"}')
    calls = array_commands(plan, SCRIPT, extracts=False)
    assert [call.numbers for call in calls] == [(0, 2)]


def test_gathering_waits_for_all_arrays_and_quotes_its_words(tmp_path: Path) -> None:
    name = "runs/a 'b' $(touch x); touch x"
    plan = planned(tmp_path, "head.l2=1,2,3", name=name)
    calls = array_commands(plan, SCRIPT)
    words = ["printf", "%s\\n"]
    gather = gather_command(plan, words, calls, setup=tmp_path / "a site.sh")
    (tmp_path / "a site.sh").write_text("echo sourced\n")
    call = submitted(tmp_path, [*calls, gather])[-1]
    assert option(call, "dependency") == "afterany:100:101"
    ran = subprocess.run(
        ["sh", "-c", option(call, "wrap")], capture_output=True, text=True, cwd=tmp_path
    )
    assert ran.stdout.splitlines() == ["sourced", "gather", str(plan.folder)]
    assert not (tmp_path / "x").exists()


def test_percent_sign_in_a_name_is_no_pattern_of_slurms(tmp_path: Path) -> None:
    plan = planned(tmp_path, "head.l2=1", name="runs/50%j")
    (call,) = array_commands(plan, SCRIPT)
    log = option(list(call.options), "output")
    assert log == f"{tmp_path}/runs/50%%j/logs/%A_%a.out"


@pytest.mark.parametrize(("limit", "size", "told"), [(0, 1001, "--limit 0"), (None, 1, "is 1")])
def test_what_allows_no_task_is_refused(
    tmp_path: Path, limit: int | None, size: int, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        array_commands(planned(tmp_path, "a=1"), SCRIPT, limit=limit, array_size=size)


@pytest.mark.parametrize(
    ("shown", "size"),
    [
        ("MaxArraySize            = 1001\n", 1001),
        ("x = 1\nMaxArraySize = 4\n", 4),
        ("MaxArraySizeX = 4\n", 1001),
        ("", 1001),
    ],
)
def test_sites_array_size_is_read_from_its_configuration(shown: str, size: int) -> None:
    assert array_size(shown) == size


def test_indices_are_told_as_ranges() -> None:
    assert index_list([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"
