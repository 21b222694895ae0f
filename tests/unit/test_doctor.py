# SPDX-License-Identifier: Apache-2.0
"""What is told of a machine's parts, and which of them a run cannot do without."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from trainer import doctor
from trainer.doctor_world import Finding


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it, in an empty folder."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "bin"


def test_machine_without_slurm_can_do_runs() -> None:
    assert doctor._slurm().state == "absent"


def test_slurm_is_told_with_its_version(path: Path) -> None:
    program(path, "sbatch", "echo slurm 22.05.8")
    assert doctor._slurm() == Finding("Slurm", "ok", "slurm 22.05.8")


def test_slurm_without_a_cluster_is_told_in_one_line_and_stops_no_run(path: Path) -> None:
    program(path, "sbatch", "echo no controller >&2; echo more >&2; exit 1")
    found = doctor._slurm()
    assert found.state == "absent"
    assert found.detail == f"{path / 'sbatch'} reaches no cluster: no controller"


def test_cache_that_cannot_be_made_is_missing_and_says_how_to_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RETRAIN_CACHE", str(tmp_path / "file" / "cache"))
    found = doctor._cache()
    assert found.state == "missing"
    assert found.mend == "export RETRAIN_CACHE=FOLDER"


def test_cache_on_a_sound_file_system_is_ok(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRAIN_CACHE", str(tmp_path / "cache"))
    assert doctor._cache().state == "ok"
    assert not list((tmp_path / "cache").iterdir())


LOOKS = "_python _cores _gpus _tensorflow _weights _cache _slurm".split()


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("absent", 0), ("missing", 1)])
def test_exit_code_says_whether_a_run_can_be_done(
    state: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for look in LOOKS:
        finding = Finding(look, "ok", "found", "mend it")
        monkeypatch.setattr(doctor, look, lambda finding=finding: finding)
    monkeypatch.setattr(doctor, "_world", lambda: [Finding("_world", state, "found")])
    assert doctor.examine() == code
    assert "-> mend it" in capsys.readouterr().out


TWO_GPUS = "Tesla V100;7;0;17179869184;0000:07:00.0;1\nA100;8;0;42949672960;0000:0B:00.0;2"


def gpus(ask: Callable[..., Any], seen: str = "(True, '2')", **variables: str) -> Finding:
    """The line on GPUs; `seen` is what TensorFlow answers."""
    knowing = f"from trainer import doctor\ndoctor._probe = lambda _: {seen}"
    return Finding(**ask("doctor._gpus()", knowing, **variables).value)


def test_gpus_are_told_by_name_and_memory(ask: Callable[..., Any]) -> None:
    found = gpus(ask, FAKE_GPUS=TWO_GPUS)
    assert found == Finding("GPUs", "ok", "Tesla V100, 16 GiB; A100, 40 GiB")


def test_machine_without_gpus_can_do_runs(ask: Callable[..., Any]) -> None:
    assert gpus(ask, CUDA_VISIBLE_DEVICES="").state == "absent"


def test_gpus_that_were_given_and_are_not_shown_are_missing(ask: Callable[..., Any]) -> None:
    found = gpus(ask, CUDA_VISIBLE_DEVICES="0,1", FAKE_CUINIT="803")
    assert found.state == "missing"
    assert "GPUs given to this job: 2" in found.detail
    assert "nvidia-smi" in found.mend


@pytest.mark.parametrize("seen", ["(True, '0')", "(False, 'ImportError')"])
def test_gpus_that_tensorflow_does_not_see_are_mended_by_another_set_up(
    seen: str, ask: Callable[..., Any]
) -> None:
    found = gpus(ask, seen, FAKE_GPUS=TWO_GPUS)
    assert found.state == "missing"
    assert found.mend.startswith("make setup GPU=cuda")


def test_weights_are_told_for_every_backbone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("RETRAIN_CACHE", str(tmp_path / "cache"))
    absent = doctor._weights()
    assert absent.state == "absent"
    assert "retrain fetch" in absent.mend
    lies = {"resnet50": tmp_path / "cache" / "weights" / "w.h5"}
    monkeypatch.setattr(doctor, "find_imagenet", lambda network, _: lies.get(network.name))
    found = doctor._weights()
    assert (found.state, found.mend) == ("ok", "")
    assert f"resnet50 ({tmp_path / 'cache' / 'weights'})" in found.detail
    assert "not in the caches: inception_v3, mobilenet_v2, efficientnet_lite0" in found.detail


class _Live(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer as the API does, to the one question that needs no account."""
        self.send_response(200 if self.path == "/api/jarvice/live" else 404)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        """Say nothing."""


def test_jarvice_is_asked_whether_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Live)
    url = f"http://127.0.0.1:{server.server_address[1]}/api"
    threading.Thread(target=server.handle_request, daemon=True).start()
    monkeypatch.setenv("JARVICE_API_URL", url + "/")
    assert doctor._jarvice() == Finding("JARVICE", "ok", f"{url} answers with 200")
    server.server_close()
    assert doctor._jarvice().state == "absent"


@pytest.mark.parametrize(
    ("url", "told"), [("", "no JARVICE_API_URL"), ("x", "wanted"), ("https://me:key@x", "wanted")]
)
def test_jarvice_without_an_address_stops_no_run_and_shows_no_password(
    url: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JARVICE_API_URL", url)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = doctor._jarvice()
    assert (found.state, told in found.detail, "key" in found.detail) == ("absent", True, False)
