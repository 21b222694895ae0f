# SPDX-License-Identifier: Apache-2.0
"""The lab is what it says: hosts of their own, one Slurm, and nothing left when it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from host import wait_until
from lab import Lab

pytestmark = pytest.mark.cluster
MakeLab = Callable[[], Lab]

HOLDER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # also under a shell that ignores it
sys.path.insert(0, sys.argv[1])
from lab import Lab
with Lab(hosts=1) as lab:
    lab.run("n1", ["touch", "/tmp/mine", "/dev/shm/mine"])
    print(lab.state, flush=True)
    time.sleep(60)
"""


def processes_of(state: str) -> list[str]:
    """Processes whose command line names a lab's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if state in command:
            found.append(command)
    return found


def links() -> list[str]:
    """Network devices of this machine."""
    return sorted(os.listdir("/sys/class/net"))


def mounts() -> list[str]:
    """Mounts of this machine."""
    return sorted(Path("/proc/self/mounts").read_text().splitlines())


@pytest.fixture
def holder(make_lab: MakeLab) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lab; its first line is the lab's folder."""
    argv = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-c", HOLDER]
    here = str(Path(__file__).parent)
    with subprocess.Popen([*argv, here], stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def folder_of(holder: subprocess.Popen[str]) -> str:
    """The folder of the lab that the process holds."""
    assert holder.stdout is not None
    return holder.stdout.readline().strip()


@pytest.mark.parametrize(
    "face",
    ["hostname", "cat /proc/sys/kernel/random/boot_id", "cat /etc/machine-id", "hostname -I"],
)
def test_every_host_shows_a_face_of_its_own(lab: Lab, face: str) -> None:
    shown = {lab.run(host, face.split()).stdout for host in ("ctl", "n1", "n2")}
    shown.add(subprocess.run(face.split(), capture_output=True, text=True, check=True).stdout)
    assert len(shown) == 4


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm"])
def test_file_in_a_hosts_own_folder_is_seen_by_no_other(lab: Lab, folder: str) -> None:
    lab.run("n1", ["touch", f"{folder}/only-n1"])
    assert lab.run("n2", ["test", "-e", f"{folder}/only-n1"], check=False).returncode == 1
    assert not os.path.exists(f"{folder}/only-n1")


def test_one_job_runs_on_both_hosts(lab: Lab) -> None:
    assert lab.run("ctl", ["srun", "-N2", "hostname"]).stdout.split() in (
        ["n1", "n2"],
        ["n2", "n1"],
    )


def test_host_with_its_cable_cut_is_not_reached_but_runs_on(make_lab: MakeLab) -> None:
    reach = ["timeout", "1", "bash", "-c", "exec 3<>/dev/tcp/n2/6818"]
    with make_lab() as lab:
        before = lab.run("n1", reach, check=False).returncode
        lab.cut_cable("n2")
        assert (before, lab.run("n1", reach, check=False).returncode) == (0, 124)
        assert lab.run("n2", ["pgrep", "-c", "-x", "slurmd"]).stdout == "1\n"


def test_host_without_power_is_not_reached(make_lab: MakeLab) -> None:
    reach = ["timeout", "1", "bash", "-c", "exec 3<>/dev/tcp/n2/6818"]
    with make_lab() as lab:
        lab.power_off("n2")
        assert lab.run("n1", reach, check=False).returncode != 0


def test_two_labs_at_once_do_not_meet(lab: Lab, make_lab: MakeLab) -> None:
    with make_lab() as other:
        lab.run("n1", ["touch", "/tmp/of-the-first"])
        assert other.run("n1", ["test", "-e", "/tmp/of-the-first"], check=False).returncode == 1
        assert other.run("ctl", ["srun", "-N2", "true"]).returncode == 0
    assert lab.run("ctl", ["srun", "-N2", "true"]).returncode == 0


def test_ended_lab_leaves_no_process_mount_link_or_folder(make_lab: MakeLab) -> None:
    before = links(), mounts()
    with make_lab() as lab:
        during = links(), mounts()
    assert (links(), mounts(), processes_of(str(lab.state))) == (*before, [])
    assert during == before
    assert not lab.state.exists()


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_lab_of_an_ended_process_is_gone_and_the_next_one_removes_its_folder(
    holder: subprocess.Popen[str], make_lab: MakeLab, kill: signal.Signals
) -> None:
    state = folder_of(holder)
    before = processes_of(state)
    holder.send_signal(kill)
    holder.wait(timeout=10)
    wait_until(lambda: not processes_of(state), 5, f"{state} to have no process")
    with make_lab():
        assert (bool(before), os.path.exists(state)) == (True, False)


def test_folder_of_a_living_lab_is_left_alone(
    holder: subprocess.Popen[str], make_lab: MakeLab
) -> None:
    state = folder_of(holder)
    with make_lab():
        assert os.path.exists(state)
