# SPDX-License-Identifier: Apache-2.0
"""A bit that flips in a file of a run directory is found, named, and mended by the next start."""

from __future__ import annotations

import json
from typing import Any

import pytest

from one_process import run_program
from test_texts import config, write_texts

FLIPS = """
def stop_after(passes):
    # In the middle of the path.
    left = iter(range(passes))

    def save_if_due(keeper, name, arrays):
        stopping.requested = next(left, None) is None

    return save_if_due


whole, _ = run("whole")
save_if_due, Keeper.save_if_due = Keeper.save_if_due, stop_after(40)
try:
    run("stopped")
except Stopped:
    Keeper.save_if_due, stopping.requested = save_if_due, False

MADE = "predictions.csv manifest.csv config.yaml model/head.npz model/sha256.json".split()
FIGURES = "headline data test validation cross_validation".split()
for place, name in json.loads(sys.argv[3]):
    shutil.copytree(folder / place, folder / "flipped")
    path = folder / "flipped" / name
    content = bytearray(path.read_bytes())
    content[random.Random(name).randrange(len(content))] ^= 1
    path.write_bytes(content)
    results, said = run("flipped")
    same = all(results[key] == whole[key] for key in FIGURES) and all(
        (folder / "flipped" / made).read_bytes() == (folder / "whole" / made).read_bytes()
        for made in MADE
    )
    left = sorted(path.name for path in (folder / "flipped" / "head").iterdir())
    print(json.dumps([f"{place} {name}", same, results["status"], name in said, left]))
    shutil.rmtree(folder / "flipped")
"""

FINISHED = (
    "config.yaml predictions.csv model/head.npz head/fitted head/neighbours analysis.json "
    "suspects.csv results.json stages/plan.json"
).split()
STOPPED = "head/checkpoint stages/stopped.json".split()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What came of each file with a flipped bit, all in one process: a start takes a second."""
    folder = tmp_path_factory.mktemp("flips")
    words = config(write_texts(folder / "data", 0.6), folder)
    files = [("whole", name) for name in FINISHED] + [("stopped", name) for name in STOPPED]
    return {name: rest for name, *rest in run_program(FLIPS, words, folder, json.dumps(files))}


@pytest.mark.parametrize("name", [f"whole {name}" for name in FINISHED])
def test_flipped_bit_in_a_finished_run_is_named_and_mended(
    name: str, outcomes: dict[str, list[Any]]
) -> None:
    assert outcomes[name] == [True, "complete", True, ["fitted", "neighbours"]]


@pytest.mark.parametrize("name", [f"stopped {name}" for name in STOPPED])
def test_flipped_bit_in_a_stopped_run_is_named_and_its_result_is_right(
    name: str, outcomes: dict[str, list[Any]]
) -> None:
    assert outcomes[name] == [True, "complete", True, ["fitted", "neighbours"]]
