# SPDX-License-Identifier: Apache-2.0
"""`retrain submit`: what sbatch is told, and when it is not called at all."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fake_slurm import FakeSlurm, Retrain, leave

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "slurm" / "retrain.sh")


def entry(job: str) -> dict[str, object]:
    return dict(json.loads(Path(f"runs/.retrain-jobs/slurm-{job}.json").read_text()))


def test_words_go_to_the_script_as_they_are(
    retrain: Retrain, slurm: FakeSlurm, config: str
) -> None:
    slurm.answers("sbatch", "41\n")
    out = "our 'runs'; touch x"
    options = ["--nodes", "2", "--gpus-per-node", "4", "--time", "2:00:00", "--sbatch=--exclusive"]
    done = retrain(
        "submit", config, "head.l2=0.01", "name=a b", "--on", "slurm", "--out", out, *options
    )
    assert done.code == 0, done
    (words,) = slurm.calls("sbatch")
    told = words[words.index(SCRIPT) + 1 :]
    assert told == [config, "head.l2=0.01", "name=a b", "--out", str(Path.cwd() / out)]
    wanted = {"--nodes=2", "--gpus-per-node=4", "--time=2:00:00", "--exclusive", "--job-name=a_b"}
    assert wanted <= set(words[: words.index(SCRIPT)])


def test_submit_ends_with_how_to_follow_and_stop(
    retrain: Retrain, slurm: FakeSlurm, config: str
) -> None:
    slurm.answers("sbatch", "42;cluster\n")
    done = retrain("submit", config, "--on", "slurm")
    assert "retrain logs -f 42" in done.out
    assert done.out.splitlines()[-1].startswith("Stop      retrain cancel 42")


def test_journal_keeps_where_everything_is(retrain: Retrain, slurm: FakeSlurm, config: str) -> None:
    slurm.answers("sbatch", "43\n")
    retrain("submit", config, "--on", "slurm")
    here, kept = Path.cwd(), entry("43")
    assert kept["run"] == str(here / "runs" / "try out")
    assert (kept["log"], kept["folder"]) == (str(here / "retrain-43.out"), str(here))
    assert list(Path("runs/.retrain-jobs").glob(".*")) == []


def test_what_check_refuses_is_not_submitted(retrain: Retrain, slurm: FakeSlurm) -> None:
    done = retrain("submit", "nowhere.yaml", "--on", "slurm")
    assert (done.code, slurm.calls("sbatch")) == (2, [])
    assert "nowhere.yaml: no such file or folder" in done.err
    done = retrain("submit", "nowhere.yaml", "--on", "slurm", "--dry-run")
    assert done.code == 2


def test_data_that_are_not_there_end_with_3(
    retrain: Retrain, slurm: FakeSlurm, config: str
) -> None:
    done = retrain("submit", config, "data.bottlenecks=gone", "--on", "slurm")
    assert (done.code, slurm.calls("sbatch")) == (3, []), done


def test_dry_run_prints_a_line_that_a_shell_takes_back(
    retrain: Retrain, slurm: FakeSlurm, config: str
) -> None:
    name = "name=it's; touch x $(touch y)"
    done = retrain("submit", config, name, "--on", "slurm", "--dry-run")
    (line,) = done.out.splitlines()
    assert (name in shlex.split(line), slurm.calls("sbatch")) == (True, [])
    subprocess.run(["bash", "-c", line], check=True)
    assert name in slurm.calls("sbatch")[0]
    assert not Path("x").exists()
    assert not Path("y").exists()
    assert not Path("runs").exists()


def test_sbatch_that_refuses_is_told_in_its_words(
    retrain: Retrain, slurm: FakeSlurm, config: str
) -> None:
    said = "sbatch: error: invalid partition specified: gpu\n"
    said += "sbatch: error: Batch job submission failed: Invalid partition name specified\n"
    slurm.answers("sbatch", err=said, code=1)
    done = retrain("submit", config, "--on", "slurm")
    assert (done.code, "Invalid partition name" in done.err) == (2, True), done
    assert len(done.err.splitlines()) <= 3
    assert retrain("status").out.startswith("No jobs in")


def test_no_slurm_here_is_told(
    retrain: Retrain, slurm: FakeSlurm, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = retrain("submit", config, "--on", "slurm")
    assert (done.code, "login node" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--time", "2 hours"], "wanted a time"),
        (["--nodes", "0"], "0"),
        (["--site", "nowhere"], "no such site"),
        (["--site", "../../etc/passwd"], "no such file"),
        (["--on", "cloud"], "cloud: no such scheduler"),
        (["--sbatch", "job.sh"], "wanted an option"),
    ],
)
def test_wrong_words_end_with_2_and_submit_nothing(
    retrain: Retrain, slurm: FakeSlurm, config: str, words: list[str], said: str
) -> None:
    done = retrain("submit", config, "--on", "slurm", *words)
    assert (done.code, said in done.err, slurm.calls("sbatch")) == (2, True, []), done


def test_where_to_must_be_said(retrain: Retrain, config: str) -> None:
    done = retrain("submit", config)
    assert (done.code, done.err.splitlines()[0]) == (2, "retrain: --on: is missing.")


@pytest.fixture
def hill(slurm: FakeSlurm) -> Path:
    """A site's file of one's own."""
    path = Path("configs/sites/hill.yaml").resolve()
    path.parent.mkdir(parents=True)
    path.write_text(
        "partition: gpu\naccount: ours\ngpus: {request: gres, per_node: 4, type: v100}\n"
        "sbatch: [--exclusive]\nlauncher: srun\n"
    )
    return path


@pytest.mark.parametrize("name", ["hill", "configs/sites/hill.yaml"])
def test_site_decides_partition_account_and_how_gpus_are_asked_for(
    retrain: Retrain, config: str, hill: Path, name: str
) -> None:
    options = ["--on", "slurm", "--site", name, "--gpus-per-node", "2", "--dry-run"]
    words = shlex.split(retrain("submit", config, *options).out)
    wanted = {"--partition=gpu", "--account=ours", "--gres=gpu:v100:2", "--exclusive"}
    assert wanted <= set(words)
    assert words[:3] == ["env", f"RETRAIN_SITE={hill}", "sbatch"]


def test_site_is_found_by_the_environment_and_by_the_clusters_name(
    retrain: Retrain, slurm: FakeSlurm, config: str, hill: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.answers("scontrol", "AuthType = auth/munge\nClusterName             = hill\n")
    by_cluster = retrain("submit", config, "--on", "slurm", "--dry-run").out
    slurm.forget("scontrol")
    assert "hill" not in retrain("submit", config, "--on", "slurm", "--dry-run").out
    monkeypatch.setenv("RETRAIN_SITE", "hill")
    assert retrain("submit", config, "--on", "slurm", "--dry-run").out == by_cluster
    assert "--gres=gpu:v100:4" in by_cluster


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partition: a b; c", "partition: wanted a word"),
        ("sbatch: exclusive", "sbatch: wanted a list"),
        ("gpus: {request: tres}", "gpus.request: wanted gpus-per-node or gres"),
        ("gpus: 4", "gpus: wanted"),
        ("a: [", "cannot be read"),
    ],
)
def test_wrong_site_is_told_by_file_and_key(
    retrain: Retrain, config: str, hill: Path, text: str, said: str
) -> None:
    hill.write_text(text)
    done = retrain("submit", config, "--on", "slurm", "--site", "hill", "--dry-run")
    assert (done.code, f"{hill}: {said}" in done.err) == (2, True), done
    assert len(done.err.splitlines()) <= 3


def test_folder_that_slurm_cannot_write_to_is_refused(
    retrain: Retrain, slurm: FakeSlurm, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("back\\slash").mkdir()
    text = Path(config).read_text().replace("texts", str(Path("texts").resolve()))
    Path("back\\slash/c.yaml").write_text(text)
    monkeypatch.chdir("back\\slash")
    done = retrain("submit", "c.yaml", "--on", "slurm")
    assert (done.code, "backslash" in done.err, slurm.calls("sbatch")) == (2, True, [])


def test_percent_signs_in_the_folder_are_no_patterns(
    retrain: Retrain, slurm: FakeSlurm, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = texts.resolve()
    Path("100%j").mkdir()
    monkeypatch.chdir("100%j")
    done = retrain("submit", ".", f"data.bottlenecks={source}", "--on", "slurm", "--dry-run")
    assert f"{Path.cwd().parent}/100%%j/retrain-%j.out" in done.out


@pytest.mark.parametrize(("status", "code"), [("complete", 0), ("stopped", 75), ("failed", 3)])
def test_submit_wait_ends_as_the_run_did(
    retrain: Retrain, slurm: FakeSlurm, config: str, status: str, code: int
) -> None:
    slurm.answers("sbatch", "44\n")
    slurm.queue("44 FAILED None 768")
    word = f'"status": "{status}"'
    late = f"mkdir -p 'runs/try out'\necho '{{{word}}}' >'runs/try out/results.json'\necho 44\n"
    slurm.forget("sbatch")
    (slurm.folder / "answers" / "sbatch.99").write_text(late)
    done = retrain("submit", config, "--on", "slurm", "--wait")
    assert done.code == code, done


def test_results_of_an_earlier_job_are_not_this_ones(
    retrain: Retrain, slurm: FakeSlurm, config: str
) -> None:
    leave(Path("runs/try out"), "complete")
    slurm.answers("sbatch", "45\n")
    slurm.queue("45 FAILED None 512")
    done = retrain("submit", config, "--on", "slurm", "--wait", "--again")
    assert done.code == 2, done


def test_nothing_of_the_folder_is_imported(retrain: Retrain, slurm: FakeSlurm, config: str) -> None:
    Path("yaml.py").write_text("open('stolen', 'w')\n")
    slurm.answers("sbatch", "46\n")
    assert retrain("submit", config, "--on", "slurm").code == 0
    assert not Path("stolen").exists()


def test_cluster_commands_load_nothing_heavy() -> None:
    program = "import sys, jobs.cli, jobs.slurm, jobs.follow, jobs.table, jobs.submit\n"
    program += (
        "print([m for m in ('trainer', 'numpy', 'tensorflow', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def child(program: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Runs Python code in a process of its own, which finds packages in these folders first."""
    return subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(map(str, paths)), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )


def test_commands_are_found_where_an_installation_announces_them(tmp_path: Path) -> None:
    info = tmp_path / "cluster-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cluster\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[retrain.commands]\npull = cluster:pull\n")
    (tmp_path / "cluster.py").write_text(
        "import click\n@click.command()\ndef pull():\n    click.echo('ours')\n"
    )
    done = child("from trainer.cli import main; main(['pull'])", tmp_path, ROOT)
    assert (done.returncode, done.stdout) == (0, "ours\n"), done


def test_trainer_alone_does_without_the_cluster_commands() -> None:
    hidden = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name == "jobs":
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Hide())
from trainer.cli import main
"""
    done = child(f"{hidden}main(['--help'])", ROOT)
    assert (done.returncode, "Cluster" in done.stdout) == (0, False), done
    done = child(f"{hidden}main(['submit'])", ROOT)
    assert (done.returncode, "make setup" in done.stderr) == (2, True), done
