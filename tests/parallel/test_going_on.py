# SPDX-License-Identifier: Apache-2.0
"""What a start does after one that was stopped late, failed late, or was refused."""

from __future__ import annotations

from pathlib import Path
from signal import SIGKILL

import pytest

from one_process import run_program
from test_texts import config, write_texts
from trainer.report.gather import gather
from trainer.rundir import RunDir


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return config(write_texts(tmp_path / "data", 0.6), tmp_path)


STOP_IN = """
def disturbed(name, disturb):
    # The function of publish, with something that happens when it has been called.
    real = getattr(publish, name)

    def call(*words):
        setattr(publish, name, real)
        result = real(*words)
        disturb()
        return result

    setattr(publish, name, call)


def ask():
    stopping.requested = True


for step in ("save_model", "_write_tables", "_write_page"):
    disturbed(step, ask)
    try:
        run("late")
        print(json.dumps("not stopped"))
    except Stopped:
        stopping.requested = False
        results = RunDir(folder / "late").read_results()
        print(json.dumps([step, results["status"], (folder / "late/stages/stopped.json").exists()]))
results, said = run("late")
print(json.dumps([results["status"], said]))
print(json.dumps((folder / "late/stages/stopped.json").exists()))
"""


def test_stop_between_the_last_steps_is_heard_and_what_was_done_is_passed_over(
    texts: Path, tmp_path: Path
) -> None:
    *stops, (status, said), noted = run_program(STOP_IN, texts, tmp_path)
    assert stops == [
        [step, "stopped", True] for step in ("save_model", "_write_tables", "_write_page")
    ]
    assert status == "complete"
    assert "Head: done before, passed over" in said
    assert "Model: done before, passed over" in said
    assert not noted


STOP_AT_THE_END = """
real = RunDir.write_complete


def write_complete(self, results):
    stopping.requested = True
    real(self, results)


RunDir.write_complete = write_complete
results, _ = run("end")
print(json.dumps(results["status"]))
"""


def test_stop_that_comes_with_the_final_mark_comes_too_late(texts: Path, tmp_path: Path) -> None:
    assert run_program(STOP_AT_THE_END, texts, tmp_path) == ["complete"]


FAIL = """
def fail(run):
    raise RetrainError("no room")


real, publish.write_report = publish.write_report, fail
try:
    run("failed")
except RetrainError:
    print(json.dumps(RunDir(folder / "failed").status()))
publish.write_report = real
results, said = run("failed")
print(json.dumps([results["status"], said]))
"""


def test_run_that_failed_at_the_end_goes_on_there(texts: Path, tmp_path: Path) -> None:
    failed, (status, said) = run_program(FAIL, texts, tmp_path)
    assert (failed, status) == ("failed", "complete")
    assert "Head: done before, passed over" in said
    assert "Model: done before, passed over" in said


KILL = """
import os
import signal

real = os.replace


def replace(source, target, **keywords):
    if os.fspath(target) == os.fspath(RunDir(folder / "killed").report):
        os.truncate(source, os.path.getsize(source) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target, **keywords)


os.replace = replace
run("killed")
"""

GO_ON = """
for name in ("killed", "undisturbed"):
    results, said = run(name)
    print(json.dumps([results["status"], said]))
"""


def test_run_killed_in_the_middle_of_its_report_has_none_and_goes_on_there(
    texts: Path, tmp_path: Path
) -> None:
    run_program(KILL, texts, tmp_path, code=-SIGKILL)
    killed, undisturbed = (RunDir(tmp_path / name) for name in ("killed", "undisturbed"))
    assert not killed.report.exists()
    (run,) = [row.run for group in gather([killed.path], tmp_path).groups for row in group.rows]
    assert run.status == "stopped"
    (status, said), _ = run_program(GO_ON, texts, tmp_path)
    assert status == "complete"
    assert "Model: done before, passed over" in said
    assert killed.report.read_text(encoding="utf-8").endswith("</html>\n")
    assert killed.predictions.read_bytes() == undisturbed.predictions.read_bytes()
    assert not list(killed.path.glob(".report*"))


REFUSE = """
def save_if_due(keeper, name, arrays):
    stopping.requested = True


real, Keeper.save_if_due = Keeper.save_if_due, save_if_due
try:
    run("refused")
except Stopped:
    Keeper.save_if_due, stopping.requested = real, False
strange = folder / "data" / "a" / "strange.jpg.txt"
shutil.copy(folder / "data" / "a" / "0.jpg.txt", strange)
for _ in range(2):
    try:
        run("refused")
        print(json.dumps("taken"))
    except RetrainError as error:
        print(json.dumps([error.exit_code, error.message, RunDir(folder / "refused").status()]))
strange.unlink()
results, said = run("refused")
print(json.dumps([results["status"], "going on" in said]))
"""


def test_other_data_is_refused_again_and_again_and_the_run_can_still_go_on(
    texts: Path, tmp_path: Path
) -> None:
    first, second, end = run_program(REFUSE, texts, tmp_path)
    assert first == second
    assert first[0] == 2
    assert "made with other data" in first[1]
    assert first[2] == "stopped"
    assert end == ["complete", True]
