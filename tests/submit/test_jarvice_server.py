# SPDX-License-Identifier: Apache-2.0
"""The emulator of JARVICE, by plain HTTP: what it is asked, what it answers, what jobs see."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from jarvice import FAULTS, App, Jarvice, Machine, api, can_box
from jarvice.asking import ask, batch, body, ended, listed, output, post, send, status, until

ROOT = Path(__file__).parents[2]
boxed = pytest.mark.skipif(not can_box(), reason="needs root and namespaces")


def parameter(kind: str, **more: object) -> dict[str, object]:
    about = {"name": "A", "description": "A", "type": kind, "required": False, "positional": False}
    return {**about, **more}


APPDEF: dict[str, Any] = {
    "name": "Words",
    "description": "Shows its words",
    "author": "Team",
    "appdefversion": 2,
    "licensed": True,
    "classifications": ["AI/Deep Learning"],
    "machines": ["n2", "ng*", "np9g*"],
    "scale_max": 4,
    "vault-types": ["FILE"],
    "commands": {
        "show": {
            "path": "/usr/bin/printf",
            "name": "Show",
            "description": "Print each word",
            "verboseinit": True,
            "parameters": {
                "form": parameter("CONST", value="%s|", required=True, positional=True),
                "file": parameter("FILE", filter="*.py|*.txt", positional=True),
                "free": parameter("STR", value="", positional=True),
                "-n": parameter("INT", value=3, min=1, max=9),
                "-v": parameter("BOOL", value=False),
                "-d": parameter("selection", values=["Much", "Little"], mvalues=["9", "1"]),
                "-m": parameter("STR", value="x", **{"if": ["-v"]}),
                "GPUS": parameter("CONST", value="%GPUS% of %TGPUS% in %JOBLABEL%", variable=True),
            },
        }
    },
    "image": {"type": "image/png", "data": ""},
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Jarvice]:
    with Jarvice(tmp_path / "site", apps=[App("words", APPDEF), App("shell")]) as it:
        yield it


def submission(server: Jarvice, **parameters: object) -> dict[str, Any]:
    document = body(server, "") | {
        "app": "words",
        "application": {"command": "show", "parameters": parameters},
    }
    del document["container"]
    return document


@pytest.mark.parametrize("root", ["/jarvice/", "/api/jarvice/"])
@pytest.mark.parametrize("form", ["query", "form", "json"])
def test_query_form_and_json_ask_the_same_under_both_roots(
    server: Jarvice, root: str, form: str
) -> None:
    url = server.url.removesuffix("/api") + root + "machines"
    words = {"username": server.user, "apikey": server.key, "name": "np9g4"}
    query = urllib.parse.urlencode(words)
    data = {"form": query.encode(), "json": json.dumps(words).encode()}
    reply = send(f"{url}?{query}" if form == "query" else url, data.get(form))
    assert reply.json["np9g4"]["mc_arch"] == "ppc64le"
    assert reply.text.startswith('{\n    "np9g4": {\n        "mc_name"')


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ({"apikey": ""}, 400, "Required parameter(s) missing"),
        ({"apikey": "wrong"}, 401, "Unauthorized"),
        ({}, 400, "No job specified"),
        ({"number": "x"}, 400, "Invalid parameter(s)"),
        ({"number": "1", "name": "a"}, 400, "Invalid parameter(s)"),
        ({"number": "1"}, 404, "Job not found"),
    ],
)
def test_a_call_is_refused_in_the_order_of_the_checks(
    server: Jarvice, words: dict[str, str], code: int, text: str
) -> None:
    reply = ask(server, "status", **words)
    assert reply == (code, f'{{\n    "error": "{text}"\n}}\n')


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("app", None, 400),
        ("application.command", None, 400),
        ("machine.nodes", "2", 400),
        ("user", None, 400),
        ("nae", {}, 400),
        ("user.apikey", "wrong", 401),
        ("app", "nothing", 404),
        ("application.command", "fly", 400),
        ("machine.type", "n99", 400),
        ("machine.type", "np8g4", 400),
        ("machine.nodes", 9, 400),
        ("machine.nodes", 5, 400),
        ("vault.name", "mine", 400),
        ("queue", "long", 404),
        ("application.walltime", "10 min", 400),
        ("application.parameters", {"-x": "1"}, 400),
        ("application.parameters", {"-n": 10}, 400),
        ("application.parameters", {"-d": "9"}, 400),
        ("application.parameters", {"file": "a.sh"}, 400),
    ],
)
def test_a_submit_that_cannot_run_is_refused_and_not_recorded(
    server: Jarvice, path: str, value: object, code: int
) -> None:
    document = submission(server)
    *above, last = path.split(".")
    place = document[above[0]] if above else document
    place.pop(last, None)
    place |= {last: value} if value is not None else {}
    reply = post(server, "submit", document)
    assert reply.status == code
    assert set(reply.json) == {"error"}
    assert server.jobs == []


def test_options_come_first_and_positions_as_in_the_file(server: Jarvice) -> None:
    given = {"free": "a b", "file": "in/x.py", "-v": True, "-d": "Little"}
    server.apps = [App("words", deepcopy(APPDEF))]
    number = post(server, "submit", submission(server, **given) | {"job_label": "L"}).json["number"]
    ended(server, number)
    (job,) = server.jobs
    assert job.order.argv[1:] == [*"-n 3 -v -d 1 -m x %s| /data/in/x.py".split(), "a b"]
    text = ask(server, "output", number=number).text
    assert f"Command: {job.order.argv}" in text
    source = f". {job.place.etc}/jobenv.sh; echo $GPUS"
    assert subprocess.check_output(["sh", "-c", source], text=True) == "0 of 0 in L\n"
    assert (job.place.etc / "jobenv.sh").read_text().startswith(":\nGPUS=\\0\\ \\o\\f")


def test_an_app_without_appdef_runs_a_shell_line(server: Jarvice) -> None:
    document = submission(server, command="echo $((6 * 7)) >&2") | {"app": "shell"}
    document["application"]["command"] = "Batch"
    assert output(server, post(server, "submit", document).json["number"]) == "42\n"


def test_a_job_waits_then_runs_and_its_log_moves_from_tail_to_output(server: Jarvice) -> None:
    server.delay = 0.3
    number = batch(server, "echo one; echo two; sleep 1", job_label="L")
    assert status(server, number) == "SUBMITTED"
    waiting = ask(server, "tail", number=number)
    assert waiting == (404, '{\n    "error": "Running job is not found"\n}\n')
    until(lambda: status(server, number) == "PROCESSING STARTING")
    until(lambda: "\ntwo\n" in ask(server, "tail", number=number).text)
    assert ask(server, "tail", number=number, lines=1).text == "two\n"
    assert ask(server, "output", number=number).status == 404
    assert ask(server, "jobs").json[str(number)]["job_label"] == "L"
    assert ended(server, number) == "COMPLETED"
    assert ask(server, "tail", number=number).status == 404
    assert output(server, number) == "one\ntwo\n"
    assert ask(server, "jobs").json == {}


def test_status_tells_times_but_neither_label_nor_exit_code(server: Jarvice) -> None:
    number = batch(server, "exit 3", job_label="L")
    assert ended(server, number) == "COMPLETED WITH ERROR"
    (job,) = server.jobs
    assert re.fullmatch(r"\d{14}-[A-Z0-9]{5}-jarvice-batch-alice_s1", job.name)
    entry = ask(server, "status", name=job.name).json[str(number)]
    assert not {"job_label", "job_exitcode"} & set(entry)
    assert entry["job_walltime"] == "00:00:00"
    assert entry["job_end_time"] > 0
    rich = listed(server, number)
    assert (rich["job_label"], rich["job_exitcode"], rich["job_mc_name"]) == ("L", 3, "n2")
    assert server.key not in json.dumps(rich)


def test_a_base64_script_runs_by_its_shebang(server: Jarvice) -> None:
    script = "#!/bin/bash\necho ${BASH_VERSION:+bash} $0\n"
    number = batch(server, base64.b64encode(script.encode()).decode())
    assert output(server, number).startswith("bash /")


STOPPED = "trap 'echo kept; exit 75' TERM; echo up; while :; do sleep 0.05; done"


def up(server: Jarvice, number: int) -> None:
    until(lambda: "up\n" in ask(server, "tail", number=number).text)


def test_walltime_asks_first_and_the_job_is_terminated(server: Jarvice) -> None:
    document = submission(server, command=STOPPED) | {"app": "shell"}
    document["application"] |= {"command": "Batch", "walltime": "00:00:01"}
    number = post(server, "submit", document).json["number"]
    assert ended(server, number) == "TERMINATED"
    assert output(server, number).splitlines()[-1] == "kept"
    assert listed(server, number)["job_exitcode"] == -15
    assert 1 <= server.jobs[0].seconds < 2.5


def test_shutdown_completes_and_kills_who_does_not_listen(
    server: Jarvice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "GRACE_SECONDS", 0.2)
    listens = batch(server, STOPPED)
    deaf = batch(server, "trap '' TERM; echo up; sleep 60")
    for number in (listens, deaf):
        up(server, number)
        assert ask(server, "shutdown", number=number).json == {"status": "shutdown requested"}
        assert ended(server, number) == "COMPLETED"
    assert "kept" in output(server, listens)
    assert ask(server, "shutdown", number=deaf).status == 404


def test_terminate_is_immediate_and_a_queued_job_is_canceled(server: Jarvice) -> None:
    running = batch(server, STOPPED)
    up(server, running)
    server.delay = 60
    queued = batch(server, "true")
    for number, fate, code in ((running, "TERMINATED", -15), (queued, "CANCELED", -9)):
        assert ask(server, "terminate", number=number).json == {"status": "terminated"}
        assert ended(server, number) == fate
        assert listed(server, number)["job_exitcode"] == code
        assert ask(server, "terminate", number=number).status == 404
    assert output(server, running) == "up\n"
    assert ask(server, "status", number=queued).json[str(queued)]["job_start_time"] == 0


def test_a_signal_reaches_the_command(server: Jarvice) -> None:
    number = batch(server, "trap 'echo got; exit 0' USR1; echo up; while :; do sleep 0.05; done")
    up(server, number)
    reply = ask(server, "signal", number=number, signal=int(signal.SIGUSR1)).json
    assert reply["signal"] == signal.SIGUSR1
    assert reply["pid"] > 0
    assert output(server, number).endswith("got\n")


@boxed
def test_a_box_shows_what_a_container_does(tmp_path: Path) -> None:
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "hello").write_text("hello\n")
    before = Path("/proc/self/mountinfo").read_text()
    line = (
        "id -un; id -u; pwd; cat /opt/retrain/hello; echo $TOKEN; df -k /dev/shm | tail -1;"
        "[ $(hostname) = $(head -1 /etc/JARVICE/nodes) ] && echo named; wc -l </etc/JARVICE/cores;"
        "touch /opt/retrain/x 2>/dev/null || echo closed; touch /data/mine && echo open;"
        "ls /tmp; echo err >/dev/stderr; . /etc/JARVICE/jobinfo.sh; echo $JOB_LABEL"
    )
    image = {Path("/opt/retrain"): tmp_path / "clone"}
    with Jarvice(tmp_path / "s", image=image, environment={"TOKEN": "t"}) as server:
        number = batch(server, line, job_label="a 'b'", machine={"type": "n2", "nodes": 3})
        said = output(server, number).splitlines()
    shm = said.pop(5).split()
    assert shm[1] == "65536"
    wanted = "nimbix 505 /home/nimbix hello t named 6 closed open err".split()
    assert said == [*wanted, "a 'b'"]
    assert Path("/proc/self/mountinfo").read_text() == before
    assert not Path("/etc/JARVICE").exists()
    assert not Path("/data").exists()


@boxed
def test_nodes_have_names_and_ssh_leads_to_each(server: Jarvice) -> None:
    line = (
        "export SECRET=1; for n in $(cat /etc/JARVICE/nodes); do getent hosts $n >/dev/null;"
        'echo in | ssh -x -o Quick=yes $n "hostname; cat; touch /tmp/seen; env | grep -c SECRET;'
        ' exit 7"; echo $?; done; ls /tmp; ssh elsewhere true || echo $?'
    )
    said = output(server, batch(server, line, machine={"type": "n2", "nodes": 2})).splitlines()
    first, second = server.jobs[0].place.nodes
    assert re.fullmatch(r"jarvice-job-\d+-[a-z0-9]{5}", first)
    each = ["in", "0", "7"]
    gone = ["seen", "ssh: elsewhere is no node of this job", "255"]
    assert said == [first, *each, second, *each, *gone]


@boxed
def test_open_mpi_starts_a_process_on_each_node(server: Jarvice) -> None:
    server.image = {Path("/opt/env"): Path(sys.prefix)}
    line = "/opt/env/bin/mpirun -np 2 --map-by node --hostfile /etc/JARVICE/nodes hostname"
    said = output(server, batch(server, line, machine={"type": "n2", "nodes": 2}))
    assert sorted(said.splitlines()) == sorted(server.jobs[0].place.nodes)


def test_vaults_are_kept_but_the_ephemeral_one_is_fresh(tmp_path: Path) -> None:
    with Jarvice(tmp_path / "site") as server:
        (server.vault("persistent") / "in").mkdir()
        (server.vault("persistent") / "in" / "a").write_text("abc")
        listing = ask(server, "vault", vault="persistent", path="/in", sort="s").json
        assert [row[:2] for row in listing] == [["a", 3]]
        assert ask(server, "vault", vault="persistent", path="/").json[0][0] == "in/"
        assert ask(server, "vault", vault="persistent", path="/../..").status == 404
        if can_box():
            line = "ls /data | wc -l; touch /data/b 2>/dev/null || echo closed"
            vault: dict[str, object] = {"name": "persistent"}
            assert output(server, batch(server, line, vault=vault)) == "1\n"
            vault["readonly"] = True
            assert output(server, batch(server, line, vault=vault)) == "2\nclosed\n"
            assert output(server, batch(server, line)) == output(server, batch(server, line))
    assert [path.name for path in (tmp_path / "site" / "vaults").iterdir()] == ["persistent"]


def running(word: str) -> bool:
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    return any(line.endswith(word) for line in found.splitlines())


@pytest.mark.parametrize("box", [pytest.param(True, marks=boxed), False])
def test_nothing_outlives_a_job_and_its_home_is_gone(tmp_path: Path, box: bool) -> None:
    nap = f"sleep 31{os.getpid()}"
    with Jarvice(tmp_path / "site", boxed=box) as server:
        place = "/etc/JARVICE" if box else "$JARVICE_ETC"
        line = f"{nap} & setsid {nap} & (setsid {nap} &) ; touch ~/x; cat {place}/nodes; exit 1"
        number = batch(server, line)
        assert ended(server, number) == "COMPLETED WITH ERROR"
        assert output(server, number).split() == server.jobs[0].place.nodes
        assert not running(nap)
        batch(server, nap)
        until(lambda: running(nap))
    assert not running(nap)
    folder = server.jobs[0].place.folder
    assert not (folder / "home").exists()
    assert not (folder / "tmp").exists()


def by_hand(*words: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    command = [sys.executable, "-m", "tests.submit.jarvice", *words]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    export, *told = process.stdout.readline().split()
    assert export == "export"
    return process, dict(word.split("=", 1) for word in told)


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGINT, 0), (signal.SIGKILL, -9)])
def test_no_job_outlives_the_server(tmp_path: Path, ending: signal.Signals, code: int) -> None:
    nap = f"sleep 32{os.getpid()}{int(ending)}"
    process, account = by_hand("--folder", str(tmp_path), "--fault", "unknown-keys", "503=1")
    with process:
        server = Jarvice(tmp_path / "other", user=account["JARVICE_USER"])
        server.url, server.key = account["JARVICE_API_URL"], account["JARVICE_API_KEY"]
        assert post(server, "batch", body(server, nap)).status == 503
        number = batch(server, nap)
        until(lambda: running(nap))
        assert "x_trace" in ask(server, "status", number=number).json[str(number)]
        process.send_signal(ending)
        assert process.wait(10) == code
        until(lambda: not running(nap))


@pytest.mark.parametrize(
    ("fault", "code", "text"),
    [
        ("503", 503, "Service Unavailable"),
        ("502", 502, "<html>"),
        ("504", 504, "<html>"),
        ("429", 429, "Too Many Requests"),
        ("401", 401, "Unauthorized"),
        ("empty", 200, ""),
        ("html", 200, "<html>"),
        ("cut", 200, "{\n"),
        ("list", 200, "[\n"),
    ],
)
def test_faulty_answers_come_as_often_as_asked_for(
    server: Jarvice, fault: str, code: int, text: str
) -> None:
    well = ask(server, "machines")
    server.fault(fault, times=2, on="machines jobs")
    for _ in range(2):
        assert ask(server, "queues").status == 200
        reply = ask(server, "machines")
        assert reply.status == code
        assert text in reply.text
        assert reply != well
    assert ask(server, "machines") == well
    server.fault(fault)
    server.faults.clear()
    assert ask(server, "machines") == well


def test_who_calls_too_often_is_told_how_long_to_wait(server: Jarvice) -> None:
    server.fault("429")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{server.url}/jarvice/live")
    assert refused.value.headers["Retry-After"] == "1"
    refused.value.close()


def test_a_reset_comes_before_the_request_is_read(server: Jarvice) -> None:
    server.fault("reset", times=1)
    with pytest.raises((ConnectionError, urllib.error.URLError)):
        ask(server, "live")
    assert server.requests == []
    assert ask(server, "live").json == ask(server, "ready").json == {"status": "OK"}


def test_a_lost_answer_is_that_of_a_recorded_job(server: Jarvice) -> None:
    server.fault("lost", times=1)
    assert ask(server, "machines").status == 200
    with pytest.raises(ConnectionError):
        batch(server, "true", job_label="L")
    assert [job.label for job in server.jobs] == ["L"]


@pytest.mark.parametrize("fault", ["hang", "slow"])
def test_an_answer_that_takes_long_outlasts_patience_but_not_the_server(
    server: Jarvice, fault: str
) -> None:
    server.fault(fault, times=1, on="batch")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=0.3)
    connection.request("POST", "/jarvice/batch", json.dumps(body(server, "true")))
    if fault == "hang":
        with pytest.raises(TimeoutError):
            connection.getresponse()
    else:
        answer = connection.getresponse()
        started = time.monotonic()
        assert answer.read(4) == b"{\n  "
        assert time.monotonic() - started > 0.25
    connection.close()
    assert len(server.jobs) == 1


def test_an_answer_broken_off_is_shorter_than_promised(server: Jarvice) -> None:
    server.fault("broken-off", times=1)
    with pytest.raises(http.client.IncompleteRead):
        ask(server, "machines")


def test_errors_can_be_plain_text(server: Jarvice) -> None:
    server.fault("error-text", times=1)
    assert ask(server, "machines").status == 200
    assert ask(server, "status", number=1) == (404, "Something went wrong\n")
    assert ask(server, "status", number=1).json == {"error": "Job not found"}


def test_what_is_late_comes_after_a_moment(server: Jarvice) -> None:
    server.moment = 0.4
    for fault in ("status-late", "output-late", "jobs-late"):
        server.fault(fault)
    number = batch(server, "exit 5")
    assert ask(server, "status", number=number).status == 404
    until(lambda: server.jobs[0].ended)
    assert ask(server, "output", number=number).status == 404
    assert ask(server, "jobs", completed="true").json == {}
    until(lambda: ask(server, "output", number=number).status == 200)
    assert status(server, number) == "COMPLETED WITH ERROR"
    assert listed(server, number)["job_exitcode"] == 5


def test_jobs_can_look_other_than_they_are(server: Jarvice) -> None:
    number = batch(server, "exit 5")
    for fault, key, value in (
        ("clamped", "job_exitcode", 1),
        ("short-canceled", "job_status", "CANCELED"),
        ("unknown-status", "job_status", "PROCESSING MIGRATION"),
        ("unknown-keys", "x_trace", "abc"),
    ):
        ended(server, number)
        server.fault(fault, times=1, on="jobs")
        assert listed(server, number)[key] == value
        assert listed(server, number).get(key) != value


def test_every_fault_has_a_line_of_help() -> None:
    words = [sys.executable, "-m", "tests.submit.jarvice", "--help"]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(f"\n  {name} " in told for name in FAULTS)


def test_a_server_that_is_down_refuses_and_comes_back_with_its_jobs(server: Jarvice) -> None:
    number = batch(server, "true")
    with server.down(), pytest.raises(urllib.error.URLError, match="refused"):
        ask(server, "live")
    assert ended(server, number) == "COMPLETED"


def test_requests_are_kept_as_they_came(server: Jarvice) -> None:
    send(f"{server.url}/jarvice/jobs?username=alice&apikey={server.key}")
    ask(server, "jobs", completed="true")
    by_query, by_form = server.requests
    assert (by_query.method, by_form.method) == ("GET", "POST")
    assert server.key in by_query.path
    assert server.key not in by_form.path
    assert by_form.endpoint == "jobs"
    assert server.key.encode() in by_form.body
    assert by_form.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_apps_of_the_second_form_are_listed_on_request(server: Jarvice) -> None:
    server.apps = [App("words", APPDEF, public=False), App("shell")]
    assert ask(server, "apps").json == {}
    assert set(ask(server, "apps", version=2).json) == {"words", "shell"}
    assert set(send(f"{server.url}/jarvice/apps?version=2").json) == {"shell"}
    assert ask(server, "appdef", name="words").json == APPDEF
    assert ask(server, "appdef", name="none").status == 404


def test_machines_queues_and_batch_jobs_answer_as_documented(server: Jarvice) -> None:
    server.machines = [Machine("n7", "own", 7, 14)]
    assert set(ask(server, "machines").json) == {"n7"}
    assert ask(server, "machines", name="n8").status == 404
    assert ask(server, "queues").json == ["small"]
    assert set(ask(server, "queues", info="true").json["small"]) == {
        "name",
        "app",
        "machine",
        "size",
    }
    number = batch(server, "sleep 60", machine={"type": "n7"})
    until(lambda: status(server, number) == "PROCESSING STARTING")
    assert ask(server, "info", number=number).json["actions"] == {}
    assert ask(server, "connect", number=number).status == 404
    assert ask(server, "nothing").json == {"error": "Not found"}
    assert send(f"{server.url}/jarvice/submit").status == 400


def test_a_good_appdef_is_valid(server: Jarvice) -> None:
    assert post(server, "validate", APPDEF) == (200, '{\n    "valid": true\n}\n')
    assert post(server, "validate", []).status == 400


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("name", None, "name is missing"),
        ("licensed", "yes", "licensed has the wrong type"),
        ("classifications", ["AI"], "AI: no A/B"),
        ("machines", [], "machines is no list of texts"),
        ("vault-types", ["DISK"], "unknown type"),
        ("vault-types", ["NONE", "FILE"], "unknown type"),
        ("commands", {}, "no command"),
        ("image.data", "???", "not base64"),
        ("image.data", "A" * 90_000, "larger than 64 KB"),
        ("scale_max", 0, "scale_max is below 1"),
        ("appdefversion", None, "verboseinit needs appdefversion 2"),
        ("commands.show.path", "printf", "path is not absolute"),
        ("commands.show.ports", ["80"], "80 is no NUMBER/tcp"),
        ("commands.show.parameters.file.type", "SELECTION", "type SELECTION is unknown"),
        ("commands.show.parameters.free.required", 1, "required has the wrong type"),
        ("commands.show.parameters.-n.value", 0, "value is not between min and max"),
        ("commands.show.parameters.-d.mvalues", ["1"], "differ in length"),
        ("commands.show.parameters.-m.if", ["-n"], "-n is no BOOL"),
        ("commands.show.parameters.up", parameter("UPLOAD", target="/tmp/x"), "not under /opt"),
    ],
)
def test_validate_says_what_is_wrong_with_an_appdef(
    server: Jarvice, path: str, value: object, text: str
) -> None:
    appdef = deepcopy(APPDEF)
    *above, last = path.split(".")
    place = appdef
    for key in above:
        place = place[key]
    place.pop(last, None)
    place |= {last: value} if value is not None else {}
    reply = post(server, "validate", appdef)
    assert reply.status == 400
    assert text in reply.text
