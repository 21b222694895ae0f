# SPDX-License-Identifier: Apache-2.0
"""The JARVICE API through servers that answer, refuse and fail; user and key stay out of sight."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from error_text import all_of
from jobs.errors import JobError, NoAnswer, UsageError
from jobs.jarvice import Jarvice, Submitted
from jobs.jarvice_account import Account, Secret
from jobs.jarvice_http import Limits
from scripted_http import (
    PEM,
    Scripted,
    Step,
    answer,
    closed,
    cut,
    echo,
    reset,
    serving,
    silent,
    trickling,
)

USER, KEY = "wilhelmina", "k3y+/=%with signs&in=it"
QUICK = Limits(pause=0.005, longest_pause=0.1, patience=3.0, look_up=0.06)
HASTY = replace(QUICK, read=0.2, whole=0.4, patience=0.3)
"""For servers that give no answer, or none that ends."""
BODY = {"app": "retrain", "machine": {"type": "np9g4", "nodes": 2}}
RECORDED = answer('{"name": "20260102-retrain", "number": 41}')
PAGE = answer("<!DOCTYPE html>\n<html><h1>Sign in</h1></html>", kind="text/html; charset=utf-8")
NONE = answer("{}")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("SSL_CERT_"):
            monkeypatch.delenv(name)
    with serving() as script:
        script.on("jobs", script.lists())
        yield script


def jarvice(url: str, limits: Limits = QUICK) -> Jarvice:
    return Jarvice(Account(url, Secret(USER), Secret(KEY), "JARVICE_API_KEY"), limits)


@pytest.fixture
def api(server: Scripted) -> Iterator[Jarvice]:
    with jarvice(server.url) as found:
        yield found


@pytest.fixture
def hasty(server: Scripted) -> Iterator[Jarvice]:
    with jarvice(server.url, HASTY) as found:
        yield found


def refused(call: Callable[[], object], kind: type[JobError] = JobError) -> JobError:
    """The error of a call; seen to be of that very kind, short, and without user and key."""
    with pytest.raises(JobError) as caught:
        call()
    error = caught.value
    assert type(error) is kind, error.message
    assert "\n" not in error.message + error.todo
    assert len(error.message) < 600
    assert_hidden(all_of(error))
    return error


def assert_hidden(text: str) -> None:
    for secret in (USER, KEY, "k3y", json.dumps(KEY)[1:-1]):
        assert secret not in text


# What is sent


def test_submission_is_json_with_the_credentials_and_a_label_of_its_own(
    api: Jarvice, server: Scripted
) -> None:
    server.on("submit", RECORDED)
    first, second = api.submit(BODY), api.submit(BODY)
    bodies = [request.json() for request in server.of("submit")]
    assert first == Submitted("20260102-retrain", 41, str(bodies[0]["job_label"]))
    assert bodies[0] == {
        **BODY,
        "user": {"username": USER, "apikey": KEY},
        "job_label": first.label,
    }
    assert re.fullmatch("retrain-[0-9a-f]{32}", first.label)
    assert first.label != second.label


def test_batch_goes_to_its_own_endpoint(api: Jarvice, server: Scripted) -> None:
    server.on("batch", RECORDED)
    assert api.batch({"container": {"image": "library/ubuntu:jammy"}}).number == 41
    assert len(server.of("batch")) == 1


def test_questions_are_forms_and_no_url_or_header_holds_the_credentials(
    api: Jarvice, server: Scripted
) -> None:
    server.on("status", answer('{"7": {"job_status": "SUBMITTED"}}'))
    server.on("submit", RECORDED)
    assert api.status(7) == {"job_status": "SUBMITTED"}
    api.jobs()
    api.jobs(completed=True)
    api.submit(BODY)
    assert server.of("status")[0].form() == {"number": "7", "username": USER, "apikey": KEY}
    assert [one.form().get("completed") for one in server.of("jobs")] == [None, "true"]
    for request in server.requests:
        assert request.line.startswith("POST /api/jarvice/")
        assert_hidden(f"{request.line}{request.headers}")


def test_lists_and_outputs_come_as_the_server_has_them(api: Jarvice, server: Scripted) -> None:
    server.on("tail", answer("step 1\r\n", kind="text/plain"))
    server.on("output", answer("<html> is what it printed\n", kind="text/plain"))
    server.on("machines", answer('{"n0": {"mc_cores": 4}}'))
    server.on("apps", answer('{"retrain": {"price": null}}'))
    server.on("appdef", answer('{"name": "Retrain", "commands": {}}'))
    server.on("queues", answer('["short", "long"]'))
    server.on("shutdown", answer('{"status": "shutdown requested"}'))
    server.on("terminate", answer('{"status": "terminated"}'))
    assert api.tail(7) == "step 1\r\n"
    assert api.output(7) == "<html> is what it printed\n"
    assert api.machines() == {"n0": {"mc_cores": 4}}
    assert api.apps() == {"retrain": {"price": None}}
    assert api.appdef("retrain")["name"] == "Retrain"
    assert api.queues() == ["short", "long"]
    assert api.shutdown(7)
    assert api.terminate(7)
    assert server.of("output")[0].form()["lines"] == "0"
    assert server.of("apps")[0].form()["version"] == "2"


@pytest.mark.parametrize(
    "missing",
    [
        answer('{\n    "error": "Running job is not found"\n}\n', 404),
        answer("", 404),
        answer('"Job not found"', 404),
    ],
)
def test_missing_job_is_no_error(api: Jarvice, server: Scripted, missing: Step) -> None:
    for endpoint in ("status", "tail", "output", "shutdown", "terminate"):
        server.on(endpoint, missing)
    assert (api.status(7), api.tail(7), api.output(7)) == (None, None, None)
    assert (api.shutdown(7), api.terminate(7)) == (False, False)


@pytest.mark.parametrize(
    "elsewhere",
    [
        answer("404 page not found\n", 404, "text/plain"),
        answer("<html>404</html>", 404, "text/html"),
        answer('{"message": "no route"}', 404),
    ],
)
def test_missing_api_is_not_taken_for_a_missing_job(
    api: Jarvice, server: Scripted, elsewhere: Step
) -> None:
    server.on("status", elsewhere)
    assert "JARVICE_API_URL" in refused(lambda: api.status(7), UsageError).todo


# What goes wrong


@pytest.mark.parametrize(
    ("code", "text", "kind", "said"),
    [
        (400, '{"error": "No job specified"}', UsageError, "refused it (400): No job specified"),
        (401, '{"error": "Unauthorized"}', UsageError, "(401): Unauthorized"),
        (401, "", UsageError, "(401): no reason given"),
        (403, '"Account\x1b[2J"', JobError, "(403): "),
        (429, '{"error": "slow down"}', NoAnswer, "(429): slow down"),
        (500, "Error reading bytes", NoAnswer, "trouble (500): Error reading bytes"),
        (501, '{"error": "no meta table"}', JobError, "(501): no meta table"),
        (503, "<html>busy</html>", NoAnswer, "trouble (503): a web page"),
        (200, "", NoAnswer, "is empty"),
        (200, '{"1": {"job_status": "COMPL', NoAnswer, "is cut off"),
        (200, "[]", JobError, "wanted an object"),
        (200, '{"error": "not today"}', JobError, "not today"),
        (200, "<html>Sign in</html>", UsageError, "web page"),
        (200, "[" * 100_000, NoAnswer, "is cut off"),
    ],
)
def test_bad_answer_is_told_in_words(
    api: Jarvice, server: Scripted, code: int, text: str, kind: type[JobError], said: str
) -> None:
    server.on("machines", answer(text, code))
    error = refused(api.machines, kind)
    assert error.message.startswith(f"{server.url}: machines: ")
    assert said in error.message
    assert "\x1b" not in error.message


def test_refused_key_tells_where_it_came_from(api: Jarvice, server: Scripted) -> None:
    server.on("submit", answer('{"error": "Not Authorized"}', 401))
    assert "JARVICE_API_KEY" in refused(lambda: api.submit(BODY), UsageError).todo


def test_redirect_is_told_and_not_followed(api: Jarvice, server: Scripted) -> None:
    with serving() as other:
        to = f"{other.url}/jarvice/machines?next=secret"
        server.on("machines", answer("", 307, Location=to))
        error = refused(api.machines, UsageError)
        assert f"sends on to {other.url}/jarvice/machines (307)" in error.message
        assert other.requests == []


def test_words_of_the_server_are_cut_and_lose_the_credentials_that_they_repeat(
    api: Jarvice, server: Scripted
) -> None:
    server.on("machines", echo(400))
    assert "***" in refused(api.machines, UsageError).message
    server.on("apps", answer(json.dumps({"error": "long " * 1000}), 400))
    assert len(refused(api.apps, UsageError).message) < 300


def test_refused_connection_is_no_answer() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        api = jarvice(f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert "Connection refused" in refused(api.jobs, NoAnswer).message


def test_unknown_name_is_no_answer() -> None:
    api = jarvice("https://jarvice.invalid/api")
    assert "name of the host cannot be resolved" in refused(api.jobs, NoAnswer).message


def test_plain_http_where_tls_is_wanted_is_told_at_once(server: Scripted) -> None:
    api = jarvice(server.url.replace("http:", "https:"))
    assert "no protected connection" in refused(api.jobs).message


def test_certificate_is_verified_by_those_of_ssl_cert_file(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(safely=True) as safe:
        safe.on("jobs", NONE)
        url = f"https://localhost:{safe.port}/api"
        error = refused(jarvice(url).jobs)
        assert "self-signed certificate" in error.message
        assert "SSL_CERT_FILE" in error.todo
        assert safe.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(PEM))
        assert jarvice(url).jobs() == {}


def test_certificates_that_are_not_there_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    error = refused(lambda: jarvice("https://jarvice.invalid/api"), UsageError)
    assert "SSL_CERT_FILE" in error.message


def test_proxy_is_used_and_its_refusal_told(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.port}")
    error = refused(jarvice("https://jarvice.invalid/api").jobs, NoAnswer)
    assert "proxy" in error.message
    assert server.requests[0].line.startswith("CONNECT jarvice.invalid:443")
    assert not any(request.body for request in server.requests)


def test_what_goes_to_this_machine_passes_no_proxy(
    api: Jarvice, server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        with jarvice(server.url) as own:
            assert own.jobs() == {}
        assert proxy.requests == []


def test_larger_answer_than_is_taken_is_refused(server: Scripted) -> None:
    server.on("output", answer(b"x" * (3 << 20), kind="text/plain"))
    with jarvice(server.url, Limits(size=1 << 20)) as api:
        assert "larger than 1 MiB" in refused(lambda: api.output(7)).message


@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 OK\r\nX-Long: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
    ],
)
def test_answer_that_trickles_is_given_up(hasty: Jarvice, server: Scripted, begin: bytes) -> None:
    server.on("machines", trickling(server, begin))
    started = time.monotonic()
    message = refused(hasty.machines, NoAnswer).message
    assert "no whole answer within 0.4 s" in message
    assert time.monotonic() - started < HASTY.patience + HASTY.whole + 1


# What is asked again


@pytest.mark.parametrize(
    "fault", [closed, reset, cut, *(answer("", code) for code in (502, 503, 504))]
)
def test_question_is_asked_again_after_what_may_pass(
    api: Jarvice, server: Scripted, fault: Step
) -> None:
    server.on("machines", fault, fault, NONE)
    assert api.machines() == {}
    assert len(server.of("machines")) == 3


def test_question_is_asked_again_where_no_answer_came(hasty: Jarvice, server: Scripted) -> None:
    server.on("terminate", silent(server), answer('{"status": "terminated"}'))
    assert hasty.terminate(7)


def test_question_is_not_asked_for_ever(api: Jarvice, server: Scripted) -> None:
    server.on("machines", answer("", 503))
    refused(api.machines, NoAnswer)
    assert len(server.of("machines")) == 5


@pytest.mark.parametrize("code", [400, 401, 404, 429, 500, 501])
def test_what_will_not_pass_is_not_asked_again(api: Jarvice, server: Scripted, code: int) -> None:
    server.on("machines", answer('{"error": "no"}', code))
    with pytest.raises(JobError):
        api.machines()
    assert len(server.of("machines")) == 1


def test_wait_that_the_server_asks_for_is_kept(server: Scripted) -> None:
    server.on("machines", answer("", 429, Retry_After="1"), NONE)
    started = time.monotonic()
    with jarvice(server.url, Limits(pause=0.01)) as api:
        assert api.machines() == {}
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize("wanted", ["86400", "Wed, 01 Jan 2098 00:00:00 GMT"])
def test_wait_that_the_server_asks_for_has_a_limit(
    api: Jarvice, server: Scripted, wanted: str
) -> None:
    server.on("machines", answer("", 429, Retry_After=wanted), NONE)
    started = time.monotonic()
    assert api.machines() == {}
    assert QUICK.longest_pause <= time.monotonic() - started < 5


# One submission, one job

FAULTS: dict[str, Step] = {
    "closed": closed,
    "reset": reset,
    "cut": cut,
    "500": answer('{"error": "Unable to create Job Object"}', 500),
    "503": answer("", 503),
    "504": answer("<html>Gateway Time-out</html>", 504, "text/html"),
    "408": answer("", 408),
    "page": PAGE,
    "empty": answer(""),
    "half": answer('{"name": "job-41", "num'),
    "strange": answer('["job-41", 41]'),
    "no number": answer('{"name": "job-41", "number": null}'),
    "echo": echo(200),
}
ENDLESS: dict[str, Callable[[Scripted], Step]] = {"silent": silent, "trickling": trickling}


@pytest.fixture(params=[*FAULTS, *ENDLESS])
def fault(request: pytest.FixtureRequest, server: Scripted) -> Step:
    name = str(request.param)
    return ENDLESS[name](server) if name in ENDLESS else FAULTS[name]


def test_submission_whose_answer_was_lost_is_found_by_its_label_and_not_sent_again(
    hasty: Jarvice, server: Scripted, fault: Step
) -> None:
    server.on("submit", server.record(fault))
    job = hasty.submit(BODY)
    assert (job.name, job.number) == ("job-41", 41)
    assert job.label == server.of("submit")[0].json()["job_label"]
    assert len(server.of("submit")) == 1


def test_lost_submission_is_also_found_among_those_that_have_ended(
    api: Jarvice, server: Scripted
) -> None:
    server.on("submit", server.record(reset))
    server.on("jobs", server.lists(completed=True))
    assert api.submit(BODY).number == 41
    assert len(server.of("submit")) == 1


def test_lost_submission_may_appear_late(api: Jarvice, server: Scripted) -> None:
    server.on("submit", server.record(closed))
    server.on("jobs", server.lists(after=2))
    assert api.submit(BODY).number == 41
    assert len(server.of("submit")) == 1


def test_submission_that_surely_did_not_arrive_is_sent_once_more(
    api: Jarvice, server: Scripted
) -> None:
    server.on("submit", closed, server.record(RECORDED))
    started = time.monotonic()
    job = api.submit(BODY)
    assert time.monotonic() - started >= QUICK.look_up
    labels = [request.json()["job_label"] for request in server.of("submit")]
    assert labels == [job.label, job.label]


def test_submission_is_never_sent_a_third_time(
    hasty: Jarvice, server: Scripted, fault: Step
) -> None:
    server.on("submit", fault)
    error = refused(lambda: hasty.submit(BODY))
    label = str(server.of("submit")[0].json()["job_label"])
    assert f"sent twice, and no job with the label {label}" in error.message
    assert "portal" in error.todo
    assert len(server.of("submit")) == 2


@pytest.mark.parametrize(
    "blind",
    [
        answer("", 401),
        answer("", 503),
        PAGE,
        closed,
        answer('{"7": {"job_name": "other"}}'),
        answer('{"7": null}'),
    ],
)
def test_submission_is_not_sent_again_where_the_lists_do_not_tell(
    api: Jarvice, server: Scripted, blind: Step
) -> None:
    server.on("submit", server.record(closed))
    server.on("jobs", blind)
    error = refused(lambda: api.submit(BODY))
    assert "Whether a job was recorded is not known" in error.message
    assert str(server.of("submit")[0].json()["job_label"]) in error.todo
    assert len(server.of("submit")) == 1


def test_submission_that_was_given_up_does_not_arrive_later(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(PEM))
    with serving(safely=True, slow=0.3) as late:
        api = jarvice(f"https://localhost:{late.port}", replace(HASTY, whole=0.1, patience=0.0))
        refused(lambda: api.submit(BODY))
        time.sleep(0.8)
        assert late.requests == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (302, UsageError),
        (400, UsageError),
        (401, UsageError),
        (403, JobError),
        (404, UsageError),
        (429, JobError),
    ],
)
def test_refused_submission_is_told_at_once(
    api: Jarvice, server: Scripted, code: int, kind: type[JobError]
) -> None:
    server.on("submit", answer('{"error": "no"}', code, Retry_After="1"))
    refused(lambda: api.submit(BODY), kind)
    assert len(server.of("submit")) == 1
    assert server.of("jobs") == []


def test_submission_that_no_server_took_is_tried_again_and_then_given_up() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        api = jarvice(f"http://127.0.0.1:{taken.getsockname()[1]}")
        error = refused(lambda: api.submit(BODY), NoAnswer)
    assert "Nothing was submitted" in error.todo


def test_submission_is_made_once_its_server_has_come_up(server: Scripted) -> None:
    server.on("submit", RECORDED)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    api = jarvice(f"http://127.0.0.1:{port}", Limits(pause=0.4))
    program = f"import time; time.sleep(0.2); {_FORWARD.format(port=port, to=server.port)}"
    with subprocess.Popen([sys.executable, "-c", program]) as forward:
        assert api.submit(BODY).number == 41
        forward.kill()
    assert len(server.of("submit")) == 1


_FORWARD = """
import socket, threading
ours = socket.create_server(("127.0.0.1", {port}))
def pump(one, other):
    while data := one.recv(65536):
        other.sendall(data)
while True:
    near = ours.accept()[0]
    far = socket.create_connection(("127.0.0.1", {to}))
    for pair in ((near, far), (far, near)):
        threading.Thread(target=pump, args=pair, daemon=True).start()
"""


def test_label_is_also_found_in_the_submitted_body(api: Jarvice, server: Scripted) -> None:
    entry = {"job_name": "a", "job_api_submission": {"job_label": "retrain-1"}}
    server.on("jobs", answer(json.dumps({"9": entry, "8": {"job_label": None}})))
    assert api.find_by_label("retrain-1") == Submitted("a", 9, "retrain-1")
    assert api.find_by_label("retrain-2") is None


# The key stays out of sight


def test_neither_logs_nor_streams_nor_errors_hold_the_credentials(
    hasty: Jarvice,
    server: Scripted,
    fault: Step,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    server.on("submit", fault)
    server.on("appdef", fault)
    server.on("jobs", echo(400))
    refused(lambda: hasty.submit(BODY))
    with suppress(JobError):
        hasty.appdef("retrain")
    assert "httpcore" in {record.name.split(".")[0] for record in caplog.records}
    assert_hidden("".join(capfd.readouterr()) + caplog.text)


@pytest.mark.parametrize("code", [200, 302, 400, 401, 404, 429, 500, 501])
def test_credentials_that_a_server_repeats_are_in_no_error(
    api: Jarvice, server: Scripted, code: int
) -> None:
    server.on("machines", echo(code))
    with pytest.raises(JobError) as caught:
        api.machines()
    assert_hidden(all_of(caught.value))


def test_client_shows_nothing_of_its_account(api: Jarvice) -> None:
    assert_hidden(f"{api} {api!r} {vars(api)}")
    assert base64.b64encode(KEY.encode()).decode() not in repr(vars(api))
