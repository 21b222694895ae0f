# SPDX-License-Identifier: Apache-2.0
"""What is said of a world by what its ranks told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainer.doctor_world import examine_world, read
from trainer.world import launch

SOUND: dict[str, Any] = {
    "mpi": "Open MPI v5.0.11",
    "promised": 2,
    "sizes": [[2, 2], [2, 2]],
    "agree": True,
    "hosts": ["n1", "n2"],
    "devices": ["cpu", "cpu"],
    "import_seconds": [7.0, 9.0],
    "skew_seconds": [0.0, -0.25],
    "files": "",
    "created": 1,
    "seen_seconds": [0.0, 0.5],
}
CACHE = Path("/shared/cache")


def test_sound_world_is_told_in_five_lines() -> None:
    found = list(read(SOUND, CACHE))
    assert {finding.state for finding in found} == {"ok"}
    assert [finding.what for finding in found] == [
        "MPI, Horovod", "Devices", "Import", "Clocks", "Shared files",
    ]  # fmt: skip
    assert found[3].detail == "at most 0.250 s apart (n1, n2)"


def test_one_host_has_no_clocks_to_compare() -> None:
    found = read({**SOUND, "hosts": ["n1", "n1"]}, CACHE)
    assert "Clocks" not in [finding.what for finding in found]


@pytest.mark.parametrize(
    ("changed", "what", "told"),
    [
        ({"agree": False, "sizes": [[2, 1], [2, 1]]}, "MPI, Horovod", "Horovod sees a world of 1"),
        ({"sizes": [[1, 1]]}, "MPI, Horovod", "2 ranks were started, and each sees a world of 1"),
        ({"skew_seconds": [0.0, 100.0]}, "Clocks", "100.000 s apart (n1, n2)"),
        ({"created": 2}, "Shared files", "2 ranks created one file each alone"),
        ({"seen_seconds": [0.0, None]}, "Shared files", "a renamed file is not seen from n2"),
        ({"files": "/x: Read-only file system"}, "Shared files", "/x: Read-only file system"),
    ],
)
def test_what_is_wrong_is_missing_and_says_how_to_mend_it(
    changed: dict[str, Any], what: str, told: str
) -> None:
    [found] = [one for one in read({**SOUND, **changed}, CACHE) if one.state != "ok"]
    assert (found.what, told in found.detail, bool(found.mend)) == (what, True, True), found


def test_device_that_cannot_be_had_is_missing() -> None:
    found = list(read({**SOUND, "devices": ["cpu", "error: no GPU. Do this."]}, CACHE))
    assert (found[1].state, found[1].detail) == ("missing", "no GPU. Do this.")


def test_slow_import_is_no_fault_and_tells_of_staging() -> None:
    found = list(read({**SOUND, "import_seconds": [7.0, 300.0]}, CACHE))
    assert (found[2].state, "sbcast" in found[2].mend) == ("ok", True)


@pytest.mark.parametrize("said", ["no launcher", "", "{broken"])
def test_world_that_does_not_answer_is_missing(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "probe_world", lambda _: (said == "{broken", said))
    [found] = examine_world(CACHE)
    assert (found.state, bool(found.detail), bool(found.mend)) == ("missing", True, True)
