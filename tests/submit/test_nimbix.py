# SPDX-License-Identifier: Apache-2.0
"""`retrain submit --on nimbix` and what follows it, against the emulator, which runs the jobs."""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_slurm import FakeSlurm, Retrain
from jarvice import App, Jarvice, can_box
from jobs import cli, follow, jarvice, nimbix
from jobs.jarvice_http import Limits
from trainer.rundir import RunDir

ROOT = Path(__file__).parents[2]
IMAGE = ("--image", "me/retrain:1", "--walltime", "00:10:00", "--machine", "n2")
QUICK = ("head.l2=0.01", "evaluate.folds=0")
WHERE = "data.bottlenecks=/data/texts"
SLOW = "#!/bin/bash\ntrap 'exit 75' TERM\necho begins\nsleep 60 &\nwait\n"
needs_box = pytest.mark.skipif(not can_box(), reason="only root can give a job a /data of its own")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short pauses, and a client for each test's own server."""
    short = Limits(pause=0.05, longest_pause=0.2, patience=10.0, look_up=1.0, read=1.0)
    monkeypatch.setattr(jarvice.Jarvice.__init__, "__defaults__", (short,))
    monkeypatch.setattr(nimbix, "_ASK_SECONDS", 0.1)
    monkeypatch.setattr(nimbix, "_END_SECONDS", 5.0)
    monkeypatch.setattr(follow, "SHORTEST", 0.1)
    monkeypatch.setattr(nimbix.Nimbix, "longest", 0.3)
    cli.find_scheduler.cache_clear()
    yield
    cli.find_scheduler.cache_clear()


@pytest.fixture
def server(slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jarvice]:
    """The emulator with this clone for an image, its account in the environment."""
    image = {Path("/opt/retrain"): ROOT}
    with Jarvice(tmp_path / "jarvice", image=image, moment=1.0) as server:
        for name, value in server.account.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def filled(server: Jarvice, texts: Path) -> Jarvice:
    """The same, with bottleneck texts in its vault."""
    vault = server.vault("persistent")
    shutil.copytree(texts, vault / "texts")
    return server


def script(server: Jarvice) -> str:
    """What the last job was told to run."""
    return base64.b64decode(server.jobs[-1].order.body["container"]["jobscript"]).decode()


def stand_in(server: Jarvice, tmp_path: Path, program: str) -> None:
    """Another program in place of the image's launcher."""
    clone = tmp_path / "clone"
    launcher = clone / "jobs" / "nimbix" / "launch.sh"
    launcher.parent.mkdir(parents=True)
    launcher.write_text(program)
    for path in (clone, launcher.parent.parent, launcher.parent, launcher):
        path.chmod(0o755)
    server.image = {Path("/opt/retrain"): clone}


@needs_box
def test_two_ranks_train_and_the_results_come_home(retrain: Retrain, filled: Jarvice) -> None:
    done = retrain("submit", "/data/texts", WHERE, *QUICK, "--on", "nimbix", *IMAGE, "--wait")
    assert done.code == 0, done
    run = RunDir(Path("runs/texts"))
    results = run.read_results()
    assert (results["status"], results["world"]["size"]) == ("complete", 2)
    assert run.report.is_file()
    assert run.damaged() == []
    job = str(filled.jobs[0].number)
    log = Path(f"retrain-{job}.out").read_text()
    assert "INIT[" not in log
    assert "on 2 ranks" in log
    assert log.endswith("(the results, for `retrain pull`)\nJOB_EXIT_CODE=0\n")
    assert f"{job}  texts  done" in retrain("status").out
    again = retrain("submit", "/data/texts", WHERE, *QUICK, "--on", "nimbix", *IMAGE, "--wait")
    assert "is done, with these settings and this data." in retrain("logs", "runs/texts").out
    assert again.code == 0
    gathered = retrain("gather", "runs")
    assert "1 complete" in gathered.out


@needs_box
def test_app_runs_the_same_with_settings_that_hold_blanks(
    retrain: Retrain, filled: Jarvice
) -> None:
    appdef = json.loads((ROOT / "jobs" / "nimbix" / "AppDef.json").read_text())
    filled.apps = [App("me-retrain", appdef)]
    words = ("/data/texts", WHERE, *QUICK, "name=a 'b' c", "--on", "nimbix")
    app = ("--app", "me-retrain", "--walltime", "0:10:00", "--machine", "n1")
    done = retrain("submit", *words, *app, "--wait")
    assert done.code == 0, (done, retrain("logs", "me"))
    assert RunDir(Path("runs/a 'b' c")).read_results()["name"] == "a 'b' c"
    assert filled.jobs[0].order.body["application"]["walltime"] == "00:10:00"


@needs_box
def test_exit_code_is_the_jobs_and_its_reason_is_told(retrain: Retrain, server: Jarvice) -> None:
    done = retrain("submit", "/data/gone", "--on", "nimbix", *IMAGE, "--wait")
    assert done.code == 2
    assert "failed: /data/gone: no such file or folder." in done.err
    job = str(server.jobs[0].number)
    for word in (job, server.jobs[0].name, "runs/gone", "gone"):
        assert "no such file or folder" in retrain("status", word).out
        assert retrain("wait", word).code == 2


@needs_box
def test_log_is_live_and_cancel_leaves_nothing(
    retrain: Retrain, server: Jarvice, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in(server, tmp_path, SLOW)
    assert retrain("submit", "/data/x", "--on", "nimbix", *IMAGE).code == 0
    job = server.jobs[0]
    deadline = time.monotonic() + 20
    while "begins" not in retrain("logs", str(job.number)).out:
        assert time.monotonic() < deadline
    assert "running" in retrain("status", "x").out
    assert retrain("cancel", "x").code == 0
    assert job.ended
    assert retrain("wait", "x").code in (1, 75)
    assert f"Job {job.number}  has ended" in retrain("cancel", "x").out


@needs_box
def test_job_that_waits_is_cancelled(retrain: Retrain, server: Jarvice) -> None:
    server.delay = 60.0
    retrain("submit", "/data/x", "--on", "nimbix", *IMAGE)
    assert "queued" in retrain("status").out
    retrain("cancel", "x")
    assert "cancelled" in retrain("status").out


@pytest.mark.parametrize(
    "fault", ["503", "502", "reset", "lost", "empty", "html", "cut", "list", "broken-off", "hang"]
)
@needs_box
def test_whatever_fails_at_submission_there_is_one_job(
    fault: str, retrain: Retrain, server: Jarvice, tmp_path: Path
) -> None:
    stand_in(server, tmp_path, "#!/bin/bash\necho JOB_EXIT_CODE=0\n")
    server.fault(fault, times=1, on="batch")
    done = retrain("submit", "/data/x", "--on", "nimbix", *IMAGE)
    assert (done.code, len(server.jobs)) == (0, 1), done
    assert done.out.startswith(f"Job       {server.jobs[0].number}  x, on nimbix")
    retrain("wait", "x")


@pytest.mark.parametrize(
    "fault",
    [
        *("503", "502", "504", "429", "reset", "broken-off", "empty", "cut"),
        *("output-late", "status-late", "jobs-late", "short-canceled", "unknown-keys", "clamped"),
    ],
)
@needs_box
def test_waiting_ends_with_the_jobs_code_whatever_the_api_does(
    fault: str, retrain: Retrain, server: Jarvice, tmp_path: Path
) -> None:
    stand_in(server, tmp_path, "#!/bin/bash\necho\necho JOB_EXIT_CODE=3\nexit 3\n")
    server.delay = 0.3
    retrain("submit", "/data/x", "--on", "nimbix", *IMAGE)
    server.fault(fault, times=2)
    assert retrain("wait", "x").code == 3


def test_refused_key_and_unknown_words_of_a_job_are_told(retrain: Retrain, server: Jarvice) -> None:
    server.delay = 60.0
    retrain("submit", "/data/x", "--on", "nimbix", *IMAGE)
    server.fault("401", times=1)
    refused = retrain("status")
    assert (refused.code, "JARVICE_API_KEY" in refused.err) == (2, True)
    server.fault("unknown-status")
    assert "unknown" in retrain("status").out


def test_key_is_in_no_url_file_or_message(
    retrain: Retrain, server: Jarvice, tmp_path: Path
) -> None:
    server.delay = 60.0
    said = [retrain("submit", "/data/x", "--on", "nimbix", *IMAGE)]
    said += [retrain("--debug", verb, "x") for verb in ("status", "logs", "cancel", "pull")]
    said.append(retrain("submit", "/data/x", "--on", "nimbix", *IMAGE, "--dry-run"))
    key = server.account["JARVICE_API_KEY"]
    assert not any(key in one.out + one.err for one in said)
    assert not any(key in request.path for request in server.requests)
    written = [path for path in Path().rglob("*") if path.is_file()]
    assert written
    assert not any(key in path.read_text(errors="replace") for path in written)


def test_dry_run_prints_the_request_and_sends_none(retrain: Retrain, server: Jarvice) -> None:
    done = retrain("submit", "/data/x", "--on", "nimbix", *IMAGE, "--nodes", "2", "--dry-run")
    opening, _, body = done.out.partition("\n")
    assert opening == "POST /jarvice/batch"
    told: dict[str, Any] = json.loads(body)
    assert told["machine"] == {"type": "n2", "nodes": 2}
    assert "user" not in told
    assert server.jobs == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["/data/x"], "--image, --app: wanted one of them."),
        (["/data/x", "--image", "i"], "--walltime: wanted HH:MM:SS."),
        (["/data/x", "--image", "i", "--walltime", "90"], "--walltime 90: wanted HH:MM:SS."),
        (["texts", *IMAGE], "texts: lies here, and the job sees the vault alone."),
        (["here.yaml", *IMAGE], "data.images: photos does not lie in the vault"),
        (["here.yaml", "data.images=/data/../etc", *IMAGE], "/data/../etc does not lie in the"),
        (["here.yaml", "data.images=/data/x", "run.cache=/tmp", *IMAGE], "run.cache: /tmp does"),
        (["/data/x", "backbone.weights=w.h5", *IMAGE], "backbone.weights: w.h5 does not"),
        (["/data/x", "--out", "/runs", *IMAGE], "--out /runs: wanted a folder below this one"),
        (["/data/x", "--out", "../x", *IMAGE], "--out ../x: wanted a folder below this one"),
        (["/data/x", "head.l2=many", *IMAGE], "head.l2: found many"),
        (["/data/x", "head", *IMAGE], "head: wanted key=value."),
        (["/data/x", *IMAGE, "--machine", "n3"], "Did you mean n"),
        (["/data/x", *IMAGE, "--machine", "n1", "--nodes", "99"], "a job on it has"),
        (["/data/x", *IMAGE, "--time", "1"], "--time: only with --on slurm."),
        (["/data/x", *IMAGE, "--sweep", "a=1,2"], "--sweep: only with --on slurm."),
        (["gone.yaml", *IMAGE], "gone.yaml: cannot be read"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_submitted(
    words: list[str], told: str, retrain: Retrain, server: Jarvice, texts: Path
) -> None:
    Path("here.yaml").write_text("data: {images: photos}\n")
    done = retrain("submit", *words, "--on", "nimbix")
    assert (done.code, server.jobs) == (2, []), done
    assert told in done.out + done.err


def test_configuration_goes_along_as_settings(retrain: Retrain, server: Jarvice) -> None:
    server.delay = 60.0
    text = "name: ours\ndata: {images: /data/p q}\nhead: {l2: 1.0e-05, class_weight: null}\n"
    Path("c.yaml").write_text(text)
    retrain("submit", "c.yaml", "head.l2=0.5", "--on", "nimbix", *IMAGE, "--out", "runs/z")
    told = script(server)
    assert "launch.sh --walltime 600 '/data/p q' name=ours 'data.images=/data/p q'" in told
    assert "head.l2=1.0e-05 head.l2=0.5 --out /data/runs/z\n" in told
    assert "class_weight" not in told


def test_submission_ends_with_its_costs_and_how_to_stop(retrain: Retrain, server: Jarvice) -> None:
    server.delay = 60.0
    lines = retrain("submit", "/data/x", "--on", "nimbix", *IMAGE, "--nodes", "2").out.splitlines()
    assert lines[-2].startswith(f"Stop      retrain cancel {server.jobs[0].number}")
    assert lines[-1].startswith("Costs     0.40 an hour for 2 nodes of n2, until it is done, or at")
