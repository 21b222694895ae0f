# SPDX-License-Identifier: Apache-2.0
"""Sites: which is chosen, what their files may say, and how mistakes in them are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer import site
from trainer.cli import main
from trainer.errors import UsageError
from trainer.site import Site, find, load

READY = Path(__file__).parents[2] / "configs" / "sites"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No cluster and no wish; two sites in a folder of their own."""
    for name in ("RETRAIN_SITE", "SLURM_CLUSTER_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(site, "folders", lambda: [tmp_path / "sites"])
    (tmp_path / "sites").mkdir()
    for name in ("generic", "summit"):
        (tmp_path / "sites" / f"{name}.yaml").write_text("launcher: mpirun\n")
    return tmp_path / "sites"


def wrote(folder: Path, text: str) -> Path:
    path = folder / "ours.yaml"
    path.write_text(text)
    return path


# Which


def test_name_goes_before_the_variable_and_that_before_the_cluster(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        (nowhere / f"{name}.yaml").touch()
    monkeypatch.setenv("RETRAIN_SITE", "b")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "c")
    assert find("a") == nowhere / "a.yaml"
    assert find(None) == nowhere / "b.yaml"
    monkeypatch.delenv("RETRAIN_SITE")
    assert find(None) == nowhere / "c.yaml"


@pytest.mark.parametrize("cluster", ["unheard-of", "../sites/summit", ""])
def test_cluster_without_a_file_gets_the_generic_one(
    cluster: str, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CLUSTER_NAME", cluster)
    assert find(None) == nowhere / "generic.yaml"


def test_login_node_asks_slurm_for_the_clusters_name(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.write_text("#!/bin/sh\necho 'BatchStartTimeout = 10'\necho 'ClusterName = summit'\n")
    scontrol.chmod(0o755)
    assert find(None) == nowhere / "summit.yaml"


def test_path_is_a_file_of_ones_own(tmp_path: Path) -> None:
    own = wrote(tmp_path, "launcher: srun\n")
    assert find(str(own)) == own


def test_name_that_is_none_suggests_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        find("sumit")
    assert (caught.value.message, caught.value.todo) == (
        "sumit: no such site.",
        "Did you mean summit?",
    )


def test_job_script_is_answered_by_a_command_that_the_help_does_not_list(
    nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["site", "summit"])
    assert ended.value.code == 0
    assert "launcher=mpirun\0" in capsys.readouterr().out


# What


def test_file_that_says_nothing_but_a_launcher_has_the_defaults(nowhere: Path) -> None:
    assert load(nowhere / "summit.yaml") == Site(name="summit")


@pytest.mark.parametrize("path", sorted(READY.glob("*.yaml")), ids=lambda path: path.stem)
def test_ready_site_is_sound(path: Path) -> None:
    assert load(path).name == path.stem


def test_generic_site_lists_every_key_with_its_default() -> None:
    text = (READY / "generic.yaml").read_text()
    assert load(READY / "generic.yaml") == Site(name="generic")
    missing = [key for key in Site.model_fields if key != "name" and f"\n{key}:" not in text]
    assert missing == []


@pytest.mark.parametrize(
    ("gpus", "option"),
    [
        ("{per_node: 4}", "--gpus-per-node=4"),
        ("{per_node: 4, type: v100}", "--gpus-per-node=v100:4"),
        ("{request: gres, per_node: 6, type: v100}", "--gres=gpu:v100:6"),
    ],
)
def test_gpus_are_asked_for_as_the_site_wants(tmp_path: Path, gpus: str, option: str) -> None:
    text = f"gpus: {gpus}\npartition: gpu\naccount: ab12\nsbatch: [--qos=high]\n"
    wanted = ["--partition=gpu", "--account=ab12", option, "--qos=high"]
    assert load(wrote(tmp_path, text)).options() == wanted


def test_account_may_be_a_number(tmp_path: Path) -> None:
    assert load(wrote(tmp_path, "account: 1234")).options() == ["--account=1234"]


def test_variables_in_paths_are_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = load(wrote(tmp_path, "cache: $STORE/a b\nlauncher: srun\n"))
    monkeypatch.setenv("STORE", "/big")
    assert found.for_script()["cache"] == "/big/a b"
    assert found.for_script()["mpi"] == "pmix"
    monkeypatch.delenv("STORE")
    with pytest.raises(UsageError, match=r"cache: .*not set"):
        found.for_script()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("launchr: srun", "launchr: unknown key. Did you mean launcher?"),
        ("gpus: {pernode: 4}", "gpus.pernode: unknown key. Did you mean gpus.per_node?"),
        ("launcher: slurm", "launcher: found 'slurm'; wanted 'mpirun' or 'srun'"),
        ("partition: a b", "partition: found 'a b'; wanted a word"),
        ("partition: $(touch x)", "partition: found '$(touch x)'; wanted a word"),
        ("sbatch: [x]", "wanted an option of sbatch as one word"),
        ("mpi: pmix", "mpi is srun's"),
        ("{stage: squashfs, python: {apptainer: a}}", "squashfs copies a virtual environment"),
        ("{stage: sbcast, python: {conda: a}}", "sbcast copies a virtual environment"),
        ("python: {venv: /a, conda: b}", "one of venv, conda, apptainer and modules"),
        ("python:\n  venv: /a", "Write it on one line"),
        ("python: {venv: '/a'}", "Write it on one line"),
        ("- a", "wanted keys and values"),
        ("a: [", "broken YAML"),
    ],
)
def test_mistake_is_told_with_the_way_out(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(wrote(tmp_path, text))
    assert told in f"{caught.value.message} {caught.value.todo}"
    assert caught.value.message.startswith(str(tmp_path))
